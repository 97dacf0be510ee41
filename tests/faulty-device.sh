# Sourced by tests of disks that fail: a file system on a disk with nbdkit's error filter (nbd-device.sh), mounted
# at $disk.
#
#   faulty_make 1G               a new image with ext4; skips the test where that cannot be
#   faulty_attach PARAMETER…     of the filter: the disk appears at $disk
#   faulty_detach                daemons that used it must have been ended
. "$srcdir/tests/nbd-device.sh"

faulty_make() {
	nbd_requires ext4
	nbdkit --dump-plugin file >/dev/null 2>&1 && nbdkit --filter=error null --run true 2>/dev/null ||
		skip 'nbdkit has no error filter'
	truncate -s "$1" "$tmp/image"
	check mkfs mkfs.ext4 -q -E lazy_itable_init=0 "$tmp/image"
}

faulty_attach() { nbd_attach ext4 --filter=error file "$tmp/image" "$@"; }
faulty_detach() { nbd_detach; }
faulty_end() {
	local p
	nbd_is_attached || return
	for p in "${pids[@]}"; do kill_daemon "$p"; done
	nbd_detach
}
cleanup_fn faulty_end
