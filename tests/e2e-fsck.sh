#!/bin/bash
# ff3fs-admin fsck: nothing is found in a clean cluster, under load neither; damage of every kind,
# planted in metad's database and in a chunk daemon's index, is found, with exit statuses as fsck(8), and
# repaired where that can be; after a disaster it tells what the backup does not have.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires curl ff3fs ff3fs-admin ff3fs-metad ff3fs-chunkd ff3fs-put ff3fs-get
requires_python json sqlite3
drive=$(find_built names_drive) || skip 'names_drive is not built'
export FF3FS_METAD_LEASE=1s
start_cluster 2
export FF3FS_ADMIN=$metad_admin

# sql FILE SQL: on a database whose daemon does not run.
sql() {
	/usr/bin/python3 -c "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript(sys.argv[2])
db.commit()
db.close()" "$1" "$2" || die "sql: $2"
}
query() { /usr/bin/python3 -c "
import sqlite3, sys
for row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]): print(*row)" "$1" "$2"; }
# planted: starts what plant stopped, after damage was done to its files.
plant_metad() {
	kill_daemon "$metad_pid" TERM
	sql "$tmp/metad/metad.db" "$1"
	start_metad
}
plant_chunkd() { # N SQL
	kill_daemon "${chunkd_pid[$1]}" TERM
	sql "$tmp/chunkd.$1/index.db" "$2"
	start_chunkd "$1"
}
fsck() { # fsck WHAT STATUS [OPTION…]: and what it says is in $tmp/out
	local what=$1 want=$2
	shift 2
	fails "$what" "$want" ff3fs-admin fsck "$@"
}
# damage WHAT KIND: it must be found, repaired, and found no more.
damage() {
	fsck "$1 is found" 4
	grep -q "^$2: " "$tmp/out" || { cat "$tmp/out"; die "$1: no $2"; }
	head -n 3 "$tmp/out"
	fsck "$1 is repaired" 1 --repair
	grep -q "^$2: .*: repaired, " "$tmp/out" || { cat "$tmp/out"; die "$1: $2 was not repaired"; }
	grep -v ': repaired, ' "$tmp/out" && die "$1: something is left"
	fsck "$1 is gone" 0
}
ino() { on stat -c %i "$prefix/$1"; }

check 'mkdir' ff3fs mkdir -p "$prefix/dir/sub" "$prefix/load" "$prefix/other"
for i in 1 2 3 4 5 6; do
	head -c 3500000 /dev/urandom >"$tmp/data$i"
	check 'put' ff3fs-put -q "$tmp/data$i" "$prefix/dir/sub/data$i"
done
check 'a second name' on ln "$prefix/dir/sub/data1" "$prefix/dir/second"
check 'a link' on ln -s nowhere "$prefix/dir/link"
check 'a sparse file' on truncate -s 50M "$prefix/sparse"
check 'a file with a hole' on dd if="$tmp/data1" of="$prefix/hole" bs=1M seek=20 count=2 status=none
check 'a file promised space' on fallocate -l 5M "$prefix/promised"
printf 'some text' | on tee "$prefix/small" >/dev/null
check 'an empty one' on touch "$prefix/empty"
check 'one written twice' on sh -c "echo one >$prefix/twice; echo more >>$prefix/twice"
fsck 'a clean cluster' 0 --json
grep -q '"found":0' "$tmp/out" || { cat "$tmp/out"; die 'found'; }

# --- Under load --------------------------------------------------------------------------------------
check 'mkdir' ff3fs mkdir "$prefix/load/many"
(
	i=0
	until [ -e "$tmp/enough" ]; do
		i=$((i + 1))
		ff3fs-put -q "$tmp/data1" "$prefix/load/f$i" || exit 1
		on dd if="$tmp/data2" of="$prefix/load/g" bs=100k conv=fsync status=none || exit 1
		ff3fs mv "$prefix/load/f$i" "$prefix/other/f$i" || exit 1
		[ $i -gt 2 ] && { ff3fs rm "$prefix/other/f$((i - 2))" || exit 1; }
		on truncate -s $((i * 1000)) "$prefix/load/g" || exit 1
	done
) >"$tmp/load.out" 2>&1 &
load=$!
"$drive" make load/many 3000 8 >/dev/null 2>&1 &
making=$!
n=0
while kill -0 $making 2>/dev/null || [ $n -lt 5 ]; do
	fsck "under load, $((++n))" 0
done
wait $making || die 'make'
: >"$tmp/enough"
wait $load || { cat "$tmp/load.out"; die 'the load'; }
fsck 'after it' 0

