#!/bin/bash
# Appends while the primary of a group of three is killed: each that was acknowledged is there once, though all bytes
# are alike, so that nothing but the count can tell. Some processes keep the file open, one opens it for each
# line; and one is alone with its file until another opens it just as the primary has died.
#
# SCALE=full: more kills.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd curl
kills=3 && [ "${SCALE:-}" = full ] && kills=40

# For so long after a start, all ends are in the log.
export FF3FS_METAD_LEASE=3s

dir=$tmp/cluster
unset FF3FS_CONF
cleanup_fn 'ff3fs dev down --dir "$dir" >/dev/null 2>&1'
of_primary() { # of_primary FIELD
	ff3fs dev status --json --dir "$dir" 2>/dev/null | /usr/bin/python3 -c '
import json, sys
d = json.load(sys.stdin)["daemons"]
print(next((x[sys.argv[1]] for x in d if x.get("role") == "primary"), ""))' "$1"
}
kill_primary() {
	local name
	until name=$(of_primary name) && [ -n "$name" ]; do sleep 0.05; done
	ff3fs dev kill "$name" >/dev/null || die "kill $name"
}
# begin FILE HOW SECONDS [N]: an appender; its number is in $job. append: and it has begun.
n_jobs=0
declare -A job_pid job_out
begin() {
	local out
	job=$((n_jobs++))
	mkfifo "$tmp/out.$job"
	exec {out}<>"$tmp/out.$job"
	start_on /usr/bin/python3 "$srcdir/tests/append_same.py" "$FF3FS_PREFIX/$1" "${@:2}" >&"$out" 2>"$tmp/err.$job"
	job_pid[$job]=$started_on job_out[$job]=$out
	pids+=("$started_on")
}
append() {
	begin "$@"
	read -r -t 60 -u "${job_out[$job]}" _ || die "it does not begin: $(cat "$tmp/err.$job")"
}
wait_for() { # wait_for JOB: adds to $lines what it was told
	local told
	wait "${job_pid[$1]}" || die "an append failed: $(cat "$tmp/err.$1")"
	until read -r -t 60 -u "${job_out[$1]}" told && [ "$told" != begun ]; do
		[ "$told" = begun ] || die 'no count'
	done
	lines=$((lines + told))
}
end() {
	local job
	for job; do kill -TERM "${job_pid[$job]}"; done
	for job; do wait_for "$job"; done
}
# told_once WHAT FILE
told_once() {
	equal "$1: all that was acknowledged, once" "$lines" "$(on cat "$FF3FS_PREFIX/$2" | wc -l)"
	equal "$1: nothing else" 1 "$(on cat "$FF3FS_PREFIX/$2" | sort -u | wc -l)"
}

check 'up' ff3fs dev up --dir "$dir" --host "$test_host" --metad 3 --chunkd 1 --memory 64M
eval "$(ff3fs dev env --dir "$dir")"

lines=0
for how in long long long short; do append same $how 0; done
for ((i = 0; i < kills; i++)); do
	kill_primary
	check 'up again' ff3fs dev up
done
end 0 1 2 3
told_once 'many at a file' same

# Who was alone with its file, and is stopped as the primary dies, is waited for: its last ends were in memory only.
asked() { # of the right to append; or the other has got it already
	curl -sf "http://$(of_primary admin)/metrics" | grep -q '^ff3fs_metad_request_duration_seconds_count.*"append_lock"' ||
		! kill -0 "${job_pid[$other]}" 2>/dev/null
}
for ((i = 0; i < kills; i++)); do
	lines=0
	append "alone.$i" long 4
	alone=$job
	kill -STOP "${job_pid[$alone]}"
	kill_primary
	begin "alone.$i" long 0 1
	other=$job
	until asked; do sleep 0.02; done
	kill -CONT "${job_pid[$alone]}"
	wait_for "$other"
	check 'up again' ff3fs dev up
	end "$alone"
	told_once 'one alone, and another' "alone.$i"
done
