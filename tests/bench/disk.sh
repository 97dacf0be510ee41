# For run.sh and cold.sh, which source it after functions.sh: where the daemons' disks are, and clusters there.

# $disk: as root a directory on XFS in a loop file, because an ext4 root is slow at creates after many unlinks.
make_disk() {
	disk=$tmp/disk
	mkdir "$disk"
	if [ "$(id -u)" = 0 ] && command -v mkfs.xfs >/dev/null &&
		truncate -s 6G "$tmp/xfs.img" && mkfs.xfs -q "$tmp/xfs.img" &&
		loop=$(losetup --direct-io=on --find --show "$tmp/xfs.img" 2>/dev/null); then
		cleanup_fn "losetup --detach $loop"
		mount "$loop" "$disk" || die "cannot mount $loop"
		# Lazily: a daemon's ring lets go of its files a moment after the daemon is gone.
		cleanup_fn "umount --lazy '$disk'"
		say 'on XFS in a loop file'
	else
		say "on $(stat -f -c %T "$disk")"
	fi
}

# cluster DIR MEMORY: starts one there and sets daemons to its pids.
cluster() {
	ff3fs dev --quiet --dir="$1" --chunkd=1 --memory="$2" up || die 'ff3fs dev up'
	cleanup_fn "ff3fs dev --quiet --dir='$1' down"
	export FF3FS_CONF=$1/ff3fs.conf
	find_daemons "$1"
}
find_daemons() {
	daemons=$({ ff3fs dev --dir="$1" pid metad; ff3fs dev --dir="$1" pid chunkd; } |
		paste -sd,)
}

# forget DIR: its daemons are started again, with nothing in memory.
forget() {
	ff3fs dev --quiet --dir="$1" down && ff3fs dev --quiet --dir="$1" up || die 'ff3fs dev up'
	find_daemons "$1"
}

# by TRANSPORT COMMAND…: requests go by it, all of them.
by() { FF3FS_CLIENT_TRANSPORTS=$1 FF3FS_CLIENT_HOT=no "${@:2}"; }
