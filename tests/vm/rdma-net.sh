#!/bin/bash
# The cases of unit-net over verbs: calls, their faults, life and end of connections.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
[ -x "$builddir/tests/unit-net" ] || die 'unit-net is not built'
. "$srcdir/tests/vm/cluster.sh"
rdma_program unit-net
export FF3FS_TEST_RDMA=10.99.0.1 CK_TIMEOUT_MULTIPLIER=10
check 'unit-net over verbs' "$tmp/unit-net"
tail -n 1 "$tmp/check.out"
