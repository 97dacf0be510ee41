#!/bin/bash
# A member whose database has become another one than the primary's (here by hand) ends and says so as soon
# as an operation has another result on it; the others go on. Nobody takes it in again but by hand.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/group.sh"

start_group
begin_load one 20
end_load one 20
wait_primary
bad=$((primary % 3 + 1))
kill_member "$bad" TERM
/usr/bin/python3 - "$tmp/metad.$bad/metad.db" <<'PY' || die 'cannot change the database'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
# New files get the directory's group.
assert db.execute('UPDATE inodes SET gid = 4242, mode = mode | 1024 WHERE ino = 1').rowcount == 1
db.commit()
PY
start_member "$bad"
until_true 'it follows' caught_up "$bad"
begin_load two 20
gone() { ! kill -0 "${member_pid[$bad]}" 2>/dev/null || ! runs "$bad"; }
until_true 'it ends' gone
kill_member "$bad"
equal 'with status 1' 1 "$killed_status"
grep -q "another one than the primary's" "$tmp/metad.$bad.log" || die 'no word of it'
end_load two 20
rm -rf "$tmp/metad.$bad"
start_member "$bad"
until_true 'its new log is seen' is_state "$primary" "$bad" replaced
until_true 'it is admitted' admit "$bad"
until_true 'all vote' all_vote
same_everywhere
