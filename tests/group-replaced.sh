#!/bin/bash
# A member's disk is replaced by an empty one: it has no vote, and the primary does not take it in, until
# somebody says so. Meanwhile the others are no majority without each other.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/group.sh"

start_group
begin_load one 40
end_load one 40
wait_primary
other=$((primary % 3 + 1)) third=$((other % 3 + 1))
kill_member "$other"
rm -rf "$tmp/metad.$other"
start_member "$other"
until_true 'the primary sees another log' is_state "$primary" "$other" replaced
until_true 'it says so' grep -q 'a replaced disk' "$tmp/metad.$primary.log"
# With the third one away there is no majority: the replaced disk's vote counts for nothing.
kill_member "$third"
until_true 'the primary gives up' no_primary
sleep 2.1 # longer than any election takes
equal 'and nobody else begins' '' "$(primary)"
start_member "$third"
wait_primary
equal 'still outside' replaced "$(state_of "$primary" "$other")"
until_true 'it is admitted' admit "$other"
until_true 'all vote' all_vote
check 'everything is there' "$drive" "$addresses" verify one 40
same_everywhere
