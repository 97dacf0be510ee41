#!/bin/bash
# limit: 3600
# Many files and one big file: put, listed, read back at random, copied by the usual programs; and the
# daemons stay inside their configured memory meanwhile. SCALE=full: 10,000 files of 4 to 200 KiB and
# one of 8 GiB; otherwise 600 files and 384 MiB.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs ff3fs-put ff3fs-get
requires_python

case ${SCALE:-small} in
full) files=10000 big=8192 reads=3000 ;;
*) files=600 big=384 reads=200 ;;
esac
metad_bound=64 chunkd_bound=128 # MiB, configured
# Sanitizers take as much again and more.
rest=0
[ -z "$sanitizer_runtime" ] || rest=512

export FF3FS_METAD_MEMORY=${metad_bound}M FF3FS_CHUNKD_MEMORY=${chunkd_bound}M FF3FS_CHUNKD_CAPACITY=24G
start_cluster 2

mkdir "$tmp/data"
check "$files files and one of $big MiB" /usr/bin/python3 "$srcdir/tests/scale_files.py" make "$tmp/data" $files $big
memory() {
	local n rss
	rss=$(peak_mib "$metad_pid")
	say "$1: metad had at most $rss MiB (configured $metad_bound)"
	[ "$rss" -le $((metad_bound + rest)) ] || die "metad took more than it may"
	for n in 1 2; do
		rss=$(peak_mib "${chunkd_pid[$n]}")
		say "$1: chunkd $n had at most $rss MiB (configured $chunkd_bound)"
		[ "$rss" -le $((chunkd_bound + rest)) ] || die "chunkd $n took more than it may"
	done
}

began=$SECONDS
check 'put' ff3fs-put -r "$tmp/data" "$prefix/data"
say "put took $((SECONDS - began)) s"
memory 'after put'
equal 'listed' "$((files + 1))" "$(on find "$prefix/data" -type f | wc -l)"
check 'compared' on /usr/bin/python3 "$srcdir/tests/scale_files.py" compare "$tmp/data" "$prefix/data" $reads
cat "$tmp/check.out"
memory 'after reading'
began=$SECONDS
check 'get' ff3fs-get -r "$prefix/data" "$tmp/back"
check 'get gave the same' diff -r "$tmp/data" "$tmp/back"
say "get and diff took $((SECONDS - began)) s"
rm -rf "$tmp/back"

# The usual programs, on the small files.
local=$tmp/data/small there=$prefix/copies
check 'mkdir' on mkdir "$there"
check 'cp -r to it' on cp -r "$local" "$there/cp"
check 'diff -r' on diff -r "$local" "$there/cp"
check 'cp -r from it' on cp -r "$there/cp" "$tmp/from"
check 'diff -r' diff -r "$local" "$tmp/from"
check 'tar c | tar x to it' bash -c "mkdir '$tmp/x' && tar -C '$local' -c . |
	LD_PRELOAD='$shim' bash -c 'mkdir $there/tar && tar -C $there/tar -x'"
check 'diff -r' on diff -r "$local" "$there/tar"
check 'tar c | tar x from it' bash -c "LD_PRELOAD='$shim' tar -C '$there/tar' -c . | tar -C '$tmp/x' -x"
check 'diff -r' diff -r "$local" "$tmp/x"
check 'cp -r within it' on cp -r "$there/cp" "$there/again"
check 'diff -r' on diff -r "$there/cp" "$there/again"
echo x | on tee -a "$there/again/000/00000" >"$tmp/tee"
fails 'diff -r sees a difference' 1 on diff -r "$local" "$there/again"
check 'rm -r' on rm -r "$there"
fails 'it is gone' 2 on ls "$there"
memory 'at the end'
