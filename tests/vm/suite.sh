#!/bin/bash
# Tests of tests/ whose clients come by verbs and by nothing else, one after the other, where there is a device:
#
#   suite.sh TEST…            e.g. tests/fault-client.sh
#
# VM_TEST_LIMIT is that of each, in seconds.
failed=0
for name; do
	started=$SECONDS
	name=$(basename "$name" .sh)
	TRANSPORT=verbs timeout -k 5 "${VM_TEST_LIMIT:-1200}" bash "$(dirname "$0")/../$name.sh" </dev/null
	status=$?
	[ $status -eq 0 ] || [ $status -eq 77 ] || failed=$((failed + 1))
	echo "-- $name over verbs: status $status, $((SECONDS - started)) s"
done
[ $failed -eq 0 ]
