#!/bin/bash
# SQLite in WAL mode, written by two and three processes at once (wal_writers.py): that open their connections
# anew all the time, check-point every few pages, are forks, run beside busy processes, or are killed. No
# acknowledged row may be missing. SCALE=full: 300 rounds.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_python sqlite3
requires ff3fs-metad ff3fs-chunkd
own_map_dir
start_cluster 2
on mkdir "$prefix/w"
export WRITER_PRELOAD=${sanitizer_runtime:+$sanitizer_runtime:}$shim

round() { # round NUMBER ROWS SHAPE…
	local n=$((2 + $1 % 2))
	check "round $1: $n writers, ${*:3}" timeout 200 /usr/bin/python3 "$srcdir/tests/wal_writers.py" \
		round "$prefix/w" $n "$2" "$1" "${@:3}"
}
shapes=('normal small keep' 'full kill' 'normal small' 'normal kill small nice' 'full small fork' 'full'
	'normal nice' 'full small kill' 'normal fork' 'normal kill')
rows=60 rounds=5
[ "${SCALE:-}" = full ] && rows=150 rounds=300
for ((k = 1; k <= rounds; k++)); do
	round $k $rows ${shapes[k % ${#shapes[@]}]}
done
nothing_mapped SQLite
exit 0
