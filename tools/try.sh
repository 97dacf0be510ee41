#!/bin/bash
# ff3fs from nothing to a training job, on one machine: installs what is missing, builds, starts a
# cluster on loopback, puts a data set there, and trains on it under the shim; then trains on a local
# directory and compares. Everything it makes is in build-try/; it takes down what it started.
#
#   tools/try.sh
#
# NO_INSTALL=1 leaves the machine's packages alone.
set -u
cd "$(dirname "$0")/.." || exit 1
top=$PWD
build=$top/build-try
installed=$build/installed
cluster=$build/cluster
python=/usr/bin/python3 # Debian's, which has Debian's PyTorch; another may come first in PATH
started=$SECONDS

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
say() { printf '%s\n' "$*"; }
step() { printf '%s\n' "${bold}▸ $*${plain}"; }
die() {
	printf 'try.sh: %s\n' "$*" >&2
	exit 1
}
# quietly WHAT COMMAND…: output goes to a log, whose end is shown if the command fails.
quietly() {
	local what=$1 log
	shift
	log=$build/${what// /-}.log
	"$@" >"$log" 2>&1 && return
	tail -n 25 "$log" >&2
	die "$what failed (all of it: $log)"
}

[ -z "${NO_INSTALL:-}" ] && {
	step 'Packages'
	tests/install-packages.sh build run || die 'packages are missing'
}
mkdir -p "$build" || die "cannot write to $top"

step 'Build'
. tests/prepare.sh
quietly configure prepare "$top" "$build" --prefix="$installed"
quietly make make -C "$build" -j"$(nproc)" install
PATH=$installed/bin:$installed/sbin:$PATH

cleanup() {
	local status=$?
	trap - EXIT
	ff3fs dev down --dir "$cluster" >"$build/down.log" 2>&1 || cat "$build/down.log" >&2
	rm -rf "$cluster" "$build/local" "$build/train.json"
	exit $status
}

step 'A cluster: one metadata server, three chunk daemons, on loopback'
if [ -d "$cluster" ]; then # left by a run that was killed
	ff3fs dev down --dir "$cluster" >/dev/null 2>&1
	rm -rf "$cluster"
fi
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
ff3fs dev up --dir "$cluster" --chunkd 3 --memory 256M || die 'the cluster did not start'
environment=$(ff3fs dev env --dir "$cluster") || die 'the cluster has no environment to give'
prefix=$(eval "$environment" && echo "${FF3FS_PREFIX:-/ff3fs}")

step 'Data: the handwritten digits of scikit-learn'
rm -rf "$build/local"
mkdir -p "$build/local/data"
"$python" tools/try_train.py pack "$build/local/data" || die 'cannot make the data set'
began=$(date +%s%N)
(eval "$environment" && ff3fs-put -r "$build/local/data" "$prefix/digits") || die 'ff3fs-put failed'
put_ms=$((($(date +%s%N) - began) / 1000000))
say "stored and verified in $((put_ms / 1000)).$(printf %03d $((put_ms % 1000))) s"

# job WHERE DATA CKPT: half of the training, then a new process that resumes; results to train.json
job() {
	local where=$1 data=$2 ckpt=$3
	"$python" tools/try_train.py train --data "$data" --ckpt "$ckpt" --stop-at 120 \
		>"$build/train.json" || die "training on $where failed"
	say "  stopped at step 120:  $(field loss 1) loss"
	"$python" tools/try_train.py train --data "$data" --ckpt "$ckpt" --resume \
		>>"$build/train.json" || die "training on $where, resumed, failed"
	say "  resumed, ended at $(field step 2): $(field loss 2) loss"
}
# field NAME LINE: of train.json
field() { sed -n "$2s/.*\"$1\": \"\\{0,1\\}\\([^,\"}]*\\).*/\\1/p" "$build/train.json"; }
# summary: samples, bytes, seconds and microseconds for a read, of both halves together
summary() {
	awk '{ gsub(/[{},":]/, " "); for (i = 1; i < NF; i++) v[$i] += $(i + 1) }
		END { printf "%d samples, %.1f MiB, in %.2f s: %.0f samples/s, %.1f MiB/s, %.0f µs to read one",
			v["samples"], v["bytes"] / 1048576, v["seconds"], v["samples"] / v["seconds"],
			v["bytes"] / 1048576 / v["seconds"], v["read_us"] / NR }' "$build/train.json"
}

step "Training on ff3fs: LD_PRELOAD=libff3fs_preload.so python3 train.py --data $prefix/digits"
(
	eval "$environment"
	export LD_PRELOAD=libff3fs_preload.so
	job ff3fs "$prefix/digits" "$prefix/checkpoints"
) || exit 1
remote=$(summary) remote_loss=$(field loss 2) remote_digest=$(field digest 2)
[ -n "$remote_digest" ] || die 'training on ff3fs said nothing'

step 'Training on a local directory'
job 'the local directory' "$build/local/data" "$build/local/checkpoints"
control=$(summary) local_loss=$(field loss 2) local_digest=$(field digest 2)

step 'Result'
say "ff3fs:  read $remote"
say "local:  read $control"
[ "$remote_loss" = "$local_loss" ] || die "the losses differ: $remote_loss on ff3fs, $local_loss locally"
[ "$remote_digest" = "$local_digest" ] || die "the weights differ: $remote_digest, $local_digest"
say "the losses are equal: $remote_loss (weights $remote_digest); $((SECONDS - started)) s in all"
