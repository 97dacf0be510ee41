#!/bin/bash
# Members in network namespaces. The primary is cut off from the others (nft), while clients reach all of
# them: it answers neither writes nor reads any more, the others elect another one, and it follows when it
# is back. Cut one way only, there is no storm of elections. Cut off one from another, the third one
# is enough.
# transport: tcp (its members are apart)
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_root
requires ip nft
. "$srcdir/tests/group.sh"

ns=ff3g$$
ip netns add "$ns-0" 2>/dev/null || skip 'no network namespaces'
cleanup_fn 'for i in 0 1 2 3; do ip netns del "$ns-$i" 2>/dev/null; done'
# Namespace 0 has the clients, and is the router between the members.
ip -n "$ns-0" link set lo up
at() {
	local i=$1 go=()
	shift
	[ "$1" != exec ] || { go=(exec) && shift; }
	"${go[@]}" ip netns exec "$ns-$i" "$@"
}
at 0 bash -c 'echo 1 >/proc/sys/net/ipv4/ip_forward' || skip 'no forwarding'
declare -A member_host
for i in 1 2 3; do
	ip netns add "$ns-$i"
	ip -n "$ns-$i" link set lo up
	ip -n "$ns-$i" link add e type veth peer name "m$i" netns "$ns-0" || skip 'no veth'
	ip -n "$ns-$i" addr add "10.99.$i.2/24" dev e
	ip -n "$ns-$i" link set e up
	ip -n "$ns-0" addr add "10.99.$i.1/24" dev "m$i"
	ip -n "$ns-0" link set "m$i" up
	ip -n "$ns-$i" route add default via "10.99.$i.1"
	member_host[$i]=10.99.$i.2
done
ip netns exec "$ns-1" nft add table inet t 2>/dev/null || skip 'no nft in a namespace'
program_of() {
	printf '#!/bin/bash\nexec ip netns exec %s ff3fs-metad "$@"\n' "$ns-$1" >"$tmp/bin/metad.$1"
	chmod +x "$tmp/bin/metad.$1"
	echo "metad.$1"
}
# drop I CHAIN OTHER…: member I takes nothing from (input) or gives nothing to (output) these.
drop() {
	local i=$1 chain=$2 other
	shift 2
	at "$i" nft add table inet t
	at "$i" nft add chain inet t "$chain" "{ type filter hook $chain priority 0; }"
	for other; do
		at "$i" nft add rule inet t "$chain" ip "$([ "$chain" = input ] && echo saddr || echo daddr)" \
			"10.99.$other.2" drop
	done
}
heal() { at "$1" nft flush ruleset; }
others() { for i in 1 2 3; do [ "$i" = "$1" ] || echo "$i"; done; }

start_group

begin_load one 60
wait_primary
old=$primary
at 0 "$drive" "${member_addr[$old]}" stale "$addresses" >"$tmp/stale" 2>&1 &
stale=$!
UNTIL=20 until_true 'the reader reads' grep -q -s reading "$tmp/stale"
# shellcheck disable=SC2046
drop "$old" input $(others "$old")
# shellcheck disable=SC2046
drop "$old" output $(others "$old")
wait_primary "$old"
UNTIL=30 until_true 'the new value is written' grep -q -s written "$tmp/stale"
wait "$stale" || { cat "$tmp/stale"; die 'a stale answer'; }
say 'ok: it answered nothing that was old'
equal 'one primary' "$primary" "$(primary)"
heal "$old"
until_true 'it follows' caught_up "$old"
end_load one 60

# One way: a follower hears nothing of the primary, but is heard.
wait_primary
epoch=$(seen "$primary" epoch)
deaf=$((primary % 3 + 1))
drop "$deaf" input "$primary"
sleep 4
wait_primary
begin_load two 20
end_load two 20
grown=$(($(seen "$primary" epoch) - epoch))
[ $grown -le 2 ] || die "the epoch grew by $grown"
say "ok: the epoch grew by $grown in 4 s"
heal "$deaf"
until_true 'it follows' caught_up "$deaf"

# Two that do not hear each other; both hear the third.
wait_primary
epoch=$(seen "$primary" epoch)
other=$((primary % 3 + 1))
drop "$primary" input "$other"
drop "$primary" output "$other"
sleep 3
begin_load three 20
end_load three 20
wait_primary
grown=$(($(seen "$primary" epoch) - epoch))
[ $grown -le 3 ] || die "the epoch grew by $grown"
for i in 1 2 3; do heal "$i"; done
same_everywhere
