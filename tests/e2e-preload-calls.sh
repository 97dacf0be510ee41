#!/bin/bash
# Calls that need C (preload_calls.c): results and errors as on a local directory, bad pointers
# included; a thousand threads with forks among them; a signal handler that reads.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
calls=$(find_built preload-calls) || die 'preload-calls is not built'
closed=$(find_built preload-closed) || die 'preload-closed is not built'

start_cluster 2
mkdir "$tmp/local"
"$calls" calls "$tmp/local" >"$tmp/want" || die 'the local run'
on "$calls" calls "$prefix" >"$tmp/got"
status=$?
diff "$tmp/want" "$tmp/got" || die 'not what a local directory gives'
[ $status -eq 0 ] || die "exit $status"
say "ok: $(wc -l <"$tmp/got") calls"
check 'what a vfork child does to its descriptors' \
	on bash -c 'echo embedded >"$1/seven"; exec "$0" vforked "$1" 7<"$1/seven"' "$calls" "$prefix"
check 'a thousand threads' on "$calls" threads "$prefix"
check 'a handler that reads' on "$calls" signals "$prefix"
cat "$tmp/check.out"
echo x >"$tmp/x"
on cp "$tmp/x" "$prefix/closed"
check 'a closed descriptor that others are taking up' on "$closed" "$prefix/closed"
cat "$tmp/check.out"
