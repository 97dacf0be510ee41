#!/bin/bash
# limit: 900
# kill -9 of the daemons under clients that use ff3fs.h: no call fails, every read is right all the
# time, and at the end a new client finds everything.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
client=$(find_built e2e-client) || die "e2e-client is not built"

crashes=${CRASHES:-8}
RANDOM=${SEED:=$RANDOM}
say "$crashes crashes, seed $SEED"
start_cluster 2
mkfifo "$tmp/progress"
exec {progress}<>"$tmp/progress"
workers=()
for w in 1 2; do
	mkdir "$tmp/model.$w"
	"$client" load "w$w" $((SEED + w)) "$tmp/progress" "$tmp/stop" "$tmp/model.$w" \
		>"$tmp/worker.$w.log" 2>&1 &
	workers+=($!)
done
cleanup_fn 'for pid in "${workers[@]}"; do kill "$pid" 2>/dev/null; done'

for ((i = 1; i <= crashes; i++)); do
	for ((n = RANDOM % 150 + 20; n > 0; n--)); do
		read -r -n 1 -t 100 -u "$progress" || die "no operation has ended for 100 seconds"
	done
	for pid in "${workers[@]}"; do kill -0 "$pid" 2>/dev/null || die "a client has failed"; done
	case $((RANDOM % 4)) in
	0) kill_daemon "$metad_pid"; start_metad; say "metad" ;;
	1) kill_daemon "${chunkd_pid[1]}"; start_chunkd 1; say "chunkd 1" ;;
	2) # another address after the restart
		kill_daemon "${chunkd_pid[2]}"
		unset 'chunkd_addr[2]'
		start_chunkd 2
		say "chunkd 2, new address"
		;;
	3)
		kill_daemon "$metad_pid"
		kill_daemon "${chunkd_pid[1]}"
		kill_daemon "${chunkd_pid[2]}"
		start_metad
		start_chunkd 1
		start_chunkd 2
		say "all"
		;;
	esac
done
: >"$tmp/stop"
for pid in "${workers[@]}"; do
	wait "$pid" || die "a client has failed"
done
cat "$tmp"/worker.*.log
for w in 1 2; do check "files of client $w" "$client" compare "w$w" "$tmp/model.$w"; done
kill_daemon "$metad_pid" TERM
kill_daemon "${chunkd_pid[1]}" TERM
kill_daemon "${chunkd_pid[2]}" TERM
start_metad
start_chunkd 1
start_chunkd 2
for w in 1 2; do check "and after a restart" "$client" compare "w$w" "$tmp/model.$w"; done

# A process that only reads an unlinked file keeps it over a restart of metad, for longer than a lease.
kill_daemon "$metad_pid" TERM
FF3FS_METAD_LEASE=3s start_metad
while read -r -n 1 -t 0.01 -u "$progress"; do :; done
"$client" linger lingering "$tmp/progress" 9 >"$tmp/linger.log" 2>&1 &
linger_pid=$!
read -r -n 1 -t 60 -u "$progress" || die "linger has not begun"
kill_daemon "$metad_pid"
FF3FS_METAD_LEASE=3s start_metad
wait $linger_pid || die "an unlinked file was lost"
say "ok: an unlinked file outlives metad's restart"
