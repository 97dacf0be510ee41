#!/bin/bash
# limit: 900
# Power cuts under the metadata server alone (its log and database; the chunks are on another disk),
# on ext4 and XFS: what fsync, close and rename had promised is there afterwards. ROUNDS cuts (3)
# on each. With CONTROL=1 the disk ignores flushes, and the test must fail.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/power-device.sh"
requires ff3fs-metad ff3fs-chunkd
requires_python
RANDOM=${SEED:=$RANDOM}
say "seed $SEED"
rounds=${ROUNDS:-$(fewer 3)}
mkfifo "$tmp/progress"
exec {progress}<>"$tmp/progress"
export FF3FS_CLIENT_TIMEOUT=$(slower 2)s

start_on_device() {
	mkdir -p "$disk/metad"
	FF3FS_METAD_DIR=$disk/metad start_metad
	cluster_env
}

# one_cut: two loads, a cut after a random number of changes, and a look at what is left.
one_cut() {
	local loads=() k want=$((RANDOM % 300 + 20))
	for k in 1 2; do
		# By env, not by a function: the pid must be the program's.
		env LD_PRELOAD="${sanitizer_runtime:+$sanitizer_runtime:}$shim" /usr/bin/python3 \
			"$srcdir/tests/power_load.py" load "$prefix/w$k" "$tmp/journal.$k" \
			"$RANDOM" "$tmp/progress" >"$tmp/load.$k.out" 2>&1 &
		loads+=($!)
	done
	while [ $want -gt 0 ]; do
		read -r -n 1 -t 60 -u "$progress" || { cat "$tmp"/load.*.out; die 'no progress'; }
		want=$((want - 1))
	done
	power_cut
	kill_daemon "$metad_pid"
	power_off
	kill -KILL "${loads[@]}" 2>/dev/null
	wait "${loads[@]}" 2>/dev/null
	while read -r -n 1 -t 0.01 -u "$progress"; do :; done
	power_on
	start_on_device
	for k in 1 2; do
		on /usr/bin/python3 "$srcdir/tests/power_load.py" verify "$prefix/w$k" "$tmp/journal.$k" ||
			return 1
		rm "$tmp/journal.$k"
	done
	on rm -r "$prefix/w1" "$prefix/w2" || die rm
}

for kind in ext4 xfs; do
	command -v mkfs.$kind >/dev/null || continue
	power_make $kind 512M
	power_on
	start_on_device
	start_chunkd 1
	for ((i = 1; i <= rounds; i++)); do
		one_cut || die "$kind, cut $i: a promise was broken"
		say "ok: $kind, cut $i"
	done
	kill_daemon "${chunkd_pid[1]}" TERM
	kill_daemon "$metad_pid" TERM
	power_off
	rm -rf "$tmp/chunkd.1"
done
