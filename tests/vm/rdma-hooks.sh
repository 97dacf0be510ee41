#!/bin/bash
# Registered buffers of a program under the shim that unmaps, moves and empties them.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs-put
. "$srcdir/tests/vm/cluster.sh"
[ -x "$builddir/tests/verbs_hooks" ] || die 'verbs_hooks is not built'

rdma_cluster 1
export FF3FS_CLIENT_TRANSPORTS=verbs FF3FS_CLIENT_TIMEOUT=20s FF3FS_CLIENT_HOT=no
head -c 262144 /dev/urandom >"$tmp/data"
check 'put' ff3fs-put -q "$tmp/data" "$prefix/data"
check 'what is unmapped is forgotten' on "$builddir/tests/verbs_hooks" "$prefix/data" "$tmp/data" \
	"$builddir/.libs/libff3fs.so.0"
cat "$tmp/check.out"
