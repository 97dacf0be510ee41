#!/bin/bash
# Runs every tests/vm/rdma-*.sh (or those named: "device" for rdma-device.sh), each with a limit of its own. Fails if
# one did, and shows again at the end what that one said. SCALE=full, all that there is, takes hours under emulation:
# TEST_LIMIT, VM_SECONDS and VM_TEST_LIMIT say how many.
dir=$(cd "$(dirname "$0")" && pwd)
said=$(mktemp -d) || exit 99
trap 'rm -rf "$said"' EXIT
# worked: seconds of both processors, of what was not waiting.
worked() { awk '/^cpu / { print int(($2 + $3 + $4 + $7 + $8) / 100) }' /proc/stat; }
run() { # NAME
	local started=$SECONDS before status
	before=$(worked)
	timeout -k 5 "${VM_TEST_LIMIT:-240}" bash "$dir/rdma-$1.sh" </dev/null 2>&1 | tee "$said/$1"
	status=${PIPESTATUS[0]}
	echo "-- rdma-$1: status $status, $((SECONDS - started)) s, both processors worked $(($(worked) - before)) s"
	[ $status -eq 0 ] || [ $status -eq 77 ] || mv "$said/$1" "$said/$1.failed"
}

# Two lanes, as there are two processors: those that do not care what else there is go one after the other beside the
# others. Faults come last, and alone: a link that was down, and killed daemons' windows, are not quite gone when they
# end.
beside='cost data fork hooks pages posix user'
all=$(cd "$dir" && ls rdma-*.sh | sed 's/^rdma-//; s/\.sh$//')
[ $# -gt 0 ] || set -- $beside $(echo "$all" | grep -v -x -F -e "${beside// /$'\n'}" -e faults) faults
lane=() others=()
for name; do
	if [ $# -gt 1 ] && [[ " $beside " == *" $name "* ]]; then lane+=("$name"); else others+=("$name"); fi
done
for name in "${lane[@]}"; do run "$name"; done >"$said/beside" &
for name in "${others[@]}" ''; do
	if [ "$name" = faults ] || [ -z "$name" ]; then
		wait
		cat "$said/beside"
		: >"$said/beside"
	fi
	[ -z "$name" ] || run "$name"
done
failed=("$said"/*.failed)
[ -e "${failed[0]}" ] || exit 0
for name in "${failed[@]}"; do
	name=${name##*/}
	echo "== rdma-${name%.failed} failed"
	tail -n 40 "$said/$name"
done
exit 1
