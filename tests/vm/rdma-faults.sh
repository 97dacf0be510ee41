#!/bin/bash
# What breaks while a client reads: it goes on by the same way or another, or says why not, and never
# has a wrong byte. Reads are pushed by the daemon, and then the client's own of exposed chunks. SCALE=full:
# everything in both ways.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd ff3fs-put rdma
. "$srcdir/tests/vm/cluster.sh"
. "$srcdir/tests/hot.sh"
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
check 'what is made is pinned' ff3fs layout set --pin memory "$prefix"
check 'put' ff3fs-put -q "$tmp/data" "$prefix/data"
rdma_program verbs_reads

by_verbs() { ls -l "/proc/$reader/fd" | grep -q /dev/infiniband/uverbs; }
exposed() { [ "$(counter exposures_total)" -gt "$seen" ]; }
# reading: a client that has begun to read over RDMA.
reading() {
	seen=$(counter exposures_total)
	"$tmp/verbs_reads" data "$tmp/data" "${READS:-150}" >"$tmp/reads.log" 2>&1 &
	reader=$!
	wait_until 'RDMA' by_verbs
	[ "$FF3FS_CLIENT_HOT" = no ] || wait_until 'exposed chunks' exposed
}
finished() { # finished WHAT
	wait "$reader" || die "$way: $1: the reader failed: $(tail -n 1 "$tmp/reads.log")"
	say "ok: $way: $1 ($(tail -n 1 "$tmp/reads.log"))"
}

killed() {
	reading
	kill_daemon "${chunkd_pid[1]}"
	start_chunkd 1
	finished 'a chunk daemon was killed and came back'
}
# With the daemon away for good there is an error, and in time.
away() {
	local started
	reading
	kill_daemon "${chunkd_pid[1]}"
	kill_daemon "${chunkd_pid[2]}"
	started=$SECONDS
	wait "$reader" && die "$way: read without a daemon"
	[ $((SECONDS - started)) -le 40 ] || die "$way: took $((SECONDS - started)) s to fail"
	grep -q 'pread returned' "$tmp/reads.log" || die "$way: not by an error"
	say "ok: $way: no daemon: $(tail -n 1 "$tmp/reads.log")"
	start_chunkd 1
	start_chunkd 2
}
link_down() {
	reading
	ip link set d1 down
	read -r -t 3 <>"$tmp/.never"
	ip link set d1 up
	ip -6 addr add fd98::1/64 dev d1 nodad # which a device loses
	finished 'the link was down for a while'
}
removed() {
	reading
	timeout 60 rdma link delete rxe1 || die 'the device cannot be removed'
	equal 'the device is gone' '' "$(rdma link show | grep rxe1)"
	finished 'the device was removed: by TCP'
	on cat "$prefix/data" >"$tmp/got" || die 'a new client'
	check 'a new client comes by TCP' cmp "$tmp/data" "$tmp/got"
}
# The daemons look for the device now and then.
back() {
	rdma link add rxe1 type rxe netdev d1
	wait_until 'the device to be used again' again
	say "ok: $way: the device is back"
}
again() { FF3FS_CLIENT_TRANSPORTS=verbs FF3FS_CLIENT_TIMEOUT=1s on cat "$prefix/data"; }

way=pushed
export FF3FS_CLIENT_HOT=no
for fault in killed away ${SCALE:+link_down removed back}; do $fault; done
way=one-sided
export FF3FS_CLIENT_HOT=yes
: "${READS:=500}"
# A device that is removed while windows are bound: the removal was seen not to come to its end within minutes.
for fault in killed ${SCALE:+away} link_down ${SCALE:+removed back}; do $fault; done
