# Sourced by faulty-device.sh and power-device.sh: an image as a disk (nbdkit, nbdfuse and a loop device) that nbdkit makes
# misbehave, mounted at $disk.
#
#   nbd_requires KIND          skips the test where such a disk cannot be
#   nbd_attach KIND ARGUMENT…  of nbdkit: the disk, with a file system of that kind, appears at $disk
#   nbd_detach                 daemons that used it must have been ended
#   nbd_is_attached

nbd_requires() {
	requires_root
	requires nbdkit nbdfuse "mkfs.$1" losetup
	[ -c /dev/fuse ] && [ -c /dev/loop-control ] || skip 'no FUSE or no loop devices'
	disk=$tmp/disk
	mkdir -p "$disk" "$tmp/fuse"
}

# wait_for WHAT COMMAND…: for the few things that tell nobody when they are done.
wait_for() {
	local what=$1 end
	end=$((SECONDS + $(slower 60)))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || die "$what"
		read -r -t 0.05 <>"$tmp/.never"
	done
}

nbd_fuse_pid='' nbd_kit_pid='' nbd_loop=''
nbd_is_attached() { [ -n "$nbd_fuse_pid" ]; }
nbd_kit_ended() { ! kill -0 "$nbd_kit_pid"; }
nbd_attach() {
	local kind=$1
	shift
	rm -f "$tmp/nbd.sock" "$tmp/nbdkit.pid" "$tmp/nbdfuse.pid"
	nbdkit -U "$tmp/nbd.sock" -P "$tmp/nbdkit.pid" "$@" >"$tmp/nbdkit.log" 2>&1 ||
		{ cat "$tmp/nbdkit.log"; die nbdkit; }
	# It is written when nbdkit is in the background already.
	wait_for "nbdkit's pid" test -s "$tmp/nbdkit.pid"
	nbd_kit_pid=$(cat "$tmp/nbdkit.pid")
	nbdfuse -P "$tmp/nbdfuse.pid" "$tmp/fuse" --unix "$tmp/nbd.sock" >"$tmp/nbdfuse.out" 2>&1 &
	nbd_fuse_pid=$!
	wait_for nbdfuse test -e "$tmp/fuse/nbd"
	nbd_loop=$(losetup --direct-io=off -f --show "$tmp/fuse/nbd") || die losetup
	mount -t "$kind" "$nbd_loop" "$disk" || die 'the file system does not mount'
}
nbd_detach() {
	unmount "$disk"
	losetup -d "$nbd_loop"
	unmount "$tmp/fuse"
	wait "$nbd_fuse_pid" 2>/dev/null
	kill "$nbd_kit_pid" 2>/dev/null
	wait_for 'nbdkit does not end' nbd_kit_ended
	nbd_fuse_pid='' nbd_loop=''
}
