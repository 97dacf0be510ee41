#!/bin/bash
# Three metadata servers, each in a network namespace of its own, and a job with its chunk daemon in another: cables
# are cut (packets dropped by nftables, so that nobody hears of it), between the primary and all, the primary and
# the job, and the job and all. Nothing is lost, nothing is applied twice, and the job sees no error.
# transport: tcp (its hosts are apart)
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd ff3fs-get curl ip nft
requires_root
requires_python json
unshare -n true 2>/dev/null || skip 'no network namespaces'
export FF3FS_METAD_LEASE=5s FF3FS_METAD_ELECTION=1s # nobody is elected because a machine is slow

# --- The network: a bridge, and a cable to each ----------------------------------------------------

net=ff3-$$
spaces=()
space() { # space NAME ADDRESS
	ip netns add "$net-$1" || skip 'network namespaces cannot be made'
	spaces+=("$net-$1")
	ip -n "$net-$1" link set lo up
	[ -n "${2:-}" ] || return
	ip -n "$net-hub" link add "to-$1" type veth peer name eth0 netns "$net-$1" || die 'veth'
	ip -n "$net-hub" link set "to-$1" master hub up
	ip -n "$net-$1" addr add "$2/24" dev eth0
	ip -n "$net-$1" link set eth0 up
}
cleanup_fn 'for s in "${spaces[@]}"; do ip netns del "$s"; done'
space hub
ip -n "$net-hub" link add hub type bridge || skip 'no bridges'
ip -n "$net-hub" link set hub up
for i in 1 2 3; do space "m$i" "10.77.0.$i"; done
space job 10.77.0.10
on_host() { local s=$1; shift; ip netns exec "$net-$s" "$@"; }

# cut NAME [ADDRESS]: what comes to a host and goes out of it, from and to everybody or this one, is dropped.
cut() {
	on_host "$1" nft -f - <<-END || die 'nft'
		table ip cut {
			chain in { type filter hook input priority 0; iif lo accept; ${2:+ip saddr $2} drop; }
			chain out { type filter hook output priority 0; oif lo accept; ${2:+ip daddr $2} drop; }
		}
	END
	say "ok: cut: $*"
}
mend() { on_host "$1" nft delete table ip cut || die 'nft'; }

# --- The cluster -----------------------------------------------------------------------------------

group=1@10.77.0.1:9734,2@10.77.0.2:9734,3@10.77.0.3:9734
list=10.77.0.1:9734,10.77.0.2:9734,10.77.0.3:9734
for i in 1 2 3; do
	printf '#!/bin/bash\nexec ip netns exec %s ff3fs-metad "$@"\n' "$net-m$i" >"$tmp/bin/metad-$i"
	chmod +x "$tmp/bin/metad-$i"
	mkdir "$tmp/metad$i"
	form=
	[ $i = 1 ] && form=--form
	FF3FS_METAD_DIR=$tmp/metad$i FF3FS_METAD_GROUP=$group FF3FS_METAD_MEMBER=$i FF3FS_METAD_MEMORY=64M \
		FF3FS_METAD_ADMIN=127.0.0.1:9733 start_daemon "metad$i" "metad-$i" $form || die "metad $i"
done
members() { on_host "m$1" curl -s --max-time 2 "http://127.0.0.1:9733/v1/metad/members"; }
# role N; voters N: what it says.
role() { members "$1" | sed -n 's/.*"role": *"\([a-z]*\)".*/\1/p'; }
voters() { members "$1" | grep -o '"state": *"voter"' | wc -l; }
primary() { for i in 1 2 3; do [ "$(role $i)" = primary ] && echo $i && return; done; }
mkfifo "$tmp/none"
pause() { read -r -t 0.05 <>"$tmp/none"; }
# until_true WHAT COMMAND…
until_true() {
	local what=$1 i
	shift
	for ((i = 0; i < 600; i++)); do "$@" && say "ok: $what" && return; pause; done
	die "$what: not so"
}
has_voters() { [ "$(voters 1)" = 3 ]; }
until_true 'all three vote' has_voters

printf '#!/bin/bash\nexec ip netns exec %s ff3fs-chunkd "$@"\n' "$net-job" >"$tmp/bin/chunkd-job"
chmod +x "$tmp/bin/chunkd-job"
mkdir "$tmp/chunkd"
FF3FS_CHUNKD_TARGETS=$tmp/chunkd FF3FS_CHUNKD_LISTEN=10.77.0.10:9800 FF3FS_CHUNKD_ADMIN=127.0.0.1:9801 \
	FF3FS_CHUNKD_METAD=$list FF3FS_CHUNKD_MEMORY=64M start_daemon chunkd chunkd-job || die chunkd

# --- The job ---------------------------------------------------------------------------------------

export FF3FS_CLIENT_METAD=$list
on_host job env LD_PRELOAD="${sanitizer_runtime:+$sanitizer_runtime:}$shim" mkdir /ff3fs/job || die 'mkdir'
mkfifo "$tmp/job.in" "$tmp/job.out"
on_host job env LD_PRELOAD="${sanitizer_runtime:+$sanitizer_runtime:}$shim" /usr/bin/python3 "$srcdir/tests/failover_load.py" /ff3fs/job \
	<"$tmp/job.in" >"$tmp/job.out" 2>"$tmp/job.err" &
pids+=("$!")
exec 5>"$tmp/job.in" 6<"$tmp/job.out"
goes_on() { # goes_on WHAT
	local line='no answer'
	echo wait 5 40 >&5
	read -r -t 60 line <&6
	case $line in
	ok*) say "ok: $1: the longest step took ${line#ok }" ;;
	*) cat "$tmp/job.err"; die "$1: the job: $line" ;;
	esac
}
goes_on 'the job begins'

# The primary's cable: it answers nobody any more, and nobody is told.
old=$(primary)
cut "m$old"
goes_on "member $old, the primary, is cut off"
follows() { [ "$(role "$old")" = follower ]; }
until_true 'it has laid the role down by itself' follows
mend "m$old"
caught_up() {
	local p=$(primary)
	[ -n "$p" ] && members "$p" | /usr/bin/python3 -c '
import json, sys
d = json.load(sys.stdin)
sys.exit(any(m["match_seq"] + 100 < d["durable_seq"] for m in d["items"]))'
}
until_true 'it has caught up' caught_up
goes_on 'all three again'

# The job's cable to the primary only: the primary stays, and there is nobody else to go to. The job waits.
now=$(primary)
cut job "10.77.0.$now"
for ((i = 0; i < 40; i++)); do pause; done
mend job
goes_on 'cut off from the primary for 2 s'
equal 'the primary is the same' "$now" "$(primary)"

# The job's cable.
cut job
for ((i = 0; i < 40; i++)); do pause; done
mend job
goes_on 'cut off from all for 2 s'

# The primary dies while one of the others is cut off: two are not there, and nobody can take over until one is.
now=$(primary)
other=$((now % 3 + 1))
cut "m$other"
victim=
for pid in "${pids[@]}"; do
	tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -q -x "FF3FS_METAD_MEMBER=$now" && victim=$pid
done
[ -n "$victim" ] || die "no process of member $now"
kill_daemon "$victim" KILL
for ((i = 0; i < 40; i++)); do pause; done
[ -z "$(primary)" ] || die 'one of three became the primary'
say 'ok: one of three does not serve'
mend "m$other"
goes_on 'two of three again'

echo stop >&5
exec 5>&-
read -r -t 60 line <&6
case $line in
stopped*) say "ok: nothing lost, nothing twice: ${line#stopped }" ;;
*) cat "$tmp/job.err"; die "the job: $line" ;;
esac
