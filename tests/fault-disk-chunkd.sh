#!/bin/bash
# A disk that fails under a chunk daemon. A read error fails that read only; a failed write takes
# the target offline: it answers errors, says so to everyone, acknowledges nothing any more, and has
# everything that it acknowledged when the disk works again. The other target goes on. A disk that
# somebody else has filled lets chunks be deleted.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/faulty-device.sh"
requires curl ff3fs-metad ff3fs-chunkd
drive=$(find_built chunkd_drive) || skip 'chunkd_drive is not built'
faulty_make 1G

start() {
	mkdir -p "$disk/target"
	FF3FS_CHUNKD_TARGETS=$disk/target:$tmp/good FF3FS_CHUNKD_CAPACITY=300M start_chunkd 1
	mapfile -t targets < <(curl -sf "http://${chunkd_admin[1]}/v1/targets" |
		sed -n 's/.*"target": "\([0-9a-f]*\)".*/\1/p')
}
state_of() { # state_of TARGET ADMIN
	curl -sf "http://$2/v1/targets" | tr -d '\n' | sed 's/}/}\n/g' | grep "\"target\": \"$1\"" |
		sed -n 's/.*"state": "\([a-z]*\)".*/\1/p'
}
metad_says_offline() { [ "$(state_of "${targets[0]}" "$metad_admin")" = offline ]; }

start_metad
faulty_attach error-pwrite-rate=100% error-file="$tmp/fail"
start
"$drive" "${chunkd_addr[1]}" "${targets[0]}" load "$tmp/journal" 1 &
load=$!
wait_for 'no progress' eval '[ "$(grep -c done "$tmp/journal")" -gt 100 ]'
: >"$tmp/fail"
wait $load
say "ok: writes failed after $(grep -c done "$tmp/journal") acknowledged ones"
equal 'the failed target' offline "$(state_of "${targets[0]}" "${chunkd_admin[1]}")"
equal 'the other one' serving "$(state_of "${targets[1]}" "${chunkd_admin[1]}")"
equal 'readyz' 503 "$(curl -s -o /dev/null -w '%{http_code}' "http://${chunkd_admin[1]}/readyz")"
equal 'the log says it once' 1 "$(grep -c 'goes offline' "$tmp/chunkd.1.log")"
wait_for 'metad is not told' metad_says_offline
say 'ok: metad knows'
fails 'the failed target answers an error' 1 "$drive" "${chunkd_addr[1]}" "${targets[0]}" check
grep -q 'offline' "$tmp/err" || die "$(cat "$tmp/err")"
check 'the other target works' "$drive" "${chunkd_addr[1]}" "${targets[1]}" check
kill_daemon "${chunkd_pid[1]}" TERM
equal 'exit status' 1 "$killed_status"
faulty_detach

rm "$tmp/fail"
faulty_attach error-pread-rate=100% error-file="$tmp/fail"
start
check 'what was acknowledged is there' "$drive" "${chunkd_addr[1]}" "${targets[0]}" verify "$tmp/journal"
equal 'serving again' serving "$(state_of "${targets[0]}" "${chunkd_admin[1]}")"
kill_daemon "${chunkd_pid[1]}" TERM
start # with an empty memory tier
: >"$tmp/fail"
echo 3 >/proc/sys/vm/drop_caches 2>/dev/null
if "$drive" "${chunkd_addr[1]}" "${targets[0]}" verify "$tmp/journal" >"$tmp/out" 2>&1; then
	say 'the host still had it in its cache: reads did not fail'
else
	rm "$tmp/fail"
	equal 'a read error is no reason to stop' serving "$(state_of "${targets[0]}" "${chunkd_admin[1]}")"
	check 'the reads work again' "$drive" "${chunkd_addr[1]}" "${targets[0]}" verify "$tmp/journal"
fi
rm -f "$tmp/fail"
kill_daemon "${chunkd_pid[1]}" TERM
equal 'exit status' 0 "$killed_status"

# Somebody else fills the disk to the last block: chunks can be read and deleted all the same.
start
check 'synced chunks' "$drive" "${chunkd_addr[1]}" "${targets[0]}" synced 4096 2000 16 5000
kill_daemon "${chunkd_pid[1]}" TERM # the index's log is gone now and must grow again
start
mkdir "$disk/filler" || die mkdir
n=0
for size in 64M 8M 1M 128K 16K 4K; do
	while fallocate -l $size "$disk/filler/$((n++))" 2>/dev/null; do :; done
done
head -c 4096 /dev/zero 2>/dev/null >"$disk/filler/last" && die 'the disk is not full'
check 'reads' "$drive" "${chunkd_addr[1]}" "${targets[0]}" verify "$tmp/journal"
check 'deletes' "$drive" "${chunkd_addr[1]}" "${targets[0]}" remove 5000 2000
grep -q '^2000 chunks' "$tmp/check.out" || die "$(cat "$tmp/check.out")"
grep -q 'giving up .*ballast' "$tmp/chunkd.1.log" || die 'without need of the ballast: proves nothing'
equal 'state' serving "$(state_of "${targets[0]}" "${chunkd_admin[1]}")"
rm -r "$disk/filler"
check 'and with space again' "$drive" "${chunkd_addr[1]}" "${targets[0]}" check
kill_daemon "${chunkd_pid[1]}" TERM
equal 'exit status' 0 "$killed_status"
faulty_detach
