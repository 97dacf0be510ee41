#!/bin/bash
# Ten million inodes in metad (SCALE: so many; a million if not given): how long filling takes through the
# path of the log's records, starting, a check and a backup; rates among all and among a thousand; memory.
# cd build && SCALE=10000000 MEMORY=256M bash ../tests/bench/names.sh
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
fill=$(find_built metad_fill) || skip 'metad_fill is not built'
n=${SCALE:-1000000}
export FF3FS_METAD_MEMORY=${MEMORY:-256M} START_LIMIT=300 FF3FS_METAD_LEASE=2s
mkdir "$tmp/metad"
"$fill" fill "$tmp/metad" "$n" || die 'fill'
began=$EPOCHREALTIME
start_metad
say "serving after $(awk "BEGIN { printf \"%.2f\", $EPOCHREALTIME - $began }") s"
"$fill" rates "$metad_addr" "$n" "$metad_pid" || die 'rates'
export FF3FS_ADMIN=$metad_admin
time ff3fs-admin metad backup "$tmp/backup"
time ff3fs-admin fsck # there is no chunk daemon: status 8
say "memory: $(awk '/^RssAnon/ { print int($2 / 1024) }' "/proc/$metad_pid/status") MiB of $FF3FS_METAD_MEMORY, and what is mapped"
