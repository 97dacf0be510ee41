#!/bin/bash
# A process that changes its user while it has connections by RDMA, which the kernel takes away from it then: it goes on
# by TCP, and everything is as on a local file system.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
. "$srcdir/tests/vm/cluster.sh"

rdma_cluster 2
rdma_program preload-posix
chmod 755 "$tmp" && mkdir -m 755 "$tmp/local" && on mkdir -m 755 "$prefix/posix" || die 'mkdir'
"$tmp/preload-posix" run "$tmp/local" perm_changing_user >"$tmp/want" 2>&1
FF3FS_CLIENT_TRANSPORTS='verbs tcp' on "$tmp/preload-posix" run "$prefix/posix" perm_changing_user >"$tmp/got" 2>&1
grep -q 'setuid(USER) = 0' "$tmp/want" || { cat "$tmp/want"; die 'the case did not run'; }
check 'as on a local file system' diff "$tmp/want" "$tmp/got"
grep -q '_requests_total{.*role="client".*link="verbs"\|_requests_total{.*link="verbs".*role="client"' \
	<(metrics "$metad_admin") || die 'nothing came by RDMA'
