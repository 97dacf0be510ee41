#!/bin/bash
# transport: tcp (somebody sits between the client and metad)
# After a restart, metad is told again what it had in memory only, before anything else about the file counts: one
# thread of a client is at it, and another one's fsync waits for that. What was synced then outlives the next kill.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
requires_python select
EXTEND=20

cat >"$tmp/job.py" <<'END_PY'
import os, sys, threading
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
END_PY

start_cluster 1
mkfifo "$tmp/job.in" "$tmp/job.out" "$tmp/hold.in" "$tmp/hold.out"
exec 5<>"$tmp/job.in" 6<>"$tmp/job.out" 7<>"$tmp/hold.in" 8<>"$tmp/hold.out"
/usr/bin/python3 "$srcdir/tests/hold_frames.py" "$metad_addr" $EXTEND <&7 >&8 &
pids+=($!)
read -r -t 30 -u 8 between || die 'nobody is between'
# Not by start_on, whose jobs read nothing.
FF3FS_CLIENT_METAD=$between FF3FS_CLIENT_TRANSPORTS=tcp LD_PRELOAD=${sanitizer_runtime:+$sanitizer_runtime:}$shim \
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
	echo hold >&7
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
