#!/bin/bash
# limit: 1800
# Power cuts: metad and chunkd keep their files on a disk that loses what was not flushed. CUTS
# times (6), at a random moment under load, the power goes; what fsync, close and rename had
# promised by then must be there. Needs root, FUSE and a loop device, else it is skipped.
#
# The test itself is tested: with a disk that ignores flushes (CONTROL=1) it must fail.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_root
requires_python
requires nbdkit nbdfuse mkfs.ext4 losetup ff3fs-metad ff3fs-chunkd
[ -c /dev/fuse ] && [ -c /dev/loop-control ] || skip 'no FUSE or no loop devices'
echo '#include <nbdkit-plugin.h>' | gcc -E -x c -DNBDKIT_API_VERSION=2 - >/dev/null 2>&1 ||
	skip 'no nbdkit-plugin.h'

cuts=${CUTS:-6}
RANDOM=${SEED:=$RANDOM}
say "$cuts cuts, seed $SEED"
check 'plugin' gcc -O2 -Wall -Werror -Wno-unused-parameter -shared -fPIC ${CONTROL:+-DIGNORE_FLUSH} \
	-o "$tmp/volatile.so" "$srcdir/tests/nbd_volatile.c"
disk=$tmp/disk
mkdir "$disk" "$tmp/fuse"
truncate -s 1G "$tmp/image"
check 'mkfs' mkfs.ext4 -q -E nodiscard,lazy_itable_init=0 "$tmp/image"

# wait_for WHAT COMMAND…: for the few things that tell nobody when they are done.
wait_for() {
	local what=$1 i
	shift
	for ((i = 0; i < 200; i++)); do
		"$@" 2>/dev/null && return
		read -r -t 0.05 <>"$tmp/.never"
	done
	die "$what"
}
ended() { ! kill -0 "$1"; }

fuse_pid='' nbdkit_pid='' loop=''
power_on() {
	rm -f "$tmp/cut" "$tmp/nbd.sock" "$tmp/nbdkit.pid" "$tmp/nbdfuse.pid"
	nbdkit -U "$tmp/nbd.sock" -P "$tmp/nbdkit.pid" "$tmp/volatile.so" \
		image="$tmp/image" cut="$tmp/cut" seed=$RANDOM >"$tmp/nbdkit.log" 2>&1 ||
		{ cat "$tmp/nbdkit.log"; die nbdkit; }
	nbdkit_pid=$(cat "$tmp/nbdkit.pid")
	nbdfuse -P "$tmp/nbdfuse.pid" "$tmp/fuse" --unix "$tmp/nbd.sock" >"$tmp/nbdfuse.out" 2>&1 &
	fuse_pid=$!
	wait_for nbdfuse test -e "$tmp/fuse/nbd"
	loop=$(losetup --direct-io=off -f --show "$tmp/fuse/nbd") || die losetup
	mount -t ext4 "$loop" "$disk" || die "the file system does not mount any more"
}
power_off() {
	: >"$tmp/cut"
	for p in "${pids[@]}"; do kill_daemon "$p"; done
	unmount "$disk"
	losetup -d "$loop"
	unmount "$tmp/fuse"
	wait $fuse_pid 2>/dev/null
	kill "$nbdkit_pid" 2>/dev/null
	wait_for 'nbdkit does not end' ended "$nbdkit_pid"
	fuse_pid='' loop=''
}
unplug() {
	[ -n "$fuse_pid" ] && power_off
}
cleanup_fn unplug

start_all() {
	mkdir -p "$disk/metad" "$disk/target"
	FF3FS_METAD_DIR=$disk/metad start_metad
	FF3FS_CHUNKD_TARGETS=$disk/target FF3FS_CHUNKD_CAPACITY=600M start_chunkd 1
	cluster_env
}

mkfifo "$tmp/progress"
exec {progress}<>"$tmp/progress"
export FF3FS_CLIENT_TIMEOUT=2s
for ((i = 1; i <= cuts; i++)); do
	power_on
	start_all
	loads=()
	for k in 1 2; do
		start_on /usr/bin/python3 "$srcdir/tests/power_load.py" load "$prefix/w$k" \
			"$tmp/journal.$k" "$i$k" "$tmp/progress" >"$tmp/load.$k.out" 2>&1
		loads+=("$started_on")
	done
	want=$((RANDOM % 200 + 20))
	while [ $want -gt 0 ]; do
		read -r -n 1 -t 60 -u "$progress" || { cat "$tmp"/load.*.out; die 'no progress'; }
		want=$((want - 1))
	done
	power_off
	kill -KILL "${loads[@]}" 2>/dev/null
	wait "${loads[@]}" 2>/dev/null
	while read -r -n 1 -t 0.01 -u "$progress"; do :; done

	power_on
	start_all
	for k in 1 2; do
		on /usr/bin/python3 "$srcdir/tests/power_load.py" verify "$prefix/w$k" "$tmp/journal.$k" ||
			die "cut $i: a promise was broken"
	done
	on rm -r "$prefix/w1" "$prefix/w2" || die 'rm'
	rm "$tmp"/journal.*
	for p in "${pids[@]}"; do kill_daemon "$p" TERM; done
	power_off
	say "ok: cut $i"
done
