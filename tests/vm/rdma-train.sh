#!/bin/bash
# A training job with forked workers over RDMA alone: its samples pushed by the daemons, and read by the
# workers themselves where chunks are exposed; counters show which. By default the job is samples.py;
# SCALE=full: that of e2e-train.sh, with the same samples, loss and weights as on a local directory.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd ff3fs-put
. "$srcdir/tests/vm/cluster.sh"
. "$srcdir/tests/hot.sh"
export OMP_NUM_THREADS=1
want=
mkdir "$tmp/data"
if [ "${SCALE:-}" = full ]; then
	requires_python torch numpy sklearn
	job=$srcdir/tools/try_train.py steps=${STEPS:-20}
	check 'data set' /usr/bin/python3 "$job" pack "$tmp/data"
	train() { # train COMMAND… DIR CKPT
		"${@:1:$#-2}" /usr/bin/python3 "$job" train --data "${*: -2:1}" --ckpt "${*: -1}" --stop-at "$steps"
	}
	check 'local run' train env "$tmp/data" "$tmp/ckpt"
	want=$(sed 's/"samples.*//' "$tmp/check.out")
else
	check 'data set' /usr/bin/python3 "$srcdir/tests/vm/samples.py" make "$tmp/data" "${SAMPLES:-120}"
fi
reads() { counter request_duration_seconds_count 'op="chunk_read"'; }

# run WHAT: one job; sets $requests and $exposed, of the daemons meanwhile, and $line, what it printed.
run() {
	local before exposures
	before=$(reads) exposures=$(counter exposures_total)
	if [ "${SCALE:-}" = full ]; then
		check "$1" train on "$prefix/data" "$prefix/ckpt-${1// /-}"
		equal "$1: loss and weights" "$want" "$(sed 's/"samples.*//' "$tmp/check.out")"
	else
		check "$1" on /usr/bin/python3 "$srcdir/tests/vm/samples.py" read "$prefix/data" \
			"$builddir/.libs/libff3fs.so.0"
	fi
	line=$(tail -n 1 "$tmp/check.out")
	requests=$(($(reads) - before)) exposed=$(($(counter exposures_total) - exposures))
	say "$1: $requests reads by request; $line"
}
field() { sed -n "s/.*\b$1 \([0-9]*\).*/\1/p" <<<"$line"; }

export FF3FS_CHUNKD_MEMORY=${TRAIN_MEMORY:-160M}
rdma_cluster 2
export FF3FS_CLIENT_TRANSPORTS=verbs FF3FS_CLIENT_TIMEOUT=30s
check 'what is made is pinned' ff3fs layout set --pin memory "$prefix"
check 'put' ff3fs-put -q -r "$tmp/data" "$prefix/data"
FF3FS_CLIENT_HOT=no run 'pushed'
pushed=$requests
equal 'nothing was exposed' 0 "$exposed"
[ -n "$want" ] || equal 'nothing was fetched' 0 "$(field fetched)"
run 'one-sided'
[ "$exposed" -gt 0 ] || die 'nothing was exposed'
most=$((pushed / 2))
[ -z "$want" ] || most=$((pushed * 9 / 10)) # half of its samples are files that are read once, which is by request
[ "$requests" -lt $most ] || die "$requests requests, of $pushed when all is pushed"
[ -n "$want" ] || [ "$(field fetched)" -gt $((pushed / 2)) ] || die 'hardly anything was fetched'
