#!/bin/bash
# ff3fs dev: a cluster comes up with one command, keeps its data over down, kill and up, keeps its
# ports while they are free, and repairs itself where daemons are missing.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd ff3fs-put
requires_python json
unset FF3FS_CONF

dir="$tmp/it's a cluster"
cleanup_fn 'ff3fs dev down --dir "$dir" >/dev/null 2>&1'

# field EXPRESSION: of the JSON document in $tmp/out, called d.
field() { /usr/bin/python3 -c "import json,sys; d=json.load(open('$tmp/out')); print($1)"; }

fails 'no cluster yet: status' 4 ff3fs dev status --dir "$dir"
grep -q 'ff3fs dev up --dir' "$tmp/err" || die "no advice: $(cat "$tmp/err")"
fails 'no cluster yet: env' 4 ff3fs dev env --dir "$dir"
[ -s "$tmp/out" ] && die 'env prints something'
fails 'a wrong number of daemons' 2 ff3fs dev up --dir "$dir" --chunkd 0
fails 'a wrong size' 1 ff3fs dev up --dir "$dir" --memory much
fails 'a wrong action' 2 ff3fs dev sideways --dir "$dir"

fails 'up' 0 ff3fs dev up --json --dir "$dir" --host "$test_host" --chunkd 2 --memory 64M --prefix /devtest
equal 'prefix' /devtest "$(field 'd["prefix"]')"
equal 'daemons' 'metad up,chunkd1 up,chunkd2 up' \
	"$(field '",".join(x["name"] + " " + x["state"] for x in d["daemons"])')"
ports=$(field '" ".join(x["listen"] + " " + x["admin"] for x in d["daemons"])')
pids_up=$(field '" ".join(str(x["pid"]) for x in d["daemons"])')

environment=$(ff3fs dev env --dir "$dir") || die 'env'
(
	eval "$environment"
	[ "$FF3FS_PREFIX" = /devtest ] || exit 1
	[ "$FF3FS_DEV_DIR" = "$dir" ] || exit 1
	head -c 3000000 /dev/urandom >"$tmp/data"
	ff3fs-put -q "$tmp/data" /devtest/data || exit 1
	ff3fs dev status >/dev/null # finds the cluster by itself
) || die 'the environment does not work'
say 'ok: the environment works'

# same WHEN: the data are there.
same() {
	(eval "$environment" && ff3fs-get -q /devtest/data - | cmp - "$tmp/data") || die "$1: data differ"
	say "ok: $1: the data are there"
}
same 'up'
if [ -n "$shim" ] && [ -z "$sanitizer_runtime" ]; then
	(
		eval "$environment"
		LD_PRELOAD=libff3fs_preload.so cmp /devtest/data "$tmp/data"
	) || die 'the plain name of the shim does not resolve'
	(
		eval "$environment"
		ff3fs run -- cmp /devtest/data "$tmp/data"
	) || die 'ff3fs run'
	say 'ok: the shim by its plain name, and ff3fs run'
	# Files of two clusters are two, even if their numbers are equal.
	ff3fs dev up --dir "$dir.other" --host "$test_host" --chunkd 1 --prefix /devtest >/dev/null || die 'a second cluster'
	cleanup_fn 'ff3fs dev down --dir "$dir.other" >/dev/null 2>&1'
	this=$(eval "$environment" && ff3fs run -- stat -c %d:%i /devtest)
	other=$(eval "$(ff3fs dev env --dir "$dir.other")" && ff3fs run -- stat -c %d:%i /devtest)
	equal 'the numbers of their roots' "${this#*:}" "${other#*:}"
	[ "${this%:*}" != "${other%:*}" ] || die "two clusters are one device: $this"
	say "ok: two clusters are two devices: $this $other"
	# So are their locks.
	other_environment=$(ff3fs dev env --dir "$dir.other")
	export other_environment
	check 'a lock in the one' bash -c "eval \"\$1\"; ff3fs run -- flock -o -n /devtest bash -c '
		ff3fs run -- flock -n /devtest true && exit 1
		eval \"\$other_environment\"
		ff3fs run -- flock -n /devtest true || exit 2'" bash "$environment"
fi

fails 'up again' 0 ff3fs dev up --json --dir "$dir"
equal 'up again starts nothing' "$pids_up" "$(field '" ".join(str(x["pid"]) for x in d["daemons"])')"
equal 'pid of metad' "${pids_up%% *}" "$(ff3fs dev pid metad --dir "$dir")"
equal 'pid of a chunk daemon' "${pids_up##* }" "$(ff3fs dev pid chunkd 2 --dir "$dir")"
equal 'the same' "${pids_up##* }" "$(ff3fs dev pid chunkd2 --dir "$dir")"
equal 'all pids' "$pids_up" "$(ff3fs dev pid --dir "$dir" | xargs)"
fails 'pid of nothing' 4 ff3fs dev pid chunkd 9 --dir "$dir"

