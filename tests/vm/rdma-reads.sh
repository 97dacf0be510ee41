#!/bin/bash
# Random reads over RDMA: no wrong byte, whatever the program does with its buffers, and what each read
# costs, by counters; by RDMA WRITEs of the daemon, and by RDMA READs of the client's own where chunks are
# exposed. SCALE=full: 100,000 of each.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd ff3fs-put
. "$srcdir/tests/vm/cluster.sh"
. "$srcdir/tests/hot.sh"
n=${READS:-300}
[ "${SCALE:-}" = full ] && n=50000

rdma_cluster 2
export FF3FS_CLIENT_TRANSPORTS=verbs FF3FS_CLIENT_TIMEOUT=20s
head -c 12000000 /dev/urandom >"$tmp/data"
check 'put' ff3fs-put -q "$tmp/data" "$prefix/data"
rdma_program verbs_reads
value() { sed -n "s/^$1: .*$2 \([0-9]*\).*/\1/p" "$tmp/counted"; }
# within WHAT VALUE MAX
within() { [ "$2" -le "$3" ] || die "$1: $2, more than $3"; say "ok: $1: $2"; }
# reads_served: by request, of both daemons.
reads_served() { counter request_duration_seconds_count 'op="chunk_read"'; }
more=$((n / 50 + 10)) # one connection more may be made, a look for life be taken

FF3FS_CLIENT_HOT=no "$tmp/verbs_reads" data "$tmp/data" "$n" "$RANDOM" >"$tmp/counted" || die 'verbs_reads'
cat "$tmp/counted"
equal 'pushed, registered buffers: no copies' 0 "$(value one copies)"
within 'sends' "$(value one sends)" $((n + more))
within 'receive slots' "$(value one recvs)" $((n + 64 + more))
within 'registrations' "$(value one registered)" 1
equal 'reads by the client itself' 0 "$(value one fetched)"
[ "$(value moved dropped)" -gt 0 ] || die 'no registration was seen to be stale'
say "ok: stale registrations: $(value moved dropped) dropped"

check 'pin' ff3fs layout set --pin memory "$prefix/data"
before=$(reads_served)
"$tmp/verbs_reads" data "$tmp/data" "$n" "$RANDOM" >"$tmp/counted" || die 'verbs_reads, exposed'
cat "$tmp/counted"
after=$(reads_served)
equal 'one-sided, registered buffers: no copies' 0 "$(value one copies)"
within 'work requests' "$(value one fetched)" "$n"
within 'requests meanwhile' "$(value one sends)" "$more"
within 'requests that the daemons saw in all' $((after - before)) $((n / 10 + 100))
equal 'wrong checksums' 0 "$(value hot checksum)"
[ "$(counter exposures_total)" -gt 0 ] || die 'the daemons exposed nothing'
