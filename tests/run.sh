#!/bin/bash
# Every test, from nothing: installs what is missing, builds in build-test/, runs `make check` and
# ends with a line "N passed, N failed[, N skipped]". The checkout stays clean.
#
#   tests/run.sh [TEST…]      e.g. tests/run.sh tests/e2e-put.sh; all of them by default
#
# NO_INSTALL=1 leaves the machine's packages alone. JOBS=N runs N tests at once (default: cores).
set -u
cd "$(dirname "$0")/.." || exit 1
top=$PWD
build=$top/build-test
jobs=${JOBS:-$(nproc)}
started=$SECONDS

fail() { # a failure before any test could run
	echo "run.sh: $*" >&2
	echo "0 passed, 1 failed"
	exit 1
}
# step NAME COMMAND…: output goes to a log, whose end is shown if the command fails.
step() {
	local name=$1
	shift
	echo "== $name"
	"$@" >"$build/$name.log" 2>&1 || {
		tail -n 40 "$build/$name.log"
		fail "$name failed (all of it: $build/$name.log)"
	}
}

if [ -z "${NO_INSTALL:-}" ]; then
	echo "== packages"
	tests/install-packages.sh build run test || fail "packages are missing"
fi
mkdir -p "$build" || fail "cannot write to $top"
. tests/prepare.sh
step prepare prepare "$top" "$build"
step build make -C "$build" -j"$jobs" all
step build-tests make -C "$build" -j"$jobs" check TESTS=
warnings=$(cat "$build/build.log" "$build/build-tests.log" | grep -c 'warning:')
[ "$warnings" -eq 0 ] || { grep -h 'warning:' "$build"/build*.log; fail "$warnings warnings"; }

echo "== tests, $jobs at once"
find "$build" -name '*.trs' -delete
tests=()
[ $# -gt 0 ] && tests=("TESTS=$*")
make -C "$build" -k -j"$jobs" check "${tests[@]}" >"$build/check.log" 2>&1 &
make_pid=$!
trap 'kill "$make_pid" 2>/dev/null' EXIT
tail -n +1 -f --pid="$make_pid" "$build/check.log" | grep --line-buffered -E '^(PASS|FAIL|SKIP|ERROR|XPASS|XFAIL):'
wait "$make_pid"
status=$?
trap - EXIT

passed=0 failed=0 skipped=0
while read -r result file; do
	log=${file%.trs}.log
	case $result in
	PASS | XFAIL) passed=$((passed + 1)) ;;
	SKIP)
		skipped=$((skipped + 1))
		echo "-- ${log#"$build"/}: $(grep skipped: "$log" | tail -n 1)"
		;;
	*)
		failed=$((failed + 1))
		echo "-- ${log#"$build"/}"
		tail -n 80 "$log"
		;;
	esac
done < <(find "$build" -name '*.trs' | LC_ALL=C sort | xargs -r awk '/^:test-result:/ { print $2, FILENAME }')

if [ $status -ne 0 ] && [ $failed -eq 0 ]; then
	tail -n 30 "$build/check.log"
	failed=1
fi
[ $((passed + failed)) -gt 0 ] || fail "no test ran"
echo "== $((SECONDS - started)) seconds"
if [ $skipped -gt 0 ]; then
	echo "$passed passed, $failed failed, $skipped skipped"
else
	echo "$passed passed, $failed failed"
fi
[ $failed -eq 0 ]
