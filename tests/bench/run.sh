#!/bin/bash
# ff3fs beside the machine's limits, in the same run:
#
#   bash ../tests/bench/run.sh [--rounds N] [--seconds S] [--size SIZE] [--files N] [--out DIR]
#
# Run in the build directory. A development cluster of one chunk daemon is started; then, round by
# round, the limits and ff3fs bench do the same work one after the other. What counts is the ratio
# within a round, and of those the median over the rounds (5 by default). Operations one at a time
# run with client and daemons on one core, everything else without pinning. What is compared with bare TCP
# goes over TCP; the rows named shm go through shared memory. Cold reads and the disk's take turns of 50 ms
# (cold.c). As root, the other clusters and the raw disk files lie on an XFS in a loop file, because an ext4
# root is slow at creates after many unlinks.
#
# Writes DIR/bench.json (all figures), DIR/bench.txt (the table, also on stdout) and DIR/bench.png.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"

rounds=5 seconds=0.5 size=128M out=$PWD/bench files=4000
while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=$2 ;;
	--seconds) seconds=$2 ;;
	--size) size=$2 ;;
	--files) files=$2 ;;
	--out) out=$2 ;;
	*) echo "usage: run.sh [--rounds N] [--seconds S] [--size SIZE] [--files N] [--out DIR]" >&2; exit 2 ;;
	esac
	shift 2
done
requires taskset /usr/bin/python3
limits=$builddir/tests/bench/limits hot=$builddir/tests/bench/hot cold=$builddir/tests/bench/cold
[ -x "$limits" ] && [ -x "$hot" ] && [ -x "$cold" ] || die 'tests/bench/limits, hot or cold is not built'
. "$srcdir/tests/bench/passthrough.sh"
bytes=$(numfmt --from=iec "$size")
mkdir -p "$out"
rm -f "$tmp"/round.*

. "$srcdir/tests/bench/disk.sh"
make_disk

# pin CPUS: where the daemons run.
pin() {
	local pid
	for pid in ${daemons//,/ }; do taskset -a -c -p "$1" "$pid" >/dev/null; done
}

all_cpus=0-$(($(nproc) - 1))

# keep ROUND NAME COMMAND…: its JSON becomes one line of the results.
keep() {
	local round=$1 name=$2
	shift 2
	"$@" >"$tmp/out.json" || die "$*"
	/usr/bin/python3 -c 'import json, sys
print(json.dumps({"round": int(sys.argv[1]), "part": sys.argv[2], "rows": json.load(sys.stdin)}))' \
		"$round" "$name" <"$tmp/out.json" >>"$tmp/results" || die "$name: no JSON"
}

bench() { ff3fs bench --json --time "$seconds" --daemon-pid "$daemons" "$@"; }

# plain NAME BLOCK COMMAND…: a figure of tests/bench/hot, as JSON.
plain() {
	local ops bytes cpu
	read -r ops bytes cpu < <("${@:3}") && [ -n "$cpu" ] || return 1
	printf '{"name": "%s", "block": %d, "depth": 1, "ops_per_s": %s, "cpu_us_per_op": %s, "p50_us": 0}' \
		"$1" "$2" "$ops" "$cpu"
}

# --- Rounds ---------------------------------------------------------------------------------------

cluster "$disk/warm" 1G
for ((round = 1; round <= rounds; round++)); do
	say "round $round of $rounds: warm"
	pin 0
	keep $round one-core-limit "$limits" --cpu 0 --seconds "$seconds" --size "$bytes" --only tcp
	keep $round one-core by tcp taskset -c 0 ff3fs bench --json --time "$seconds" \
		--daemon-pid "$daemons" --size "$size" --threads 1 --depth 1 --only read-rand
	keep $round one-core-shm by shm taskset -c 0 ff3fs bench --json --time "$seconds" \
		--daemon-pid "$daemons" --size "$size" --threads 1 --depth 1 --only read-rand
	keep $round files taskset -c 0 ff3fs bench --json --time "$seconds" --daemon-pid "$daemons" \
		--files "$files" --threads 1 --only create,stat,open-read-close,readdir,unlink
	pin "$all_cpus"
	keep $round many-limit "$limits" --seconds "$seconds" --size "$bytes" --only tcp
	for way in tcp shm; do
		keep $round many-$way by $way bench --size "$size" --threads 1 --depth 1,16 --only read-rand
		keep $round threads-$way by $way bench --size "$size" --threads 8 --depth 1 --only read-rand \
			--block 4K,64K
	done
	keep $round write-limit "$limits" --dir "$disk" --size $((bytes * 4)) --only disk_write
	keep $round write bench --size $((bytes * 4)) --threads 1 --only write-seq
done

# Not in the loop file: its own thread would take part in every read.
cluster "$tmp/cold" 16M
"$cold" make $((bytes * 4)) && forget "$tmp/cold" || die 'cannot make a file'
for ((round = 1; round <= rounds; round++)); do
	say "round $round of $rounds: cold"
	for way in tcp shm; do
		keep $round cold-$way by $way "$cold" read $((bytes * 4)) "$tmp" "$seconds" "$daemons"
	done
done

# What a daemon has in memory and exposes, by pread under the shim, one at a time on one core.
mkdir "$tmp/below"
"$hot" make "$tmp/below/file" $((64 << 20)) || die 'cannot make a file'
passthrough "$tmp/below/file" 0
[ -z "$no_fuse" ] || say "not compared with FUSE: $no_fuse"
exposed() { LD_PRELOAD=$shim FF3FS_PREFIX=/ff3fs "$@"; }
[ -n "$shim" ] && cluster "$disk/hot" 1G && ff3fs layout set --pin memory --quiet / &&
	exposed "$hot" make /ff3fs/hot $((64 << 20)) || die 'cannot make a file on ff3fs'
hot_rows() {
	printf '['
	if [ -z "$no_fuse" ]; then
		plain fuse 4096 taskset -c 0 "$hot" read "$fuse_file" 4096 1 "$seconds"
		printf ','
	fi
	plain exposed 4096 exposed taskset -c 0 "$hot" read /ff3fs/hot 4096 1 "$seconds" && printf ',' &&
		plain copy 1048576 taskset -c 0 "$hot" copy 1048576 "$seconds" && printf ',' &&
		plain exposed 1048576 exposed taskset -c 0 "$hot" read /ff3fs/hot 1048576 1 "$seconds" &&
		printf ']'
}
for ((round = 1; round <= rounds; round++)); do
	say "round $round of $rounds: exposed memory"
	keep $round hot hot_rows
done

/usr/bin/python3 "$srcdir/tests/bench/table.py" "$tmp/results" "$out" | tee "$out/bench.txt"
if command -v gnuplot >/dev/null; then
	gnuplot "$out/bench.gp" && say "plot: $out/bench.png"
fi
