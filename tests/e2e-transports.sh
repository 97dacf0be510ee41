#!/bin/bash
# limit: 600
# Every transport: clients come by the one that they are told to use and by no other; where the preferred one does
# not work they take the next, and daemons count which, and why. A few end-to-end and fuzz tests
# run over each; all of them: make check TRANSPORT=unix.
# transport: none (it takes each in turn)
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs ff3fs-put ff3fs-get ff3fs-admin

# --- Counted as what they are -------------------------------------------------------------------
start_cluster 1
head -c 3000000 /dev/urandom >"$tmp/data"
# carried_now LINK: as carried of functions.sh, by what lives.
carried_now() {
	: >"$tmp/.counted"
	count_at "$metad_admin"
	count_at "${chunkd_admin[1]}"
	carried "$1"
}
for link in tcp unix shm; do
	before=$(carried_now $link) others=$(carried_now tcp)+$(carried_now unix)+$(carried_now shm)-$before
	FF3FS_CLIENT_TRANSPORTS=$link ff3fs-put -q "$tmp/data" "$prefix/by-$link" || die "put by $link"
	FF3FS_CLIENT_TRANSPORTS=$link ff3fs-get -q "$prefix/by-$link" "$tmp/by-$link" || die "get by $link"
	cmp "$tmp/data" "$tmp/by-$link" || die "bytes by $link"
	[ "$(carried_now $link)" -ge $((before + 5)) ] || die "nothing came by $link"
	equal "by $link alone" $((others)) $(($(carried_now tcp) + $(carried_now unix) + $(carried_now shm) - $(carried_now $link)))
done
check 'status tells of them' bash -c "ff3fs-admin --admin=$metad_admin status | grep '^  links .*shm .*tcp .*unix '"

# sample NAME LABELS: of both daemons together
sample() { { metrics "$metad_admin"; metrics "${chunkd_admin[1]}"; } | awk -v n="$1" -v l="$2" 'index($0, n) && index($0, l) { s += $2 } END { print s + 0 }'; }
equal 'nobody had to take another' 0 "$(sample _fallbacks_total link=)"

# --- Fallbacks and their reasons ----------------------------------------------------------------
by() { FF3FS_CLIENT_TRANSPORTS=$1 FF3FS_CLIENT_TIMEOUT=3s ff3fs-get -q "$prefix/by-tcp" "$tmp/back" && cmp "$tmp/data" "$tmp/back"; }
[ -e /sys/class/infiniband ] && [ -n "$(ls /sys/class/infiniband)" ] || {
	check 'no RDMA here: by the next' by 'verbs unix'
	equal 'which is nothing to count' 0 "$(sample _fallbacks_total link=)"
}
restart_with() { # restart_with LINKS: daemons that offer them
	kill_daemon "$metad_pid"
	kill_daemon "${chunkd_pid[1]}"
	FF3FS_METAD_TRANSPORTS=$1 start_metad
	FF3FS_CHUNKD_TRANSPORTS=$1 start_chunkd 1
}
restart_with 'tcp unix'
check 'daemons without shared memory' by 'shm tcp'
[ "$(sample _fallbacks_total 'link="shm",instead="tcp",reason="unsupported"')" -ge 2 ] || die 'unsupported: not counted'
fails 'and nothing else allowed' 1 by shm
restart_with tcp
check 'daemons without a local socket' by 'shm unix tcp'
for link in shm unix; do
	[ "$(sample _fallbacks_total "link=\"$link\",instead=\"tcp\",reason=\"nobody\"")" -ge 2 ] || die "$link: nobody: not counted"
done
say 'ok: counted with their reasons'
kill_daemon "$metad_pid"
kill_daemon "${chunkd_pid[1]}"

# --- A test of each kind ------------------------------------------------------------------------
over() { # over LINK: at the same time as the others
	local test status began
	for test in e2e-client fault-client e2e-preload-map-fuzz; do
		began=$SECONDS
		TRANSPORT=$1 bash "$srcdir/tests/$test.sh" >"$tmp/$1.$test" 2>&1 </dev/null
		status=$?
		[ $status -eq 0 ] || { tail -n 40 "$tmp/$1.$test"; say "$test over $1: exit $status"; return 1; }
		say "ok: $test over $1 in $((SECONDS - began)) s: $(grep -o 'requests carried.*' "$tmp/$1.$test")"
	done
}
running=()
for link in tcp unix shm; do
	(trap - EXIT; over $link) &
	running+=($!)
done
for pid in "${running[@]}"; do wait "$pid" || bad=1; done
[ -z "${bad:-}" ] || die 'a test fails over one of them'
