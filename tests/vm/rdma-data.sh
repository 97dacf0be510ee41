#!/bin/bash
# A cluster whose clients come by RDMA: data put, read and written through it, by programs under the
# shim, without a byte over TCP.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs-put ff3fs-get
. "$srcdir/tests/vm/cluster.sh"

rdma_cluster 2
export FF3FS_CLIENT_TRANSPORTS=verbs FF3FS_CLIENT_TIMEOUT=20s
head -c 3000000 /dev/urandom >"$tmp/data"
check 'put' ff3fs-put -q "$tmp/data" "$prefix/data"
check 'get' ff3fs-get -q "$prefix/data" "$tmp/got"
check 'the same bytes' cmp "$tmp/data" "$tmp/got"
on cat "$prefix/data" >"$tmp/got" || die 'cat'
check 'read by a program' cmp "$tmp/data" "$tmp/got"
on cp "$tmp/data" "$prefix/copy" || die 'cp'
on cmp "$prefix/copy" "$tmp/data" || die 'a written file differs'
on mkdir -p "$prefix/dir/below" && on sh -c "echo text >$prefix/dir/below/file" || die 'names'
equal 'names' text "$(on cat "$prefix/dir/below/file")"
