#!/bin/bash
# Inside the virtual machine, between init and the command: a disk, networks, RDMA devices.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/home
mkdir -p /run/disk "$HOME"
mkfs.ext4 -q -m 0 -E lazy_itable_init=0,nodiscard /dev/ram0 && mount /dev/ram0 /run/disk || exit 125
chmod 1777 /run/disk
echo vm >/proc/sys/kernel/hostname # mpirun takes no machine without one
export TMPDIR=/run/disk FF3FS_TEST_SLOWER=6
ulimit -l unlimited
echo 0 >/proc/sys/fs/protected_symlinks # as e2e-metad-posix compares with

. "$(dirname "$0")/network.sh"

# device N IPV4 IPV6: Soft-RoCE on a network device of its own, which keeps its addresses when it is down.
device() {
	ip link add "d$1" type dummy && echo 1 >"/proc/sys/net/ipv6/conf/d$1/keep_addr_on_down" &&
		ip addr add "$2/24" dev "d$1" && ip -6 addr add "$3/64" dev "d$1" nodad &&
		rdma link add "rxe$1" type rxe netdev "d$1" && up "$1"
}
ip link set lo up
device 0 10.99.0.1 fd99::1 && device 1 10.98.0.1 fd98::1 || exit 125
chmod 0666 /dev/infiniband/uverbs* /dev/infiniband/rdma_cm # as a host's udev has it
exec "$@"
