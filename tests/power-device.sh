# Sourced by tests that cut the power: a file system on a disk that loses what was not flushed
# (nbd_volatile.c, through nbdkit, nbdfuse and a loop device), mounted at $disk.
#
#   power_make ext4 1G    a new image with a file system; skips the test where that cannot be
#   power_on              the disk appears at $disk
#   power_cut             it is gone this instant: nothing reaches the image any more
#   power_off             unmounts what is left; daemons that used it must have been ended
#
# CONTROL=1 makes a disk that ignores flushes, on which nothing can keep its promises.

power_make() {
	local kind=$1 size=$2
	requires_root
	requires nbdkit nbdfuse "mkfs.$kind" losetup gcc
	[ -c /dev/fuse ] && [ -c /dev/loop-control ] || skip 'no FUSE or no loop devices'
	echo '#include <nbdkit-plugin.h>' | gcc -E -x c -DNBDKIT_API_VERSION=2 - >/dev/null 2>&1 ||
		skip 'no nbdkit-plugin.h'
	[ -f "$tmp/volatile.so" ] || check 'plugin' gcc -O2 -Wall -Werror -Wno-unused-parameter -shared \
		-fPIC ${CONTROL:+-DIGNORE_FLUSH} -o "$tmp/volatile.so" "$srcdir/tests/nbd_volatile.c"
	power_kind=$kind disk=$tmp/disk
	mkdir -p "$disk" "$tmp/fuse"
	rm -f "$tmp/image"
	truncate -s "$size" "$tmp/image"
	case $kind in
	ext4) check "mkfs" mkfs.ext4 -q -E nodiscard,lazy_itable_init=0 "$tmp/image" ;;
	*) check "mkfs" "mkfs.$kind" -q "$tmp/image" ;;
	esac
}

# wait_for WHAT COMMAND…: for the few things that tell nobody when they are done.
wait_for() {
	local what=$1 i
	shift
	for ((i = 0; i < 400; i++)); do
		"$@" 2>/dev/null && return
		read -r -t 0.05 <>"$tmp/.never"
	done
	die "$what"
}
power_ended() { ! kill -0 "$1"; }

power_fuse_pid='' power_nbdkit_pid='' power_loop=''
power_on() {
	rm -f "$tmp/cut" "$tmp/nbd.sock" "$tmp/nbdkit.pid" "$tmp/nbdfuse.pid"
	nbdkit -U "$tmp/nbd.sock" -P "$tmp/nbdkit.pid" "$tmp/volatile.so" \
		image="$tmp/image" cut="$tmp/cut" seed=$RANDOM >"$tmp/nbdkit.log" 2>&1 ||
		{ cat "$tmp/nbdkit.log"; die nbdkit; }
	# It is written when nbdkit is in the background already.
	wait_for "nbdkit's pid" test -s "$tmp/nbdkit.pid"
	power_nbdkit_pid=$(cat "$tmp/nbdkit.pid")
	nbdfuse -P "$tmp/nbdfuse.pid" "$tmp/fuse" --unix "$tmp/nbd.sock" >"$tmp/nbdfuse.out" 2>&1 &
	power_fuse_pid=$!
	wait_for nbdfuse test -e "$tmp/fuse/nbd"
	power_loop=$(losetup --direct-io=off -f --show "$tmp/fuse/nbd") || die losetup
	mount -t "$power_kind" "$power_loop" "$disk" || die "the file system does not mount any more"
}
power_cut() {
	: >"$tmp/cut"
}
power_off() {
	unmount "$disk"
	losetup -d "$power_loop"
	unmount "$tmp/fuse"
	wait "$power_fuse_pid" 2>/dev/null
	kill "$power_nbdkit_pid" 2>/dev/null
	wait_for 'nbdkit does not end' power_ended "$power_nbdkit_pid"
	power_fuse_pid='' power_loop=''
}
power_unplug() {
	local p
	[ -n "$power_fuse_pid" ] || return
	power_cut
	for p in "${pids[@]}"; do kill_daemon "$p"; done
	power_off
}
cleanup_fn power_unplug
