#!/bin/bash
# Registered buffers of a program under the shim that unmaps, moves and empties them, and of the library's own
# in one without the shim.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs-put
. "$srcdir/tests/vm/cluster.sh"
. "$srcdir/tests/hot.sh"
[ -x "$builddir/tests/verbs_hooks" ] || die 'verbs_hooks is not built'

rdma_cluster 1
export FF3FS_CLIENT_TRANSPORTS=verbs FF3FS_CLIENT_TIMEOUT=20s FF3FS_CLIENT_HOT=no
head -c 262144 /dev/urandom >"$tmp/data"
check 'put' ff3fs-put -q "$tmp/data" "$prefix/data"
check 'what is unmapped is forgotten' on "$builddir/tests/verbs_hooks" "$prefix/data" "$tmp/data" \
	"$builddir/.libs/libff3fs.so.0"
cat "$tmp/check.out"

rdma_program verbs_writes
check 'what is written is what is there now' "$tmp/verbs_writes" written 3
cat "$tmp/check.out"
[ "$(counter payload_errors_total)" -gt 0 ] || die 'no payload was seen to be of pages that are gone'
say "ok: payloads that were sent again: $(counter payload_errors_total)"
