#!/bin/bash
# limit: 900
# Every call and every error as on a local file system: a few hundred cases (posix_*.c), by function and by
# number, with absolute and relative paths, each on two local file systems and under the prefix; what
# comes from there must be what one of the two says, line by line. Where libc itself crashes on a bad
# pointer, an error is as good. CASES names some of them.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
[ "$(id -u)" -eq 0 ] || skip 'root makes the files of others'
shm=$(mktemp -d /dev/shm/ff3-posix.XXXXXX) || skip '/dev/shm is not writable'
# The paths are of one length, which symbolic links show.
local=$(mktemp -u "${TMPDIR:-/tmp}/ff3-posix.XXXXXXXXXX")
mkdir -m 755 "$local" || die 'mkdir'
chmod 755 "$shm"
cleanup_fn 'rm -rf "$shm" "$local"'

# run OUT COMMAND…: through a pipe, so that no limit on files is in its way.
run() {
	local out=$1
	shift
	"$@" 2>&1 | "${only[@]}" >"$out"
}
# A sanitizer's reports about what the cases do on purpose have addresses in them. A case that one ends has to end
# on both sides.
only=(cat)
[ -z "$sanitizer_runtime" ] || only=(grep -a -E '^[a-z0-9_]+: ')

# compare WHAT: two local outputs and ours, each case's lines with its own, so that one that has more or fewer does not
# shift the others. Of the lines that differ between the local ones, either. Tells of all cases that differ, and of
# each the first lines that do.
compare() {
	[ -s "$tmp/want" ] && [ -s "$tmp/want2" ] || die "$1: no case ran"
	awk '
		FNR == 1 { nth++; name = "" }
		match($0, /^[A-Za-z0-9_]+: /) { name = substr($0, 1, RLENGTH - 2) }
		{
			n[nth, name]++
			key = name SUBSEP n[nth, name]
			if (!(key in order)) { order[key] = ++n_keys; keys[n_keys] = key }
			line[nth, key] = $0
		}
		function said(nth, key) { return (nth, key) in line ? line[nth, key] : "(nothing)" }
		END {
			for (i = 1; i <= n_keys; i++) {
				want = said(1, keys[i]); want2 = said(2, keys[i]); got = said(3, keys[i])
				if (got == want || got == want2) continue
				if (want ~ /: SEGV$/ && got ~ /: (EFAULT|EINVAL)$/) continue
				split(keys[i], part, SUBSEP)
				name = part[1]
				if (differ[name]++ == 0) { names = names " " name; n_names++ }
				if (differ[name] > 12) { if (differ[name] == 13) print name ": and more lines"; continue }
				print "local: " want
				if (want != want2) print "   or: " want2
				print "  got: " got
			}
			if (n_names) { print n_names " cases differ:" names; exit 1 }
		}' "$tmp/want" "$tmp/want2" "$tmp/got" >"$tmp/different" ||
		{ cat "$tmp/different"; die "$1: not what a local file system gives"; }
	say "ok: $1: $(wc -l <"$tmp/got") lines"
}

# suite PROGRAM HOW [CASE…]
suite() {
	local program=$1 how=$2 cases a b c
	shift 2
	cases=$(find_built "$program") || die "$program is not built"
	a=$local/$program-$how b=$shm/$program-$how c=$prefix/$program-$how
	# equal lengths
	while [ ${#a} -lt ${#b} ] || [ ${#a} -lt ${#c} ]; do a=${a}x; done
	while [ ${#b} -lt ${#a} ]; do b=${b}x; done
	while [ ${#c} -lt ${#a} ]; do c=${c}x; done
	mkdir -m 755 "$a" "$b" && on mkdir -m 755 "$c" || die 'mkdir'
	run "$tmp/want" "$cases" "$how" "$a" ${CASES:-"$@"}
	run "$tmp/want2" "$cases" "$how" "$b" ${CASES:-"$@"}
	run "$tmp/got" on "$cases" "$how" "$c" ${CASES:-"$@"}
	compare "$program $how"
}

start_cluster 2
# Wild pointers, programs with an environment of their own, and limits of addresses are nothing for a sanitizer.
unfit='^$' all=
if [ -n "$sanitizer_runtime" ]; then
	export FF3FS_TEST_SLOWER=5
	unfit='procs_execute\|flow_wild\|maps_address'
	all=$("$(find_built preload-posix)" list | grep -v -e pointers -e "$unfit")
fi
# Where there is nothing but RDMA, children past fork(3) have no connections: fork_told judges what they are told. And the
# kernel takes devices away from a process that has changed its user since it opened them.
if [ "${TRANSPORT:-}" = verbs ]; then
	apart='fork_by_clone\|fork_by_number\|fork_twice\|fork_without_handlers\|perm_changing_user'
	unfit+="\|$apart"
	all=$(for c in ${all:-$("$(find_built preload-posix)" list)}; do echo "$c"; done | grep -v -e "$unfit")
	say "left out, since RDMA is not for such processes (ENODEV, but see fork_told; EACCES): ${apart//'\|'/ }"
fi
suite preload-posix run $all
# The long ones need no repetition.
short=$("$(find_built preload-posix)" list | grep -v -e path_rename -e pointers -e "$unfit")
suite preload-posix relative $short
short=$("$(find_built preload-posix-syscall)" list | grep -v -e path_rename -e pointers -e "$unfit")
suite preload-posix-syscall run $short
