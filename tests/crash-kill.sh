#!/bin/bash
# limit: 3600
# kill -9 of chunk daemons and of the metadata server at random moments under load, CRASHES times
# (20), each restarted at once. The load programs must not notice; at the end everything that was
# closed, fsynced or put is there and equal, for a client that comes new, and again after a clean restart of all.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_python
requires ff3fs-metad ff3fs-chunkd ff3fs-put ff3fs-get

crashes=${CRASHES:-20}
workers=2
RANDOM=${SEED:=$RANDOM}
say "$crashes crashes, seed $SEED"
python=/usr/bin/python3
load=$srcdir/tests/crash_load.py

export FF3FS_CLIENT_TIMEOUT=$(slower 30)s # daemons may take their time to be back
start_cluster 2

mkfifo "$tmp/progress"
exec {progress}<>"$tmp/progress"
declare -A worker
for ((w = 1; w <= workers; w++)); do
	start_on $python "$load" load "$prefix/w$w" "$tmp/model.$w" $((SEED + w)) "$tmp/progress" \
		"$tmp/stop" >"$tmp/worker.$w.out" 2>&1
	worker[$w]=$started_on
done

# Puts, one after another, each recorded when the tool has said that it is stored.
put_loop() {
	local i=0 file=$tmp/to-put
	while [ ! -e "$tmp/stop" ]; do
		i=$((i + 1))
		head -c $((RANDOM * 64 + 1)) /dev/urandom >"$file"
		ff3fs-put -q "$file" "$prefix/put.$i" || { echo "put $i failed"; return 1; }
		sha256sum <"$file" >>"$tmp/puts"
		printf . >&"$progress"
	done
}
: >"$tmp/puts"
put_loop >"$tmp/put.out" 2>&1 &
put_pid=$!
stop_load() {
	local pid
	: >"$tmp/stop"
	for pid in "${worker[@]}" $put_pid; do kill "$pid" 2>/dev/null; done
}
cleanup_fn stop_load

declare -A killed=([metad]=0 [chunkd]=0)
for ((i = 1; i <= crashes; i++)); do
	# A random number of operations later. Whoever has ended has failed.
	want=$((RANDOM % 60 + 5))
	while [ $want -gt 0 ]; do
		read -r -n 1 -t 120 -u "$progress" || die "no operation has ended for two minutes"
		want=$((want - 1))
		for w in "${!worker[@]}"; do
			kill -0 "${worker[$w]}" 2>/dev/null || { cat "$tmp/worker.$w.out"; die "worker $w ended"; }
		done
		kill -0 $put_pid 2>/dev/null || { cat "$tmp/put.out"; die "ff3fs-put failed"; }
	done
	case $((RANDOM % 5)) in
	0 | 1)
		kill_daemon "$metad_pid"
		start_metad
		killed[metad]=$((killed[metad] + 1))
		;;
	2 | 3)
		n=$((RANDOM % 2 + 1))
		kill_daemon "${chunkd_pid[$n]}"
		start_chunkd $n
		killed[chunkd]=$((killed[chunkd] + 1))
		;;
	4) # everything at once
		kill_daemon "$metad_pid"
		kill_daemon "${chunkd_pid[1]}"
		kill_daemon "${chunkd_pid[2]}"
		start_metad
		start_chunkd 1
		start_chunkd 2
		killed[metad]=$((killed[metad] + 1))
		killed[chunkd]=$((killed[chunkd] + 2))
		;;
	esac
done

: >"$tmp/stop"
for w in "${!worker[@]}"; do
	wait "${worker[$w]}" || { cat "$tmp/worker.$w.out"; die "worker $w failed"; }
	cat "$tmp/worker.$w.out"
done
wait $put_pid || { cat "$tmp/put.out"; die "ff3fs-put failed"; }
worker=() put_pid=

verify() {
	local w i=0 sum
	for ((w = 1; w <= workers; w++)); do
		on $python "$load" verify "$prefix/w$w" "$tmp/model.$w" || die "$1: not all is there"
	done
	while read -r sum; do
		i=$((i + 1))
		rm -f "$tmp/got"
		ff3fs-get -q "$prefix/put.$i" "$tmp/got" || die "$1: put.$i is not there"
		[ "$(sha256sum <"$tmp/got")" = "$sum" ] || die "$1: put.$i has other bytes"
	done <"$tmp/puts"
	say "ok: $1: $i puts and all files of $workers programs"
}
verify 'after the crashes'
# A verifier that cannot say no proves nothing.
sed 's/\[\([0-9]*\), "/[\1, "0/' "$tmp/model.1" >"$tmp/model.wrong"
fails 'the verifier sees other bytes' 1 on $python "$load" verify "$prefix/w1" "$tmp/model.wrong"

kill_daemon "$metad_pid" TERM
equal 'metad ends with 0 when told to' 0 "$killed_status"
for n in 1 2; do
	kill_daemon "${chunkd_pid[$n]}" TERM
	equal "chunkd $n ends with 0 when told to" 0 "$killed_status"
done
start_metad
start_chunkd 1
start_chunkd 2
verify 'after a clean restart'
say "${killed[metad]} kills of metad, ${killed[chunkd]} of chunkd: nothing lost, nobody failed"
