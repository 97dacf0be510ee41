#!/bin/bash
# What Python programs do with files (preload_python.py), on a local directory and below the prefix:
# files, names, mappings, children by vfork and fork, threads, locks, signals.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_python
requires ff3fs-metad ff3fs-chunkd

start_cluster 2
mkdir "$tmp/local"
chmod 755 "$tmp/local"
/usr/bin/python3 "$srcdir/tests/preload_python.py" "$tmp/local" >"$tmp/want" 2>&1 ||
	{ tail "$tmp/want"; die 'the local run'; }
on /usr/bin/python3 "$srcdir/tests/preload_python.py" "$prefix" >"$tmp/got" 2>&1
status=$?
diff "$tmp/want" "$tmp/got" || die 'not what a local directory gives'
[ $status -eq 0 ] || die "exit $status"
say "ok: $(wc -l <"$tmp/got") lines are equal"
