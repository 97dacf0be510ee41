#!/bin/bash
# A group of three metadata servers loses its primary under the load of eleven processes (failover_load.py): killed,
# stopped, cut off by the network without a word. No acknowledged operation is lost, none is applied twice, and the
# job sees no error. Training goes on, too. The awkward cases: everybody away, and for longer than a call waits.
#
# SCALE=full: more of each.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd ff3fs-put ff3fs-get curl
requires_python json
rounds=1 && [ "${SCALE:-}" = full ] && rounds=10
export FF3FS_METAD_LEASE=5s # who died holding a lock is waited for that long

# --- The job --------------------------------------------------------------------------------------

load_begin() { # load_begin NAME DIR: a job in the directory
	mkfifo "$tmp/$1.in" "$tmp/$1.out"
	on mkdir "$2" || die "mkdir $2"
	# Not by start_on: opening the pipes waits, and must not be done by this shell.
	LD_PRELOAD=${sanitizer_runtime:+$sanitizer_runtime:}$shim /usr/bin/python3 \
		"$srcdir/tests/failover_load.py" "$2" <"$tmp/$1.in" >"$tmp/$1.out" 2>"$tmp/$1.err" &
	load_pid=$!
	pids+=("$load_pid")
	exec 5>"$tmp/$1.in" 6<"$tmp/$1.out"
}
load_say() { # load_say COMMAND…: sets $line
	echo "$*" >&5
	read -r -t 90 line <&6 || line="no answer"
}
# goes_on WHAT [SECONDS]: every process of the job has made steps.
goes_on() {
	load_say wait 5 "${2:-40}"
	case $line in
	ok*) say "ok: $1: the longest step took ${line#ok }" ;;
	*) cat "$tmp"/job*.err; die "$1: the job: $line" ;;
	esac
}
load_end() {
	load_say stop
	exec 5>&- 6<&-
	wait "$load_pid"
	case $line in
	stopped*) say "ok: nothing lost, nothing twice: ${line#stopped }" ;;
	*) cat "$tmp"/job*.err; die "the job: $line" ;;
	esac
}

# --- The group ------------------------------------------------------------------------------------

dir=$tmp/cluster
unset FF3FS_CONF
cleanup_fn 'ff3fs dev down --dir "$dir" >/dev/null 2>&1'
# of_primary FIELD: name, pid, admin …; empty if there is none.
of_primary() {
	ff3fs dev status --json --dir "$dir" 2>/dev/null | /usr/bin/python3 -c '
import json, sys
d = json.load(sys.stdin)["daemons"]
print(next((x[sys.argv[1]] for x in d if x.get("role") == "primary"), ""))' "$1"
}

fails 'a group of nobody' 2 ff3fs dev up --dir "$dir" --metad 0
check 'one alone' ff3fs dev up --dir "$dir" --host "$test_host" --chunkd 2 --memory 64M
eval "$(ff3fs dev env --dir "$dir")"
check 'a file' ff3fs-put "$0" "$FF3FS_PREFIX/file"
check 'becomes a group of three' ff3fs dev up --metad 3
check 'the file' ff3fs-get "$FF3FS_PREFIX/file" "$tmp/copy"
cmp "$0" "$tmp/copy" || die 'other bytes'
for name in metad1 metad2 metad3; do
	ff3fs dev pid "$name" >/dev/null || die "no $name"
done
equal 'all of metad' 3 "$(ff3fs dev pid metad | wc -l)"
equal 'one of them' "$(ff3fs dev pid metad2)" "$(ff3fs dev pid metad 2)"
equal 'the first is the primary' metad1 "$(of_primary name)"

load_begin job "$FF3FS_PREFIX/job"
goes_on 'the job begins'
for ((round = 0; round < rounds; round++)); do
	killed=$(of_primary name)
	check "kill $killed" ff3fs dev kill "$killed"
	goes_on "after the kill of $killed"
	fails 'its place is empty' 5 ff3fs dev status
	check 'up again' ff3fs dev up

	stopped=$(of_primary pid)
	kill -STOP "$stopped"
	goes_on 'while the primary is stopped'
	kill -CONT "$stopped"
	goes_on 'and after it goes on'
	[ "$(of_primary pid)" != "$stopped" ] || die 'the one that was stopped is the primary still'

	before=$(of_primary name)
	curl -sf -X POST "http://$(of_primary admin)/v1/metad/hand-over" >"$tmp/out" || die "hand over: no answer"
	goes_on "after $before handed over"
	[ "$(of_primary name)" != "$before" ] || die "$before is the primary still: $(cat "$tmp/out")"
done

check 'kill all of metad' ff3fs dev kill metad
env FF3FS_CLIENT_TIMEOUT=1s ff3fs stat "$FF3FS_PREFIX" 2>"$tmp/err" && die 'somebody answers'
grep -q 'cannot reach metad at [0-9.]*:[0-9]*: Connection refused; [0-9]' "$tmp/err" || die "$(cat "$tmp/err")"
say 'ok: nobody serves: an error after the time-out, which names all'
check 'all of metad again' ff3fs dev up
goes_on 'the job has waited'
load_end

# --- Training -------------------------------------------------------------------------------------

if /usr/bin/python3 -c 'import torch, numpy, sklearn' 2>/dev/null; then
	job=$srcdir/tools/try_train.py
	export OMP_NUM_THREADS=1
	mkdir "$tmp/data"
	check 'data set' /usr/bin/python3 "$job" pack "$tmp/data"
	check 'local run' /usr/bin/python3 "$job" train --data "$tmp/data" --ckpt "$tmp/ckpt"
	want=$(sed 's/"samples.*//' "$tmp/check.out")
	check 'put' ff3fs-put -r "$tmp/data" "$FF3FS_PREFIX/data"
	start_on /usr/bin/python3 "$job" train --data "$FF3FS_PREFIX/data" --ckpt "$FF3FS_PREFIX/ckpt" \
		>"$tmp/train.out" 2>&1
	train=$started_on
	kills=0
	while kill -0 $train 2>/dev/null && [ $kills -lt $((rounds * 5)) ]; do
		ff3fs dev kill "$(of_primary name)" >/dev/null 2>&1 && kills=$((kills + 1))
		ff3fs dev up --quiet || die 'up'
	done
	wait $train || die "training: $(cat "$tmp/train.out")"
	equal "loss and weights after $kills kills" "$want" "$(sed 's/"samples.*//' "$tmp/train.out")"
else
	say 'skipped: training (no torch)'
fi
check 'down' ff3fs dev down
