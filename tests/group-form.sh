#!/bin/bash
# How a group begins: one member forms it, the others wait without a vote until they are taken in; what
# is refused; the role handed over; a member taken out and in again; a server that was alone becomes one of
# a group.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/group.sh"
requires ff3fs-admin

group_conf 3
start_member 2
start_member 3
sleep 2.1 # longer than any election takes
equal 'who has nothing has no vote' 'follower follower' "$(seen 2 role) $(seen 3 role)"
fails 'who does not serve names the primary, if it knows one' 1 "$drive" "${member_addr[2]}" check
start_member 1 --form
until_true 'all vote' all_vote
equal 'the primary' 1 "$(primary)"
equal 'followers know it' "${member_addr[1]}" "$(seen 2 primary)"
mkdir "$tmp/used" && cp "$tmp/metad.2/vote" "$tmp/used"
refuses '--form where something is' 'is not empty' env FF3FS_METAD_DIR="$tmp/used" \
	FF3FS_METAD_GROUP="$group" FF3FS_METAD_MEMBER=2 FF3FS_METAD_ADMIN=127.0.0.1:0 \
	ff3fs-metad --form
refuses 'a member that is not in the list' 'is not in \[metad\] group' env FF3FS_METAD_DIR="$tmp/none" \
	FF3FS_METAD_GROUP="$group" FF3FS_METAD_MEMBER=7 ff3fs-metad
refuses 'an election time that is none' '100ms to 60s' env FF3FS_METAD_DIR="$tmp/none" \
	FF3FS_METAD_GROUP="$group" FF3FS_METAD_MEMBER=1 FF3FS_METAD_ELECTION=5ms ff3fs-metad
refuses 'a list that is none' 'not a list' env FF3FS_METAD_DIR="$tmp/none" FF3FS_METAD_GROUP=1@x ff3fs-metad

equal 'a follower changes nothing' 409 "$(post 2 /v1/metad/members/3/remove)"
equal 'but says who does' "${member_addr[1]}" "$(json_get primary <"$tmp/post")"
admin() { ff3fs-admin --admin "${member_admin[$1]}" metad "${@:2}"; }
check 'members' admin 2 members
grep -q 'primary' "$tmp/check.out" || die "no primary: $(cat "$tmp/check.out")"
check 'hand over' admin 1 hand-over 3
wait_primary 1
equal 'to the one that was named' 3 "$primary"
until_true 'the former primary follows' is_state 3 1 voter
check 'taken out' admin 3 remove 2
equal 'that is so when it was answered' outside "$(state_of 3 2)"
fails 'there is no member 2' 4 admin 3 remove 2
sleep 0.5
equal 'it stays out' outside "$(state_of 3 2)"
check 'taken in again' admin 3 admit 2
until_true 'all vote again' all_vote
for i in 1 2 3; do kill_member "$i" TERM; equal "exit status of $i" 0 "$killed_status"; done

# One that was alone.
unset metad_addr
start_metad
"$drive" "$metad_addr" node >"$tmp/node.log" 2>&1 &
pids+=($!)
node=$!
"$drive" "$metad_addr" load before 20 >"$tmp/load.before" || die 'load'
kill_daemon "$node"
kill_daemon "$metad_pid" TERM
group_conf 2
mv "$tmp/metad" "$tmp/metad.1.new" && rm -rf "$tmp"/metad.[123] && mv "$tmp/metad.1.new" "$tmp/metad.1"
start_member 1
start_member 2
until_true 'both vote' all_vote
check 'what was there before' "$drive" "$addresses" verify before 20
same_everywhere

# Members with other times do not talk to each other, and say so.
kill_member 2
FF3FS_METAD_ELECTION=7s start_member 2
until_true 'one has another election time' grep -q -s 'they do not talk' "$tmp/metad.1.log"
kill_member 2
start_member 2
until_true 'both vote again' all_vote
