#!/bin/bash
# What breaks while a client reads: it goes on by the same way or another, or says why not, and never
# has a wrong byte.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs-put rdma
. "$srcdir/tests/vm/cluster.sh"
wait_until() { # wait_until WHAT COMMAND…: 30 s at most
	local i
	for ((i = 0; i < 300; i++)); do
		"${@:2}" >/dev/null 2>&1 && return
		read -r -t 0.1 <>"$tmp/.never"
	done
	die "waited in vain for $1"
}

rdma_cluster 2 10.98.0.1
export FF3FS_CLIENT_TRANSPORTS='verbs tcp' FF3FS_CLIENT_TIMEOUT=20s FF3FS_TEST_FALLBACK=1
head -c 8000000 /dev/urandom >"$tmp/data"
check 'put' ff3fs-put -q "$tmp/data" "$prefix/data"
rdma_program verbs_reads

by_verbs() { ls -l "/proc/$reader/fd" | grep -q /dev/infiniband/uverbs; }
# reading N: a client that has begun to read over RDMA.
reading() {
	"$tmp/verbs_reads" data "$tmp/data" "$1" >"$tmp/reads.log" 2>&1 &
	reader=$!
	wait_until 'RDMA' by_verbs
}
finished() { # finished WHAT
	wait "$reader" || die "$1: the reader failed"
	say "ok: $1"
}

reading "${READS:-150}"
kill_daemon "${chunkd_pid[1]}"
start_chunkd 1
finished 'a chunk daemon was killed and came back'

# With the daemon away for good there is an error, and in time.
reading "${READS:-150}"
kill_daemon "${chunkd_pid[1]}"
kill_daemon "${chunkd_pid[2]}"
started=$SECONDS
wait "$reader" && die 'read without a daemon'
[ $((SECONDS - started)) -le 40 ] || die "took $((SECONDS - started)) s to fail"
grep -q 'pread returned' "$tmp/reads.log" || die 'not by an error'
say "ok: no daemon: $(cat "$tmp/reads.log" | tail -n 1)"
start_chunkd 1
start_chunkd 2

reading "${READS:-150}"
ip link set d1 down
read -r -t 3 <>"$tmp/.never"
ip link set d1 up
ip -6 addr add fd98::1/64 dev d1 nodad # which a device loses
finished 'the link was down for a while'

reading "${READS:-150}"
timeout 60 rdma link delete rxe1 || die 'the device cannot be removed'
equal 'the device is gone' '' "$(rdma link show | grep rxe1)"
finished 'the device was removed: by TCP'
on cat "$prefix/data" >"$tmp/got" || die 'a new client'
check 'a new client comes by TCP' cmp "$tmp/data" "$tmp/got"

# The daemons look for the device now and then.
rdma link add rxe1 type rxe netdev d1
again() { FF3FS_CLIENT_TRANSPORTS=verbs FF3FS_CLIENT_TIMEOUT=1s on cat "$prefix/data"; }
wait_until 'the device to be used again' again
say 'ok: the device is back'
