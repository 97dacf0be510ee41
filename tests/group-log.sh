#!/bin/bash
# Damage of one member's log: a torn tail is cut off, and what was acknowledged is there; a bit that
# flipped in the middle costs the member its vote until it has got the records from the others again.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/group.sh"

# The newest segment with records of dir $1; flips a byte of the last batch (torn) or of an early one.
damage() {
	/usr/bin/python3 - "$1" "$2" <<'PY'
import struct, sys, glob
where, what = sys.argv[1:]
best = None
for name in glob.glob(where + '/log-*'):
    data = open(name, 'rb').read()
    if data[:4] != b'FF3L':
        continue
    number = struct.unpack_from('<Q', data, 24)[0]
    batches, at = [], 4096
    while at < len(data):
        magic, _, length = struct.unpack_from('<4sII', data, at)
        if magic != b'FF3B' or struct.unpack_from('<Q', data, at + 24)[0] != number:
            break
        n = struct.unpack_from('<I', data, at + 48)[0]
        batches.append((at, length, n))
        at += (length + 4095) // 4096 * 4096
    if batches and (best is None or number > best[0]):
        best = (number, name, batches)
number, name, batches = best
full = [b for b in batches if b[2] > 0]
with open(name, 'r+b') as f:
    if what == 'torn':
        # One that was being written: half of it is there, behind the last.
        at, length, n = batches[-1]
        end = at + (length + 4095) // 4096 * 4096
        at, length, n = full[-1]
        f.seek(at); data = f.read(length)
        f.seek(end); f.write(data[:64 + (length - 64) // 2] + bytes(length - 64 - (length - 64) // 2))
    else:
        at, length, n = full[len(full) // 2]
        f.seek(at + 64 + 100); byte = f.read(1)
        f.seek(at + 64 + 100); f.write(bytes([byte[0] ^ 4]))
print(name, at, length, n)
PY
}

start_group
begin_load one 100
end_load one 100
until_true 'all have everything' settled
for what in torn middle; do
	wait_primary
	victim=$((primary % 3 + 1))
	kill_member "$victim"
	say "damage: $(damage "$tmp/metad.$victim" $what)"
	rm -f "$tmp/metad.$victim.log"
	# Its database has all of it: only what was applied since the last checkpoint has to be in the log, so
	# an older one is put in its place.
	/usr/bin/python3 - "$tmp/metad.$victim" <<'PY' || die 'cannot make the database older'
import glob, os, sys
for name in glob.glob(sys.argv[1] + '/metad.db-wal') + glob.glob(sys.argv[1] + '/metad.db-shm'):
    os.unlink(name)
PY
	start_member "$victim"
	until_true "$what: it has caught up" caught_up "$victim"
	if [ $what = middle ]; then
		grep -q 'this one has no vote' "$tmp/metad.$victim.log" || die 'the damage was not noticed'
		is_whole() { [ "$(seen "$victim" damaged)" = False ]; }
		until_true 'it is whole again' is_whole
	else
		grep -q 'this one has no vote' "$tmp/metad.$victim.log" && die 'a torn tail is no damage'
	fi
	begin_load "after-$what" 20
	end_load "after-$what" 20
done
check 'everything is there' "$drive" "$addresses" verify one 100
same_everywhere
