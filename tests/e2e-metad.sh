#!/bin/bash
# metad by itself: retries, sizes held in memory, append locks, files without a name, layouts, the
# HTTP endpoint, a second daemon on the same directory; killed KILLS (20) times under load with everything
# acknowledged there afterwards and done exactly once; an orderly end.
# transport: none (its programs make their calls themselves)
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires curl ff3fs-metad ff3fs-chunkd
command -v gcc >/dev/null || skip 'no gcc'
drive=$(find_built metad_drive) || skip 'metad_drive is not built'
kills_wanted=${KILLS:-20}
n=$((20 * kills_wanted + 20)) # a line of progress for each 20

start_metad
start_chunkd 1
check 'what is held in memory' "$drive" "$metad_addr" check

check 'healthz' curl -sf "http://$metad_admin/healthz"
check 'readyz' curl -sf "http://$metad_admin/readyz"
curl -sf "http://$metad_admin/v1/status" | grep -q '"daemon": *"metad"' || die 'status'
curl -sf "http://$metad_admin/v1/layouts/wide/below" | grep -q '"chunk_size"' || die 'layouts'
equal 'no such path' 404 "$(curl -s -o /dev/null -w '%{http_code}' "http://$metad_admin/v1/layouts/no")"
curl -sf "http://$metad_admin/metrics" >"$tmp/metrics" || die metrics
grep -q '^ff3fs_metad_request_duration_seconds_count{op="mkdir"} [1-9]' "$tmp/metrics" ||
	die 'no durations'
if command -v promtool >/dev/null; then
	check 'promtool' promtool check metrics <"$tmp/metrics"
fi
refuses 'a directory in use' 'in use by another ff3fs-metad' env FF3FS_METAD_DIR="$tmp/metad" \
	FF3FS_METAD_LISTEN=127.0.0.1:0 FF3FS_METAD_ADMIN=127.0.0.1:0 ff3fs-metad
# It had begun to read its database.
for i in {1..10}; do
	refuses "an address in use, $i" 'cannot serve HTTP on .*in use' env FF3FS_METAD_DIR="$tmp/other" \
		FF3FS_METAD_LISTEN=127.0.0.1:0 FF3FS_METAD_ADMIN="$metad_admin" ff3fs-metad
	equal 'its status' 1 "$refused_status"
done

mkfifo "$tmp/progress"
"$drive" "$metad_addr" load one "$n" >"$tmp/progress" 2>"$tmp/load.one.log" &
one=$!
"$drive" "$metad_addr" load two "$n" >"$tmp/load.two.log" 2>&1 &
two=$!
kills=0
while read -r _; do
	[ $kills -lt "$kills_wanted" ] || continue
	kill_daemon "$metad_pid"
	start_metad
	kills=$((kills + 1))
done <"$tmp/progress"
wait $one || die 'load one'
wait $two || die 'load two'
equal kills "$kills_wanted" $kills
check 'everything of one' "$drive" "$metad_addr" verify one "$n"
check 'everything of two' "$drive" "$metad_addr" verify two "$n"
kill_daemon "$metad_pid" TERM
equal 'exit status' 0 "$killed_status"
start_metad
check 'everything after an orderly end' "$drive" "$metad_addr" verify one "$n"

# Somebody else has the processor whenever it looks.
gcc -D_GNU_SOURCE -shared -fPIC -o "$tmp/late_clock.so" "$srcdir/tests/late_clock.c" || die 'cannot build late_clock'
kill_daemon "$metad_pid"
LD_PRELOAD=$tmp/late_clock.so start_metad
LD_PRELOAD=$tmp/late_clock.so start_chunkd 2
check 'everything when time is short' "$drive" "$metad_addr" verify one "$n"
