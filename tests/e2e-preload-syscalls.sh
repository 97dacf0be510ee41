#!/bin/bash
# System calls by number, through syscall(3): each gives on the prefix what it gives on a local
# directory.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
calls=$(find_built preload-syscalls) || die 'preload-syscalls is not built'

start_cluster 2
mkdir "$tmp/local"
"$calls" libc "$tmp/local" >"$tmp/want"
equal 'the local run exits with' 7 $?
on "$calls" libc "$prefix" >"$tmp/got"
status=$?
diff "$tmp/want" "$tmp/got" || die 'not what a local directory gives'
equal 'exit status' 7 $status
say "ok: $(wc -l <"$tmp/got") calls"
