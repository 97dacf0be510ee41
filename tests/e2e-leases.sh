#!/bin/bash
# Names and attributes kept under leases: no round trip for what was seen before, and nothing old is ever seen:
# by processes of one host and of two, which are killed and stopped, over a restart of metad (leases.py).
# SECONDS_EACH (8): how long each of the random parts runs.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires_python
requires ff3fs-metad ff3fs-chunkd curl

start_cluster 2
export FF3FS_CLIENT_CACHE=16M
seconds=${SECONDS_EACH:-8}
seed=${SEED:-$RANDOM}

gauge() { curl -s "http://$metad_admin/metrics" | sed -n "s/^ff3fs_metad_$1 \([0-9]*\).*/\1/p"; }

cat >"$tmp/epochs.py" <<'END'
import os, subprocess, sys, time
d, n, workers = sys.argv[1], 100, 3
os.makedirs(d)
for i in range(n):
    with open(f"{d}/{i}", "wb") as f:
        f.write(b"%d" % i * 100)
def epoch(w):
    for i in range(n):
        with open(f"{d}/{i}", "rb") as f:
            assert f.read() == b"%d" % i * 100
        assert os.stat(f"{d}/{i}").st_size == 100 * len(str(i))
def forked():
    pids = []
    for w in range(workers):
        pid = os.fork()
        if pid == 0:
            epoch(w)
            os._exit(0)
        pids.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
def requests():
    return subprocess.run(["sh", "-c", sys.argv[2]], stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"]}).stdout
# Until everything is kept: what was made just now is not, at first, and nothing is for who is held up for longer
# than a lease.
def kept(what, fn):
    end = time.monotonic() + 30
    while True:
        before = requests()
        fn()
        after = requests()
        if before == after:
            return
        assert time.monotonic() < end, f"{what}: {before} {after}"
epoch(0)
kept("by one process", lambda: epoch(0))
kept("by forked workers", forked)
END
count="curl -s http://$metad_admin/metrics | grep -E 'seconds_count.*op=.(lookup|open|release|reopen|resolve|readdir|access|extend)'"
check 'files read before are read again without metad, by forked workers, too' \
	on timeout 60 /usr/bin/python3 "$tmp/epochs.py" "$prefix/epochs" "$count"

# An open file that loses its name is read on, whoever was the host's keeper.
cat >"$tmp/unlinked.py" <<'END'
import os, signal, sys, time
d, how = sys.argv[1], sys.argv[2]
os.makedirs(d, exist_ok=True)
for i in range(40):
    with open(f"{d}/{i}", "wb") as f:
        f.write(b"%07d" % i * 1000)
time.sleep(0.3)
def warm():
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        for i in range(40):
            os.stat(f"{d}/{i}")
            os.close(os.open(f"{d}/{i}", os.O_RDONLY))
pid = os.fork()
if pid == 0:  # the keeper
    warm()
    time.sleep(1000)
time.sleep(0.7)
warm()
fds = [os.open(f"{d}/{i}", os.O_RDONLY) for i in range(40)]
if how != "live":
    os.kill(pid, signal.SIGSTOP if how == "stop" else signal.SIGKILL)
began = time.monotonic()
for i in range(20):
    os.unlink(f"{d}/{i}")
for i in range(20, 40):
    os.rename(f"{d}/{i}", f"{d}/x{i}")
    os.unlink(f"{d}/x{i}")
assert time.monotonic() - began < 4 * int(os.environ.get("FF3FS_TEST_SLOWER", 1)), f"it took {time.monotonic() - began} s"
time.sleep(1)  # collected, if anybody thinks that they are not open
for i, fd in enumerate(fds):
    assert os.pread(fd, 8000, 0) == b"%07d" % i * 1000, i
    assert os.fstat(fd).st_nlink == 0
    try:
        os.stat(f"{d}/{i}")
        assert False, i
    except FileNotFoundError:
        pass
if how != "kill":
    os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
END
for how in live kill stop; do
	check "unlinked and still read: $how" on timeout 30 /usr/bin/python3 "$tmp/unlinked.py" \
		"$prefix/unlinked" $how
done

check "random changes, seed $seed" on timeout 90 /usr/bin/python3 "$srcdir/tests/leases.py" \
	"$prefix/here" "$tmp/here.events" "$seconds" "$seed"
sed -n '$p' "$tmp/check.out"
[ "$(gauge leases_revoked_total)" -gt 0 ] || die "nothing was revoked"

if [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
	other=(unshare -m sh -c 'mount -t tmpfs none /dev/shm && exec "$@"' sh)
	check "random changes on two hosts, seed $seed" on timeout 90 /usr/bin/python3 \
		"$srcdir/tests/leases.py" "$prefix/there" "$tmp/there.events" "$seconds" "$seed" "${other[@]}"
	sed -n '$p' "$tmp/check.out"
else
	say "without a second host: needs root"
fi

# A metad that was killed has granted what the next one does not know of.
start_on timeout 90 /usr/bin/python3 "$srcdir/tests/leases.py" "$prefix/again" "$tmp/again.events" "$seconds" "$seed" \
	>"$tmp/again.out" 2>&1
for i in 1 2; do
	granted=$(gauge leases_granted_total)
	for ((n = 0; n < 100; n++)); do
		[ "$(gauge leases_granted_total)" -gt "$granted" ] && break
		read -r -t 0.1 <><(:)
	done
	kill_daemon "$metad_pid"
	start_metad
done
wait "$started_on" || { cat "$tmp/again.out"; die "random changes over restarts of metad, seed $seed"; }
say "ok: random changes over restarts of metad, seed $seed"
tail -n 1 "$tmp/again.out"
