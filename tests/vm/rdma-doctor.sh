#!/bin/bash
# ff3fs doctor where there are devices: what it says of their ports and addresses, which one a daemon is
# reached by and why, and what is wrong where they cannot be used.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd
. "$srcdir/tests/vm/cluster.sh"
. "$srcdir/tests/vm/network.sh"

rdma_cluster 1
export FF3FS_CLIENT_TRANSPORTS='verbs tcp' FF3FS_CLIENT_TIMEOUT=20s
# doctor STATUS: what it says, with each finding on one line.
doctor() {
	ff3fs doctor >"$tmp/out" 2>&1
	[ $? -eq "$1" ] || { cat "$tmp/out"; die 'exit status of doctor'; }
	sed -i -e ':a;N;$!ba;s/\n \{33\}/ /g' "$tmp/out"
}
says() { grep -q -E -- "$1" "$tmp/out" || { cat "$tmp/out"; die "does not say $1"; }; say "ok: says $1"; }

ulimit -l unlimited
doctor 0
says 'ok +rxe0 port 1 .*active.* 10\.99\.0\.1 \(GID [0-9]+, RoCE v2\)'
says 'ok +rxe1 port 1 .* 10\.98\.0\.1 \(GID'
says "ok +metad $metad_addr .*by verbs"
says "ok +chunkd ${chunkd_addr[1]} .*by verbs"
says 'ok +verbs +taken: '
says 'ok +tcp +would work .*comes after verbs'
says "ok +chunkd ${chunkd_addr[1]} +by rxe0 port 1: the route goes from its address 10\.99\.0\.1"

ip link set d1 down
doctor 0
says 'note +rxe1 port 1 .*not used'
up 1 || die 'd1 is not up'

(ulimit -l 8192 && doctor 0) || exit 1
says 'note +locked memory +8.0 MiB: half of it for buffers'
(ulimit -l 64 && ff3fs doctor) >"$tmp/out" 2>&1
equal 'locked memory: exit' 1 $?
says 'problem +locked memory +64.0 KiB: too little'
