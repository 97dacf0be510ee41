#!/bin/bash
# Write-behind and read-ahead of one process are nothing that another one on the host could notice
# (coherence.py). Two programs without common ancestors below the prefix behave as two of a fork.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_python
requires ff3fs-metad ff3fs-chunkd

start_cluster 2
mkdir "$tmp/local"
check 'on a local directory' timeout 30 /usr/bin/python3 "$srcdir/tests/coherence.py" "$tmp/local"
for round in 1 2 3; do
	on mkdir "$prefix/$round" || die mkdir
	check "two processes of a fork, $round" on timeout 30 /usr/bin/python3 "$srcdir/tests/coherence.py" \
		"$prefix/$round"
done
