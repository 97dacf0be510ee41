#!/bin/bash
# Random operations on metad and on a local directory, as root and as two other users: every errno and
# every attribute must be equal (metad_posix.c). SEEDS says which ones, OPERATIONS how many each.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
requires_root
posix=$(find_built metad_posix) || skip 'metad_posix is not built'
[ "$(cat /proc/sys/fs/protected_symlinks)" = 0 ] && [ "$(cat /proc/sys/fs/protected_regular)" = 0 ] &&
	[ "$(cat /proc/sys/fs/protected_hardlinks)" = 1 ] ||
	skip 'this kernel is told to follow other rules for sticky directories'

chmod 755 "$tmp" # for the other users
for seed in ${SEEDS:-1 2 3 4 7 10}; do
	# Each on a namespace of its own.
	rm -rf "$tmp/metad" "$tmp/chunkd.1"
	start_metad
	start_chunkd 1
	mkdir "$tmp/local.$seed"
	chmod 1777 "$tmp/local.$seed"
	check "seed $seed" "$posix" "$metad_addr" "$tmp/local.$seed" "$seed" "${OPERATIONS:-3000}"
	kill_daemon "${chunkd_pid[1]}" TERM
	kill_daemon "$metad_pid" TERM
	equal 'exit status' 0 "$killed_status"
done
