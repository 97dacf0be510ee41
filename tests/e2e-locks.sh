#!/bin/bash
# Locks exclude: between processes, between hosts (which here are processes with different directories
# of lock files), over exec, over the end of a passer-by, over metad's restart; and end with a killed
# process.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd flock
requires_python sqlite3
FF3FS_METAD_LEASE=2s start_cluster 1
mkdir "$tmp/a" "$tmp/b"
file=$prefix/file

a() { XDG_RUNTIME_DIR=$tmp/a on "$@"; }
b() { XDG_RUNTIME_DIR=$tmp/b on "$@"; }

a /usr/bin/python3 "$srcdir/tests/lock_hosts.py" "$file" "$tmp/a" "$tmp/b" || die "locks between hosts"
case ${SANITIZE_FLAGS:-} in
*thread*) ;; # calls handlers later
*) check "a signal while a keeper is asked" a timeout 60 /usr/bin/python3 "$srcdir/tests/lock_signal.py" "$file"
esac

# A shell holds a lock that flock(1) took for it; closing the descriptor gives it back.
export file tmp
a bash -c '
	exec 9>"$file"
	flock 9
	XDG_RUNTIME_DIR=$tmp/b flock -n "$file" true && exit 1
	XDG_RUNTIME_DIR=$tmp/a flock -n "$file" true && exit 2
	exec 9>&-
	XDG_RUNTIME_DIR=$tmp/b flock -w 20 "$file" true || exit 3' ||
	die "a lock that flock(1) took for its parent: $?"
say "ok: a lock that flock(1) took for its parent"

# A program that takes the locker's place goes on having it.
a flock -F "$file" bash -c '
	XDG_RUNTIME_DIR=$tmp/b flock -n "$file" true && exit 1
	XDG_RUNTIME_DIR=$tmp/a flock -n "$file" true && exit 2
	exit 0' || die "a lock over exec: $?"
b flock -w 20 "$file" true || die "a lock over exec was never given back"
say "ok: a lock over exec"

# Held over metad's restart by a process that sleeps meanwhile; nobody else gets it.
mkfifo "$tmp/ready" "$tmp/go"
XDG_RUNTIME_DIR=$tmp/a start_on /usr/bin/python3 -c '
import fcntl, sys
f = open(sys.argv[1], "r+")
fcntl.flock(f, fcntl.LOCK_EX)
open(sys.argv[2], "w").write("held\n")
open(sys.argv[3]).read()' "$file" "$tmp/ready" "$tmp/go"
holder=$started_on
cleanup_fn 'kill -KILL $holder 2>/dev/null'
read -r line <"$tmp/ready"
kill_daemon "$metad_pid"
FF3FS_METAD_LEASE=5s start_metad # by then its holder is back
fails "another host is refused after metad's restart" 1 b timeout 60 flock -n "$file" true
# A killed holder: its lock ends with its session's lease.
kill -KILL "$holder"
wait "$holder" 2>/dev/null
check "a killed holder's lock ends" b flock -w 30 "$file" true
# A server that was killed and is back makes the first lock wait, not fail, if somebody who held one has
# not come back: not for who changed something or had a lock and gave it back. After a good end nobody waits.
cat >"$tmp/record.py" <<'X'
import fcntl, sys
fcntl.lockf(open(sys.argv[1], "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)
X
record="/usr/bin/python3 $tmp/record.py"
# hold: somebody holds it; gone: killed while metad is away, which then is back with a lease of $1.
hold() {
	XDG_RUNTIME_DIR=$tmp/a start_on /usr/bin/python3 -c '
import fcntl, sys
f = open(sys.argv[1], "r+")
fcntl.lockf(f, fcntl.LOCK_EX)
open(sys.argv[2], "w").write("held\n")
open(sys.argv[3]).read()' "$file" "$tmp/ready" "$tmp/go"
	holder=$started_on
	read -r line <"$tmp/ready"
}
gone() {
	kill_daemon "$metad_pid"
	kill -KILL "$holder"
	wait "$holder" 2>/dev/null
	FF3FS_METAD_LEASE=$1 start_metad
}
hold
gone 3s
check "the first lock after a holder was lost" b timeout 60 $record "$file"
# In the log, too, it has gone by then.
check "who was lost is forgotten" timeout 30 /usr/bin/python3 -c '
import sqlite3, sys, time
db = sqlite3.connect("file:%s?mode=ro" % sys.argv[1], uri=True)
while db.execute("SELECT count(*) FROM results WHERE seq = 0").fetchone()[0] > 0:
    time.sleep(0.02)' "$tmp/metad/metad.db"
kill_daemon "$metad_pid" TERM
FF3FS_METAD_LEASE=60s start_metad
check "the first lock after a good end" b timeout 10 $record "$file"
check "somebody makes a file" b touch "$file.other"
kill_daemon "$metad_pid"
FF3FS_METAD_LEASE=60s start_metad
check "nobody held one: nobody is waited for" b timeout 10 $record "$file"
hold
gone 60s
fails "somebody did" 124 b timeout 3 $record "$file"
say "locks hold"
