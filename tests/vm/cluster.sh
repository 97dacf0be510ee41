# Sourced by tests/vm/rdma-*.sh after functions.sh: clusters that are reached at an address of a device.

# rdma_cluster [CHUNKDS [ADDRESS]]
rdma_cluster() {
	local i
	metad_addr=${2:-10.99.0.1}:$(free_port)
	for ((i = 1; i <= ${1:-3}; i++)); do chunkd_addr[$i]=${2:-10.99.0.1}:$(free_port); done
	start_cluster "${1:-3}"
}
