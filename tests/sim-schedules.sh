#!/bin/bash
# The rules of the metadata group (metad/replica.h) in seeded worlds: each kind of failure by itself,
# then mixtures of all. `make sim` runs many more.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
sim=$(find_built sim/sim) || die "sim is not built"

"$sim" --world list >"$tmp/worlds"
while read -r world what; do
	check "$world: $what" "$sim" --world "$world" --count "${EACH:-25}"
	tail -n 1 "$tmp/check.out"
done <"$tmp/worlds"

# Schedules that once violated something, and those around them.
for seed in 42 622 988 2223 3347 7462 7846 9290 52731; do
	check "schedule $seed" "$sim" --from "$seed" --count 1
done
check "${SCHEDULES:-400} mixtures" "$sim" --count "${SCHEDULES:-400}"
tail -n 1 "$tmp/check.out"
