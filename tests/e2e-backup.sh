#!/bin/bash
# Backups of metad under load, what they hold, damaged ones; and the disaster: metad's disk is lost, a
# backup is restored, everything of it is there, and no new file meets the chunks of one that was
# forgotten.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires curl ff3fs ff3fs-admin ff3fs-metad ff3fs-chunkd ff3fs-put ff3fs-get
requires_python json
drive=$(find_built names_drive) || skip 'names_drive is not built'
export FF3FS_METAD_LEASE=2s
start_cluster 2
export FF3FS_ADMIN=$metad_admin

check 'mkdir' ff3fs mkdir -p "$prefix/dir/sub" "$prefix/load"
for i in 1 2 3; do
	head -c $((i * 700000)) /dev/urandom >"$tmp/data$i"
	check 'put' ff3fs-put -q "$tmp/data$i" "$prefix/dir/sub/data$i"
done
check 'a link' on ln -s sub/data1 "$prefix/dir/link"
check 'another name' on ln "$prefix/dir/sub/data2" "$prefix/dir/second"
on setfattr -n user.color -v green "$prefix/dir/sub/data3" 2>/dev/null
"$drive" make load 3000 16 || die 'make'

# --- One under load ------------------------------------------------------------------------------------
check 'mkdir' ff3fs mkdir "$prefix/load2"
"$drive" make load2 3000 16 >"$tmp/made" 2>&1 &
making=$!
fails 'a backup under load' 0 ff3fs-admin metad backup --json "$tmp/backup"
json() { /usr/bin/python3 -c "import json; d = json.load(open('$tmp/out')); print($1)"; }
equal 'its cluster' "$(sed -n 's/.*cluster \([0-9a-f]*\)$/\1/p' "$tmp/metad.log" | head -n 1)" "$(json 'd["cluster"]')"
equal 'its size' "$(stat -c %s "$tmp/backup")" "$(json 'd["size"]')"
equal 'its mode' 600 "$(stat -c %a "$tmp/backup")"
seq=$(json 'd["seq"]')
wait $making || { cat "$tmp/made"; die 'the load'; }
cat "$tmp/made"
equal 'nothing else is left' '' "$(ls "$tmp/metad" | grep backup)$(ls "$tmp" | grep part)"
check 'mkdir' ff3fs mkdir "$prefix/dir/before"
fails 'another' 0 ff3fs-admin metad backup --json "$tmp/backup2"
[ "$(json 'd["seq"]')" -gt "$seq" ] || die 'it is of no later moment'

# --- Errors ----------------------------------------------------------------------------------------------
refuses 'a file that exists' 'File exists' ff3fs-admin metad backup "$tmp/backup"
refuses 'a directory that does not' 'No such file' ff3fs-admin metad backup "$tmp/none/backup"
refuses 'metad away' 'cannot ask' ff3fs-admin --admin "127.0.0.1:$(free_port)" metad backup "$tmp/other"
refuses 'restore into a directory in use' 'not empty' ff3fs-admin metad restore "$tmp/backup" "$tmp/metad"
refuses 'no argument' 'a file is missing' ff3fs-admin metad backup
refuses 'an unknown word' 'one of backup, restore' ff3fs-admin metad forget
for damage in 'truncate -s -1' 'truncate -s +1' 'truncate -s 5000' 'truncate -s 0' \
	'dd bs=1 seek=10000 count=1 conv=notrunc status=none if=/dev/urandom of='; do
	cp "$tmp/backup" "$tmp/damaged"
	case $damage in dd*) printf 'XY' | dd bs=1 seek=10001 conv=notrunc status=none of="$tmp/damaged" ;;
	*) $damage "$tmp/damaged" ;; esac
	refuses "restore of a damaged one (${damage:0:16})" 'not a backup' ff3fs-admin metad restore "$tmp/damaged" "$tmp/never"
	equal 'nothing was made' '' "$(ls "$tmp/never" 2>/dev/null)"
done
# Dropped meanwhile: a new one can be made.
curl -sf -X POST "http://$metad_admin/v1/metad/backup" >/dev/null || die 'POST'
refuses 'two at a time' 'being made' ff3fs-admin metad backup "$tmp/other"
curl -sf -X DELETE "http://$metad_admin/v1/metad/backup" >/dev/null || die 'DELETE'
for ((i = 0; i < 100; i++)); do
	curl -sf "http://$metad_admin/v1/metad/backup" | grep -q '"running"' || break
	curl -sf -X DELETE "http://$metad_admin/v1/metad/backup" >/dev/null
	read -r -t 0.1 <>"$tmp/.never"
done
curl -sf -X DELETE "http://$metad_admin/v1/metad/backup" | grep -q idle || die 'it is not dropped'
check 'a third' ff3fs-admin metad backup "$tmp/backup3"

# --- The disaster ------------------------------------------------------------------------------------------
# After the backup: a file is made, one is removed, one is written over, a directory is renamed.
head -c 900000 /dev/urandom >"$tmp/late"
check 'a late file' ff3fs-put -q "$tmp/late" "$prefix/late"
late_ino=$(on stat -c %i "$prefix/late")
check 'a late removal' ff3fs rm "$prefix/dir/sub/data1"
check 'a late rename' ff3fs mv "$prefix/load" "$prefix/renamed"
kill_daemon "$metad_pid"
rm -rf "$tmp/metad"
check 'restore' ff3fs-admin metad restore "$tmp/backup3" "$tmp/metad"
start_metad
equal 'the names of then' 'before link second sub' "$(on ls "$prefix/dir" | tr '\n' ' ' | sed 's/ $//')"
fails 'the late file is not among them' 4 ff3fs stat "$prefix/late"
"$drive" list load | grep '^list 3000 names' || die 'load'
"$drive" list load2 | grep '^list 3000 names' || die 'load2'
check 'contents' on cmp "$tmp/data2" "$prefix/dir/second"
check 'contents' on cmp "$tmp/data3" "$prefix/dir/sub/data3"
equal 'links' '2 sub/data1' "$(on stat -c %h "$prefix/dir/second") $(on readlink "$prefix/dir/link")"
check 'a new file' ff3fs-put -q "$tmp/data1" "$prefix/new"
new_ino=$(on stat -c %i "$prefix/new")
[ "$new_ino" -gt "$late_ino" ] || die "inode $new_ino comes again"
check 'its contents' on cmp "$tmp/data1" "$prefix/new"
# The gap was made once and for all.
[ ! -e "$tmp/metad/restored" ] || die 'restored is still there'
kill_daemon "$metad_pid"
start_metad
: >"$tmp/none"
check 'another' ff3fs-put -q "$tmp/none" "$prefix/newer"
newer_ino=$(on stat -c %i "$prefix/newer")
[ "$newer_ino" -gt "$new_ino" ] && [ "$newer_ino" -lt $((new_ino + 1000)) ] || die "inode $newer_ino after $new_ino"
