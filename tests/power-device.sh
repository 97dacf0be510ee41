# Sourced by tests that cut the power: a file system on a disk that loses what was not flushed
# (nbd_volatile.c, through nbd-device.sh), mounted at $disk.
#
#   power_make ext4 1G    a new image with a file system; skips the test where that cannot be
#   power_on              the disk appears at $disk
#   power_cut             it is gone this instant: nothing reaches the image any more
#   power_off             unmounts what is left; daemons that used it must have been ended
#
# CONTROL=1 makes a disk that ignores flushes, on which nothing can keep its promises.
. "$srcdir/tests/nbd-device.sh"

power_make() {
	local kind=$1 size=$2
	nbd_requires "$kind"
	requires gcc
	echo '#include <nbdkit-plugin.h>' | gcc -E -x c -DNBDKIT_API_VERSION=2 - >/dev/null 2>&1 ||
		skip 'no nbdkit-plugin.h'
	[ -f "$tmp/volatile.so" ] || check 'plugin' gcc -O2 -Wall -Werror -Wno-unused-parameter -shared \
		-fPIC ${CONTROL:+-DIGNORE_FLUSH} -o "$tmp/volatile.so" "$srcdir/tests/nbd_volatile.c"
	power_kind=$kind
	rm -f "$tmp/image"
	truncate -s "$size" "$tmp/image"
	case $kind in
	ext4) check "mkfs" mkfs.ext4 -q -E nodiscard,lazy_itable_init=0 "$tmp/image" ;;
	*) check "mkfs" "mkfs.$kind" -q "$tmp/image" ;;
	esac
}

power_on() {
	rm -f "$tmp/cut"
	nbd_attach "$power_kind" "$tmp/volatile.so" image="$tmp/image" cut="$tmp/cut" seed=$RANDOM
}
power_cut() {
	: >"$tmp/cut"
}
power_off() { nbd_detach; }
power_unplug() {
	local p
	nbd_is_attached || return
	power_cut
	for p in "${pids[@]}"; do kill_daemon "$p"; done
	power_off
}
cleanup_fn power_unplug
