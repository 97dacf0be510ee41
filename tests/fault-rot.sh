#!/bin/bash
# A disk that gives back other bytes than were written, without an error. Over each transport, whoever reads them gets
# EIO, however often and in what pieces it asks; everything else is read; the daemon counts the
# reads that failed and the chunk, and says it once. Written anew, the chunk is good again.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs-put
requires_python

export FF3FS_CLIENT_HOT=no # by requests
start_cluster 1
# Three chunks, and a mark in the second one's block 5.
/usr/bin/python3 -c 'import os, sys
data = bytearray(os.urandom(3 << 20))
at = (1 << 20) + 5 * 4096 + 77
data[at:at + 32] = b"the mark that will be spoilt ..."
open(sys.argv[1], "wb").write(data)' "$tmp/data"
links=${FF3FS_CLIENT_TRANSPORTS:-shm unix tcp}

# In the slabs, one bit of each mark; also where it lies in a slot that was left.
rot() {
	/usr/bin/python3 - "$tmp"/chunkd.1/slab-* <<-'PYTHON'
		import re, sys
		n = 0
		for path in sys.argv[1:]:
		    with open(path, 'r+b') as f:
		        for at in re.finditer(b'the mark that will be spoilt ...', f.read()):
		            f.seek(at.start())
		            f.write(b'T')
		            n += 1
		sys.exit(n == 0)
	PYTHON
}
counted() { metrics "${chunkd_admin[1]}" | awk -v n="ff3fs_chunkd_$1" '$1 ~ "^" n "[{]" { s += $2 } END { print s + 0 }'; }

# reads: [offset, length) of the file by preads in turn, each twice: what failed, and whether the rest was right.
reads() {
	on /usr/bin/python3 - "$prefix/data" "$tmp/data" "$@" <<-'PYTHON'
		import errno, os, sys
		fd, good = os.open(sys.argv[1], os.O_RDONLY), open(sys.argv[2], 'rb').read()
		for offset, length in (map(int, a.split('+')) for a in sys.argv[3:]):
		    for turn in range(2):
		        mine = bytearray(length)
		        try:
		            n = os.preadv(fd, [mine], offset)
		            print('right' if n == length and mine == good[offset:offset + length] else 'WRONG', end=' ')
		        except OSError as e:
		            print(errno.errorcode[e.errno], end=' ')
	PYTHON
}
chunk=1048576 block=$((1048576 + 5 * 4096))

for link in $links; do
	export FF3FS_CLIENT_TRANSPORTS=$link
	check "$link: a file" ff3fs-put "$tmp/data" "$prefix/data"
	kill_daemon "${chunkd_pid[1]}" TERM
	: >"$tmp/chunkd.1.log"
	check "$link: rot" rot
	FF3FS_CHUNKD_MEMORY=48M start_chunkd

	equal "$link: the block" 'EIO EIO ' "$(reads $block+4096)"
	[ "$(counted checksum_errors_total)" -ge 2 ] || die "$link: $(counted checksum_errors_total) counted"
	equal "$link: the chunk counts once" 1 "$(counted bad_chunks)"
	equal "$link: a part of it" 'EIO EIO EIO EIO EIO EIO EIO EIO ' \
		"$(reads $((block + 70))+10 $((block + 2000))+100 $((block - 4096))+5000 $((block + 50))+9000)"
	before=$(counted checksum_errors_total)
	equal "$link: all of the chunk, which would stay in memory" 'EIO EIO ' "$(reads $chunk+$chunk)"
	[ "$(counted checksum_errors_total)" -ge $((before + 2)) ] || die "$link: not counted"
	equal "$link: pieces that it is in" 'EIO EIO EIO EIO EIO EIO ' \
		"$(reads $((chunk + 1))+100000 $chunk+65536 $((block - 100))+9000)"
	equal "$link: all others" 'right right right right right right right right right right ' \
		"$(reads 0+$chunk $((2 * chunk))+$chunk $((block - 4096))+4096 $((block + 4096))+4096 $((block - 10000))+10000)"
	equal "$link: said once" 1 "$(grep -c 'is damaged' "$tmp/chunkd.1.log")"

	check "$link: written anew" ff3fs-put "$tmp/data" "$prefix/data"
	equal "$link: good again" 'right right right right ' "$(reads $chunk+$chunk $block+4096)"
	kill_daemon "${chunkd_pid[1]}" TERM
	start_chunkd
	equal "$link: and on the disk" 'right right right right ' "$(reads $chunk+$chunk $block+4096)"
	check "$link: gone" ff3fs rm "$prefix/data"
done
