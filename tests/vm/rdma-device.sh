#!/bin/bash
# The machine has what the other tests need: devices that connect by librdmacm over IPv4 and IPv6.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
requires rping rdma

equal 'two active devices' 2 "$(rdma link show | grep -c 'state ACTIVE')"
# ping NAME SERVER CLIENT: from a queue pair bound to the one address to one at the other.
ping() {
	rping -s -a "$2" -C 3 >"$tmp/server.log" 2>&1 &
	# rping does not tell when it listens; until then it refuses at once.
	for ((i = 0; i < 100; i++)); do
		timeout 20 rping -c -a "$2" -I "$3" -C 3 -V -v >"$tmp/client.log" 2>&1 && break
		grep -q -i -E 'REJECTED|UNREACHABLE' "$tmp/client.log" || break
	done
	wait
	equal "$1" 3 "$(grep -c 'ping data: rdma-ping' "$tmp/client.log")"
}
ping 'IPv4' 10.99.0.1 10.99.0.1
ping 'IPv6' fd98::1 fd98::1
