#!/bin/bash
# What metad has others do later: files without a name survive a restart of metad while somebody opens
# them again, and are collected when nobody does; the chunks of removed files go; a truncation is
# answered when the chunk daemon has done it, although that was away and metad was killed meanwhile.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires curl ff3fs-metad ff3fs-chunkd ff3fs-put ff3fs
drive=$(find_built metad_drive) || skip 'metad_drive is not built'
export FF3FS_METAD_LEASE=2s

start_cluster 1
mkfifo "$tmp/in" "$tmp/out"
"$drive" "$metad_addr" hold held <"$tmp/in" >"$tmp/out" 2>"$tmp/hold.log" &
hold=$!
exec 7>"$tmp/in" 8<"$tmp/out"
read -r line <&8
equal 'two files are held' held "$line"
kill_daemon "$metad_pid"
start_metad
echo restarted >&7
wait $hold || die 'hold'
say 'ok: files without a name'

# chunks: how many the chunk daemon holds.
chunks() { curl -sf "http://${chunkd_admin[1]}/v1/targets" | sed -n 's/.*"chunks": \([0-9]*\).*/\1/p'; }
# await WHAT N: until there are N chunks, for 30 s at most.
await() {
	local i
	for ((i = 0; i < 600; i++)); do
		[ "$(chunks)" = "$2" ] && { say "ok: $1"; return; }
		read -r -t 0.05 <>"$tmp/never"
	done
	die "$1: $(chunks) chunks, not $2"
}
mkfifo "$tmp/never"
head -c 5000000 /dev/urandom >"$tmp/five"
check 'put' ff3fs-put "$tmp/five" "$prefix/five"
check 'put another' ff3fs-put "$tmp/five" "$prefix/other"
equal 'chunks' 10 "$(chunks)"
check 'rm' ff3fs rm "$prefix/other"
await 'the chunks of a removed file go' 5

kill_daemon "${chunkd_pid[1]}" TERM
"$drive" "$metad_addr" truncate five 1500000 >"$tmp/truncate.log" 2>&1 &
truncate=$!
# It is noted when the size has changed; nobody is told yet.
for ((i = 0; i < 600; i++)); do
	curl -sf "http://$metad_admin/v1/layouts/five" | grep -q '"size": 1500000' && break
	read -r -t 0.05 <>"$tmp/never"
done
kill -0 $truncate || die 'a truncation was answered while the chunk daemon was away'
kill_daemon "$metad_pid"
start_metad
kill -0 $truncate || die 'a truncation was answered while the chunk daemon was away'
start_chunkd 1
wait $truncate || die 'truncate'
equal 'chunks after the truncation' 2 "$(chunks)"
check 'get' ff3fs-get "$prefix/five" "$tmp/back"
check 'contents' cmp "$tmp/back" <(head -c 1500000 "$tmp/five")
