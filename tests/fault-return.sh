#!/bin/bash
# transport: tcp (somebody sits between the client and metad)
# After a restart, metad is told again what it had in memory only, before anything else about the file counts: one
# thread of a client is at it, and another one's fsync waits for that. What was synced then outlives the next kill.
# And nobody else gets a lock that its holder, who is back, has not taken again yet.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd flock curl
requires_python select
EXTEND=20 LOCK=43

cat >"$tmp/job.py" <<'END_PY'
import fcntl, os, sys, threading
path = sys.argv[1]
say = lambda what: print(what, flush=True)
for line in sys.stdin:
    what, name = line.split()
    if what == "write":
        fd = os.open(path + name, os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, b"x" * 4096)
        assert os.stat(path + name).st_size == 4096
        say("written")
    elif what == "look":
        threading.Thread(target=lambda: os.stat(path)).start()
    elif what == "sync":
        os.fsync(fd)
        say("synced")
    elif what == "lock":
        fcntl.flock(fd, fcntl.LOCK_EX)
        say("locked")
END_PY

FF3FS_METAD_LEASE=60s start_cluster 1
export FF3FS_METAD_LEASE=60s # longer than all of it: nothing here ends by time
mkdir "$tmp/a" "$tmp/b"
mkfifo "$tmp/none" "$tmp/job.in" "$tmp/job.out" "$tmp/hold.in" "$tmp/hold.out"
exec 5<>"$tmp/job.in" 6<>"$tmp/job.out" 7<>"$tmp/hold.in" 8<>"$tmp/hold.out"
/usr/bin/python3 "$srcdir/tests/hold_frames.py" "$metad_addr" <&7 >&8 &
pids+=($!)
read -r -t 30 -u 8 between || die 'nobody is between'
# Not by start_on, whose jobs read nothing.
XDG_RUNTIME_DIR=$tmp/a FF3FS_CLIENT_METAD=$between FF3FS_CLIENT_TRANSPORTS=tcp LD_PRELOAD=${sanitizer_runtime:+$sanitizer_runtime:}$shim \
	/usr/bin/python3 "$tmp/job.py" "$prefix/" <&5 >&6 2>"$tmp/job.err" &
pids+=($!)
ask() { echo "$*" >&5; }
answers() { # answers WHAT [SECONDS]
	local line
	read -r -t "${2:-60}" -u 6 line && [ "$line" = "$1" ]
}

# An end that metad has logged meanwhile, after a second, is not told again: then once more.
for ((i = 0; i < 10; i++)); do
	ask write "$i"
	answers written || die "no file: $(cat "$tmp/job.err")"
	echo "hold $EXTEND" >&7
	kill_daemon "$metad_pid"
	start_metad
	ask look "$i"
	read -r -t 10 -u 8 line && break
	echo go >&7
done
equal 'metad is told an end again' held "$line"
ask sync "$i"
answers synced 1 && die 'fsync has not waited for what metad has to know first'
say 'ok: fsync waits'
echo go >&7
answers synced || die "no fsync: $(cat "$tmp/job.err")"
kill_daemon "$metad_pid"
start_metad
equal 'what was synced is there' 4096 "$(on stat -c %s "$prefix/$i")"

ask lock "$i"
answers locked || die "no lock: $(cat "$tmp/job.err")"
echo "hold $LOCK" >&7
kill_daemon "$metad_pid"
start_metad
ask look "$i"
read -r -t 60 -u 8 line
equal 'metad is told a lock again' held "$line"
# Another "host": a directory of lock files of its own.
XDG_RUNTIME_DIR=$tmp/b start_on flock -n -E 9 "$prefix/$i" true
other=$started_on
asked() { curl -sf "http://$metad_admin/metrics" | grep -q '^ff3fs_metad_request_duration_seconds_count{.*op="lock".*} [1-9]'; }
for ((j = 0; j < 300; j++)); do
	asked && break
	read -r -t 0.1 <>"$tmp/none"
done
asked || die 'nobody asked for the lock'
echo go >&7
wait "$other"
equal 'nobody else has got it meanwhile' 9 $?
