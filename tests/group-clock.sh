#!/bin/bash
# Wall clocks that jump by an hour or a day, forwards and backwards, on each member by itself, while operations go
# on and the role changes hands: nobody is elected for that, no session ends, and the times that
# operations bear never go back.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/group.sh"
requires ${CC:-gcc}
export FF3FS_METAD_ELECTION=3s FF3FS_METAD_LEASE=20s
${CC:-gcc} -O1 -Wall -Werror -shared -fPIC -o "$tmp/wall_clock.so" "$srcdir/tests/wall_clock.c" || die 'wall_clock.c'
# jump I SECONDS
jump() {
	/usr/bin/python3 -c 'import struct, sys; sys.stdout.buffer.write(struct.pack("<q", int(sys.argv[1])))' "$2" |
		dd of="$tmp/clock.$1" conv=notrunc status=none
}
program_of() {
	printf '#!/bin/bash\nWALL_CLOCK=%s LD_PRELOAD=%s exec ff3fs-metad "$@"\n' "$tmp/clock.$1" \
		"${sanitizer_runtime:+$sanitizer_runtime:}$tmp/wall_clock.so" >"$tmp/bin/metad.$1"
	chmod +x "$tmp/bin/metad.$1"
	echo "metad.$1"
}
for i in 1 2 3; do jump "$i" 0; done

start_group
begin_load one 120
at=1
for jumps in '3600 -3600 0' '-3600 3600 86400' '0 -86400 -86400'; do
	read -r -a by <<<"$jumps"
	wait_primary
	epoch=$(seen "$primary" epoch)
	for i in 1 2 3; do jump "$i" "${by[i - 1]}"; done
	UNTIL=60 until_true "load goes on, clocks off by $jumps" load_is_at one $at
	at=$((at + 1))
	equal 'nobody was elected for that' "$epoch" "$(seen "$primary" epoch)"
	equal 'the role is handed on' 200 "$(post "$primary" "/v1/metad/hand-over/$((primary % 3 + 1))")"
	wait_primary "$primary"
done
end_load one 120
wait_primary
same_everywhere
back=$(/usr/bin/python3 -c '
import sqlite3, sys
db = sqlite3.connect("file:%s/metad.db?mode=ro" % sys.argv[1], uri=True)
times = [row[0] for row in db.execute("SELECT btime FROM inodes WHERE btime > 0 ORDER BY ino")]
assert len(times) > 200 and times[-1] - times[0] > 3000 * 10**9, "the clocks did not jump"
print(sum(a > b for a, b in zip(times, times[1:])))' "$tmp/metad.$primary") || die 'times'
equal 'times that went back' 0 "$back"
