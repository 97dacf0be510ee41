#!/bin/bash
# Random reads over RDMA WRITE pushes: no wrong byte, whatever the program does with its buffers, and
# what each read costs, by counters. SCALE=full: 100,000 of them.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs-put
. "$srcdir/tests/vm/cluster.sh"
n=${READS:-300}
[ "${SCALE:-}" = full ] && n=50000

rdma_cluster 2
export FF3FS_CLIENT_TRANSPORTS=verbs FF3FS_CLIENT_TIMEOUT=20s
head -c 20000000 /dev/urandom >"$tmp/data"
check 'put' ff3fs-put -q "$tmp/data" "$prefix/data"
rdma_program verbs_reads
"$tmp/verbs_reads" data "$tmp/data" "$n" "$RANDOM" >"$tmp/counted" || die 'verbs_reads'
cat "$tmp/counted"
value() { sed -n "s/^$1: .*$2 \([0-9]*\).*/\1/p" "$tmp/counted"; }
# within WHAT VALUE MAX
within() { [ "$2" -le "$3" ] || die "$1: $2, more than $3"; say "ok: $1: $2"; }
equal 'registered buffers: no copies' 0 "$(value one copies)"
# One connection more may be made, and a look for life be taken.
within 'sends' "$(value one sends)" $((n + n / 50 + 10))
within 'receive slots' "$(value one recvs)" $((n + 64 + n / 50 + 10))
within 'registrations' "$(value one registered)" 1
[ "$(value moved dropped)" -gt 0 ] || die 'no registration was seen to be stale'
say "ok: stale registrations: $(value moved dropped) dropped"
