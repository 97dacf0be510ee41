#!/bin/bash
# Whoever keeps leases gives them back when he ends: nobody waits for him, and what is unlinked then is removed at once,
# not when a session's lease (60 s) is over. And a group of metadata servers loses its primary while names and
# attributes are kept: nothing old is ever seen (leases.py).
# SECONDS_EACH (10): how long the random part runs at least.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_python json
requires ff3fs ff3fs-metad ff3fs-chunkd curl
seconds=${SECONDS_EACH:-10}
seed=${SEED:-$RANDOM}

start_cluster 1
gauge() { curl -s "http://$metad_admin/metrics" | sed -n "s/^ff3fs_metad_$1 \([0-9]*\).*/\1/p"; }

cat >"$tmp/leave.py" <<'END_PY'
import os, sys, time
d, how = sys.argv[1], sys.argv[2]
os.makedirs(d)
for i in range(40):
    with open(f"{d}/{i}", "wb") as f:
        f.write(b"%07d" % i * 1000)
granted = lambda: int(os.popen(sys.argv[3]).read())
before, end = granted(), time.monotonic() + 20
def look():
    for i in range(40):
        with open(f"{d}/{i}", "rb") as f:
            assert f.read() == b"%07d" % i * 1000
while granted() == before:
    assert time.monotonic() < end, "nothing is leased"
    look()
if how == "worker":
    pid = os.fork()
    if pid == 0:
        look()
        os._exit(0)
    os.waitpid(pid, 0)
if how == "exec":
    os.execv("/bin/true", ["true"])
if how == "_exit":
    os._exit(0)
END_PY
granted="curl -s http://$metad_admin/metrics | sed -n 's/^ff3fs_metad_leases_granted_total //p'"
for how in exit _exit exec worker; do
	FF3FS_CLIENT_CACHE=16M check "a process that has names: $how" on timeout 40 /usr/bin/python3 "$tmp/leave.py" \
		"$prefix/$how" "$how" "$granted"
	removed=$(gauge garbage_removed_total) waits=$(gauge lease_waits_total)
	check "unlinked by somebody else" on rm -r "$prefix/$how"
	for ((n = 0; n < 100; n++)); do
		[ "$(gauge garbage_removed_total)" -ge $((removed + 40)) ] && break
		read -r -t 0.1 <><(:)
	done
	[ "$n" -lt 100 ] || die "$how: what was unlinked is still there: $(gauge garbage_removed_total) of $((removed + 40))"
	equal "$how: changes that waited" "$waits" "$(gauge lease_waits_total)"
done

# --- A group ----------------------------------------------------------------------------------------

dir=$tmp/cluster
unset FF3FS_CONF FF3FS_CLIENT_METAD FF3FS_METAD_DIR
cleanup_fn 'ff3fs dev down --dir "$dir" >/dev/null 2>&1'
check 'a group of three' ff3fs dev up --dir "$dir" --host "$test_host" --metad 3 --chunkd 1 --memory 64M
eval "$(ff3fs dev env --dir "$dir")"
export FF3FS_CLIENT_TIMEOUT=$(slower 30)s
primary() {
	ff3fs dev status --json --dir "$dir" 2>/dev/null | /usr/bin/python3 -c '
import json, sys
d = json.load(sys.stdin)["daemons"]
print(next((x["name"] for x in d if x.get("role") == "primary"), ""))'
}
wait_primary() { # wait_primary BUT: sets $name to another one
	for ((n = 0; n < 200; n++)); do
		name=$(primary)
		[ -n "$name" ] && [ "$name" != "$1" ] && return
		read -r -t 0.1 <><(:)
	done
	die "no primary"
}
LEASES_UNTIL=$tmp/enough FF3FS_CLIENT_CACHE=16M LD_PRELOAD=$shim timeout "$(slower 120)" /usr/bin/python3 "$srcdir/tests/leases.py" \
	"$FF3FS_PREFIX/group" "$tmp/group.events" "$seconds" "$seed" </dev/null >"$tmp/group.out" 2>&1 &
job=$!
pids+=("$job")
for i in 1 2 3; do
	wait_primary ''
	for ((n = 0; n < 100; n++)); do # it has granted something
		admin=$(ff3fs dev status --json --dir "$dir" | /usr/bin/python3 -c '
import json, sys
print(next(x["admin"] for x in json.load(sys.stdin)["daemons"] if x["name"] == sys.argv[1]))' "$name")
		granted=$(curl -s "http://$admin/metrics" | sed -n 's/^ff3fs_metad_leases_granted_total //p')
		[ "${granted:-0}" -gt 0 ] && break
		kill -0 "$job" 2>/dev/null || break
		read -r -t 0.05 <><(:)
	done
	kill -0 "$job" 2>/dev/null || { cat "$tmp/group.out"; die "the job ended early, seed $seed"; }
	ff3fs dev kill "$name" --dir "$dir" >/dev/null || die "cannot kill $name"
	wait_primary "$name"
	check "$name is back" ff3fs dev up --dir "$dir"
done
: >"$tmp/enough"
wait "$job" || { cat "$tmp/group.out"; die "random changes over failovers, seed $seed"; }
say "ok: random changes over failovers, seed $seed"
tail -n 1 "$tmp/group.out"
