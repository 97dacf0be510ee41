#!/bin/bash
# A chunk daemon by itself: every operation over the wire, restart, refusal of what it must refuse,
# an orderly end that loses nothing, and its HTTP endpoint.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires curl ff3fs-metad ff3fs-chunkd
drive=$(find_built chunkd_drive) || skip 'chunkd_drive is not built'

target_of() { # target_of N
	curl -sf "http://${chunkd_admin[$1]}/v1/targets" | sed -n 's/.*"target": "\([0-9a-f]*\)".*/\1/p'
}

start_metad
FF3FS_CHUNKD_TARGETS=$tmp/a:$tmp/b start_chunkd 1
mapfile -t targets < <(target_of 1)
equal 'two targets' 2 "${#targets[@]}"
for t in "${targets[@]}"; do
	check "operations on $t" "$drive" "${chunkd_addr[1]}" "$t" check
done
fails 'a target that is not here' 1 "$drive" "${chunkd_addr[1]}" 00000000000000ff check
grep -q 'not served here' "$tmp/err" || die "$(cat "$tmp/err")"

check 'healthz' curl -sf "http://${chunkd_admin[1]}/healthz"
check 'readyz' curl -sf "http://${chunkd_admin[1]}/readyz"
curl -sf "http://${chunkd_admin[1]}/metrics" >"$tmp/metrics" || die metrics
grep -q '^ff3fs_chunkd_commits_total{target="[0-9a-f]*"} [1-9]' "$tmp/metrics" || die 'no commits counted'
grep -q '^ff3fs_chunkd_request_duration_seconds_count{.*op="chunk_write"} [1-9]' "$tmp/metrics" ||
	die 'no durations'
if command -v promtool >/dev/null; then
	check 'promtool' promtool check metrics <"$tmp/metrics"
fi

# A second daemon must not get the same directory.
refuses 'a directory in use' 'another daemon' env FF3FS_CHUNKD_TARGETS="$tmp/a" \
	FF3FS_CHUNKD_METAD="$metad_addr" FF3FS_CHUNKD_LISTEN=127.0.0.1:0 \
	FF3FS_CHUNKD_ADMIN=127.0.0.1:0 ff3fs-chunkd

# Unsynced bytes survive an orderly end.
check 'writes' "$drive" "${chunkd_addr[1]}" "${targets[0]}" write 300000 100 8 77
kill_daemon "${chunkd_pid[1]}" TERM
equal 'exit status' 0 "$killed_status"
FF3FS_CHUNKD_TARGETS=$tmp/a:$tmp/b start_chunkd 1
mapfile -t again < <(target_of 1)
equal 'the same targets' "${targets[*]}" "${again[*]}"
curl -sf "http://${chunkd_admin[1]}/v1/targets" | grep -q '"chunks": 100' || die 'chunks are missing'
say 'ok: 100 chunks after the restart'

# A client that takes no answers holds memory, and nobody else waits for it: here it asks for four
# times what the daemon has. Over verbs it takes them whether it wants to or not: the daemon writes them.
deaf_client() {
	check 'large chunks' "$drive" "${chunkd_addr[1]}" "${targets[0]}" write 4M 16 4 78
	check 'small chunks' "$drive" "${chunkd_addr[1]}" "${targets[0]}" write 300000 200 8 79
	kill_daemon "${chunkd_pid[1]}" TERM # memory is empty then
	FF3FS_CHUNKD_TARGETS=$tmp/a:$tmp/b start_chunkd 1
	resets() {
		curl -sf "http://${chunkd_admin[1]}/metrics" |
			sed -n "s/^ff3fs_chunkd_resets_total{target=\"${targets[0]}\"} //p"
	}
	equal 'connections reset so far' 0 "$(resets)"
	mkfifo "$tmp/deaf.in" "$tmp/deaf.out"
	CONNECTIONS=16 "$drive" "${chunkd_addr[1]}" "${targets[0]}" deaf 4M 16 48 78 \
		<"$tmp/deaf.in" >"$tmp/deaf.out" &
	deaf=$!
	exec 7>"$tmp/deaf.in"
	read -r -t 30 line <"$tmp/deaf.out"
	equal 'the deaf client' asked "$line"
	most=0
	for ((i = 0; i < 20 && $(resets) == 0; i++)); do
		ms=$("$drive" "${chunkd_addr[1]}" "${targets[0]}" slowest 300000 200 79) || die 'the other client'
		[ "$ms" -gt "$most" ] && most=$ms
	done
	[ "$(resets)" -gt 0 ] || die 'the deaf client keeps what others want'
	[ "$most" -lt 5000 ] || die "the other client waited $most ms"
	say "ok: $(resets) connections reset; another client waited $most ms at most"
	exec 7>&-
	wait $deaf
}
[ "${TRANSPORT:-}" = verbs ] || deaf_client

# Killed under load: what was acknowledged as durable is there.
for round in 1 2 3; do
	mkfifo "$tmp/started.$round"
	"$drive" "${chunkd_addr[1]}" "${targets[1]}" load "$tmp/journal.$round" $round &
	load=$!
	for ((i = 0; i < 200; i++)); do
		[ "$(cat "$tmp/journal.$round" 2>/dev/null | grep -c done)" -gt 50 ] && break
		read -r -t 0.05 <>"$tmp/started.$round"
	done
	kill_daemon "${chunkd_pid[1]}" KILL
	wait $load
	FF3FS_CHUNKD_TARGETS=$tmp/a:$tmp/b start_chunkd 1
	check "after kill $round" "$drive" "${chunkd_addr[1]}" "${targets[1]}" verify "$tmp/journal.$round"
	tail -n 1 "$tmp/check.out"
done

# Whoever was metad's primary before another one commands nothing any more.
check 'a former primary is refused' "$drive" "${chunkd_addr[1]}" "${targets[0]}" former
grep -q ok: "$tmp/check.out" || die 'nothing was checked'
# The metad it registers with is one of them, by now.
for ((i = 0; i < 200; i++)); do
	grep -q 'is not the primary' "$tmp/chunkd.1.log" && break
	read -r -t 0.05 <>"$tmp/started.1"
done
[ $i -lt 200 ] || die 'it still believes the metad of before'
say 'ok: it does not register with it either'
kill_daemon "${chunkd_pid[1]}" TERM
FF3FS_CHUNKD_TARGETS=$tmp/a:$tmp/b start_chunkd 1

# It goes on serving without metad.
kill_daemon "$metad_pid" KILL
check 'without metad' "$drive" "${chunkd_addr[1]}" "${targets[0]}" check
# Another cluster's metad gets neither node nor data.
rm -rf "$tmp/metad"
start_metad
wait "${chunkd_pid[1]}"
equal 'exit status in another cluster' 1 $?
grep -q 'another cluster' "$tmp/chunkd.1.log" || die 'does not say why it ended'
