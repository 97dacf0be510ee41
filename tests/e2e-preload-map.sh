#!/bin/bash
# Mappings (preload_map.c): what calls on them give is what a local directory gives, loaded whole and loaded
# when touched; forked and many-threaded readers; processes that talk through one; forks that leave them; what
# a killed one leaves; files larger than the memory for them; LMDB, SQLite, NumPy, fio.
# SCALE=full: a 20 GiB file too.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
map=$(find_built preload-map) || die 'preload-map is not built'
many=$(find_built preload-map-many) || die 'preload-map-many is not built'
leaving=$(find_built preload-map-fork) || die 'preload-map-fork is not built'

# A child past fork's handlers may end by SIGSEGV (preload_map.c), which nobody is to report about.
case ${SANITIZE_FLAGS:-} in *address*) ASAN_OPTIONS=$ASAN_OPTIONS:handle_segv=0 ;; esac
own_map_dir
mkdir "$tmp/local"
start_cluster 2
on mkdir "$prefix/m"
"$map" calls "$tmp/local" >"$tmp/want" || die 'the local run'
for max in 1G 64K; do
	[ $max = 1G ] || [ $lazily = yes ] || continue
	export FF3FS_MMAP_EAGER_MAX=$max FF3FS_MMAP_MEMORY=2M
	on "$map" calls "$prefix/m" >"$tmp/got" || die "calls, whole up to $max"
	diff "$tmp/want" "$tmp/got" || die "not what a local directory gives, whole up to $max"
	say "ok: $(wc -l <"$tmp/got") calls, whole up to $max"
	nothing_mapped calls
	check "forked readers, whole up to $max" on timeout "$(slower 60)" "$map" forks "$prefix/m"
	check "a private mapping of a part, whole up to $max" on "$map" grow "$prefix/m"
	check "threads, whole up to $max" on timeout "$(slower 60)" "$map" threads "$prefix/m"
	nothing_mapped 'forks and threads'
	check "two processes talk, whole up to $max" on timeout "$(slower 60)" "$map" talk "$prefix/m"
	fails 'a process stores and is killed' 137 on "$map" left "$prefix/m"
	check 'the next one finds all it had stored' on "$map" found "$prefix/m"
	check "four processes, one of them killed, whole up to $max" \
		on timeout "$(slower 60)" "$many" "$prefix/m" 4 "$(fewer 100)" "$tmp/model"
	check "one, killed, whole up to $max" on timeout "$(slower 60)" "$many" "$prefix/m" 1 20 "$tmp/model"
	nothing_mapped 'a killed process'
	# AddressSanitizer's malloc waits forever in a child when another thread was in it during the fork.
	if [ -n "$sanitizer_runtime" ]; then
		say 'skipped: forks beside threads that allocate, for the sanitizer'
		continue
	fi
	check "forks that leave while their parent writes, whole up to $max" \
		on timeout "$(slower 60)" "$leaving" "$prefix/m" 2
	nothing_mapped forks
done
unset FF3FS_MMAP_EAGER_MAX FF3FS_MMAP_MEMORY

# Allocators that call mmap and madvise at any time, or stand in front of libc's mmap.
for allocator in libjemalloc.so.2 libtcmalloc_minimal.so.4; do
	[ -z "$sanitizer_runtime" ] && ldconfig -p | grep -q "$allocator" || continue
	for preload in "$allocator:$shim" "$shim:$allocator"; do
		[ $lazily = yes ] && export FF3FS_MMAP_EAGER_MAX=64K
		check "forked readers with $allocator, ${preload%%:*}" \
			env LD_PRELOAD="$preload" timeout "$(slower 60)" "$map" forks "$prefix/m"
	done
done
unset FF3FS_MMAP_EAGER_MAX

# A file that is mapped whole is read as one: a request for each chunk, and no page twice.
reads() {
	local n
	for n in 1 2; do curl -sf "http://${chunkd_admin[$n]}/metrics"; done |
		awk '/^ff3fs_chunkd_request_duration_seconds_count\{.*op="chunk_read"/ { n += $NF } END { print n + 0 }'
}
if command -v curl >/dev/null; then
	on "$map" build "$prefix/m" 32 1 || die 'building'
	for type in r p; do
		before=$(reads)
		check "32 MiB mapped: $type" on "$map" large "$prefix/m" $type 1
		equal 'requests' 32 $(($(reads) - before))
	done
fi

