#!/bin/bash
# numpy, multiprocessing, loads in the manner of safetensors and torch (ladder_python.py) print the same below the
# prefix as on a local directory.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/ladder.sh"
requires ff3fs-metad ff3fs-chunkd
requires_python numpy

start_cluster 2
export OMP_NUM_THREADS=1 JOB=$srcdir/tests/ladder_python.py PYTHONDONTWRITEBYTECODE=1
twin_with '3, 15, 19, 25: numpy, multiprocessing, safetensors, torch' -- '/usr/bin/python3 $JOB $D'
grep -q 'no torch' "$tmp/want" && say 'not run: torch: no python3 module torch'
nothing_local
