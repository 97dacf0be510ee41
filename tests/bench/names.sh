#!/bin/bash
# Ten million inodes in metad (SCALE: so many; a million if not given), beside a thousand: how long filling takes
# through the path of the log's records, starting, and until all of them are in memory; rates of 64 clients among many
# and among few, in turn (goal: 0.7); a check and a backup; memory. MEMORY: room for all of them by default.
# cd build && SCALE=10000000 bash ../tests/bench/names.sh
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires curl
fill=$(find_built metad_fill) || skip 'metad_fill is not built'
rates=$(find_built metad_rates) || skip 'metad_rates is not built'
n=${SCALE:-1000000}
memory=${MEMORY:-$((n * 180 / 1048576 + 64))M}
export START_LIMIT=300 FF3FS_METAD_LEASE=2s
metric() { curl -sf "http://$metad_admin/metrics" | sed -n "s/^ff3fs_metad_$1 //p"; }
say "load average: $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) cores"
mkdir "$tmp/metad" "$tmp/few"
"$fill" fill "$tmp/few" 1000 || die 'fill'
"$fill" fill "$tmp/metad" "$n" || die 'fill'
FF3FS_METAD_DIR=$tmp/few start_metad
few_addr=$metad_addr few_pid=$metad_pid
unset metad_addr metad_admin
export FF3FS_METAD_MEMORY=$memory
began=$EPOCHREALTIME
start_metad
say "serving after $(awk "BEGIN { printf \"%.2f\", $EPOCHREALTIME - $began }") s"
until [ "$(metric filling)" = 0 ]; do sleep 0.1; done
say "$(metric filled_total) names and inodes in memory after $(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $began }") s"
resident() { awk '/^RssAnon/ { print int($2 / 1024) }' "/proc/$metad_pid/status"; }
say "memory: $(resident) MiB of $memory, and what is mapped"
"$rates" names "$few_addr" "$few_pid" "$metad_addr" "$metad_pid" 64 "${SECONDS_EACH:-1}" "$n" || die 'rates'
say "memory: $(resident) MiB of $memory, and what is mapped"
export FF3FS_ADMIN=$metad_admin
time ff3fs-admin metad backup "$tmp/backup"
time ff3fs-admin fsck # there is no chunk daemon: status 8
