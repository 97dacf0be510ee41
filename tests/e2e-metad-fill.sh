#!/bin/bash
# Names that nobody has asked for are read into memory after a start: all of them where there is room, and then no
# lookup asks the database; where there is little, not more than fit. Requests are served from the start.
# transport: none (its program makes its calls itself)
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires curl ff3fs-metad
fill=$(find_built metad_fill) || skip 'metad_fill is not built'
metric() { curl -sf "http://$metad_admin/metrics" | sed -n "s/^ff3fs_metad_$1 //p"; }
n=${NAMES:-50000}
rows=$((2 * (n + (n + 999) / 1000))) # a name and an inode of each file and directory

# filled MEMORY: starts, and waits until what has room is there.
filled() {
	rm -rf "$tmp/metad"
	mkdir "$tmp/metad"
	"$fill" fill "$tmp/metad" "$n" >/dev/null || die 'fill'
	FF3FS_METAD_MEMORY=$1 FF3FS_METAD_LEASE=2s FF3FS_METAD_READERS=0 start_metad
	for ((i = 0; i < 600; i++)); do
		[ "$(metric filling)" != 0 ] || return 0
		sleep 0.05
	done
	die 'it never ends'
}
resident() { awk '/^RssAnon/ { print $2 }' "/proc/$metad_pid/status"; }

filled 64M
got=$(metric filled_total)
# Some rows are of sets that are full, or were changed by the start.
[ "$got" -ge $((rows * 99 / 100)) ] && [ "$got" -le $((rows + 10)) ] || die "$got of $rows were taken"
say "ok: $got of $rows rows are in memory"
before=$(metric asked_total)
"$fill" look "$metad_addr" "$n" || die 'a file is not found'
asked=$(($(metric asked_total) - before))
[ "$asked" -le $((rows / 100)) ] || die "$asked names or inodes of $n files were asked for in the database"
say "ok: $n files were looked up, $asked rows asked for"
equal 'all names are known' 1 "$(metric has_all_names)"
before=$(metric asked_total)
"$fill" make "$metad_addr" 2000 || die 'a file is not made'
"$fill" make "$metad_addr" 2000 || die 'a file is not found'
equal 'what it took to know that names are new' 0 $(($(metric asked_total) - before))
kill_daemon "$metad_pid"

filled 4M
got=$(metric filled_total)
"$fill" look "$metad_addr" "$n" || die 'a file is not found'
[ "$got" -gt 1000 ] && [ "$got" -lt $((rows / 2)) ] || die "$got of $rows were taken"
equal 'all names are known' 0 "$(metric has_all_names)"
[ "$(resident)" -le $((8 << 10)) ] || die "$(resident) KiB of memory"
say "ok: with 4 MiB, $got rows, and $(resident) KiB of memory"
