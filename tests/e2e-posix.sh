#!/bin/bash
# The same random operations on a local directory and under the prefix: every result, errno and byte
# must be equal (posix_twin.py). SEEDS says which ones, OPERATIONS how many each.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_python
requires ff3fs-metad ff3fs-chunkd

start_cluster 2
mkdir "$tmp/local"
chmod 755 "$tmp/local"
for seed in ${SEEDS:-1 2 3 4 5 6 7 8}; do
	check "seed $seed" on /usr/bin/python3 "$srcdir/tests/posix_twin.py" "$tmp/local" "$prefix" \
		"${OPERATIONS:-1500}" "$seed"
done
