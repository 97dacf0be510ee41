#!/bin/bash
# The daemons' local sockets: a container without a network reaches the cluster by them alone, and
# an old daemon's socket is in nobody's way.
# transport: unix shm (there is no network)
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires unshare ff3fs-metad ff3fs-chunkd ff3fs-put ff3fs-get
alone() { unshare -rn "$@"; } # its loopback device is down
alone true 2>/dev/null || skip "no network namespaces for this user"

mkdir "$tmp/sockets"
export FF3FS_METAD_SOCKETS=$tmp/sockets FF3FS_CHUNKD_SOCKETS=$tmp/sockets
export FF3FS_CLIENT_TIMEOUT=2s
start_cluster 2
equal 'a socket for each daemon' 3 "$(find "$tmp/sockets" -type s | wc -l)"
head -c 3000000 /dev/urandom >"$tmp/data"
check 'by TCP' ff3fs-put -q "$tmp/data" "$prefix/data"

FF3FS_CLIENT_SOCKETS=$tmp/sockets on alone cat "$prefix/data" >"$tmp/got" || die 'reading without a network'
check 'read without a network' cmp "$tmp/data" "$tmp/got"
FF3FS_CLIENT_SOCKETS=$tmp/sockets on alone cp "$tmp/data" "$prefix/copy" || die 'writing without a network'
on cat "$prefix/copy" >"$tmp/got"
check 'written without a network' cmp "$tmp/data" "$tmp/got"
fails 'without the sockets there is no way' 1 on alone cat "$prefix/data"

# Killed daemons leave their sockets; the next ones take the names over.
kill_daemon "$metad_pid"
kill_daemon "${chunkd_pid[1]}"
start_metad
start_chunkd 1
FF3FS_CLIENT_SOCKETS=$tmp/sockets FF3FS_CLIENT_TIMEOUT=30s on alone cat "$prefix/copy" >"$tmp/got"
check 'after both daemons were killed' cmp "$tmp/data" "$tmp/got"
