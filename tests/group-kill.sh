#!/bin/bash
# A group of three under load, its primary killed KILLS (3) times: another one takes over, nothing that
# was acknowledged is lost or done twice, and who comes back follows.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/group.sh"
kills=${KILLS:-$(fewer 3)}
n=$((60 * (kills + 1)))

start_group
begin_load one "$n"
for ((k = 1; k <= kills; k++)); do
	UNTIL=120 until_true "load goes on ($k)" load_is_at one $((3 * k - 2))
	wait_primary
	old=$primary
	kill_member "$old"
	wait_primary "$old"
	start_member "$old"
	until_true "member $old has caught up" caught_up "$old"
done
end_load one "$n"
same_everywhere
equal 'nobody else than those killed began anew' "$kills" "$(grep -h -c 'serving in epoch' "$tmp"/metad.?.log | awk '{ n += $1 } END { print n - 1 }')"

# All at once, as when the power fails.
begin_load two 60
UNTIL=60 until_true 'load goes on' load_is_at two 1
kill -STOP "${member_pid[@]}"
for i in 1 2 3; do kill_member "$i"; done 2>/dev/null
for i in 1 2 3; do start_member "$i"; done
end_load two 60
check 'what was there before' "$drive" "$addresses" verify one "$n"
same_everywhere
