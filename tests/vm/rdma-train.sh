#!/bin/bash
# The training job of e2e-train.sh, with its forked workers, over RDMA alone: the same samples, loss and
# weights as on a local directory.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs-put
[ "${SCALE:-}" = full ] || { say 'only with SCALE=full: PyTorch takes minutes under emulation'; exit 0; }
requires_python torch numpy sklearn
. "$srcdir/tests/vm/cluster.sh"

job=$srcdir/tools/try_train.py
steps=${STEPS:-20}
export OMP_NUM_THREADS=1
mkdir "$tmp/data"
check 'data set' /usr/bin/python3 "$job" pack "$tmp/data"
check 'local run' /usr/bin/python3 "$job" train --data "$tmp/data" --ckpt "$tmp/ckpt" --stop-at "$steps"
want=$(sed 's/"samples.*//' "$tmp/check.out")

rdma_cluster 3
export FF3FS_CLIENT_TRANSPORTS=verbs FF3FS_CLIENT_TIMEOUT=20s
check 'put' ff3fs-put -q -r "$tmp/data" "$prefix/data"
check 'over RDMA' on /usr/bin/python3 "$job" train --data "$prefix/data" --ckpt "$prefix/ckpt" --stop-at "$steps"
equal 'loss and weights' "$want" "$(sed 's/"samples.*//' "$tmp/check.out")"
