#!/bin/bash
# Reads of exposed chunks: they cost the daemon no request, are never older than a write that was
# answered, end with the rights to them, and survive daemons and clients that are killed.
# transport: unix shm (exposed memory comes as descriptors)
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
. "$srcdir/tests/hot.sh"

start_cluster 2
mkfifo "$tmp/pause"
[ "$(counter hot_size)" -gt 0 ] || die "no memory for exposed chunks: $(curl -s "http://${chunkd_admin[1]}/metrics" | grep hot)"

begin reads
hears hot
before=$(requests)
[ "$(counter exposed)" -gt 0 ] || die "nothing is exposed"
echo go >&5
hears read
equal "requests for 100000 reads" "$before" "$(requests)"
echo go >&5
hears "done"
ends "reads, in pieces, in batches, by threads, in a child, with bad buffers"

check "two clients, one writes" "$hot" coherent "${ROUNDS:-2000}"
cat "$tmp/check.out"
check "who may have what" "$hot" rights

FF3FS_CLIENT_TIMEOUT=1000s begin silent
hears open
kill -STOP "$metad_pid"
echo go >&5
hears read
kill -CONT "$metad_pid"
echo go >&5
hears "done"
ends "what becomes hot is read without metad, and exposed when it is back"

# The daemon is killed; what it had exposed is read by nobody, once another one runs.
begin killed
hears hot
for n in 1 2; do kill_daemon "${chunkd_pid[$n]}"; start_chunkd $n; done
"$hot" write killed 2 || die "cannot write"
echo go >&5
hears "done"
ends "a killed daemon's memory is not read"

# One that has lost what another client holds shows nothing before it has that again.
for n in 1 2; do
	kill_daemon "${chunkd_pid[$n]}" TERM
	FF3FS_CHUNKD_FLUSH=1000s start_chunkd $n
done
begin held
hears held
for n in 1 2; do kill_daemon "${chunkd_pid[$n]}"; start_chunkd $n; done
echo go >&5
hears "done"
ends "a restarted daemon exposes nothing before it has what was held"

# A client is killed while it reads: its memory is free.
begin forever
hears hot
kill -KILL "$hot_pid"
wait "$hot_pid" 2>/dev/null
"$hot" write forever 2 || die "cannot write"
for ((i = 0; i < 100; i++)); do
	[ "$(counter lingering_bytes)" -eq 0 ] && break
	read -r -t 0.1 <>"$tmp/pause"
done
equal "memory that a killed client holds" 0 "$(counter lingering_bytes)"

# Little room.
for n in 1 2; do
	kill_daemon "${chunkd_pid[$n]}" TERM
	FF3FS_CHUNKD_HOT=4M start_chunkd $n
done
check "more chunks than room" "$hot" storm "${READS:-100000}"
cat "$tmp/check.out"
[ "$(counter expose_evictions_total)" -gt 0 ] || die "nothing had to make room"
[ "$(counter exposed_bytes)" -le $((8 << 20)) ] || die "more is exposed than there is room for"
say "ok: evictions: $(counter expose_evictions_total)"

# Without exposures nothing is different.
FF3FS_CLIENT_HOT=no fails "not if the client is told so" 1 "$hot" storm 2000
grep -q 's.reads > 0' "$tmp/err" || die "another failure: $(cat "$tmp/err")"
