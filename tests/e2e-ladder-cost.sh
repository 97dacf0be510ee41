#!/bin/bash
# What a program pays that has the library and names no path of ours: instructions for a read and for its
# start, system calls at its start (all the same in every run), and times, the best of many.
# transport: none (it asks no daemon for anything)
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires gcc
[ -z "${SANITIZE_FLAGS:-}" ] || skip 'a sanitizer costs what it costs'

gcc -O2 -o "$tmp/cost" "$srcdir/tests/bench/cost.c" || die 'cannot build cost.c'
export FF3FS_PREFIX=$prefix

# at_most WHAT GOT LIMIT
at_most() {
	awk "BEGIN { exit !($2 <= $3) }" || die "$1: $2, more than $3"
	say "ok: $1: $2 (at most $3)"
}

if command -v valgrind >/dev/null; then
	instructions() { # instructions SHIM COMMAND…
		LD_PRELOAD=$1 valgrind --tool=callgrind --callgrind-out-file=/dev/null "${@:2}" 2>&1 |
			sed -n 's/.*Collected : //p'
	}
	native=$((($(instructions '' "$tmp/cost" read 11000) - $(instructions '' "$tmp/cost" read 1000)) / 10000))
	ours=$((($(instructions "$shim" "$tmp/cost" read 11000) - $(instructions "$shim" "$tmp/cost" read 1000)) / 10000))
	[ "$native" -gt 0 ] && [ "$ours" -gt "$native" ] || die "valgrind counted $native and $ours instructions"
	at_most 'instructions more for a native read()' $((ours - native)) 20
	at_most 'instructions more at start' \
		$(($(instructions "$shim" /bin/true) - $(instructions '' /bin/true))) 160000
fi
if command -v strace >/dev/null; then
	calls() { strace -f -o "$tmp/trace" -E LD_PRELOAD="$1" /bin/true && grep -c '(' "$tmp/trace"; }
	native=$(calls '') ours=$(calls "$shim")
	[ "$native" -gt 0 ] && [ "$ours" -gt "$native" ] || die "strace counted $native and $ours calls"
	at_most 'system calls more at start' $((ours - native)) 20
	grep -q 'libff3fs\.so\.0' "$tmp/trace" && die '/bin/true loaded the client'
	say 'ok: /bin/true does not load the client'
fi

best=1e9
for _ in 1 2 3; do # in turns
	native=$("$tmp/cost" reads) ours=$(LD_PRELOAD=$shim "$tmp/cost" reads)
	best=$(awk "BEGIN { d = $ours - $native; print d < $best ? d : $best }")
done
say "read(): $native ns, with the library $ours ns"
at_most 'nanoseconds more for a native read()' "$best" 15
read -r native ours < <("$tmp/cost" spawn "LD_PRELOAD=$shim" "FF3FS_PREFIX=$prefix")
say "/bin/true: $native us, with the library $ours us"
at_most 'microseconds more for a process' $((ours - native)) 150
