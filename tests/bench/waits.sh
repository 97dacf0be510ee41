#!/bin/bash
# How long one client's stat, lookup and readdir wait for what others do: while 64 create, while checkpoints run, and
# while a large tree is removed (metad_waits.c), beside nobody else being there.
# cd build && SECONDS_EACH=3 FILES=100000 bash ../tests/bench/waits.sh
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
waits=$(find_built metad_waits) || skip 'metad_waits is not built'
export FF3FS_METAD_MEMORY=${MEMORY:-64M}
start_cluster 1
checkpoints() { curl -sf "http://$metad_admin/metrics" | sed -n 's/^ff3fs_metad_checkpoints_total //p'; }
say "load average: $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) cores"
"$waits" "$metad_addr" "${SECONDS_EACH:-3}" "${FILES:-100000}" || die 'metad_waits'
say "checkpoints: $(checkpoints)"
say "metad: $(awk '{ printf "%.1f", $1 / 1e9 }' "/proc/$metad_pid/schedstat") s of CPU in its loop"
curl -sf "http://$metad_admin/metrics" | grep '^ff3fs_metad_reader' || true
