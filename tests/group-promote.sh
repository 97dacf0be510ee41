#!/bin/bash
# Two members, of which one is lost: the other one is promoted by hand, goes on with everything that was acknowledged,
# and takes the first one in again. Of three, the one that is promoted may lack what the others had: it
# says from where on, and a member that has it is not mixed up with the new group.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/group.sh"
requires ff3fs-admin
admin() { ff3fs-admin --admin "${member_admin[$1]}" metad "${@:2}"; }
is_without_primary() { [ "$(seen "$1" primary)" = '' ] && [ "$(seen "$1" role)" != primary ]; }
kept_of() { sed -n 's/.*operations up to \([0-9]*\) are kept.*/\1/p' "$tmp/check.out"; }

start_group 2
begin_load one 120
UNTIL=60 until_true 'load goes on' load_is_at one 1
wait_primary
old=$primary
new=$((3 - old))
fails 'not while there is a primary' 1 admin "$new" promote
fails 'nor the primary itself' 1 admin "$old" promote
kill_member "$old"
until_true 'nobody is primary' is_without_primary "$new"
sleep 2.1 # as long as elections take
equal 'nobody takes over' '' "$(primary)"
epoch=$(seen "$new" epoch)
had=$(seen "$new" durable_seq)
check 'promoted' admin "$new" promote
equal 'what is kept' "$had" "$(kept_of)"
wait_primary "$old"
[ "$(seen "$new" epoch)" -gt "$epoch" ] || die 'no new epoch'
end_load one 120
start_member "$old"
until_true 'the other one is seen' is_state "$new" "$old" outside
equal 'it stays out' "$new" "$(primary)"
until_true 'it is admitted' admit "$old"
until_true 'both vote' all_vote
begin_load two 20
end_load two 20
check 'everything is there' "$drive" "$addresses" verify one 120
same_everywhere
for i in 1 2; do kill_member "$i" TERM; done
kill_daemon "${pids[0]}"
rm -rf "$tmp"/metad.[12]

# Of three, one that was away for a while is all that is left.
start_group 3
begin_load first 20
end_load first 20
wait_primary
left=$((primary % 3 + 1)) back=$(((primary + 1) % 3 + 1))
kill_member "$left"
begin_load lost 20
end_load lost 20
# What is committed, a member knows after its death by its database only.
check 'it has committed that' digest_of "$tmp/metad.$back" "$(seen "$primary" commit_seq)"
for i in 1 2 3; do [ "$i" = "$left" ] || kill_member "$i"; done
start_member "$left"
until_true 'nobody is primary' is_without_primary "$left"
had=$(seen "$left" durable_seq)
check 'promoted' admin "$left" promote
equal 'what is kept' "$had" "$(kept_of)"
wait_primary
check 'what it had is there' "$drive" "$addresses" verify first 20
"$drive" "$addresses" verify lost 20 >/dev/null 2>&1 && die 'what was lost is there'
begin_load since 20
end_load since 20
# One that has committed what is lost does not follow, and says so.
start_member "$back"
until_true 'it is admitted' admit "$back"
ended() { ! runs "$back"; }
until_true 'it ends' ended
kill_member "$back"
equal 'with status 1' 1 "$killed_status"
grep -q "the primary's log contradicts what was committed" "$tmp/metad.$back.log" || die 'no word of it'
equal 'the group goes on' "$left" "$(primary)"
rm -rf "$tmp/metad.$back"
start_member "$back"
until_true 'its new log is seen' is_state "$left" "$back" replaced
until_true 'it is admitted' admit "$back"
until_true 'it votes' is_state "$left" "$back" voter
check 'everything since is there' "$drive" "$addresses" verify since 20
same_everywhere
