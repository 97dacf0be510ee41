#!/bin/bash
# A group of three with a chunk daemon: fsck finds and repairs what all have alike, and they stay the same. Then the
# disaster: all disks of metad are lost but for a backup; it is restored on one, as ff3fs-admin(1) says, and the
# others come in empty. Members of before that are started by mistake do not serve what they have.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/group.sh"
requires ff3fs ff3fs-admin ff3fs-chunkd ff3fs-put
export FF3FS_METAD_LEASE=2s

sql() {
	/usr/bin/python3 -c '
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript(sys.argv[2])
db.commit()
db.close()' "$1" "$2" || die "sql: $2"
}
fsck() { # fsck WHAT STATUS [OPTION…]
	wait_primary
	fails "$1" "$2" ff3fs-admin --admin "${member_admin[$primary]}" fsck "${@:3}"
}
has_chunkd() { found_primary && [ "$(at 0 curl -s -m 1 "http://${member_admin[$primary]}/v1/status" | json_get chains)" = 1 ]; }

form_group 3
metad_addr=$addresses
start_chunkd 1
cluster_env
until_true 'there is a chunk daemon' has_chunkd
check 'mkdir' ff3fs mkdir "$prefix/dir"
for i in 1 2 3; do
	head -c $((i * 700000)) /dev/urandom >"$tmp/data$i"
	check 'put' ff3fs-put -q "$tmp/data$i" "$prefix/dir/data$i"
done
ino=$(on stat -c %i "$prefix/dir/data1")

# --- fsck -------------------------------------------------------------------------------------------
fsck 'a clean group' 0
fails 'a follower does not look' 8 ff3fs-admin --admin "${member_admin[$((primary % 3 + 1))]}" fsck
for i in 1 2 3; do kill_member "$i" TERM; done
for i in 1 2 3; do sql "$tmp/metad.$i/metad.db" "UPDATE inodes SET nlink = 7 WHERE ino = $ino"; done
for i in 1 2 3; do start_member "$i"; done
fsck 'damage' 4
grep -q '^wrong-links: ' "$tmp/out" || die 'no wrong-links'
fsck 'is repaired' 1 --repair
fsck 'and gone' 0
equal 'links' 1 "$(on stat -c %h "$prefix/dir/data1")"
same_everywhere

# --- The disaster -----------------------------------------------------------------------------------
wait_primary
check 'a backup' ff3fs-admin --admin "${member_admin[$primary]}" metad backup "$tmp/backup"
epoch=$(seen "$primary" epoch)
check 'a late file' ff3fs-put -q "$tmp/data2" "$prefix/late"
removed=$(on stat -c %i "$prefix/dir/data3")
check 'a late removal' ff3fs rm "$prefix/dir/data3"
check 'its chunks are gone' timeout 60 /usr/bin/python3 -c '
import sqlite3, sys, time
db = sqlite3.connect("file:%s?mode=ro" % sys.argv[1], uri=True)
waiting = "SELECT (SELECT count(*) FROM orphans) + (SELECT count(*) FROM garbage)"
while db.execute("SELECT max(ino) FROM inodes WHERE ino = %s" % sys.argv[2]).fetchone()[0] or \
        db.execute(waiting).fetchone()[0] > 0:
    time.sleep(0.02)' "$tmp/metad.$primary/metad.db" "$removed"
for i in 1 2 3; do kill_member "$i"; done
mv "$tmp/metad.2" "$tmp/old.2"
mv "$tmp/metad.3" "$tmp/old.3"
rm -rf "$tmp/metad.1"
check 'restore' ff3fs-admin metad restore "$tmp/backup" "$tmp/metad.1"
start_member 1
wait_primary
equal 'it serves alone' 1 "$primary"
[ "$(seen 1 epoch)" -gt $((epoch + 1000)) ] || die "no later epoch: $(seen 1 epoch)"

# What the others had is of before. They are a majority of what was the group.
for i in 2 3; do
	mv "$tmp/old.$i" "$tmp/metad.$i"
	start_member "$i" || die "member $i does not start"
done
for i in 2 3; do
	ended() { ! runs "$i"; }
	until_true "member $i ends" ended
	kill_member "$i"
	equal 'with status 1' 1 "$killed_status"
	grep -q 'restored from a backup since' "$tmp/metad.$i.log" || die 'no word of it'
	grep -q 'serving in epoch' <(tail -n 2 "$tmp/metad.$i.log") && die 'it served'
done
for i in 2 3; do
	rm -rf "$tmp/metad.$i"
	start_member "$i"
	until_true "member $i is admitted" admit "$i"
done
until_true 'all vote' all_vote
check 'the names of then' on cmp "$tmp/data1" "$prefix/dir/data1"
check 'what was removed since has its name' on stat "$prefix/dir/data3"
fails 'what was made since has none' 4 ff3fs stat "$prefix/late"
check 'a new file' ff3fs-put -q "$tmp/data3" "$prefix/new"
check 'its contents' on cmp "$tmp/data3" "$prefix/new"
fsck 'chunks of no file, and missing ones' 4
grep -q '^orphan-chunks: ' "$tmp/out" || { cat "$tmp/out"; die 'no chunks of the late file'; }
grep -q '^missing-chunks: ' "$tmp/out" || { cat "$tmp/out"; die 'no missing chunks'; }
fsck 'repaired, but for what is missing' 4 --repair
check 'what is missing is removed by hand' ff3fs rm "$prefix/dir/data3"
clean() { ff3fs-admin --admin "${member_admin[$primary]}" fsck >"$tmp/out" 2>&1; }
until_true 'nothing is left' clean
# Another one takes over, and has all of it.
kill_member "$primary"
wait_primary "$primary"
check 'the new file' on cmp "$tmp/data3" "$prefix/new"
same_everywhere
