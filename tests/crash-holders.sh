#!/bin/bash
# Chunk daemons are killed while several processes of the host hold unsynced writes of one file: nobody reads old
# bytes, nobody's newer ones are overwritten by the repetition of older ones (holders.py). SCALE=full: and SQLite's
# writers in WAL mode lose no acknowledged row.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_python sqlite3
requires ff3fs-metad ff3fs-chunkd
export FF3FS_CLIENT_TIMEOUT=$(slower 4)s
own_map_dir
FF3FS_CHUNKD_FLUSH=1000s start_cluster 2 # nothing becomes durable by itself
on mkdir "$prefix/w" || die mkdir
mkfifo "$tmp/ask" "$tmp/answer"
export ACTOR_PRELOAD=${sanitizer_runtime:+$sanitizer_runtime:}$shim
timeout 100 /usr/bin/python3 "$srcdir/tests/holders.py" "$prefix/w" "$tmp/ask" "$tmp/answer" "$@" &
scenes=$!
cleanup_fn "kill $scenes 2>/dev/null"
while read -r -t 60 word <"$tmp/ask" && [ "$word" = kill ]; do
	for n in 1 2; do kill_daemon "${chunkd_pid[$n]}"; done
	for n in 1 2; do FF3FS_CHUNKD_FLUSH=1000s start_chunkd $n; done
	echo started >"$tmp/answer"
done
wait $scenes || die 'what others hold'

[ "${SCALE:-}" = full ] || exit 0
export FF3FS_CLIENT_TIMEOUT=60s WRITER_PRELOAD=$ACTOR_PRELOAD
for ((seed = 1; seed <= ${ROUNDS:-12}; seed++)); do
	shape='normal small'
	[ $((seed % 3)) -eq 0 ] && shape='normal'
	timeout 300 /usr/bin/python3 "$srcdir/tests/wal_writers.py" round "$prefix/w" 3 150 $seed $shape >"$tmp/round" 2>&1 &
	running=$!
	while kill -0 $running 2>/dev/null; do
		kill_daemon "${chunkd_pid[1]}"
		start_chunkd 1
		read -r -t 0.3 <>"$tmp/.never"
	done
	wait $running || die "round $seed: $(tail -n 3 "$tmp/round")"
	say "ok: round $seed: $(tail -n 1 "$tmp/round")"
done
exit 0
