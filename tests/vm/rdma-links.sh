#!/bin/bash
# The RDMA module by itself: connections over IPv4 and IPv6, on two devices, and what goes over them.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
[ -x "$builddir/tests/unit-verbs" ] || die 'unit-verbs is not built'
for address in 10.99.0.1 fd98::1; do
	export FF3FS_TEST_RDMA=$address
	check "at $address" env CK_RUN_CASE=links timeout 100 "$builddir/tests/unit-verbs"
done
