#!/bin/bash
# The disk of one member fails every write from some moment on, first under the primary, then under a follower: it
# ends, having acknowledged nothing that it could not keep, and is not tried again; the others go on. With a
# disk that works again it is back, and has everything.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/faulty-device.sh"
. "$srcdir/tests/group.sh"
faulty_make 512M

faulty_attach error-pwrite-rate=100% error-file="$tmp/fail"
mkdir "$disk/metad.1"
ln -s "$disk/metad.1" "$tmp/metad.1"
start_group
for role in primary follower; do
	wait_primary
	if [ $role = primary ] && [ "$primary" != 1 ]; then
		equal 'it gets the role' 200 "$(post "$primary" /v1/metad/hand-over/1)"
	elif [ $role = follower ] && [ "$primary" = 1 ]; then
		equal 'it gives the role away' 200 "$(post 1 /v1/metad/hand-over)"
	fi
	is_role() { [ "$(seen 1 role)" = $role ]; }
	until_true "member 1 is the $role" is_role
	begin_load "$role" 200
	UNTIL=60 until_true "load goes on ($role)" load_is_at "$role" 1
	: >"$tmp/fail"
	ended() { ! runs 1; }
	until_true 'it ends' ended
	kill_member 1
	equal 'exit status' 1 "$killed_status"
	grep -q 'Input/output error\|Read-only file system' "$tmp/metad.1.log" || die 'no word of it'
	equal 'it says it once' 1 "$(grep -c 'ending, since going on could lose data' "$tmp/metad.1.log")"
	faulty_detach
	end_load "$role" 200
	begin_load "without-$role" 20
	end_load "without-$role" 20
	rm "$tmp/fail" "$tmp/metad.1.log"
	faulty_attach error-pwrite-rate=100% error-file="$tmp/fail"
	start_member 1
	until_true 'it is back' caught_up 1
done
for role in primary follower; do
	check "everything of $role is there" "$drive" "$addresses" verify $role 200
done
same_everywhere
kill_member 1 TERM
faulty_detach
