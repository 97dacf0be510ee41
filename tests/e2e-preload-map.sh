#!/bin/bash
# Mappings (preload_map.c): what calls on them give is what a local directory gives, loaded whole and loaded
# when touched; forked and many-threaded readers; processes that talk through one; what a killed one
# leaves; files larger than the memory for them; a cluster that is away; LMDB, SQLite, NumPy, fio.
# SCALE=full: a 20 GiB file too.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
map=$(find_built preload-map) || die 'preload-map is not built'

export FF3FS_MMAP_DIR=$tmp/shm
mkdir "$tmp/shm" "$tmp/local"
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=1G,mode=700 none "$tmp/shm" 2>/dev/null; then
	cleanup_fn 'umount "$tmp/shm"'
else
	FF3FS_MMAP_DIR=$(mktemp -d /dev/shm/ff3fs-map.XXXXXX) || die 'no /dev/shm'
	cleanup_fn 'rm -rf "$FF3FS_MMAP_DIR"'
fi
# can pages be loaded when they are touched?
lazily=no
[ "$(id -u)" -eq 0 ] && lazily=yes
nothing_left() {
	equal "nothing is left behind by $1" '' "$(find "$FF3FS_MMAP_DIR" -type f ! -name registry)"
}

start_cluster 2
on mkdir "$prefix/m"
"$map" calls "$tmp/local" >"$tmp/want" || die 'the local run'
for max in 1G 64K; do
	[ $max = 1G ] || [ $lazily = yes ] || continue
	export FF3FS_MMAP_EAGER_MAX=$max FF3FS_MMAP_MEMORY=2M
	on "$map" calls "$prefix/m" >"$tmp/got" || die "calls, whole up to $max"
	diff "$tmp/want" "$tmp/got" || die "not what a local directory gives, whole up to $max"
	say "ok: $(wc -l <"$tmp/got") calls, whole up to $max"
	nothing_left calls
	check "forked readers, whole up to $max" on timeout 60 "$map" forks "$prefix/m"
	check "threads, whole up to $max" on timeout 60 "$map" threads "$prefix/m"
	nothing_left 'forks and threads'
	check "two processes talk, whole up to $max" on timeout 60 "$map" talk "$prefix/m"
	fails 'a process stores and is killed' 137 on "$map" left "$prefix/m"
	check 'the next one finds all it had stored' on "$map" found "$prefix/m"
	nothing_left 'a killed process'
done
