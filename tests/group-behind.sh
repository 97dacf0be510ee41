#!/bin/bash
# A member that was away for longer than the log reaches back gets a copy of the database and goes on
# from there; one that was away for a moment gets what it lacks from the log; one that is slow holds
# nobody up. The log's size is bounded.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/group.sh"
export FF3FS_METAD_LOG_KEEP=0

start_group
begin_load one 20
end_load one 20
wait_primary
away=$((primary % 3 + 1))

# For a moment.
kill_member "$away"
begin_load two 20
end_load two 20
rm "$tmp/metad.$away.log"
start_member "$away"
until_true 'it has caught up by the log' caught_up "$away"
grep -q 'a copy of the database comes' "$tmp/metad.$away.log" && die 'by a copy'

# Stopped: the others go on without it, and what it does not take does not pile up.
logged() { metrics "${member_admin[$primary]}" | sed -n 's/^ff3fs_metad_log_written_bytes_total //p'; }
in_log() { curl -s -m 2 "http://${member_admin[$primary]}/v1/status" | json_get log_bytes; }
bounded() { [ "$(du -sm "$tmp/metad.$primary" | cut -f1)" -lt 400 ]; }
shorter() { [ "$(in_log)" -lt $(($(logged) - before)) ]; }
before=$(logged)
kill -STOP "${member_pid[$away]}"
check 'the others go on' timeout 60 "$drive" "$addresses" fill big 1600
until_true 'the log is bounded' bounded
until_true 'it does not reach back to where the other one stopped' shorter
kill -CONT "${member_pid[$away]}"
until_true 'it gets a copy' grep -q 'the copy is here' "$tmp/metad.$away.log"
until_true 'it has caught up' caught_up "$away"
begin_load three 20
end_load three 20
same_everywhere
equal 'and the role stayed where it was' "$primary" "$(primary)"
