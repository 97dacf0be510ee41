#!/bin/bash
# limit: 1800
# Threads, forks, execs and signals on one directory at once (torture.c), with mappings that are loaded when
# touched and dropped again: no wrong byte, no hang, and in a build with a sanitizer no report. TORTURE says
# for how many seconds, SEED which; KILLS=seconds: one chunk daemon is killed and started again as often. A
# minute in which a thread does not come on is a hang, several under a sanitizer: STUCK.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
torture=$(find_built torture) || die "torture is not built"

seconds=${TORTURE:-12}
seed=${SEED:-$RANDOM}
stuck=${STUCK:-60}
say "$seconds seconds, seed $seed"
start_cluster 2
# Reports are looked for in its output; children end as they would. Handlers may read while their thread is
# in malloc: libff3fs then must not use it, which only holds for connections that exist already.
ASAN_OPTIONS=${ASAN_OPTIONS:-}:exitcode=0
TSAN_OPTIONS=${TSAN_OPTIONS:-}:exitcode=0:report_signal_unsafe=0:suppressions=$srcdir/tests/tsan.supp
export ASAN_OPTIONS TSAN_OPTIONS
# The threads of libc's own POSIX aio are none that ThreadSanitizer knows.
without=
case ${SANITIZE_FLAGS:-} in *thread*) without='--without poster' ;; esac
check "a local directory, as a control" "$torture" $without "$tmp/control" 2 "$seed"
rm -rf "$tmp/control"
calm=
case ${SANITIZE_FLAGS:-} in *thread* | *address*) calm=--calm stuck=${STUCK:-180} ;; esac
# Pages of the large file come and go.
FF3FS_MMAP_DIR=$(mktemp -d /dev/shm/ff3fs-torture.XXXXXX) || die 'no /dev/shm'
cleanup_fn 'rm -rf "$FF3FS_MMAP_DIR"'
export FF3FS_MMAP_DIR
[ "$(id -u)" -eq 0 ] && export FF3FS_MMAP_EAGER_MAX=1M FF3FS_MMAP_MEMORY=4M
start_on timeout -k 10 $((seconds + stuck + 200)) "$torture" $calm --stuck "$stuck" "$prefix/torture" \
	"$seconds" "$seed" >"$tmp/out" 2>"$tmp/err"
if [ -n "${KILLS:-}" ]; then
	while read -r -t "$KILLS" <>"$tmp/.never"; kill -0 "$started_on" 2>/dev/null; do
		kill_daemon "${chunkd_pid[2]}"
		start_chunkd 2
	done
fi
wait "$started_on"
status=$?
cat "$tmp/out"
head -n 4000 "$tmp/err"
# See e2e-preload-aio.sh. Nothing of ours: it is to be run again.
grep -q 'ThreadSanitizer: dup thread' "$tmp/err" && die "the sanitizer took a child's thread for one of its parent's"
grep -q -e Sanitizer -e 'runtime error' "$tmp/err" && die "a sanitizer has something to say"
[ $status -eq 0 ] || die "torture ended with $status"
exit 0
