#!/bin/bash
# Inside the virtual machine, between init and the command: a disk, networks, RDMA devices.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/home
mkdir -p /run/disk "$HOME"
mkfs.ext4 -q -m 0 -E lazy_itable_init=0,nodiscard /dev/ram0 && mount /dev/ram0 /run/disk || exit 125
chmod 1777 /run/disk
export TMPDIR=/run/disk
ulimit -l unlimited

# device NAME RDMA IPV4 IPV6: Soft-RoCE on a network device of its own.
device() {
	ip link add "$1" type dummy && ip addr add "$3/24" dev "$1" &&
		ip -6 addr add "$4/64" dev "$1" nodad && ip link set "$1" up &&
		rdma link add "$2" type rxe netdev "$1"
}
ip link set lo up
device d0 rxe0 10.99.0.1 fd99::1 && device d1 rxe1 10.98.0.1 fd98::1 || exit 125
exec "$@"
