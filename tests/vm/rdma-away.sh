#!/bin/bash
# A daemon that is stopped, with more asynchronous requests to it than a connection takes, holds up none of those to
# other daemons.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires curl ff3fs-metad ff3fs-chunkd
. "$srcdir/tests/vm/cluster.sh"
. "$srcdir/tests/away.sh"

rdma_cluster 3
export FF3FS_CLIENT_TRANSPORTS=verbs
make_away 240
[ "$n_away" -gt 48 ] || die "$n_away of $n_files files are on daemon 3, of which a connection may take 48"
away 'a stopped daemon' stop go_on
