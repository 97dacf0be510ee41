#!/bin/bash
# limit: 900
# Power cuts under a chunk daemon: every chunk that was acknowledged as durable is there afterwards,
# on ext4 and on XFS. ROUNDS cuts each (4), under a load of synced writes.
#
# The test is tested: a daemon with a planted bug, which leaves out the fdatasync of a slab before
# the index is committed, must lose chunks.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/power-device.sh"
requires curl ff3fs-metad ff3fs-chunkd
drive=$(find_built chunkd_drive) || skip 'chunkd_drive is not built'
planted=$(find_built chunkd_without_sync) || skip 'chunkd_without_sync is not built'
RANDOM=${SEED:=$RANDOM}
say "seed $SEED"
rounds=${ROUNDS:-$(fewer 4)}
honest=$(readlink "$tmp/bin/ff3fs-chunkd")

use() { # use PROGRAM: as the daemon
	ln -sf "$1" "$tmp/bin/ff3fs-chunkd"
}
start_target() {
	FF3FS_CHUNKD_TARGETS=$disk/target FF3FS_CHUNKD_CAPACITY=600M start_chunkd 1
	target=$(curl -sf "http://${chunkd_admin[1]}/v1/targets" |
		sed -n 's/.*"target": "\([0-9a-f]*\)".*/\1/p')
}
# acknowledged N: so many writes were, however long it takes as long as there are more and more.
acknowledged() {
	local n last=-1 since=$SECONDS
	while n=$(grep -c done "$tmp/journal"); [ "$n" -lt "$1" ]; do
		[ "$n" -eq "$last" ] || last=$n since=$SECONDS
		[ $((SECONDS - since)) -lt "$(slower 60)" ] || die "no progress after $n writes"
		read -r -t 0.05 <>"$tmp/.never"
	done
}

# one_cut ACKS: load until so many writes were acknowledged, cut, start again, compare. 1: lost.
one_cut() {
	local loads=() k r=0
	power_on
	start_target
	: >"$tmp/journal"
	"$drive" "${chunkd_addr[1]}" "$target" load "$tmp/journal" $RANDOM &
	loads+=($!)
	acknowledged "$1"
	power_cut
	kill_daemon "${chunkd_pid[1]}"
	wait "${loads[@]}"
	power_off
	power_on
	start_target
	"$drive" "${chunkd_addr[1]}" "$target" verify "$tmp/journal" >"$tmp/verify" 2>&1 || r=1
	tail -n 1 "$tmp/verify"
	kill_daemon "${chunkd_pid[1]}" TERM
	power_off
	return $r
}

start_metad
for kind in ext4 xfs; do
	command -v mkfs.$kind >/dev/null || continue
	power_make $kind 1G
	for ((i = 1; i <= rounds; i++)); do
		one_cut $((RANDOM % $(fewer $((i == 1 ? 2500 : 400))) + 50)) || { cat "$tmp/verify"; die "$kind, cut $i: chunks were lost"; }
		say "ok: $kind, cut $i"
	done
done

use "$planted"
lost=
for ((i = 1; i <= 6; i++)); do
	power_make ext4 1G
	if ! one_cut $((RANDOM % 500 + 2000)); then
		lost=1
		break
	fi
done
[ -n "$lost" ] || die 'the planted bug was not noticed'
say "ok: without the slab's sync chunks are lost: $(tail -n 1 "$tmp/verify")"
