#!/bin/bash
# What breaks while a client reads: it goes on by the same way or another, or says why not, and never
# has a wrong byte. Reads are pushed by the daemon, and then the client's own of exposed chunks. SCALE=full:
# everything in both ways; FAULTS and WAYS: some of it.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd ff3fs-put rdma
. "$srcdir/tests/vm/cluster.sh"
. "$srcdir/tests/vm/network.sh"
. "$srcdir/tests/hot.sh"
wait_until() { # wait_until WHAT COMMAND…: 60 s at most
	local until=$((SECONDS + 60))
	until "${@:2}" >/dev/null 2>&1; do
		[ $SECONDS -lt $until ] || break
		read -r -t 0.1 <>"$tmp/.never"
	done
	"${@:2}" >/dev/null 2>&1 && return
	echo "waited in vain for $1"
	return 1
}

# Clients look after metad's connection, too, each quarter of the lease.
FF3FS_METAD_LEASE=12s rdma_cluster 2 10.98.0.1
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
	"$tmp/verbs_reads" data "$tmp/data" "$READS" >"$tmp/reads.log" 2>&1 &
	reader=$!
	wait_until 'RDMA' by_verbs || die 'no RDMA'
	[ "$FF3FS_CLIENT_HOT" = no ] || wait_until 'exposed chunks' exposed || die 'nothing is exposed'
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
	READS=1000000000 FF3FS_CLIENT_TIMEOUT=10s reading # it must not have ended before
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
ended() { ! [ -e "/proc/$1" ] || [[ $(ps -o stat= "$1") == Z* ]]; }
# holders: who has a device open, and where its removal waits.
holders() {
	local p
	for p in /proc/[0-9]*; do
		ls -l "$p/fd" 2>/dev/null | grep -o -E '[0-9]+ -> /dev/infiniband/.*' | sed "s|^|${p#/proc/} $(cat "$p/comm"): |"
	done
	cat "/proc/$remover/stack"
	dmesg | tail -n 20
}
remove() {
	rdma link delete rxe1 &
	remover=$!
	# Soft-RoCE of Linux 6.1 waits until nobody has the device open, and cannot be interrupted.
	wait_until 'the removal' ended "$remover" || { holders; die "$way: the device is not let go of"; }
	wait "$remover" || die 'rdma link delete'
	equal 'the device is gone' '' "$(rdma link show | grep rxe1)"
}
removed() {
	READS=1000000000 reading
	remove
	kill -USR1 "$reader" || die 'the reader has ended'
	finished 'the device was removed: by TCP'
	on cat "$prefix/data" >"$tmp/got" || die 'a new client'
	check 'a new client comes by TCP' cmp "$tmp/data" "$tmp/got"
}
# The daemons look for the device now and then.
back() {
	rdma link add rxe1 type rxe netdev d1
	wait_until 'the device to be used again' again || { ff3fs doctor; die 'the device is not used again'; }
	say "ok: $way: the device is back"
}
link_down() {
	reading
	ip link set d1 down
	read -r -t 3 <>"$tmp/.never"
	up 1 || die 'd1 is not up'
	finished 'the link was down for a while'
	# If somebody tried to connect meanwhile, Soft-RoCE of Linux 6.1 connects nobody any more, nor does rping then:
	# the port's queue pair for connection requests has stopped for good.
	remove
	back
}
again() { FF3FS_CLIENT_TRANSPORTS=verbs FF3FS_CLIENT_TIMEOUT=5s on cat "$prefix/data"; }

for way in ${WAYS:-pushed one-sided}; do
	case $way in
	pushed) export FF3FS_CLIENT_HOT=no READS=${PUSHED:-150} faults="killed away removed back ${SCALE:+link_down}" ;;
	*) export FF3FS_CLIENT_HOT=yes READS=${FETCHED:-500} faults="killed ${SCALE:+away} removed back link_down" ;;
	esac
	for fault in ${FAULTS:-$faults}; do $fault; done
done
