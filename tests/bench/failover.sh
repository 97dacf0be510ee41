#!/bin/bash
# bash ../tests/bench/failover.sh [RUNS [SECONDS [DIR]]], in the build directory: three metadata servers on this machine.
#
# How long clients wait when the primary is killed under load (RUNS, 50; goal: p99 below 2 s). What 64 clients get,
# and what there is to get: creates beside SQLite's group commit with the same rows and as many of them in a
# transaction (goal: half of it) and beside the rate of fdatasync; stat and open beside a bare call (goal: 100,000/s
# or 0.7 of it). SECONDS (3) for each, two rounds. DIR: on the disk to measure.
set -u
runs=${1:-50} seconds=${2:-3} base=${3:-${TMPDIR:-/tmp}}
[ -x ./ff3fs ] && [ -x tests/metad_rates ] || { echo "make all check_PROGRAMS first, and run me in the build directory"; exit 1; }
dir=$(mktemp -d "$base/ff3fs-failover.XXXXXX") || exit 1
clean() { ./ff3fs dev down --quiet --dir "$dir/cluster"; rm -rf "$dir"; }
trap clean EXIT
unset FF3FS_CONF FF3FS_PREFIX
./ff3fs dev up --quiet --dir "$dir/cluster" --metad 3 --chunkd 1 --memory 64M || exit 1
eval "$(./ff3fs dev env --dir "$dir/cluster")"
list=$(sed -n '/^\[client\]/,/^\[metad\]/s/^metad = //p' "$FF3FS_CONF" | tr -d ' ')
echo "load average: $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) cores"

shim=$PWD/.libs/libff3fs_preload.so
if [ "$runs" -gt 0 ]; then
	LD_PRELOAD=$shim mkdir "$FF3FS_PREFIX/failover" || exit 1
	LD_PRELOAD=$shim /usr/bin/python3 "$(dirname "$0")/failover.py" "$FF3FS_PREFIX/failover" "$runs" </dev/null || exit 1
fi
for round in 1 2; do
	echo "round $round"
	tests/metad_rates fdatasync "$dir" "$seconds"
	rm -f "$dir"/limit.*
	tests/metad_rates sqlite "$dir" 64 "$seconds"
	rm -f "$dir"/limit.*
	tests/metad_rates group "$list" 64 "$seconds" || exit 1
done | awk '
	{ print }
	/^round/ { pings = 0 }
	/^ping/ { ping = pings ? (ping + $2) / 2 : $2; pings++ }
	/^(fdatasync|sqlite|create|stat|open) / { v[$1] = $2 }
	/^ping/ && pings == 2 {
		printf "create/sqlite %.2f   create/fdatasync %.2f   stat/ping %.2f   open/ping %.2f\n",
			v["create"] / v["sqlite"], v["create"] / v["fdatasync"], v["stat"] / ping, v["open"] / ping
	}'
