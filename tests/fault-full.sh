#!/bin/bash
# A full disk: writers are told ENOSPC, what was stored before is intact, deleting makes room. Once
# with a configured capacity, once (as root) on a small file system that is really full.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs ff3fs-put ff3fs-get
requires_python

full_cycle() {
	local what=$1 i n
	head -c 5000000 /dev/urandom >"$tmp/keep"
	check "$what: before" ff3fs-put "$tmp/keep" "$prefix/keep"
	on /usr/bin/python3 - "$prefix" >"$tmp/fill" <<-'PYTHON' || { cat "$tmp/fill"; die "$what: filling"; }
		import errno, os, sys
		P, piece = sys.argv[1], os.urandom(1 << 20)
		os.mkdir(P + '/fill')
		for i in range(2000):
		    try:
		        fd = os.open('%s/fill/%d' % (P, i), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
		        try:
		            os.write(fd, piece)
		            os.fsync(fd)
		        finally:
		            os.close(fd)
		    except OSError as e:
		        if e.errno != errno.ENOSPC:
		            raise
		        print(i)
		        break
		else:
		    raise SystemExit('2 GB went into a small disk')
		for k in range(i):
		    if open('%s/fill/%d' % (P, k), 'rb').read() != piece:
		        raise SystemExit('file %d was acknowledged and has other bytes' % k)
	PYTHON
	n=$(cat "$tmp/fill")
	[ "$n" -ge 8 ] || die "$what: full after $n MiB"
	say "ok: $what: ENOSPC after $n MiB, all of them intact"
	refuses "$what: put" 'no space' ff3fs-put "$tmp/keep" "$prefix/more"
	equal "$what: exit code" 8 "$refused_status"
	fails "$what: a failed put leaves nothing" 4 ff3fs stat "$prefix/more"
	rm -f "$tmp/back"
	check "$what: what was there" ff3fs-get "$prefix/keep" "$tmp/back"
	check "$what: is equal" cmp "$tmp/keep" "$tmp/back"
	check "$what: deleting works" ff3fs rm -r "$prefix/fill"
	# Chunks are collected in the background; a put waits for room no longer than this.
	for ((i = 0; i < 100; i++)); do
		ff3fs-put "$tmp/keep" "$prefix/again" 2>"$tmp/err" && break
		grep -q -i 'no space' "$tmp/err" || { cat "$tmp/err"; die "$what: put after delete"; }
		read -r -t 0.2 <>"$tmp/.never"
	done
	[ $i -lt 100 ] || die "$what: no room after everything was deleted"
	rm -f "$tmp/back"
	check "$what: a new file" ff3fs-get "$prefix/again" "$tmp/back"
	check "$what: is equal" cmp "$tmp/keep" "$tmp/back"
}

FF3FS_CHUNKD_CAPACITY=128M start_cluster 1
full_cycle 'capacity'
kill_daemon "$metad_pid" TERM
kill_daemon "${chunkd_pid[1]}" TERM
rm -rf "$tmp/metad" "$tmp/chunkd.1"

if [ "$(id -u)" -eq 0 ] && command -v mkfs.ext4 >/dev/null; then
	truncate -s 192M "$tmp/image"
	mkfs.ext4 -q "$tmp/image" || die 'mkfs'
	mkdir "$tmp/disk"
	if mount -o loop "$tmp/image" "$tmp/disk" 2>"$tmp/err"; then
		cleanup_fn unmount "$tmp/disk"
		cleanup_fn 'kill_daemon "${chunkd_pid[1]}"'
		FF3FS_CHUNKD_TARGETS=$tmp/disk/target FF3FS_CHUNKD_CAPACITY=0 start_cluster 1
		full_cycle 'file system'
	else
		say "no loop mount here ($(cat "$tmp/err")): a real file system was not filled"
	fi
fi
