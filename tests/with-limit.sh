#!/bin/bash
# Runs one test under a time limit: a test that hangs is a test that fails. A script may ask for
# another limit than the usual one with a line "# limit: SECONDS".
limit=
case ${!#} in
*.sh | *.py) limit=$(sed -n 's/^# limit: *\([0-9]\{1,\}\).*/\1/p' "${!#}" | head -n 1) ;;
esac
started=$SECONDS
timeout -k 10 "${TEST_LIMIT:-${limit:-300}}" "$@"
status=$?
if [ $status -eq 124 ] || [ $status -eq 137 ]; then
	echo "${!#}: killed after its limit of ${TEST_LIMIT:-${limit:-300}} seconds"
fi
echo "${!#}: took $((SECONDS - started)) s"
exit $status