check 'down' ff3fs dev down --dir "$dir"
for pid in $pids_up; do
	[ ! -d "/proc/$pid" ] || grep -q '^State:.Z' "/proc/$pid/status" || die "$pid still runs"
done
fails 'status after down' 5 ff3fs dev status --dir "$dir"
fails 'pid after down' 4 ff3fs dev pid --dir "$dir"
check 'down again' ff3fs dev down --dir "$dir"

fails 'up after down' 0 ff3fs dev up --json --dir "$dir"
equal 'ports are kept' "$ports" "$(field '" ".join(x["listen"] + " " + x["admin"] for x in d["daemons"])')"
same 'after down and up'

check 'kill one' ff3fs dev kill chunkd 1 --dir "$dir"
fails 'status with one dead' 5 ff3fs dev status --json --dir "$dir"
equal 'who is down' chunkd1 "$(field '[x["name"] for x in d["daemons"] if x["state"] == "down"][0]')"
check 'up repairs' ff3fs dev up --dir "$dir"
same 'after kill chunkd 1 and up'
# README's way: kill(2) returns before the process is gone, and `up` comes at once.
for i in 1 2 3 4 5 6; do
	victims=$(ff3fs dev pid --dir "$dir" chunkd)
	check 'up after kill -9' bash -c 'kill -9 $1; exec ff3fs dev up --dir "$2"' - "$victims" "$dir"
	fails 'all of them are back' 0 ff3fs dev status --dir "$dir"
done
same 'after kill -9 and up'
check 'kill metad' ff3fs dev kill metad --dir "$dir"
check 'up repairs' ff3fs dev up --dir "$dir"
same 'after kill metad and up'
for i in 1 2 3 4 5; do
	check 'kill all' ff3fs dev kill --dir "$dir"
	fails 'up' 0 ff3fs dev up --json --dir "$dir"
	equal 'ports are kept' "$ports" "$(field '" ".join(x["listen"] + " " + x["admin"] for x in d["daemons"])')"
done
check 'kill all' ff3fs dev kill --dir "$dir"
fails 'kill without anything to kill' 4 ff3fs dev kill --dir "$dir"
check 'up repairs' ff3fs dev up --dir "$dir"
same 'after kill of all and up'

fails 'a third chunk daemon' 0 ff3fs dev up --json --dir "$dir" --chunkd 3
equal 'daemons' 4 "$(field 'len(d["daemons"])')"
same 'with another chunk daemon'

# Someone else takes metad's port while the cluster is down.
metad_port=$(ff3fs dev status --json --dir "$dir" | sed 's/.*"name":"metad"[^}]*"listen":"[^:]*:\([0-9]*\)".*/\1/')
check 'down' ff3fs dev down --dir "$dir"
coproc /usr/bin/python3 -c "
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('$test_host', $metad_port)); s.listen(); print('bound', flush=True); sys.stdin.read()"
read -r line <&"${COPROC[0]}"
equal 'the port is taken' bound "$line"
fails 'up with a port taken' 0 ff3fs dev up --json --dir "$dir"
[ "$(field 'd["daemons"][0]["listen"]')" != "$test_host:$metad_port" ] || die 'the same port'
environment=$(ff3fs dev env --dir "$dir")
same 'at another port'
eval "exec ${COPROC[1]}>&-"

# Elsewhere than on the loopback address that is the default.
refuses 'another host' "the cluster in $dir is at $test_host" ff3fs dev up --dir "$dir" --host 127.0.0.2
refuses 'no address' 'expected an IPv4 address' ff3fs dev up --dir "$dir.third" --host localhost
fails 'up at 127.0.0.2' 0 ff3fs dev up --json --dir "$dir.third" --chunkd 1 --host 127.0.0.2
cleanup_fn 'ff3fs dev down --dir "$dir.third" >/dev/null 2>&1'
equal 'where they listen' '127.0.0.2 127.0.0.2' "$(field '" ".join(x["listen"].split(":")[0] for x in d["daemons"])')"
(eval "$(ff3fs dev env --dir "$dir.third")" && FF3FS_CLIENT_TRANSPORTS=tcp ff3fs-put -q "$tmp/data" "$FF3FS_PREFIX/data") || die 'put at 127.0.0.2'
check 'down' ff3fs dev down --dir "$dir.third"

# What cannot start says why.
check 'down' ff3fs dev down --dir "$dir"
sed -i 's/^memory = .*/memory = plenty/' "$dir/chunkd2.conf"
fails 'a broken configuration' 1 ff3fs dev up --dir "$dir"
grep -q 'chunkd2 did not start' "$tmp/err" && grep -q 'memory = plenty' "$tmp/err" ||
	die "it is not said why: $(cat "$tmp/err")"
[ -s "$tmp/out" ] && die 'stdout is not empty'
check 'memory is set by up' ff3fs dev up --dir "$dir" --memory 64M
same 'after the repair'
