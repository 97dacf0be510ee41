# Sourced by tests of disks that fail: a file system on a disk (nbdkit's error filter, through nbdfuse and a loop
# device), mounted at $disk.
#
#   faulty_make 1G               a new image with ext4; skips the test where that cannot be
#   faulty_attach PARAMETER…     of the filter: the disk appears at $disk
#   faulty_detach                daemons that used it must have been ended

faulty_make() {
	requires_root
	requires nbdkit nbdfuse mkfs.ext4 losetup
	[ -c /dev/fuse ] && [ -c /dev/loop-control ] || skip 'no FUSE or no loop devices'
	nbdkit --dump-plugin file >/dev/null 2>&1 && nbdkit --filter=error null --run true 2>/dev/null ||
		skip 'nbdkit has no error filter'
	disk=$tmp/disk
	mkdir "$disk" "$tmp/fuse"
	truncate -s "$1" "$tmp/image"
	check mkfs mkfs.ext4 -q -E lazy_itable_init=0 "$tmp/image"
}

# wait_for WHAT COMMAND…: for the few things that tell nobody when they are done.
wait_for() {
	local what=$1 i
	shift
	for ((i = 0; i < 400; i++)); do
		"$@" >/dev/null 2>&1 && return
		read -r -t 0.05 <>"$tmp/.never"
	done
	die "$what"
}
faulty_ended() { ! kill -0 "$1"; }

fuse_pid='' nbdkit_pid='' loop=''
faulty_attach() {
	rm -f "$tmp/nbd.sock" "$tmp/nbdkit.pid" "$tmp/nbdfuse.pid"
	nbdkit -U "$tmp/nbd.sock" -P "$tmp/nbdkit.pid" --filter=error file "$tmp/image" \
		"$@" >"$tmp/nbdkit.log" 2>&1 || { cat "$tmp/nbdkit.log"; die nbdkit; }
	# It is written when nbdkit is in the background already.
	wait_for "nbdkit's pid" test -s "$tmp/nbdkit.pid"
	nbdkit_pid=$(cat "$tmp/nbdkit.pid")
	nbdfuse -P "$tmp/nbdfuse.pid" "$tmp/fuse" --unix "$tmp/nbd.sock" >"$tmp/nbdfuse.out" 2>&1 &
	fuse_pid=$!
	wait_for nbdfuse test -e "$tmp/fuse/nbd"
	loop=$(losetup --direct-io=off -f --show "$tmp/fuse/nbd") || die losetup
	mount -t ext4 "$loop" "$disk" || die mount
}
faulty_detach() {
	umount "$disk" 2>/dev/null || umount -l "$disk"
	losetup -d "$loop"
	umount "$tmp/fuse" 2>/dev/null || umount -l "$tmp/fuse"
	wait "$fuse_pid"
	kill "$nbdkit_pid" 2>/dev/null
	wait_for 'nbdkit does not end' faulty_ended "$nbdkit_pid"
	fuse_pid=''
}
faulty_end() {
	local p
	[ -n "$fuse_pid" ] || return
	for p in "${pids[@]}"; do kill_daemon "$p"; done
	faulty_detach
}
cleanup_fn faulty_end