# Without privileges: no more than what is loaded whole, or for the processor only.
plain() {
	if [ "$(id -u)" -eq 0 ]; then
		setpriv --reuid=65534 --regid=65534 --clear-groups env LD_PRELOAD="$tmp/lib/${shim##*/}" "$@"
	else
		on "$@"
	fi
}
if [ "$(id -u)" -ne 0 ] || { command -v setpriv >/dev/null && [ -z "$sanitizer_runtime" ]; }; then
	mkdir -m 755 "$tmp/lib"
	mkdir -m 1777 "$tmp/plain"
	cp "$shim" "${library%/*}"/libff3fs.so.* "$map" "$tmp/lib"
	! module=$(find_built libff3fs_verbs.so) || cp "$module" "$tmp/lib"
	chmod 755 "$tmp"
	on mkdir -m 777 "$prefix/plain"
	plain_dir=$FF3FS_MMAP_DIR
	if [ "$(id -u)" -eq 0 ]; then
		plain_dir=$(mktemp -d /dev/shm/ff3fs-map.XXXXXX) || die 'no /dev/shm'
		cleanup_fn 'rm -rf "$plain_dir"'
		chmod 1777 "$plain_dir"
	fi
	plainly() { LD_LIBRARY_PATH=$tmp/lib FF3FS_MMAP_DIR=$plain_dir plain "$@"; }
	for what in calls forks threads talk; do
		check "without privileges: $what" plainly "$tmp/lib/preload-map" $what "$prefix/plain"
	done
	check 'building' plainly "$tmp/lib/preload-map" build "$prefix/plain" 16 1
	export FF3FS_MMAP_EAGER_MAX=1M FF3FS_MMAP_MEMORY=4M
	for type in r p w; do
		FF3FS_MMAP=useronly check "for the processor only: $type" \
			plainly "$tmp/lib/preload-map" large "$prefix/plain" $type 1
		[ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" = 1 ] && continue
		fails "without privileges: $type" 1 plainly "$tmp/lib/preload-map" large "$prefix/plain" $type 1
		grep -q ENODEV "$tmp/out" || die "not ENODEV: $(cat "$tmp/out")"
	done
	unset FF3FS_MMAP_EAGER_MAX FF3FS_MMAP_MEMORY
fi

# Stores that others would not see are not what was asked for.
on cp "$map" "$prefix/nowhere"
FF3FS_MMAP_DIR=$tmp/nowhere check 'without a directory to share in' on /usr/bin/python3 -c "
import errno, mmap
with open('$prefix/nowhere', 'rb') as f:
    assert mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[:4] == b'\\x7fELF'
with open('$prefix/nowhere', 'r+b') as f:
    try:
        mmap.mmap(f.fileno(), 0)
        raise SystemExit('it is writable')
    except OSError as e:
        assert e.errno == errno.ENOMEM, e"

for ((round = 1; round <= $(fewer 3); round++)); do
	head -c 4096 /dev/zero | tr '\0' '\1' | on dd of="$prefix/grown" status=none
	start_on /usr/bin/python3 "$srcdir/tests/map_grow.py" look "$prefix/grown"
	looking=$started_on
	start_on /usr/bin/python3 "$srcdir/tests/map_grow.py" follow "$prefix/grown"
	following=$started_on
	check "made longer while others map it, $round" on /usr/bin/python3 "$srcdir/tests/map_grow.py" grow "$prefix/grown"
	wait "$looking" || die 'the one that maps'
	wait "$following" || die 'the one that looks at the end'
	on rm "$prefix/grown"
done

# Talking through other people's mappings.
if /usr/bin/python3 -c 'import lmdb' 2>/dev/null; then
	n=$(fewer 200)
	cat >"$tmp/db.py" <<'PY'
import lmdb, os, sys
d, size, writemap, who, rows = sys.argv[1], int(sys.argv[2]), sys.argv[3] == 'w', sys.argv[4], int(sys.argv[5])
e = lmdb.open(d, map_size=size, writemap=writemap, max_spare_txns=0)
for i in range(rows):
    with e.begin(write=True) as t:
        t.put(b'%s%04d' % (who.encode(), i), b'x' * 300)
        n = int(t.get(b'n', b'0'))
        t.put(b'n', b'%d' % (n + 1))
if who == 'kill':
    t = e.begin(write=True); t.put(b'lost', b'1'); os.kill(os.getpid(), 9)
PY
	for how in 'w 67108864' '- 67108864' 'w 1099511627776' '- 1099511627776'; do
		set -- $how
		[ "$2" -lt 100000000000 ] || [ $lazily = yes ] || continue
		on rm -rf "$prefix/lmdb"
		start_on /usr/bin/python3 "$tmp/db.py" "$prefix/lmdb" "$2" "$1" a "$n"
		a=$started_on
		start_on /usr/bin/python3 "$tmp/db.py" "$prefix/lmdb" "$2" "$1" b "$n"
		wait "$a" || die "LMDB $how, the first process"
		wait "$started_on" || die "LMDB $how, the second process"
		on /usr/bin/python3 "$tmp/db.py" "$prefix/lmdb" "$2" "$1" kill "$n" 2>/dev/null
		equal "LMDB $how: two processes, and a killed one" "$((3 * n)) $((3 * n + 1)) None" "$(on /usr/bin/python3 -c "
import lmdb
with lmdb.open('$prefix/lmdb', map_size=$2).begin() as t:
    print(t.get(b'n').decode(), t.stat()['entries'], t.get(b'lost'))")"
		nothing_mapped LMDB
	done
fi
if command -v sqlite3 >/dev/null; then
	db=$prefix/wal.db
	on sqlite3 "$db" 'pragma journal_mode=wal; create table t(s text);' >/dev/null
	for k in 1 2; do
		for i in {1..40}; do echo "insert into t values('$k $i');"; done |
			on sqlite3 -cmd '.timeout 20000' "$db" &
		eval "writer$k=\$!"
	done
	wait "$writer1" && wait "$writer2" || die 'two SQLite writers'
	equal 'SQLite WAL, two writers' '80|ok' \
		"$(on sqlite3 -separator '' "$db" "select count(*) from t; pragma integrity_check" | paste -sd'|')"
	nothing_mapped SQLite
fi
if /usr/bin/python3 -c 'import numpy' 2>/dev/null; then
	cat >"$tmp/np.py" <<'PY'
import numpy as np, sys
p = sys.argv[1]
a = np.arange(3 << 20, dtype='u4')
np.save(p + '.npy', a)
a.tofile(p)
for mode in 'r', 'c', 'r+':
    assert (np.memmap(p, dtype='u4', mode=mode) == a).all()
    assert (np.load(p + '.npy', mmap_mode=mode) == a).all()
c = np.memmap(p, dtype='u4', mode='c'); c[::4096] = 7
assert (np.fromfile(p, dtype='u4') == a).all()
w = np.memmap(p, dtype='u4', mode='r+'); w[::4096] += 1
a[::4096] += 1
assert (np.fromfile(p, dtype='u4') == a).all() and (c[::4096] == 7).all()
n = np.memmap(p + '.new', dtype='u4', mode='w+', shape=(1 << 20,)); n[:] = a[:1 << 20]; n.flush()
assert (np.fromfile(p + '.new', dtype='u4') == a[:1 << 20]).all()
PY
	for max in 1G 64K; do
		[ $max = 1G ] || [ $lazily = yes ] || continue
		FF3FS_MMAP_EAGER_MAX=$max FF3FS_MMAP_MEMORY=4M check "NumPy, whole up to $max" \
			on timeout "$(slower 60)" /usr/bin/python3 "$tmp/np.py" "$prefix/m/np"
	done
fi
if command -v fio >/dev/null; then
	for max in 1G 64K; do
		[ $max = 1G ] || [ $lazily = yes ] || continue
		FF3FS_MMAP_EAGER_MAX=$max check "fio, whole up to $max" on fio --name=a --directory="$prefix/m" \
			--ioengine=mmap --rw=randrw --bs=4k --size=8m --verify=crc32c --verify_fatal=1 --do_verify=1
	done
fi

# A file that is larger than memory.
[ $lazily = yes ] || { say 'skipped: pages that are loaded when touched need root'; exit 0; }
group=/sys/fs/cgroup/memory/ff3fs-map-$$
memory=64
# What a sanitizer knows of each byte is memory, too, and what has been freed for a while.
[ -z "$sanitizer_runtime" ] || memory=128 ASAN_OPTIONS=${ASAN_OPTIONS:-}:quarantine_size_mb=4
limited() { # limited COMMAND…: within $memory MiB, where that can be said
	(
		[ -d "$group" ] && echo "$BASHPID" >"$group/cgroup.procs"
		on "$@"
	)
}
if mkdir "$group" 2>/dev/null && echo ${memory}M >"$group/memory.limit_in_bytes"; then
	cleanup_fn 'rmdir "$group"'
else
	export FF3FS_MMAP_MEMORY=16M FF3FS_MMAP_EAGER_MAX=16M
	memory=16
fi
large=$(fewer 160 $((3 * memory)))
on "$map" build "$prefix/m" "$large" 1 || die 'building a large file'
for type in r p w; do
	check "$large MiB within $memory MiB of memory: $type" limited timeout 100 "$map" large "$prefix/m" $type 1
done
nothing_mapped 'a large file'
if [ "${SCALE:-}" = full ]; then
	on "$map" build "$prefix/m" 20480 4096 || die 'building a 20 GiB file'
	# its page tables alone are 40 MiB, and every 97th page is stored to
	[ -d "$group" ] && echo 512M >"$group/memory.limit_in_bytes"
	for type in r p; do
		check "20 GiB within 512 MiB of memory: $type" limited "$map" large "$prefix/m" $type 4096
	done
fi
unset FF3FS_MMAP_MEMORY
exit 0
