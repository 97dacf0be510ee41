#!/bin/bash
# What a program writes in small pieces is sent soon, and not synced for that: it is, by and by, after seconds.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
requires_python

cat >"$tmp/job.py" <<'END_PY'
import os, sys
for line in sys.stdin:
    fd = os.open(line.strip(), os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, b"x" * 100)
    print("written", flush=True)
END_PY

FF3FS_CHUNKD_FLUSH=1000s start_cluster 1 # nothing becomes durable by itself
mkfifo "$tmp/job.in" "$tmp/job.out" "$tmp/none"
exec 5<>"$tmp/job.in" 6<>"$tmp/job.out"
LD_PRELOAD=${sanitizer_runtime:+$sanitizer_runtime:}$shim /usr/bin/python3 "$tmp/job.py" <&5 >&6 &
pids+=($!)
now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }
asked() { metrics "${chunkd_admin[1]}" | sed -n "s/^ff3fs_chunkd_request_duration_seconds_count{.*op=\"chunk_$1\"} //p"; }
until_asked() { # until_asked OPERATION MORE-THAN
	local end=$((SECONDS + $(slower 20)))
	until [ "$(asked "$1")" -gt "$2" ]; do
		[ $SECONDS -lt $end ] || die "no $1"
		read -r -t 0.02 <>"$tmp/none"
	done
}

# A machine that was busy meanwhile has shown nothing: it may be two seconds already.
for ((i = 0; i < 10; i++)); do
	writes=$(asked write) syncs=$(asked sync) began=$(now_ms)
	echo "$prefix/$i" >&5
	read -r -t 60 -u 6 line && [ "$line" = written ] || die 'nothing is written'
	until_asked write "$writes"
	read -r -t 0.3 <>"$tmp/none"
	early=$(($(asked sync) - syncs))
	if [ $(($(now_ms) - began)) -lt 1500 ]; then
		equal 'sent, and not synced' 0 $early
		until_asked sync "$syncs"
		say 'ok: synced in the end'
		exit 0
	fi
	[ $early -gt 0 ] || until_asked sync "$syncs"
done
skip 'this machine is too busy'
