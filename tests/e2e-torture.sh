#!/bin/bash
# limit: 1800
# Threads, forks, execs and signals on one directory at once (torture.c): no wrong byte, no hang, and in
# a build with a sanitizer no report. TORTURE says for how many seconds, SEED which.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
torture=$(find_built torture) || die "torture is not built"

seconds=${TORTURE:-12}
seed=${SEED:-$RANDOM}
say "$seconds seconds, seed $seed"
start_cluster 2
check "a local directory, as a control" "$torture" "$tmp/control" 2 "$seed"
rm -rf "$tmp/control"
# Reports are looked for in its output; children end as they would. Handlers may read while their thread is
# in malloc: libff3fs then must not use it, which only holds for connections that exist already.
ASAN_OPTIONS=${ASAN_OPTIONS:-}:exitcode=0
TSAN_OPTIONS=${TSAN_OPTIONS:-}:exitcode=0:report_signal_unsafe=0:suppressions=$srcdir/tests/tsan.supp
export ASAN_OPTIONS TSAN_OPTIONS
calm=
case ${SANITIZE_FLAGS:-} in *thread* | *address*) calm=--calm ;; esac
on timeout -k 10 $((seconds + 200)) "$torture" $calm "$prefix/torture" "$seconds" "$seed" >"$tmp/out" 2>"$tmp/err"
status=$?
cat "$tmp/out"
head -n 300 "$tmp/err"
grep -q -e Sanitizer -e 'runtime error' "$tmp/err" && die "a sanitizer has something to say"
[ $status -eq 0 ] || die "torture ended with $status"
