#!/bin/bash
# limit: 900
# All three members lose power at once, CUTS times (2), under load, on a disk that loses what was not flushed:
# every acknowledged operation is there when they are back, once. With CONTROL=1 the disk ignores flushes,
# and the test must fail.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/power-device.sh"
. "$srcdir/tests/group.sh"
power_make ext4 1536M
cuts=${CUTS:-$(fewer 2)}

dirs_on_disk() {
	local i
	for i in 1 2 3; do mkdir -p "$disk/metad.$i"; done
}
power_on
dirs_on_disk
for i in 1 2 3; do ln -s "$disk/metad.$i" "$tmp/metad.$i"; done
start_group
begin_load one $((60 * (cuts + 1)))
for ((cut = 1; cut <= cuts; cut++)); do
	UNTIL=120 until_true "load goes on ($cut)" load_is_at one $((3 * cut - 2))
	power_cut
	for i in 1 2 3; do kill_member "$i"; done
	power_off
	power_on
	for i in 1 2 3; do start_member "$i"; done
	wait_primary
done
end_load one $((60 * (cuts + 1)))
same_everywhere
for i in 1 2 3; do kill_member "$i" TERM; done
power_off
