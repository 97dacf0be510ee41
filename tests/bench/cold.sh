#!/bin/bash
# Reads that go to the disk beside io_uring with direct I/O on the same disk, at several depths, by turns:
#
#   bash ../tests/bench/cold.sh [SECONDS [TRANSPORT...]]
#
# Run in the build directory. SECONDS (2) for each side of each comparison, over shm and tcp.
# BLOCKS=4096,65536 DEPTHS=1,8: only these. REALTIME=1: at a real-time priority, on a machine that does other things.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
seconds=${1:-2}
ways=("${@:2}")
[ ${#ways[@]} -gt 0 ] || ways=(shm tcp)
cold=$builddir/tests/bench/cold bytes=$((256 << 20))
[ -x "$cold" ] || die 'tests/bench/cold is not built'
first=
. "$srcdir/tests/bench/disk.sh"
cluster "$tmp/cold" 16M
"$cold" make $bytes && forget "$tmp/cold" || die 'cannot make a file'
if [ -n "${REALTIME:-}" ]; then
	for pid in ${daemons//,/ }; do chrt -a -r -p 1 "$pid" || die 'no real-time priority'; done
	first='chrt -r 1'
fi
for way in "${ways[@]}"; do
	by "$way" $first "$cold" read $bytes "$tmp" "$seconds" "$daemons" "${BLOCKS:-4096,65536,1048576}" \
		"${DEPTHS:-1,8,32}" >"$tmp/$way.json" || die "$way: no figures"
	/usr/bin/python3 -c 'import json, sys
rows = json.load(sys.stdin)
for disk, ours in zip(rows[::2], rows[1::2]):
    print("%-3s %4d KiB, %2d at once: %.2f of the disk (quartiles %.2f %.2f), %6.0f/s of %6.0f/s, CPU %5.1f us of %5.1f" % (
        sys.argv[1], ours["block"] >> 10, ours["depth"], ours["ratio"], *ours["quartiles"], ours["ops_per_s"],
        disk["ops_per_s"], ours["cpu_us_per_op"], disk["cpu_us_per_op"]))' "$way" <"$tmp/$way.json"
done
