# Sourced by tests/vm/rdma-*.sh after functions.sh: clusters that are reached at an address of a device.

# rdma_cluster [CHUNKDS [ADDRESS]]
rdma_cluster() {
	local i
	metad_addr=${2:-10.99.0.1}:$(free_port)
	for ((i = 1; i <= ${1:-3}; i++)); do chunkd_addr[$i]=${2:-10.99.0.1}:$(free_port); done
	start_cluster "${1:-3}"
}

# rdma_program NAME: a test program of the build, with the module beside it where it looks for it.
rdma_program() {
	[ -x "$builddir/tests/$1" ] || die "$1 is not built"
	cp "$builddir/tests/$1" "$(find_built libff3fs_verbs.so)" "$tmp" || die "no room"
}
