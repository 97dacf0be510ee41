#!/bin/bash
# A primary that is stopped (SIGSTOP): the others elect another one; when it goes on it answers nothing,
# neither reads nor what it had not committed, and follows.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/group.sh"

start_group
begin_load one 120
for k in 1 2; do
	UNTIL=60 until_true "load goes on ($k)" load_is_at one $((2 * k - 1))
	wait_primary
	old=$primary pid=${member_pid[$primary]}
	# A reader that is connected to it, and whom it may not answer once another one serves.
	"$drive" "${member_addr[$old]}" stale "$addresses" >"$tmp/stale" 2>&1 &
	stale=$!
	UNTIL=20 until_true 'the reader reads' grep -q -s reading "$tmp/stale"
	kill -STOP "$pid"
	wait_primary "$old"
	UNTIL=20 until_true 'the new value is written' grep -q -s written "$tmp/stale"
	kill -CONT "$pid"
	wait "$stale" || { cat "$tmp/stale"; die 'a stale answer'; }
	say 'ok: no stale answer'
	until_true "member $old follows" grep -q -s "no more; beginning anew" "$tmp/metad.$old.log"
	equal 'it is the same process' "$pid" "${member_pid[$old]}"
	until_true "member $old has caught up" caught_up "$old"
done
end_load one 120
same_everywhere
