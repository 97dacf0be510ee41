#!/bin/bash
# limit: 1800
# Power cuts: metad and chunkd keep their files on a disk that loses what was not flushed. CUTS
# times (6), at a random moment under load, the power goes; what fsync, close and rename had
# promised by then must be there. Needs root, FUSE and a loop device, else it is skipped.
#
# The test itself is tested: with a disk that ignores flushes (CONTROL=1) it must fail.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/power-device.sh"
requires_python
requires ff3fs-metad ff3fs-chunkd
power_make ext4 1G

cuts=${CUTS:-$(fewer 6 2)}
RANDOM=${SEED:=$RANDOM}
say "$cuts cuts, seed $SEED"

# off: the power goes, under daemons that run or have just ended.
off() {
	local p
	power_cut
	for p in "${pids[@]}"; do kill_daemon "$p"; done
	power_off
}

start_all() {
	mkdir -p "$disk/metad" "$disk/target"
	FF3FS_METAD_DIR=$disk/metad start_metad
	FF3FS_CHUNKD_TARGETS=$disk/target FF3FS_CHUNKD_CAPACITY=600M start_chunkd 1
	cluster_env
}

mkfifo "$tmp/progress"
exec {progress}<>"$tmp/progress"
export FF3FS_CLIENT_TIMEOUT=$(slower 2)s
for ((i = 1; i <= cuts; i++)); do
	power_on
	start_all
	loads=()
	for k in 1 2; do
		start_on /usr/bin/python3 "$srcdir/tests/power_load.py" load "$prefix/w$k" \
			"$tmp/journal.$k" "$i$k" "$tmp/progress" >"$tmp/load.$k.out" 2>&1
		loads+=("$started_on")
	done
	want=$((RANDOM % 200 + 20))
	while [ $want -gt 0 ]; do
		read -r -n 1 -t 60 -u "$progress" || { cat "$tmp"/load.*.out; die 'no progress'; }
		want=$((want - 1))
	done
	off
	kill -KILL "${loads[@]}" 2>/dev/null
	wait "${loads[@]}" 2>/dev/null
	while read -r -n 1 -t 0.01 -u "$progress"; do :; done

	power_on
	start_all
	for k in 1 2; do
		on /usr/bin/python3 "$srcdir/tests/power_load.py" verify "$prefix/w$k" "$tmp/journal.$k" ||
			die "cut $i: a promise was broken"
	done
	on rm -r "$prefix/w1" "$prefix/w2" || die 'rm'
	rm "$tmp"/journal.*
	for p in "${pids[@]}"; do kill_daemon "$p" TERM; done
	off
	say "ok: cut $i"
done