# --- Names -----------------------------------------------------------------------------------------------
db=$tmp/metad/metad.db
one=$(ino dir/sub/data1) two=$(ino dir/sub/data2) sub=$(ino dir/sub) small=$(ino small) link=$(ino dir/link)
plant_metad "UPDATE inodes SET nlink = 7 WHERE ino = $one"
damage 'a wrong link count' wrong-links
equal 'links' 2 "$(on stat -c %h "$prefix/dir/second")"
plant_metad "UPDATE inodes SET nlink = 9 WHERE ino = $sub"
damage 'a wrong count of subdirectories' wrong-links
plant_metad "DELETE FROM dentries WHERE ino = $small"
damage 'a file without a name' no-name
equal 'it is in lost+found' 'some text' "$(on cat "$prefix/lost+found/#$small")"
plant_metad "DELETE FROM dentries WHERE ino = $sub"
damage 'a directory without a name' no-name
check 'it is in lost+found' on cmp "$tmp/data2" "$prefix/lost+found/#$sub/data2"
check 'back' ff3fs mv "$prefix/lost+found/#$sub" "$prefix/dir/sub"
plant_metad "DELETE FROM inodes WHERE ino = $(ino empty); UPDATE meta SET n_inodes = n_inodes - 1"
damage 'a name of nothing' dangling-name
plant_metad "UPDATE dentries SET type = 4 WHERE ino = $two"
damage 'a name of another type' wrong-type
plant_metad "UPDATE inodes SET parent = 1 WHERE ino = $sub"
damage 'a wrong parent' wrong-parent
plant_metad "UPDATE meta SET n_inodes = n_inodes + 3"
damage 'a wrong number of inodes' wrong-count
plant_metad "UPDATE meta SET next_ino = 3"
damage 'a wrong next number' wrong-next
plant_metad "INSERT INTO orphans VALUES (987654321, 0)"
damage 'an orphan of nothing' stale-orphan
plant_metad "INSERT INTO xattrs VALUES (987654321, x'61', x'62')"
damage 'an attribute of nothing' stray-row
plant_metad "INSERT INTO dentries VALUES (987654321, 77, x'61', $two, 8)"
damage 'a name in no directory' no-directory
plant_metad "DELETE FROM symlinks WHERE ino = $link"
fsck 'a link without a target' 4 --repair
grep -q '^no-link-target: ' "$tmp/out" || die 'no-link-target'
check 'rm' ff3fs rm "$prefix/dir/link"
fsck 'it is gone' 0

# --- Chunks ------------------------------------------------------------------------------------------------
check 'a file to be forgotten' ff3fs-put -q "$tmp/data2" "$prefix/forgotten"
lost=$(ino forgotten)
plant_metad "DELETE FROM inodes WHERE ino = $lost; DELETE FROM dentries WHERE ino = $lost;
	UPDATE meta SET n_inodes = n_inodes - 1"
damage 'chunks of no inode' orphan-chunks
check 'nothing else went' on cmp "$tmp/data2" "$prefix/dir/sub/data2"
plant_metad "UPDATE inodes SET size = 1200000 WHERE ino = $one"
damage 'chunks beyond the end' beyond-end
check 'what is left' on cmp <(head -c 1200000 "$tmp/data1") "$prefix/dir/second"
three=$(ino dir/sub/data3)
for index in 0 1 3; do
	victim=$(ino "dir/sub/data$((index + 3))")
	for n in 1 2; do plant_chunkd $n "DELETE FROM chunk WHERE ino = $victim AND idx = $index"; done
	fsck "chunk $index is missing" 4 --repair
	grep -q "^missing-chunks: inode $victim /dir/sub/data$((index + 3)): chunk $index " "$tmp/out" || { cat "$tmp/out"; die 'it is not told'; }
	equal 'and nothing else' 1 "$(wc -l <"$tmp/out")"
	check 'rm' ff3fs rm "$prefix/dir/sub/data$((index + 3))"
done
fsck 'all is well again' 0

# --- Errors ------------------------------------------------------------------------------------------------
kill_daemon "${chunkd_pid[2]}" TERM
fsck 'a target is away' 8
grep -q 'does not answer' "$tmp/err" || die 'it is not told'
start_chunkd 2
refuses '--repair with something else' 'goes with fsck' ff3fs-admin --repair status
fails 'metad away' 8 ff3fs-admin --admin "127.0.0.1:$(free_port)" fsck

# --- After a disaster ----------------------------------------------------------------------------------------
check 'backup' ff3fs-admin metad backup "$tmp/backup"
check 'a late file' ff3fs-put -q "$tmp/data3" "$prefix/late"
late=$(ino late)
check 'a late removal' ff3fs rm "$prefix/dir/sub/data2"
gone() { [ -z "$(query "$db" "SELECT 1 FROM garbage UNION SELECT 1 FROM orphans UNION SELECT 1 FROM inodes WHERE ino = $two")" ]; }
for ((i = 0; i < 300; i++)); do
	gone && break
	read -r -t 0.1 <>"$tmp/.never"
done
kill_daemon "$metad_pid"
rm -rf "$tmp/metad"
check 'restore' ff3fs-admin metad restore "$tmp/backup" "$tmp/metad"
start_metad
fsck 'what the backup does not have' 4
cat "$tmp/out"
grep -q "^orphan-chunks: inode $late: " "$tmp/out" || die 'the chunks of the late file'
grep -q "^missing-chunks: inode $two /dir/sub/data2: " "$tmp/out" || die 'the chunks of the removed file'
fsck 'repaired' 4 --repair
equal 'on both targets' 2 "$(grep -c '^orphan-chunks: .*repaired, chunks removed' "$tmp/out")"
check 'rm' ff3fs rm "$prefix/dir/sub/data2"
fsck 'all is well' 0
