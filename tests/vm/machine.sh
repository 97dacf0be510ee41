#!/bin/bash
# Runs a command inside a small virtual machine whose kernel has RDMA devices:
#
#   tests/vm/machine.sh COMMAND [ARGUMENT…]
#
# The guest is Debian's kernel under qemu with the host's own file system as its root, read-only
# below an overlay in memory: the programs just built run in it as they are, from the same paths,
# and whatever they write is gone afterwards. COMMAND runs as root in the current directory with
# this environment; what it prints is printed here, its exit status is the status here. Inside,
# $TMPDIR is a real file system (ext4 on a memory disk, so that direct I/O works), and there are
# the Soft-RoCE devices rxe0 and rxe1, on the network devices d0 (10.99.0.1, fd99::1) and d1
# (10.98.0.1): see guest.sh.
#
# 77 with the reason where the machine cannot be had; 125 where it did not come to an end.
# The kernel comes from the Debian archive once and stays in
# ${XDG_CACHE_HOME:-~/.cache}/ff3fs-test/vm, with the initrd that is made from it.
#
# VM_SECONDS (300) is the limit, VM_MEMORY (1536) and VM_DISK (512, the memory disk's) in MiB, VM_ACCEL (qemu's own emulation) qemu's
# -accel, VM_DEBUG=1 shows the kernel's messages.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ff3fs-test/vm
modules='crc32_generic virtio_pci 9p 9pnet_virtio overlay brd ext4 xfs crc32c_generic
	rdma_rxe ib_uverbs rdma_ucm dummy veth fuse loop'

skip() { echo "machine: skipped: $*"; exit 77; }
die() { echo "machine: $*" >&2; exit 125; }

[ $# -gt 0 ] || die 'usage: machine.sh COMMAND [ARGUMENT…]'
PATH=$PATH:/usr/sbin:/sbin
for program in qemu-system-x86_64 busybox cpio depmod modprobe dpkg-deb apt-get rdma mkfs.ext4; do
	command -v "$program" >/dev/null || skip "no $program on this machine"
done
[ "$(uname -m)" = x86_64 ] || skip "the virtual machine is an x86-64 one"
file -L "$(command -v busybox)" 2>/dev/null | grep -q 'statically linked' || skip 'busybox is not the static one'
mkdir -p "$cache" 2>/dev/null && cd "$cache" || skip "cannot write to $cache"

# --- The kernel and the initrd, once ------------------------------------------------------------

fetch_kernel() {
	local image deb
	image=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends: linux-image-/ { print $2; exit }')
	[ -n "$image" ] || skip 'the package lists know no linux-image-amd64 (apt-get update)'
	rm -rf new && mkdir new || die "cannot write to $cache"
	(cd new && timeout 240 apt-get -q download "$image") >fetch.log 2>&1 ||
		skip "apt-get download $image: $(tail -n 1 fetch.log)"
	deb=$(echo new/*.deb)
	mkdir new/root && dpkg-deb -x "$deb" new/root && rm -f "$deb" &&
		depmod -b new/root "$(ls new/root/lib/modules)" || die "cannot unpack $image"
	rm -rf kernel && mv new/root kernel && rm -rf new
}

# What has to be loaded, in order, goes into the file `order`.
make_initrd() {
	local version=$1 m f
	rm -rf tree && mkdir -p tree/bin tree/modules || die "cannot write to $cache"
	cp "$(command -v busybox)" tree/bin/busybox && cp "$here/init" tree/init && chmod +x tree/init
	for m in $modules; do
		modprobe -d "$cache/kernel" -S "$version" -D "$m" || echo "missing $m"
	done >depends.log 2>&1
	while read -r what f _; do
		[ "$what" = builtin ] && continue
		[ "$what" = insmod ] || skip "this kernel has no module: $what $f"
		[ -e "tree/modules/${f##*/}" ] && continue
		cp "$f" tree/modules/ && echo "${f##*/}" >>tree/modules/order
	done <depends.log
	(cd tree && find . | cpio -o -H newc 2>/dev/null | gzip -1) >initrd.new &&
		mv initrd.new initrd.gz || die 'no initrd'
	rm -rf tree
	initrd_of >initrd.of
}
initrd_of() { echo "$(ls kernel/lib/modules) $modules"; sha256sum <"$here/init"; }

{
	flock 9
	[ -d kernel ] || fetch_kernel
	version=$(ls kernel/lib/modules)
	[ -e initrd.gz ] && [ "$(cat initrd.of 2>/dev/null)" = "$(initrd_of)" ] || make_initrd "$version"
} 9>lock
cd "$OLDPWD" || exit 125

# --- One run ------------------------------------------------------------------------------------

run=$(mktemp -d "${TMPDIR:-/tmp}/ff3fs-vm.XXXXXX") || die 'no temporary directory'
trap 'rm -rf "$run"' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
# Bash's own way to say it again on the other side; what is the host's alone stays here.
{
	export -p | grep -v -E '^declare -x (PWD|OLDPWD|TMPDIR|XDG_[A-Z_]*|DBUS[A-Z_]*|SHLVL|MAKE[A-Z]*|MFLAGS|TERM)(=|$)'
	printf 'cd %q || exit 125\n' "$PWD"
	printf 'exec bash %q' "$here/guest.sh"
	printf ' %q' "$@"
	echo
} >"$run/job"
loglevel='quiet loglevel=1'
[ -n "${VM_DEBUG:-}" ] && loglevel=loglevel=7
# An old processor: what newer ones have to be faster (AVX, XSAVE, five levels of pages, fast rep movsb) is slow when it
# is emulated, a third of all time; and its clock is one that the kernel reads by itself, no device.
timeout -k 5 "${VM_SECONDS:-300}" qemu-system-x86_64 -M q35 -accel "${VM_ACCEL:-tcg,thread=multi}" \
	-cpu Nehalem -smp 2 -m "${VM_MEMORY:-1536}" -nodefaults -display none -no-reboot \
	-serial stdio -serial "file:$run/status" \
	-kernel "$cache/kernel/boot/vmlinuz-$version" -initrd "$cache/initrd.gz" \
	-append "console=ttyS0 $loglevel panic=-1 mitigations=off nokaslr random.trust_cpu=on disk=$((${VM_DISK:-512} * 1024)) job=$run/job" \
	-virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
	</dev/null 2>&1 | sed -u -e 's/\r$//' -e '/reboot: Power down$/d'
ended=${PIPESTATUS[0]}
status=$(tail -n 1 "$run/status" 2>/dev/null | tr -cd 0-9)
[ -n "$status" ] && exit "$status"
[ "$ended" -ge 124 ] && echo "machine: not done after ${VM_SECONDS:-300} seconds" >&2
exit 125
