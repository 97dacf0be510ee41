#!/bin/bash
# Runs one test under a time limit: a test that hangs is a test that fails. A script may ask for
# another limit than the usual one with a line "# limit: SECONDS".
limit=
case ${!#} in
*.sh | *.py) limit=$(sed -n 's/^# limit: *\([0-9]\{1,\}\).*/\1/p' "${!#}" | head -n 1) ;;
esac
limit=${TEST_LIMIT:-${limit:-300}}
# Over verbs a test runs in an emulated machine, where there is no device (see functions.sh).
if [ "${TRANSPORT:-}" = verbs ] && ! ls /sys/class/infiniband/* >/dev/null 2>&1; then
	limit=$((limit * 6))
	export VM_SECONDS=${VM_SECONDS:-$((limit - 20))}
fi
started=$SECONDS
timeout -k 10 "$limit" "$@"
status=$?
if [ $status -eq 124 ] || [ $status -eq 137 ]; then
	echo "${!#}: killed after its limit of $limit seconds"
fi
echo "${!#}: took $((SECONDS - started)) s"
exit $status
