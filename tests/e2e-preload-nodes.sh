#!/bin/bash
# Sockets and named pipes below the prefix, and programs that are short of descriptors
# (preload_nodes.py): as on a local directory.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_python
requires ff3fs-metad ff3fs-chunkd

start_cluster 1
/usr/bin/python3 "$srcdir/tests/preload_nodes.py" "$tmp/local" >"$tmp/want" 2>&1 ||
	{ tail "$tmp/want"; die 'the local run'; }
on timeout 50 /usr/bin/python3 "$srcdir/tests/preload_nodes.py" "$prefix/nodes" >"$tmp/got" 2>&1
status=$?
diff "$tmp/want" "$tmp/got" || die 'not what a local directory gives'
[ $status -eq 0 ] || die "exit $status"
say "ok: $(wc -l <"$tmp/got") lines are equal"

# A device is refused, and a name without a socket of this network namespace refuses.
fails 'no devices' 1 on mknod "$prefix/null" c 1 3
