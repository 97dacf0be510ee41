#!/bin/bash
# The calls of ff3fs.h against real daemons.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
client=$(find_built e2e-client) || die "e2e-client is not built"

start_cluster 2
export FF3FS_CLIENT_CONNECTIONS=${FF3FS_CLIENT_CONNECTIONS:-4}
check "every call" "$client" "$@"
cat "$tmp/check.out"
# One connection to each daemon, no copies, no read-ahead: the same must hold.
FF3FS_CLIENT_CONNECTIONS=1 FF3FS_CLIENT_WRITE_HOLD=0 FF3FS_CLIENT_READ_AHEAD=0 \
	check "with one connection, no copies, no read-ahead" "$client" calls model fork batch pair threads
# Copies are few: writers sync.
FF3FS_CLIENT_WRITE_HOLD=256K check "with few copies" "$client" model threads batch pair
