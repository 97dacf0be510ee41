#!/bin/bash
# Runs every tests/vm/rdma-*.sh (or those named: "device" for rdma-device.sh), one after the other,
# each with a limit of its own. Fails if one did. SCALE=full, all that there is, takes hours under
# emulation: TEST_LIMIT, VM_SECONDS and VM_TEST_LIMIT say how many.
dir=$(cd "$(dirname "$0")" && pwd)
failed=0
# Faults come last: a link that was down, and killed daemons' windows, are not quite gone when they end.
[ $# -gt 0 ] || set -- $(cd "$dir" && ls rdma-*.sh | sed 's/^rdma-//; s/\.sh$//' | grep -vx faults) faults
# worked: seconds of both processors, of what was not waiting.
worked() { awk '/^cpu / { print int(($2 + $3 + $4 + $7 + $8) / 100) }' /proc/stat; }
for name; do
	started=$SECONDS before=$(worked)
	timeout -k 5 "${VM_TEST_LIMIT:-240}" bash "$dir/rdma-$name.sh" </dev/null
	status=$?
	[ $status -eq 0 ] || [ $status -eq 77 ] || failed=$((failed + 1))
	echo "-- rdma-$name: status $status, $((SECONDS - started)) s, both processors worked $(($(worked) - before)) s"
done
[ $failed -eq 0 ]
