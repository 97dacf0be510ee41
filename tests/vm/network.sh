# Sourced by tests/vm/guest.sh and rdma-*.sh: the network devices below RDMA devices.

# gid ADDRESS: as the kernel writes that of an IPv4 address, or of an IPv6 one like fd98::1.
gid() {
	local o
	case $1 in
	*:*) printf '%4s:0000:0000:0000:0000:0000:0000:%4s' "${1%%::*}" "${1##*::}" | tr ' ' 0 ;;
	*)
		IFS=. read -r -a o <<<"$1"
		printf '0000:0000:0000:0000:0000:ffff:%02x%02x:%02x%02x' "${o[@]}"
		;;
	esac
}

# has_gids RDMA ADDRESS…: the device got them, within 30 s. It takes over what the network device has some
# time after that, and nothing tells when: it is looked at now and then.
has_gids() {
	local rdma=$1 address tries=600
	shift
	[ -p /run/never ] || mkfifo /run/never || return 1
	for address; do
		until grep -q -s -x "$(gid "$address")" "/sys/class/infiniband/$rdma/ports/1/gids"/*; do
			((tries-- > 0)) || { echo "network: $rdma has no GID of $address"; return 1; }
			read -r -t 0.05 <>/run/never
		done
	done
}

# up N: network device dN, down before, which keeps its addresses meanwhile, as that of a host does that
# has them configured.
up() {
	ip link set "d$1" up && has_gids "rxe$1" "10.9$((9 - $1)).0.1" "fd9$((9 - $1))::1"
}
