#!/bin/bash
# io_uring on our files: each operation through liburing and through system calls, its results compared
# with a local directory's; order (links, IO_DRAIN, timeouts); rings of all kinds under load.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
uring=$(find_built preload-uring) || die 'preload-uring is not built'
mkdir "$tmp/probe"
"$uring" raw links "$tmp/probe" >/dev/null 2>&1 || skip 'no io_uring here'

start_cluster 2
for how in liburing raw; do
	for part in operations links many; do
		mkdir "$tmp/$how-$part"
		timeout 60 "$uring" $how $part "$tmp/$how-$part" >"$tmp/want" || die "the local run of $how $part"
		on mkdir "$prefix/$how-$part"
		on timeout 60 "$uring" $how $part "$prefix/$how-$part" >"$tmp/got" 2>&1
		status=$?
		diff "$tmp/want" "$tmp/got" || die "$how $part: not what a local directory gives"
		[ $status -eq 0 ] || die "$how $part: exit $status"
		say "ok: $how $part: $(wc -l <"$tmp/got") lines"
	done
done
