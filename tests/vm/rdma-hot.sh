#!/bin/bash
# Chunks that clients read over RDMA by themselves: nothing is read by a key that was taken back, no read
# is older than a write that was answered, and killed daemons and clients harm nobody.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
. "$srcdir/tests/vm/cluster.sh"
. "$srcdir/tests/hot.sh"

rdma_cluster 1
export FF3FS_CLIENT_TRANSPORTS=verbs FF3FS_CLIENT_TIMEOUT=20s
rdma_program e2e-hot
rdma_program verbs_stale
hot=$tmp/e2e-hot
check 'keys that were taken back' "$tmp/verbs_stale"
cat "$tmp/check.out"
check 'two clients, one writes' "$hot" coherent "${ROUNDS:-30}"
cat "$tmp/check.out"

begin killed
hears hot
kill_daemon "${chunkd_pid[1]}"
start_chunkd 1
"$hot" write killed 2 || die 'cannot write'
echo go >&5
hears 'done'
ends 'a killed daemon'

begin forever
hears hot
[ "$(counter exposed)" -gt 0 ] || die 'nothing is exposed'
kill -KILL "$hot_pid"
wait "$hot_pid" 2>/dev/null
"$hot" write forever 2 || die 'cannot write'
say 'ok: a killed client'

kill_daemon "${chunkd_pid[1]}" TERM
FF3FS_CHUNKD_HOT=2M start_chunkd 1
check 'more chunks than room' "$hot" storm "${STORM:-1000}"
cat "$tmp/check.out"
[ "$(counter expose_evictions_total)" -gt 0 ] || die 'nothing had to make room'
[ "$(counter exposed_bytes)" -le $((2 << 20)) ] || die 'more is exposed than there is room for'
say "ok: evictions: $(counter expose_evictions_total)"
