#!/bin/bash
# Processes that end in every way while threads of theirs are at work in a shared mapping, alone, together,
# and while others stay or look on (preload_map_exit.c). SCALE=full: 280 rounds of each kind.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
leaving=$(find_built preload-map-exit) || die 'preload-map-exit is not built'
own_map_dir
mkdir "$tmp/local" "$FF3FS_MMAP_DIR/other"
rounds=56
[ "${SCALE:-}" = full ] && rounds=280
start_cluster 2
on mkdir "$prefix/m"
check 'on a local directory' timeout 60 "$leaving" "$tmp/local" 28 /nowhere
for max in 1G 64K; do
	[ $max = 1G ] || [ $lazily = yes ] || continue
	FF3FS_MMAP_EAGER_MAX=$max check "$rounds rounds, whole up to $max" \
		on timeout 300 "$leaving" "$prefix/m" $rounds "$FF3FS_MMAP_DIR/other"
	nothing_mapped 'exiting processes'
done
exit 0
