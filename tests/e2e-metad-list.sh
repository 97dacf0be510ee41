#!/bin/bash
# [client] metad, [chunkd] metad and --metad as lists: members that are dead, stopped, unknown to the resolver or of
# another cluster cost a moment or are named in the error, and what does not fail costs nothing.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs ff3fs-put ff3fs-get
requires_python os

dead=127.0.0.1:$(free_port)
start_metad
right=$metad_addr right_pid=$metad_pid
metad_addr="$dead, no-such-host.invalid:9734 ,$right" start_chunkd 1
export FF3FS_CLIENT_METAD=$right
check 'a file' ff3fs-put "$0" /ff3fs/file
check 'chunkd found the one that is there' ff3fs-get /ff3fs/file "$tmp/copy"
cmp "$0" "$tmp/copy" || die 'other bytes'

# Of the program, and of the shim.
for list in "$dead,$right" "$dead $right" "no-such-host.invalid:9734, $dead, $right" "$right,$dead"; do
	check "the list $list" env FF3FS_CLIENT_METAD="$list" LD_PRELOAD="$shim" cmp "$0" /ff3fs/file
	check "--metad=$list" ff3fs stat --metad="$list" /ff3fs/file
done
fails 'a list that is none' 1 env FF3FS_CLIENT_METAD="$right,nonsense" ff3fs stat /ff3fs/file
grep -q 'expected host:port' "$tmp/err" || die "$(cat "$tmp/err")"

# Nobody of the others is asked as long as one answers. (Over shared memory, and in an emulated machine, it depends on
# who waits how long.)
if command -v strace >/dev/null && [ "$(slower 1)" -eq 1 ]; then
	calls() { # calls LIST: system calls of 500 stats
		strace -f -o "$tmp/trace" -E LD_PRELOAD="$shim" -E FF3FS_CLIENT_METAD="$1" -E FF3FS_CLIENT_TRANSPORTS=tcp /usr/bin/python3 -c '
import os
for i in range(500): os.stat("/ff3fs/file")' && grep -c '(' "$tmp/trace"
	}
	one=$(calls "$right") three=$(calls "$right,$dead,127.0.0.1:1")
	[ "$one" -gt 1000 ] && [ "$three" -lt $((one + 25)) ] || die "$one system calls with one, $three with three"
	say "ok: $one system calls with one, $three with a list of three"
fi

# Nobody is there: the deadline, and what is wrong with each.
fails 'nobody is there' 5 ff3fs stat --timeout 1s --metad "$dead, no-such-host.invalid:9734" /ff3fs/file
for word in "cannot reach metad at $dead: Connection refused" 'no-such-host.invalid:9734: '; do
	grep -q "$word" "$tmp/err" || die "does not say '$word': $(cat "$tmp/err")"
done
say 'ok: it says what is wrong with each'

# One that was stopped: its kernel takes connections, and it says nothing.
metad_addr='' metad_admin=''
FF3FS_METAD_DIR=$tmp/stopped start_metad
stopped=$metad_addr stopped_pid=$metad_pid
kill -STOP "$stopped_pid"
begun=${EPOCHREALTIME/./}
check 'the first of the list is stopped' ff3fs stat --metad "$stopped,$right" /ff3fs/file
ms=$(((${EPOCHREALTIME/./} - begun) / 1000))
[ "$ms" -lt "$(slower 4000)" ] || die "that took $ms ms"
kill -CONT "$stopped_pid"

# It is of another cluster. Chunk daemons know theirs, and go on to the one that is right.
kill_daemon "${chunkd_pid[1]}" TERM
metad_addr="$stopped,$right" start_chunkd 1
check 'chunkd went past another cluster' ff3fs-get /ff3fs/file "$tmp/copy2"
kill_daemon "${chunkd_pid[1]}" TERM
: >"$tmp/chunkd.1.log"
FF3FS_CHUNKD_TARGETS=$tmp/chunkd.1 FF3FS_CHUNKD_LISTEN=127.0.0.1:0 FF3FS_CHUNKD_ADMIN=127.0.0.1:0 \
	FF3FS_CHUNKD_MEMORY=64M FF3FS_CHUNKD_METAD=$stopped ff3fs-chunkd >"$tmp/chunkd.1.log" 2>&1 </dev/null
equal 'only another cluster: the daemon ends' 1 $?
grep -q 'another cluster' "$tmp/chunkd.1.log" || die 'and does not say why'

# A process stays with the cluster it began with.
metad_addr=$right start_chunkd 1
mkfifo "$tmp/go" "$tmp/said"
FF3FS_CLIENT_TIMEOUT=$(slower 3)s FF3FS_CLIENT_METAD="$right,$stopped" LD_PRELOAD="$shim" /usr/bin/python3 -c '
import os, sys
os.stat("/ff3fs/file")
print("ready", flush=True)
sys.stdin.readline()
try:
    os.stat("/ff3fs/file")
    print("nothing")
except OSError as e:
    print("errno", e.errno)' <"$tmp/go" >"$tmp/said" &
stays=$!
exec 7>"$tmp/go" 8<"$tmp/said"
read -r -t 30 line <&8
equal 'the process' ready "$line"
kill_daemon "$right_pid" KILL
echo >&7
read -r -t 30 line <&8
case $line in
errno*) say "ok: it fails ($line) rather than go over to another cluster" ;;
*) die "it went over to another cluster: $line" ;;
esac
exec 7>&- 8<&-
wait $stays
