#!/bin/bash
# Where daemons have the cluster's key, who comes over a network is who its ticket says, whatever it claims; without a
# ticket that is good nobody comes, and no daemon. Daemons make their own. At local sockets the kernel's word counts.
# transport: tcp verbs (at local sockets nobody needs a ticket)
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd curl
[ "$(id -u)" -eq 0 ] || skip 'only root can be others'
. "$srcdir/tests/group.sh"
frames=$(find_built send-frame) || die 'send-frame is not built'
python=/usr/bin/python3
by=${TRANSPORT:-tcp}

# --- Keys ------------------------------------------------------------------------------------------
check 'a key' ff3fs ticket -q --new-key "$tmp/key"
equal 'it is its owner'"'"'s alone' 600 "$(stat -c %a "$tmp/key")"
cp "$tmp/key" "$tmp/before"
fails 'a key is never written over' 1 ff3fs ticket --new-key "$tmp/key"
check 'and is as it was' cmp "$tmp/before" "$tmp/key"
check 'the key of another cluster' ff3fs ticket -q --new-key "$tmp/other.key"
echo 'not a key' >"$tmp/bad" && chmod 600 "$tmp/bad"
install -m 640 "$tmp/key" "$tmp/open"
daemon() { # daemon WHAT KEY CAUSE: neither starts with it
	refuses "metad: $1" "$3" env FF3FS_METAD_KEY="$2" FF3FS_METAD_DIR="$tmp/none" FF3FS_METAD_LISTEN=127.0.0.1:0 \
		FF3FS_METAD_ADMIN=127.0.0.1:0 ff3fs-metad
	refuses "chunkd: $1" "$3" env FF3FS_CHUNKD_KEY="$2" FF3FS_CHUNKD_TARGETS="$tmp/none" ff3fs-chunkd
}
daemon 'a key that is none' "$tmp/bad" 'is not a key'
daemon 'a key that others can read' "$tmp/open" "its owner's alone"
daemon 'no such key' "$tmp/missing" 'No such file'

# --- Tickets ---------------------------------------------------------------------------------------
ticket() { ff3fs ticket -q --key "$tmp/key" "$@"; } # ticket OPTION… FILE
check 'for root' ticket --user root "$tmp/root"
check 'for a user' ticket --user 4321 --groups 4321,4242 "$tmp/user"
check 'of another key' ff3fs ticket -q --key "$tmp/other.key" --user root "$tmp/foreign"
check 'that ends soon' ticket --user root --lifetime 1s "$tmp/brief"
equal 'whose it is' '600 4321 4321' "$(stat -c '%a %u %g' "$tmp/user")"
ff3fs ticket --show "$tmp/user" >"$tmp/shown" || die show
grep -q ': user 4321, group 4321, groups 4321, 4242, until 20' "$tmp/shown" || die "shown: $(cat "$tmp/shown")"
ff3fs ticket --show --json "$tmp/user" | $python -c '
import json, sys
t = json.load(sys.stdin)
assert (t["user"], t["group"], t["groups"], t["expired"]) == (4321, 4321, [4321, 4242], False), t' || die 'as JSON'
sed 's/^......../00000000/' "$tmp/user" >"$tmp/altered" # root's number instead of the user's
fails 'no ticket' 1 ff3fs ticket --show "$tmp/bad"
fails 'no user' 2 ticket --user nobody-of-this-name "$tmp/x"
fails 'no group' 2 ticket --user 1 --groups a "$tmp/x"
fails 'no time' 2 ticket --user 1 --lifetime 5y "$tmp/x"
fails 'too many groups' 2 ticket --user 1 --groups "$(seq -s, 65)" "$tmp/x"
fails 'of which key' 2 ff3fs ticket --user 1 "$tmp/x"
fails 'for whom' 2 ticket "$tmp/x"
[ ! -e "$tmp/x" ] || die 'a ticket in spite of an error'

