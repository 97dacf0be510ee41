#!/bin/bash
# Damage of one member's log: a torn tail is cut off, and what was acknowledged is there; a bit that
# flipped in the middle costs the member its vote until it has got the records from the others again.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/group.sh"

# damage DIR torn: half of a batch behind the last one of the newest segment with records; middle: a bit of a
# batch among those that the database lacks. A checkpoint may have given it all: then nothing is printed.
damage() {
	/usr/bin/python3 - "$1" "$2" <<'PY'
import glob, os, sqlite3, struct, sys
where, what = sys.argv[1:]
# What was applied since the last checkpoint has to be in the log: the database becomes an older one.
for name in glob.glob(where + '/metad.db-wal') + glob.glob(where + '/metad.db-shm'):
    os.unlink(name)
db = sqlite3.connect('file:%s/metad.db?immutable=1' % where, uri=True)
applied, = db.execute('SELECT applied_seq FROM meta').fetchone()
db.close()
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
        first, = struct.unpack_from('<Q', data, at + 40)
        n, = struct.unpack_from('<I', data, at + 48)
        if n > 0 and (what == 'torn' or first > applied + 1):
            batches.append((at, length, n))
        at += (length + 4095) // 4096 * 4096
    if batches and (best is None or number > best[0]):
        best = (number, name, batches, at)
if best is None or len(best[2]) < 3:
    sys.exit(0)
number, name, batches, end = best
with open(name, 'r+b') as f:
    if what == 'torn':
        # One that was being written: half of it is there, behind the last.
        at, length, n = batches[-1]
        f.seek(at)
        data = f.read(length)
        f.seek(end)
        f.write(data[:64 + (length - 64) // 2] + bytes(length - 64 - (length - 64) // 2))
    else:
        at, length, n = batches[len(batches) // 2]
        f.seek(at + 64 + 100)
        byte = f.read(1)
        f.seek(at + 64 + 100)
        f.write(bytes([byte[0] ^ 4]))
print(name, at, length, n, 'applied', applied)
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
	where=$(damage "$tmp/metad.$victim" $what)
	for ((more = 0; more < 5 && ${#where} == 0; more++)); do
		start_member "$victim"
		begin_load "more-$what-$more" 20
		end_load "more-$what-$more" 20
		until_true 'it has that, too' caught_up "$victim"
		kill_member "$victim"
		where=$(damage "$tmp/metad.$victim" $what)
	done
	[ -n "$where" ] || die 'the database has everything'
	say "damage: $where"
	rm -f "$tmp/metad.$victim.log"
	start_member "$victim"
	until_true "$what: it has caught up" caught_up "$victim"
	if [ $what = middle ]; then
		grep -q 'this one has no vote' "$tmp/metad.$victim.log" || die 'the damage was not noticed'
		is_whole() { [ "$(seen "$victim" damaged)" = false ]; }
		until_true 'it is whole again' is_whole
	else
		grep -q 'this one has no vote' "$tmp/metad.$victim.log" && die 'a torn tail is no damage'
	fi
	begin_load "after-$what" 20
	end_load "after-$what" 20
done
check 'everything is there' "$drive" "$addresses" verify one 100
same_everywhere
