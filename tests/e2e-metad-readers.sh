#!/bin/bash
# Threads that read the database for metad: what was acknowledged is seen by all others at once (metad_coherent.c);
# with none of them it is, too; and mistakes planted into a copy, of not asking what has changed since, are found.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires curl ff3fs-metad ff3fs-chunkd
coherent=$(find_built metad_coherent) || skip 'metad_coherent is not built'
# Little memory: most of what is asked for is not there.
export FF3FS_METAD_MEMORY=1M
metric() { curl -sf "http://$metad_admin/metrics" | sed -n "s/^ff3fs_metad_$1 //p"; }

# run SECONDS: the exit status is the program's.
run() {
	start_metad
	start_chunkd
	"$coherent" "$metad_addr" "$1" >"$tmp/out" 2>"$tmp/err"
}
stop_metad() {
	kill_daemon "$metad_pid" TERM
	[ "$killed_status" -eq 0 ] || die 'metad did not end well'
	kill_daemon "${chunkd_pid[1]}"
	rm -rf "$tmp/metad" "$tmp/chunkd.1"
}

run "${COHERENCE:-5}" || { cat "$tmp/err"; die 'something old was answered'; }
say "ok: $(cat "$tmp/out")"
equal 'there is a reader' yes "$([ "$(metric readers)" -ge 1 ] && echo yes)"
for what in lookups listings changed; do
	n=$(metric "reader_${what}_total")
	[ "$n" -gt 0 ] || die "no ${what} were readers': nothing was tried"
	say "ok: $n $what of readers"
done
stop_metad

export FF3FS_METAD_READERS=0
run 2 || { cat "$tmp/err"; die 'something old was answered'; }
say "ok: without readers, $(cat "$tmp/out")"
equal 'there is none' 0 "$(metric readers)"
equal 'nothing was theirs' 0 "$(metric reader_lookups_total)"
stop_metad
unset FF3FS_METAD_READERS

# --- Planted ---------------------------------------------------------------------------------------------
[ -z "${SANITIZE_FLAGS:-}" ] || exit 0
objects=$builddir/metad
[ -f "$objects/ff3fs_metad-readers.o" ] || exit 0 # not a build directory
command -v "${CC:-gcc}" >/dev/null || exit 0

# plant NAME FILE SED: the daemon with this edit must be found out.
plant() {
	local name=$1 file=$2 edit=$3 o keep=()
	cp "$srcdir/metad/$file.c" "$tmp/$file.c"
	sed -i -E "$edit" "$tmp/$file.c"
	! cmp -s "$tmp/$file.c" "$srcdir/metad/$file.c" || die "the edit finds nothing to change in $file.c"
	${CC:-gcc} -std=gnu11 -O1 -w -D_GNU_SOURCE -iquote "$srcdir/metad" -I"$objects" -c -o "$tmp/planted.o" "$tmp/$file.c" ||
		die "$name: it does not build"
	for o in "$objects"/ff3fs_metad-*.o; do
		[ "$(basename "$o")" = "ff3fs_metad-$file.o" ] || keep+=("$o")
	done
	mkdir -p "$tmp/planted"
	${CC:-gcc} -o "$tmp/planted/ff3fs-metad" "$tmp/planted.o" "${keep[@]}" -Wl,--start-group "$objects"/../.libs/libff3metad.a \
		"$objects"/../.libs/libff3server.a "$objects"/../.libs/libff3admin.a "$objects"/../.libs/libff3base.a \
		-Wl,--end-group \
		-ljansson -lmicrohttpd -lnettle -lisal -lsqlite3 -lsystemd -luring -lpthread || die "$name: it does not link"
	PATH=$tmp/planted:$PATH run 10 && die "$name: not found"
	say "ok: $name: $(tail -n 1 "$tmp/err")"
	stop_metad
}
plant 'inodes are believed' db_reader 's/db->changed\[inode_slot\(rows->inode\[i\]\.ino\)\] <= rows->seq/true/'
plant 'names are believed' db_reader 's/db->changed\[name_slot\(e->hash\)\] <= rows->seq/true/'
plant 'attributes of a page are believed' serve_readdir 's/metad_db_inode_changed\(m->db, ino\) <= seq \&\& //'
plant 'names of a page are believed' readers 's/metad_db_entries_changed\(m->db, q->ino\) > metad_db_committed_seq\(m->db\)/false/; s/\|\| job->seq < job->changed//'
