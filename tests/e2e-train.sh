#!/bin/bash
# The job that ff3fs is for: PyTorch with forked workers reads its samples from the prefix, saves
# checkpoints there, is stopped and resumed; every sample's checksum is checked, and weights and
# loss equal those of the same job on a local directory. Without a cluster the same command fails.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs-put
requires_python torch numpy sklearn

job=$srcdir/tools/try_train.py
export OMP_NUM_THREADS=1
mkdir "$tmp/data"
check 'data set' /usr/bin/python3 "$job" pack "$tmp/data"
check 'local run' /usr/bin/python3 "$job" train --data "$tmp/data" --ckpt "$tmp/ckpt"
want=$(sed 's/"samples.*//' "$tmp/check.out")

start_cluster 3
check 'put' ff3fs-put -r "$tmp/data" "$prefix/data"
check 'half of it' on /usr/bin/python3 "$job" train --data "$prefix/data" --ckpt "$prefix/ckpt" --stop-at 120
check 'resumed' on /usr/bin/python3 "$job" train --data "$prefix/data" --ckpt "$prefix/ckpt" --resume
equal 'loss and weights' "$want" "$(sed 's/"samples.*//' "$tmp/check.out")"
cat "$tmp/check.out"

[ ! -e "$prefix" ] || die "$prefix exists on this machine"
fails 'without the shim' 1 /usr/bin/python3 "$job" train --data "$prefix/data" --ckpt "$tmp/ckpt2"
kill_daemon "$metad_pid"
export FF3FS_CLIENT_TIMEOUT=$(slower 1)s
fails 'without a cluster' 1 on /usr/bin/python3 "$job" train --data "$prefix/data" --ckpt "$tmp/ckpt2"
