#!/bin/bash
# Over local sockets a process is served as the user that the kernel knows, whatever it says: who is root in a user
# namespace of its own is its user outside; and nobody but root and the daemons' user is a daemon. Nor is a chunk's memory
# to be had by what metad was told over a network.
# transport: unix shm (over a network every hello is believed)
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires setpriv unshare ff3fs-metad ff3fs-chunkd
[ "$(id -u)" -eq 0 ] || skip 'only root can be others'
as() { setpriv --reuid 4321 --regid 4321 --groups 4242 --inh-caps=-all "$@"; }
as unshare -r true 2>/dev/null || skip 'users may not make user namespaces here'
frames=$(find_built send-frame) || die 'send-frame is not built'
liar=$(find_built hot_liar) || die 'hot_liar is not built'

chmod 755 "$tmp"
mkdir "$tmp/lib" "$tmp/sockets"
cp -L "$shim" "$(find_built libff3fs.so.0 || echo "$library")" "$frames" "$liar" "$tmp/lib/"
export FF3FS_METAD_SOCKETS=$tmp/sockets FF3FS_CHUNKD_SOCKETS=$tmp/sockets FF3FS_CLIENT_SOCKETS=$tmp/sockets
export FF3FS_CLIENT_TRANSPORTS=${TRANSPORT:-shm unix}
start_cluster 1
# user COMMAND…, root COMMAND…, contained COMMAND…: the latter two in a user namespace of the user's, and the last one
# with process numbers of its own.
with_shim() { "${@:2:$1}" env LD_PRELOAD="${sanitizer_runtime:+$sanitizer_runtime:}$tmp/lib/${shim##*/}" "${@:2+$1}"; }
user() { with_shim 1 as "$@"; }
root() { with_shim 3 as unshare -r "$@"; }
contained() { with_shim 4 as unshare -rp --fork "$@"; }

on mkdir -m 1777 "$prefix/all" || die mkdir
echo secret >"$tmp/secret"
for mode in 600:0:0 600:65534:65534 640:0:4242 640:0:4321 640:0:4243; do
	on cp "$tmp/secret" "$prefix/$mode" && on chown "${mode#*:}" "$prefix/$mode" && on chmod "${mode%%:*}" "$prefix/$mode" ||
		die "a file $mode"
done
for who in user root contained; do
	equal "$who is $who" "$([ $who = user ] && echo 4321 || echo 0)" "$($who id -u)"
	fails "$who: somebody else's file" 1 $who cat "$prefix/600:0:0"
	grep -q 'Permission denied' "$tmp/err" || { cat "$tmp/err"; die 'for another reason'; }
	fails "$who: a group that it is not in" 1 $who cat "$prefix/640:0:4243"
	equal "$who: one that it is in" secret "$($who cat "$prefix/640:0:4242")"
	equal "$who: its own group" secret "$($who cat "$prefix/640:0:4321")"
	check "$who: a new file" $who touch "$prefix/all/$who"
	equal "$who: is whose" 4321:4321 "$(on stat -c %u:%g "$prefix/all/$who")"
done

answer() { # answer ROLE ADDRESS COMMAND…
	"${@:3}" "$tmp/lib/send-frame" "$tmp/sockets/$2" "role:$1" | head -n 1
}
for address in "$metad_addr" "${chunkd_addr[1]}"; do
	for role in 2 3 4; do
		equal "role $role of the user's" 'status 13' "$(answer $role "$address" as)"
	done
done
equal "a chunk daemon of root's" 'status 0' "$(answer 3 "$metad_addr" env)"

tcp() { FF3FS_CLIENT_TRANSPORTS=tcp "$@"; }
check "root maps what it may read" "$tmp/lib/hot_liar" itself /600:0:0
check "what a user may read, for it" "$tmp/lib/hot_liar" for:4321 /640:0:4321
check "the user maps what it may read" as "$tmp/lib/hot_liar" itself /640:0:4321
check "nobody maps what it may read" setpriv --reuid 65534 --regid 65534 --clear-groups \
	"$tmp/lib/hot_liar" itself /600:65534:65534
check "as what metad was told over a network" tcp as "$tmp/lib/hot_liar" itself /640:0:4321
check "also by another group of its own" tcp as "$tmp/lib/hot_liar" itself /640:0:4242
check "but not what metad was told so for root" tcp as "$tmp/lib/hot_liar" lies /600:0:0
check "nor so for a group that it is not in" tcp as "$tmp/lib/hot_liar" in:4243 /640:0:4243
denied() { curl -sf "http://${chunkd_admin[1]}/metrics" | awk '/^ff3fs_chunkd_expose_denied_total/ { print $NF }'; }
[ "$(denied)" -gt 0 ] || die 'nothing is counted as denied'

# A chunk daemon in a user namespace in which there is nobody but root: everybody else looks like one user.
mkdir "$tmp/apart"
printf '#!/bin/sh\nexec unshare -r %s "$@"\n' "$(command -v ff3fs-chunkd)" >"$tmp/apart/ff3fs-chunkd"
chmod 755 "$tmp/apart/ff3fs-chunkd"
kill_daemon "${chunkd_pid[1]}" TERM
PATH=$tmp/apart:$PATH start_chunkd 1
check "apart: root maps what it may read" "$tmp/lib/hot_liar" itself /600:0:0
check "apart: who is seen as nobody does not map nobody's" tcp as "$tmp/lib/hot_liar" as:65534 /600:65534:65534
equal "apart: others read by requests" secret "$(user cat "$prefix/640:0:4321")"
