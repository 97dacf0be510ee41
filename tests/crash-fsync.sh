#!/bin/bash
# fsync is about the file, not about who wrote it: one process writes and never syncs, another one, which
# wrote nothing, syncs; then the writer and every daemon are killed. Databases rely on it.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_python
requires ff3fs-metad ff3fs-chunkd

export FF3FS_CHUNKD_FLUSH=1000s # nothing becomes durable by itself meanwhile
start_cluster 3
mkfifo "$tmp/written"
cat >"$tmp/writer.py" <<'X'
import os, signal, sys
f = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.write(f, b"".join(b"%07d\n" % i for i in range(1 << 20)))
os.write(f, b"the end\n")  # small: this is gathered
open(sys.argv[2], "w").write("written")
signal.pause()
X
cat >"$tmp/syncer.py" <<'X'
import os, sys
f = os.open(sys.argv[1], os.O_RDONLY)
os.fsync(f)
X

lose() { # lose FILE [SYNC]: the writer writes, somebody syncs, and everybody dies
	local writer line
	start_on /usr/bin/python3 "$tmp/writer.py" "$prefix/$1" "$tmp/written"
	writer=$started_on
	cleanup_fn "kill -KILL $writer 2>/dev/null"
	read -r line <"$tmp/written"
	[ -z "${2:-}" ] || check "fsync by another process: $1" on /usr/bin/python3 "$tmp/syncer.py" "$prefix/$1"
	kill -KILL "$writer"
	wait "$writer" 2>/dev/null
	for n in 1 2 3; do kill_daemon "${chunkd_pid[$n]}"; done
	kill_daemon "$metad_pid"
	start_metad
	for n in 1 2 3; do start_chunkd $n; done
}
intact() {
	on /usr/bin/python3 -c '
import sys
want = b"".join(b"%07d\n" % i for i in range(1 << 20)) + b"the end\n"
sys.exit(open(sys.argv[1], "rb").read() != want)' "$prefix/$1"
}
lose synced sync
check 'everything is there' intact synced
# The end of a process closes its files, whether it does so itself or not.
on /usr/bin/python3 -c '
import os, sys
f = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.write(f, b"".join(b"%07d\n" % i for i in range(1 << 20)) + b"the end\n")
os._exit(0)' "$prefix/left" || die 'a program that leaves its file open'
for n in 1 2 3; do kill_daemon "${chunkd_pid[$n]}"; done
for n in 1 2 3; do start_chunkd $n; done
check 'a program ended with the file open' intact left
# Without the fsync it is gone: the daemons had it in memory only. (Unless killing took so long that the
# writer's own library had synced in the background.)
lose unsynced
if intact unsynced 2>/dev/null; then say "the background was faster"; else say "ok: it was the fsync"; fi
