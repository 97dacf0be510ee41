#!/bin/bash
# Metad is killed while it has ends of files in memory only. Those who wrote tell them again, but not over a cut that
# came after; and what was cut is not there when the file grows again. ROUNDS kills (12) under processes that write, sync
# and cut, and others that ask.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_python
requires ff3fs-metad ff3fs-chunkd truncate
client=$(find_built e2e-client) || die "e2e-client is not built"
RANDOM=${SEED:=$RANDOM}
say "seed $SEED"
start_cluster 2
again() {
	kill_daemon "$metad_pid"
	start_metad
}

writer() { # writer FILE: a process with FILE open that does what it is told (holders.py)
	mkfifo "$tmp/to.$1" "$tmp/from.$1"
	LD_PRELOAD=${sanitizer_runtime:+$sanitizer_runtime:}$shim /usr/bin/python3 "$srcdir/tests/holders.py" actor \
		"$prefix/$1" <"$tmp/to.$1" >"$tmp/from.$1" 2>"$tmp/writer.$1.log" &
	cleanup_fn "kill $! 2>/dev/null"
	exec {to}>"$tmp/to.$1" {from}<"$tmp/from.$1"
	hears ready
}
hears() {
	local line=''
	read -r -t 60 line <&"$from"
	[ "$line" = "$1" ] || die "the writer says [$line], not [$1]"
}
says() { # says WORD… ANSWER
	echo "${@:1:$#-1}" >&"$to"
	hears "${!#}"
}

writer told
says write 0 a 3 True
again
says size 12288
say 'ok: an end is told again'
check 'another process cuts the file' on truncate -s 5000 "$prefix/told"
again
says size 5000
says sync synced
says size 5000
say 'ok: not over a cut'

writer early
says write 0 a 3 True
again
check 'the file is cut before its end is told again' on truncate -s 5000 "$prefix/early"
says size 5000
check 'it grows' on truncate -s 20000 "$prefix/early"
says size 20000
equal 'without what was cut' "$( (yes a | head -n 5000 | tr -d '\n'; head -c 15000 /dev/zero) | cksum)" \
	"$(on cat "$prefix/early" | cksum)"

pids_of=() files=()
for ((i = 1; i <= 3; i++)); do
	files+=("cuts.$i")
	on touch "$prefix/cuts.$i" || die touch
	"$client" cuts "cuts.$i" $((i + SEED)) "$tmp/stop" >"$tmp/cuts.$i.log" 2>&1 &
	pids_of+=($!)
done
"$client" asks "$tmp/stop" "${files[@]}" >"$tmp/asks.log" 2>&1 &
pids_of+=($!)
cleanup_fn 'kill "${pids_of[@]}" 2>/dev/null'
for ((i = 0; i < ${ROUNDS:-12}; i++)); do
	read -r -t "0.$((RANDOM % 7 + 3))" <>"$tmp/.never"
	again
	for pid in "${pids_of[@]}"; do kill -0 "$pid" 2>/dev/null || die "a client has failed"; done
done
: >"$tmp/stop"
for pid in "${pids_of[@]}"; do wait "$pid" || die "a client has failed"; done
say "ok: $(cat "$tmp"/cuts.*.log | tr '\n' ' ')"
