#!/bin/bash
# Two servers and a witness: either server may fail; the witness votes, has no database, and never serves.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/group.sh"

start_group 3 witness
begin_load one 40
end_load one 40
for k in 1 2; do
	wait_primary
	old=$primary
	kill_member "$old"
	wait_primary "$old"
	equal 'the other server' $((3 - old)) "$primary"
	begin_load "after$k" 20
	end_load "after$k" 20
	start_member "$old"
	until_true 'it has caught up' caught_up "$old"
done
equal 'the witness is one' witness "$(seen 3 role)"
[ -e "$tmp/metad.3/metad.db" ] && die 'the witness has a database'
# It goes on by what it has on disk.
kill_member 3
start_member 3
until_true 'the witness has caught up' caught_up 3
wait_primary
old=$primary
kill_member "$old"
wait_primary "$old"
check 'everything is there' "$drive" "$addresses" verify one 40
grep -q serving "$tmp/metad.3.log" && die 'the witness served'
exit 0
