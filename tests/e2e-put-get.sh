#!/bin/bash
# ff3fs-put and ff3fs-get: whole trees and big files come back equal, with modes, times and links;
# patterns, --continue, pipes; interruption leaves nothing behind; daemons that are killed in the
# middle cost nothing but time. SCALE=full: 10,000 files of 4-200 KiB and one of 8 GiB.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd ff3fs-put ff3fs-get
requires_python json
unset FF3FS_CONF

if [ "${SCALE:-}" = full ]; then
	n_files=10000 big_mib=8192
else
	n_files=$((600 / ${FF3FS_TEST_SLOWER:-1})) big_mib=$((192 / ${FF3FS_TEST_SLOWER:-1}))
fi
dir=$tmp/cluster
cleanup_fn 'ff3fs dev down --dir "$dir" >/dev/null 2>&1'
check 'cluster' ff3fs dev up --dir "$dir" --host "$test_host" --chunkd 3 --memory 128M --prefix /t
eval "$(ff3fs dev env --dir "$dir")"
json() { /usr/bin/python3 -c "import json; d = json.load(open('$tmp/out')); print($1)"; }
rate() {
	json '"%d files, %.0f MiB in %.2f s: %.0f files/s, %.0f MiB/s" % (d["files"], d["bytes"] / 2**20,
		d["seconds"], d["files"] / d["seconds"], d["bytes_per_second"] / 2**20)'
}

# --- A tree with everything in it ---------------------------------------------------------------
/usr/bin/python3 - "$tmp/tree" "$n_files" <<'PY'
import os, random, sys
top, n = sys.argv[1], int(sys.argv[2])
r = random.Random(7)
block = r.randbytes(1 << 20)
for i in range(n):
    d = f"{top}/{i % 10}/{i % 7}"
    os.makedirs(d, exist_ok=True)
    size, at = r.randrange(4096, 204801), r.randrange(1 << 19)
    with open(f"{d}/f{i:05}.bin", "wb") as f:
        f.write(block[at:at + size])
        os.utime(f.fileno(), ns=(r.randrange(10**18, 17 * 10**17), r.randrange(10**18, 17 * 10**17)))
os.makedirs(f"{top}/empty/dir")
open(f"{top}/empty/file", "w").close()
open(f"{top}/name with\nnewline and ünïcode \udcff", "w").write("x")
open(f"{top}/{'n' * 255}", "w").write("long")
os.symlink("0/0", f"{top}/link")
os.symlink("/nowhere at all", f"{top}/dangling")
for mode in (0o400, 0o755, 0o4711, 0o600):
    p = f"{top}/mode{mode:o}"
    open(p, "w").write("m"); os.chmod(p, mode)
for size in (1, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20):
    open(f"{top}/size{size}", "wb").write((block * 4)[:size])
os.chmod(f"{top}/3", 0o750)
os.utime(f"{top}/3", ns=(10**18, 11 * 10**17))
PY
# same WHAT A B: trees are equal in content, modes, times of change and links.
list() { (cd "$1" && find . -printf '%y %m %s %T@ %l %P\0' | sed -z -E 's/^d ([0-9]+) [0-9]+/d \1/' | sort -z); }
same() {
	diff -r --no-dereference "$2" "$3" >"$tmp/diff" 2>&1 || { head "$tmp/diff"; die "$1: contents differ"; }
	list "$2" >"$tmp/list.a"
	list "$3" >"$tmp/list.b"
	cmp "$tmp/list.a" "$tmp/list.b" || { diff -a <(tr '\0' '\n' <"$tmp/list.a") <(tr '\0' '\n' <"$tmp/list.b") | head; die "$1: attributes differ"; }
	say "ok: $1"
}
fails 'put -r' 0 ff3fs-put -r --json "$tmp/tree" /t/tree
say "put: $(rate)"
equal 'verified' True "$(json 'd["verified"] and d["failed"] == 0')"
fails 'get -r' 0 ff3fs-get -r --json /t/tree "$tmp/back"
say "get: $(rate)"
same 'what was put comes back' "$tmp/tree" "$tmp/back"
fails 'put --continue' 0 ff3fs-put -r -T --continue --json "$tmp/tree" /t/tree
equal 'nothing is copied twice' '0' "$(json 'd["files"]')"
rm "$tmp/back/size4097"
echo changed >"$tmp/back/size1"
fails 'get --continue' 0 ff3fs-get -r -T --continue --json /t/tree "$tmp/back"
equal 'only what is missing or different' '2' "$(json 'd["files"]')"
same 'after get --continue' "$tmp/tree" "$tmp/back"
fails 'put into a directory that exists' 0 ff3fs-put -r -q "$tmp/tree/empty" /t/tree/3
check 'it is in there' ff3fs stat /t/tree/3/empty/dir /t/tree/3/empty/file
rm -rf "$tmp/back"

