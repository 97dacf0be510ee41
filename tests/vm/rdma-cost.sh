#!/bin/bash
# The client's work for a read of 4 KiB, in instructions of its own program: what the library, rdma-core and libc
# do below ff3fs_pread, not what the kernel does (callgrind), after the first 50. Looking for the answer while it is on
# its way takes as long as the device does, and is told apart.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd ff3fs-put valgrind
. "$srcdir/tests/vm/cluster.sh"

rdma_cluster 1
export FF3FS_CLIENT_TRANSPORTS=verbs FF3FS_CLIENT_TIMEOUT=60s
head -c 1000000 /dev/urandom >"$tmp/data"
check 'put' ff3fs-put -q "$tmp/data" "$prefix/data"
rdma_program verbs_reads

# cost WAY CEILING
cost() {
	local n=200 all looking
	check "$1: $n reads" valgrind --tool=callgrind --callgrind-out-file="$tmp/calls" --toggle-collect=ff3fs_pread \
		--zero-before=settled "$tmp/verbs_reads" data "$tmp/data" $((50 + n)) 1 one
	all=$(($(sed -n 's/^totals: //p' "$tmp/calls") / n))
	looking=$(callgrind_annotate --inclusive=yes --threshold=100 "$tmp/calls" |
		awk '/:ff3_rpc_verbs_receive / { gsub(",", "", $1); print $1; exit }')
	say "$1: $all instructions for each read of 4 KiB, $((${looking:-0} / n)) of them receiving"
	[ $all -gt 1000 ] && [ $all -le "$2" ] || die "$1: not between 1000 and $2"
}
FF3FS_CLIENT_HOT=no cost pushed 12000
check 'pin' ff3fs layout set --pin memory "$prefix/data"
cost one-sided 7000
