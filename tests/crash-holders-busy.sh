#!/bin/bash
# A chunk daemon is killed while a process that holds unsynced writes waits for another daemon, with its flusher, too;
# and while one that holds such of another cluster is stopped. Neither keeps anybody waiting, and neither loses what it
# holds.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_python
requires curl ff3fs ff3fs-metad ff3fs-chunkd
export FF3FS_CHUNKD_FLUSH=1000s # nothing becomes durable by itself
start_cluster 2
on mkdir "$prefix/w" || die mkdir

chunks() { curl -sf "http://${chunkd_admin[$1]}/v1/targets" | sed -n 's/.*"chunks": \([0-9]*\).*/\1/p'; }
# One file on each daemon.
for ((i = 0; i < 64; i++)); do
	[ -n "${on1:-}" ] && [ -n "${on2:-}" ] && break
	before=$(chunks 1)
	echo "$i" | on tee "$prefix/w/$i" >/dev/null || die tee
	if [ "$(chunks 1)" -gt "$before" ]; then on1=$prefix/w/$i; else on2=$prefix/w/$i; fi
done
[ -n "${on1:-}" ] && [ -n "${on2:-}" ] || die "64 files and all on one daemon"

# actor N FILE [ARGUMENT OF env…]: a process with FILE open that does what it is told by `tell N` (holders.py).
actor() {
	mkfifo "$tmp/to.$1" "$tmp/from.$1"
	env "${@:3}" LD_PRELOAD="${sanitizer_runtime:+$sanitizer_runtime:}$shim" \
		/usr/bin/python3 "$srcdir/tests/holders.py" actor "$2" \
		<"$tmp/to.$1" >"$tmp/from.$1" 2>"$tmp/actor.$1.log" &
	actor_pid[$1]=$!
	exec {to}>"$tmp/to.$1" {from}<"$tmp/from.$1"
	actor_to[$1]=$to actor_from[$1]=$from
	hears "$1" ready
}
tell() { echo "${@:2}" >&"${actor_to[$1]}"; }
hears() { # hears N WORD
	local line=''
	read -r -t 60 line <&"${actor_from[$1]}"
	[ "$line" = "$2" ] || die "actor $1: [$line], not [$2]"
}
actor_pid=() actor_to=() actor_from=()
cleanup_fn 'kill -CONT ${actor_pid[*]} 2>/dev/null; kill ${actor_pid[*]} 2>/dev/null'

# restart_1 WHO: daemon 1 comes back without what it had in memory, and is read from at once.
restart_1() {
	kill_daemon "${chunkd_pid[1]}"
	start_chunkd 1
	check "$1" timeout 10 bash -c 'LD_PRELOAD=$0 cat "$1" >/dev/null' "$shim" "$on1"
}

actor 1 "$on2"
tell 1 write 0 a 1
hears 1 True
kill -STOP "${chunkd_pid[2]}"
tell 1 write 1 b 1
# Its flusher begins to sync after 2 s, and waits as well.
read -r -t 4 <>"$tmp/.never"
restart_1 'a holder that waits for another daemon is not waited for'
kill -CONT "${chunkd_pid[2]}"
hears 1 True
tell 1 sync
hears 1 synced
tell 1 read 2
hears 1 ab

check 'another cluster' ff3fs dev up --dir "$tmp/other" --host "$test_host" --chunkd 1 --memory 64M
cleanup_fn 'ff3fs dev down --dir "$tmp/other" >/dev/null 2>&1'
actor 2 /ff3fs/file -u FF3FS_CLIENT_METAD -u FF3FS_CLIENT_PREFIX FF3FS_CONF="$tmp/other/ff3fs.conf"
tell 2 write 0 c 1
hears 2 True
kill -STOP "${actor_pid[2]}"
restart_1 'a stopped process of another cluster is not waited for'
kill -CONT "${actor_pid[2]}"
tell 2 sync
hears 2 synced
tell 2 read 1
hears 2 c