# --- A cluster -------------------------------------------------------------------------------------
export FF3FS_METAD_KEY=$tmp/key FF3FS_CHUNKD_KEY=$tmp/key FF3FS_CLIENT_TRANSPORTS=$by FF3FS_CLIENT_TICKET=$tmp/root
export FF3FS_METAD_TRANSPORTS="verbs tcp" FF3FS_CHUNKD_TRANSPORTS="verbs tcp" # so daemons need theirs, too
start_cluster 2
with() { FF3FS_CLIENT_TICKET=${1:+$tmp/$1} on "${@:2}"; } # with TICKET COMMAND…
head -c 3000000 /dev/urandom >"$tmp/data"
check 'root, by its ticket' with root cp "$tmp/data" "$prefix/data"
check 'reads it' with root cmp "$tmp/data" "$prefix/data"
check 'pinned: metad tells chunk daemons' ff3fs layout set --pin memory "$prefix/data"
check 'for all' with root mkdir -m 1777 "$prefix/all"
for mode in 600:0:0 640:0:4242 640:0:4243 600:4321:0; do
	echo secret | with root tee "$prefix/$mode" >"$tmp/written" && with root chown "${mode#*:}" "$prefix/$mode" &&
		with root chmod "${mode%%:*}" "$prefix/$mode" || die "a file $mode"
done

# refused TICKET CAUSE
refused() {
	fails "${1:-no ticket}: the shim" 1 with "$1" cat "$prefix/data"
	grep -q 'Permission denied' "$tmp/err" || { cat "$tmp/err"; die 'for another reason'; }
	fails "${1:-no ticket}: the tools" 7 env FF3FS_CLIENT_TICKET="${1:+$tmp/$1}" ff3fs ls "$prefix/"
	grep -q -- "$2" "$tmp/err" || { cat "$tmp/err"; die "no word of: $2"; }
}
is_over() { ff3fs ticket --show "$tmp/brief" | grep -q '(expired)'; }
until_true 'the brief one has ended' is_over
refused '' 'asks for a ticket: have one made'
refused foreign "refused the ticket $tmp/foreign"
refused altered "refused the ticket $tmp/altered"
refused brief "refused the ticket $tmp/brief: it has expired"
refused missing 'missing cannot be read: No such file'
fails 'doctor' 1 env FF3FS_CLIENT_TICKET= ff3fs doctor
grep -q 'asks for a ticket' "$tmp/out" || { cat "$tmp/out"; die 'doctor does not say why'; }
grep -q 'is refused: it came without a ticket' "$tmp/metad.log" || die "metad's log does not say it"
count() { curl -sf "http://$1/metrics" | awk '/tickets_refused_total [0-9]/ { print $NF }'; }
[ "$(count "$metad_admin")" -gt 4 ] || die "metad counts $(count "$metad_admin") refused"

# This process is root, and says so.
fails "the user: root's file" 1 with user cat "$prefix/600:0:0"
fails 'a group that its ticket has not' 1 with user cat "$prefix/640:0:4243"
equal 'one that it has' secret "$(with user cat "$prefix/640:0:4242")"
equal 'its own file' secret "$(with user cat "$prefix/600:4321:0")"
fails 'a change of rights' 1 with user chmod 666 "$prefix/600:0:0"
check 'a new file' with user touch "$prefix/all/new"
equal 'is whose' 4321:4321 "$(with root stat -c %u:%g "$prefix/all/new")"
# What a host keeps of names it keeps by tickets.
check 'a directory of root' with root mkdir -m 700 "$prefix/private"
check 'with a name in it' with root touch "$prefix/private/name"
cat >"$tmp/kept.py" <<'PY'
import os, subprocess, sys
def stat(n):
    for i in range(n):
        os.stat(sys.argv[1])
if len(sys.argv) > 2:
    for i in range(100):
        try:
            stat(1)
        except PermissionError:
            continue
        sys.exit("another's answer")
    sys.exit()
stat(1000) # so that it is kept, and is for as long as these go on
other = subprocess.Popen([sys.executable, *sys.argv, "other"], env={**os.environ, "FF3FS_CLIENT_TICKET": os.environ["OTHER"]})
while other.poll() is None:
    stat(100)
sys.exit(other.returncode)
PY
OTHER=$tmp/user FF3FS_CLIENT_CACHE=16M check 'nothing that is kept for root' with root $python "$tmp/kept.py" "$prefix/private/name"
if [ "$by" = tcp ]; then # a device is its user's
	check 'who becomes somebody else goes on with the ticket that it cannot read any more' with root $python -c '
import os, sys
os.stat(sys.argv[1])
os.setgroups([]), os.setgid(4321), os.setuid(4321)
open(sys.argv[1] + "/became", "x")' "$prefix/all"
	equal 'and is served as who it became' 4321:4321 "$(with root stat -c %u:%g "$prefix/all/became")"
fi