# --- Patterns, pipes, dry runs ------------------------------------------------------------------
fails '--include, --exclude' 0 ff3fs-put -r -q --include '*.bin' --exclude '3' --exclude '4/1/*' "$tmp/tree" /t/some
fails 'what they chose' 0 bash -c "ff3fs ls -R --json /t/some | grep -c '\"type\":\"file\"'"
want=$(cd "$tmp/tree" && find . -name '*.bin' -not -path '*/3/*' -not -path './4/1/*' | wc -l)
equal 'as many as find finds' "$want" "$(cat "$tmp/out")"
fails 'put -n' 0 ff3fs-put -r -n "$tmp/tree" /t/planned
fails 'put -n made nothing' 4 ff3fs stat /t/planned
fails 'get -n' 0 ff3fs-get -r -n /t/tree "$tmp/planned"
[ ! -e "$tmp/planned" ] || die 'get -n made something'
head -c 5000000 "$tmp/tree/size3145728" >"$tmp/pipe"
check 'put from a pipe' bash -c "cat '$tmp/pipe' | ff3fs-put -q - /t/pipe"
check 'get to a pipe' bash -c "ff3fs-get -q /t/pipe - | cmp - '$tmp/pipe'"
check 'an empty pipe' bash -c "ff3fs-put -q - /t/nothing </dev/null && ff3fs-get -q /t/nothing - | cmp - /dev/null"
check 'a link as source' bash -c "ln -s pipe '$tmp/a-link' && ff3fs-put -q '$tmp/a-link' /t/was-a-link && ff3fs ls -l /t/was-a-link | grep -q '^-'"
fails 'rm -r' 0 ff3fs rm -r --json /t/some /t/tree
say "rm: $(json 'd["files"]') files"

# --- One big file -------------------------------------------------------------------------------
/usr/bin/python3 -c "
import random, sys
r = random.Random(8); n = $big_mib
while n: k = min(n, 16); sys.stdout.buffer.write(r.randbytes(k << 20)); n -= k" >"$tmp/big"
fails 'put of a big file' 0 ff3fs-put --json "$tmp/big" /t/big
say "put: $(rate)"
check 'rm' ff3fs rm /t/big
fails 'put without reading back' 0 ff3fs-put --json --no-verify "$tmp/big" /t/big
say "put --no-verify: $(rate)"
want=$(cksum <"$tmp/big")
head -c 192M "$tmp/big" >"$tmp/mid"
rm "$tmp/big" # the disk need not have room for three of them
fails 'get of it' 0 ff3fs-get --json /t/big "$tmp/big.back"
say "get: $(rate)"
equal 'equal' "$want" "$(cksum <"$tmp/big.back")"
rm "$tmp/big.back"
check 'rm' ff3fs rm /t/big
check 'put' ff3fs-put -q "$tmp/mid" /t/mid

# --- Interruption -------------------------------------------------------------------------------
# under_way PROGRAM ARGUMENT…: is begun, and has something to show for it; sets $pid. One that ended before that was
# seen is begun again.
under_way() {
	local i
	for ((i = 0; i < 20; i++)); do
		rm -rf "$tmp/into"
		mkdir "$tmp/into"
		ff3fs rm -f /t/big2 /t/big3
		# The shell lets what it starts in the background ignore SIGINT.
		env --default-signal=INT "$@" >"$tmp/out" 2>"$tmp/err" &
		pid=$!
		until ls -A "$tmp/into" | grep -q . || ff3fs ls -a /t | grep -q '^\.ff3fs-put'; do
			kill -0 $pid 2>/dev/null || break
		done
		kill -0 $pid 2>/dev/null && return
		wait $pid || { cat "$tmp/err"; die "$1 failed"; }
	done
	die "$1 always ended before it was seen"
}
# interrupted PROGRAM ARGUMENT…: is under way, gets a SIGINT, exits with 130; again, if it had just ended.
interrupted() {
	local pid i status=0
	for ((i = 0; i < 20 && status == 0; i++)); do
		under_way "$@"
		kill -INT $pid
		wait $pid
		status=$?
	done
	equal "$1 interrupted" 130 $status
}
interrupted ff3fs-put "$tmp/mid" /t/big2
fails 'nothing of it is there' 4 ff3fs stat /t/big2
[ -z "$(ff3fs ls -a /t | grep '^\.')" ] || die "left: $(ff3fs ls -a /t)"
interrupted ff3fs-get /t/mid "$tmp/into"
[ -z "$(ls -A "$tmp/into")" ] || die "left: $(ls -A "$tmp/into")"

# --- kill -9 in the middle ----------------------------------------------------------------------
# survives WHICH PROGRAM ARGUMENT…: daemons WHICH are killed in the middle and started again.
survives() {
	local which=$1 pid
	shift
	under_way "$@"
	# shellcheck disable=SC2086
	check "kill $which" ff3fs dev kill $which --dir "$dir"
	check 'up' ff3fs dev up --dir "$dir"
	wait $pid || { cat "$tmp/err"; die "$1 failed when $which was killed"; }
	say "ok: $1 survives kill -9 of $which"
}
for which in 'chunkd 2' metad chunkd; do
	survives "$which" ff3fs-put "$tmp/mid" /t/big3
	check 'it is equal' bash -c "ff3fs-get -q /t/big3 - | cmp - '$tmp/mid'"
	[ -z "$(ff3fs ls -a /t | grep '^\.')" ] || die "left: $(ff3fs ls -a /t)"
	survives "$which" ff3fs-get /t/mid "$tmp/into"
	check 'it is equal' cmp "$tmp/into/mid" "$tmp/mid"
done
