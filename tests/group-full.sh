#!/bin/bash
# A primary whose disk has no room for more than two segments of the log: it goes on, since what is in a
# checkpoint makes room. A disk that takes nothing at all any more ends it, and another one takes over.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_root
. "$srcdir/tests/group.sh"

mkdir "$tmp/metad.1"
mount -t tmpfs -o size=64M,mode=700 none "$tmp/metad.1" || skip 'no tmpfs'
cleanup_fn 'umount -l "$tmp/metad.1"'
start_group
equal 'the small disk is the primary' 1 "$(primary)"
check 'more log than fits' timeout 55 "$drive" "$addresses" fill big 1200
wait_primary
same_everywhere
if [ "$primary" = 1 ]; then
	# The next vote or the next page of the database finds no room.
	dd if=/dev/zero of="$tmp/metad.1/ballast" bs=1M >/dev/null 2>&1
	"$drive" "$addresses" fill more 600 >"$tmp/more.log" 2>&1 &
	pids+=($!)
	ended() { ! runs 1; }
	until_true 'it ends' ended
	kill_member 1
	equal 'with status 1' 1 "$killed_status"
	wait_primary
	begin_load after 20
	end_load after 20
fi
