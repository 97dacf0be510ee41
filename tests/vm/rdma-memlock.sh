#!/bin/bash
# Programs that are not root's, with little memory that they may lock: RDMA within that limit, whatever the size of
# the buffers, and TCP instead where it is not enough, with the reason in the daemons' metrics and in doctor.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd ff3fs-put setpriv
. "$srcdir/tests/vm/cluster.sh"
. "$srcdir/tests/hot.sh"

rdma_cluster 2
export FF3FS_CLIENT_TIMEOUT=20s
head -c 12000000 /dev/urandom >"$tmp/data"
check 'put' ff3fs-put -q "$tmp/data" "$prefix/data"
rdma_program verbs_reads
chmod 755 "$tmp" && chmod 644 "$tmp/data" && : >"$tmp/got" && chmod 666 "$tmp/got" || die 'chmod'
# limited KIB COMMAND…: as nobody.
limited() { (ulimit -l "$1" && exec setpriv --reuid 65534 --regid 65534 --clear-groups "${@:2}"); }
fallbacks() { counter fallbacks_total 'link="verbs",instead="tcp",reason="resources"'; }

export FF3FS_CLIENT_TRANSPORTS=verbs
check '8 MiB, all kinds of buffers' limited 8192 "$tmp/verbs_reads" data "$tmp/data" 20 1
for hot in no yes; do
	export FF3FS_CLIENT_HOT=$hot
	[ $hot = no ] || check 'pin' ff3fs layout set --pin memory "$prefix/data"
	check "8 MiB, by RDMA alone, exposed chunks: $hot" limited 8192 "$tmp/verbs_reads" data "$tmp/data" 60 1 large
	cat "$tmp/check.out"
	[ "$(sed -n 's/^one: .* copies \([0-9]*\) .*/\1/p' "$tmp/check.out")" = 0 ] || die 'a small buffer did not stay registered'
done
check 'read by a program' limited 8192 env LD_PRELOAD="$shim" dd if="$prefix/data" bs=12M of="$tmp/got" status=none
check 'the same bytes' cmp "$tmp/data" "$tmp/got"
check 'a directory for all' on mkdir -m 1777 "$prefix/all"
check 'written by a program' limited 8192 env LD_PRELOAD="$shim" dd if="$tmp/data" bs=12M of="$prefix/all/copy" conv=fsync status=none
check 'the bytes that were written' on cmp "$prefix/all/copy" "$tmp/data"

equal 'nobody came by TCP' 0 "$(fallbacks)"

export FF3FS_CLIENT_HOT=no
limited 1024 env LD_PRELOAD="$shim" dd if="$prefix/data" bs=4M of=/dev/null status=none 2>"$tmp/err" &&
	die 'read into 4 MiB with 1 MiB of locked memory, by RDMA alone'
grep -q 'Cannot allocate memory' "$tmp/err" || { cat "$tmp/err"; die 'not ENOMEM'; }
say 'ok: too little, by RDMA alone: ENOMEM'
FF3FS_CLIENT_TRANSPORTS='verbs tcp'
for kib in 1024 64; do
	before=$(fallbacks)
	limited $kib env LD_PRELOAD="$shim" dd if="$prefix/data" bs=4M of="$tmp/got" status=none 2>"$tmp/err" ||
		{ cat "$tmp/err"; die "$kib KiB: read"; }
	check "$kib KiB: the same bytes, by TCP" cmp "$tmp/data" "$tmp/got"
	[ "$(fallbacks)" -gt "$before" ] || die 'the daemons do not count why it was TCP'
	say "ok: metrics: $(($(fallbacks) - before)) connections by TCP for want of resources"
done