# Nobody is a daemon that has no key.
answer() { "$frames" "$1" "role:$2:$3" | head -n 1; }
if [ "$by" = tcp ]; then
	for at in "$metad_addr" "${chunkd_addr[1]}"; do
		for role in 1 2 3 4; do
			equal "$at, role $role, no ticket" 'status 4105' "$(answer "$at" $role '')"
			equal "$at, role $role, another key's" 'status 4105' "$(answer "$at" $role "$(cat "$tmp/foreign")")"
		done
		for role in 2 3 4; do
			equal "$at, role $role, a user's" 'status 13' "$(answer "$at" $role "$(cat "$tmp/user")")"
		done
	done
	equal 'a chunk daemon' 'status 0' "$(answer "$metad_addr" 3 "$(cat "$tmp/root")")"
fi
FF3FS_CHUNKD_KEY=$tmp/other.key FF3FS_CHUNKD_TARGETS=$tmp/rogue FF3FS_CHUNKD_METAD=$metad_addr \
	FF3FS_CHUNKD_LISTEN=$test_host:0 FF3FS_CHUNKD_ADMIN=127.0.0.1:0 ff3fs-chunkd --exit-with-parent 2>"$tmp/rogue.log" &
pids+=($!)
until_true 'a chunk daemon of another key says why it does not serve' grep -q 'has another key than' "$tmp/rogue.log"
equal 'and is none' 2 "$(curl -sf "http://$metad_admin/v1/nodes" | grep -c '"address"')"
kill_daemon $!

# --- A job whose ticket is replaced while it runs ----------------------------------------------------
cat >"$tmp/job.py" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
for line in sys.stdin:
    try:
        what = len(os.pread(fd, 1 << 20, int(line)))
    except OSError as e:
        what = os.strerror(e.errno)
    print(what, flush=True)
PY
cp "$tmp/root" "$tmp/jobs"
coproc JOB { with jobs $python "$tmp/job.py" "$prefix/data"; }
pids+=("$JOB_PID")
asks() { echo "$1" >&"${JOB[1]}"; read -r -u "${JOB[0]}" got; }
asks 0
equal 'a job reads' 1048576 "$got"
cp "$tmp/foreign" "$tmp/jobs"
for i in 1 2; do kill_daemon "${chunkd_pid[$i]}" TERM; done
for i in 1 2; do start_chunkd $i; done
asks 1048576
equal 'its ticket is good no more for chunk daemons: it is told' 'Permission denied' "$got"
[ $(($(count "${chunkd_admin[1]}") + $(count "${chunkd_admin[2]}"))) -gt 0 ] || die 'no chunk daemon counts it as refused'
kill_daemon "$metad_pid" TERM
start_metad
asks 1048576
equal 'nor for metad' 'Permission denied' "$got"
cp "$tmp/root" "$tmp/jobs"
asks 1048576
equal 'a good one is taken, without a restart' 1048576 "$got"
exec {JOB[1]}>&-
wait "$JOB_PID" || die 'the job failed'
check 'all bytes are there' with root cmp "$tmp/data" "$prefix/data"

# --- At local sockets nobody needs one ---------------------------------------------------------------
if [ -z "${TRANSPORT:-}" ]; then
	for i in 1 2; do kill_daemon "${chunkd_pid[$i]}" TERM; done
	kill_daemon "$metad_pid" TERM
	unset FF3FS_METAD_TRANSPORTS FF3FS_CHUNKD_TRANSPORTS FF3FS_CLIENT_TRANSPORTS
	start_metad
	for i in 1 2; do start_chunkd $i; done
	chmod 755 "$tmp" # for empty.conf
	user() {
		FF3FS_CLIENT_TICKET='' setpriv --reuid 4321 --regid 4321 --clear-groups \
			env LD_PRELOAD="${sanitizer_runtime:+$sanitizer_runtime:}$tmp/lib/${shim##*/}" "$@"
	}
	mkdir "$tmp/lib" && cp -L "$shim" "$(find_built libff3fs.so.0 || echo "$library")" "$tmp/lib/"
	equal 'a user of this host' secret "$(user cat "$prefix/600:4321:0")"
	fails 'who is nobody else by it' 1 user cat "$prefix/600:0:0"
	FF3FS_CLIENT_TRANSPORTS=tcp fails 'and by TCP nobody' 1 user cat "$prefix/600:4321:0"
fi

# --- A group of metads -------------------------------------------------------------------------------
form_group 3
wait_primary
first=$primary
kill_member "$first"
wait_primary "$first"
FF3FS_METAD_KEY=$tmp/other.key start_member "$first"
until_true 'one with another key says so' grep -q 'has another \[metad\] key' "$tmp/metad.$first.log"
equal 'and follows nobody' '' "$(seen "$first" primary)"
