#!/bin/bash
# Children that no fork handler saw being made, which RDMA is not for. Where TCP is allowed as well they do what children
# do on a local file system; over RDMA alone what they ask for fails, and what they were told was done is there.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
. "$srcdir/tests/vm/cluster.sh"

rdma_cluster 2
rdma_program preload-posix
mkdir "$tmp/local" || die 'mkdir'
# same WHAT TRANSPORTS CASE…
same() {
	local what=$1
	on mkdir "$prefix/${what// /-}" && mkdir "$tmp/local/${what// /-}" || die 'mkdir'
	"$tmp/preload-posix" run "$tmp/local/${what// /-}" "${@:3}" >"$tmp/want" 2>&1
	FF3FS_CLIENT_TRANSPORTS=$2 on "$tmp/preload-posix" run "$prefix/${what// /-}" "${@:3}" >"$tmp/got" 2>&1
	check "$what" diff "$tmp/want" "$tmp/got"
}
same 'RDMA alone' verbs fork_told fork_told_mapped
same 'or TCP' 'verbs tcp' fork_told fork_told_mapped fork_by_clone fork_by_number fork_twice fork_without_handlers
