#!/bin/bash
# Changes without a pause for longer than SQLite's write-ahead log is allowed to grow: checkpoints
# must catch up while the loop goes on committing, and metad must still answer afterwards. And pages that
# cannot be read.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires curl ff3fs-metad ff3fs-chunkd timeout
requires_python os

start_cluster 1
cat >"$tmp/change.py" <<'PYTHON'
import os, sys
# Each value takes pages of its own, so that a few thousand changes pass the limit of the log.
for i in range(1500):
    path = "%s/f%d" % (sys.argv[1], i)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    os.setxattr(path, "user.x", b"%06d" % i * 10000)
for i in range(1500):
    assert os.getxattr("%s/f%d" % (sys.argv[1], i), "user.x") == b"%06d" % i * 10000, i
PYTHON
on timeout 120 /usr/bin/python3 "$tmp/change.py" "$prefix" || die 'metad does not answer any more'
checkpoints=$(curl -sf "http://$metad_admin/metrics" | sed -n 's/^ff3fs_metad_checkpoints_total //p')
[ "$checkpoints" -ge 1 ] || die 'no checkpoint: the test proves nothing'
say "ok: $checkpoints checkpoints under load"

# The database's file is mapped: a page of it that is not there ends metad in so many words, whichever of its
# threads comes to it first. (Values of attributes are not kept in memory.)
for ((i = 0; i < 4; i++)); do
	if [ $i -eq 0 ]; then
		kill_daemon "$metad_pid" TERM
		cp "$tmp/metad/metad.db" "$tmp/whole"
	else
		cp "$tmp/whole" "$tmp/metad/metad.db"
	fi
	start_metad
	truncate -s 8192 "$tmp/metad/metad.db"
	start_on /usr/bin/python3 -c 'import os, sys; os.getxattr(sys.argv[1], "user.x")' "$prefix/f700" 2>/dev/null
	wait -n -p ended "$metad_pid" "$started_on"
	status=$?
	kill -KILL "$started_on" 2>/dev/null # it waits for metad
	wait "$started_on" 2>/dev/null
	[ "$ended" = "$metad_pid" ] || die "a value that cannot be there: exit $status"
	equal 'its exit status' 1 $status
	equal 'it says why' $((i + 1)) "$(grep -c 'a page of the database cannot be read' "$tmp/metad.log")"
done
say 'ok: a file that lost its pages'
