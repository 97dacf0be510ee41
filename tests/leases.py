"""What a host keeps of names and attributes is never old: one process changes files, others look at them,
all say when, and nobody may have seen what was over before he asked, or what had not begun when he was
answered, or something older than what another one had seen before.

  leases.py DIR LOG SECONDS SEED OTHER   everything; OTHER: a command that runs its arguments on another host
  leases.py write DIR LOG SECONDS SEED   (by itself)
  leases.py read DIR LOG SECONDS SEED

LEASES_UNTIL: a file that nobody ends without, however many seconds that takes.
"""
import os
import random
import signal
import subprocess
import sys
import time

SLOWER = int(os.environ.get("FF3FS_TEST_SLOWER", 1))
UNTIL = os.environ.get("LEASES_UNTIL")

KINDS = ("size", "mode", "replace", "unlink", "move", "time", "entries")
PER_KIND = 3


def goes_on(end):
    return time.monotonic() < end or (UNTIL is not None and not os.path.exists(UNTIL))


def objects():
    return [(kind, i) for kind in KINDS for i in range(PER_KIND)]


def record(log, *fields):
    os.write(log, (" ".join(str(f) for f in fields) + "\n").encode())


def put(path, k):
    with open(path, "wb") as f:
        f.write(b"%08d" % k * 16)


def change(kind, d, k):
    """Brings an object into its state k."""
    f = d + "/f"
    if kind == "size":
        os.truncate(f, k)
    elif kind == "mode":
        os.chmod(f, 0o400 | (k & 0o377))
    elif kind == "time":
        os.utime(f, (k, k))
    elif kind == "entries":
        os.mkdir(f"{d}/{k}")
    elif kind == "replace":
        put(d + "/new", k)
        os.rename(d + "/new", f)
    elif kind == "unlink":
        if k % 2:
            os.unlink(f)
        else:
            put(d + "/new", k)
            os.rename(d + "/new", f)
    elif kind == "move":
        a, b = d + "/a", d + "/b"
        os.rename(*((a, b) if k % 2 else (b, a)))


def begin(kind, d):
    os.makedirs(d + "/a" if kind == "move" else d)
    put(d + "/a/f" if kind == "move" else d + "/f", 0)
    if kind in ("size", "mode", "time"):
        change(kind, d, 0)


def content(fd, held):
    """The number in the file, which must be whole; now and then it is read long after it was opened."""
    size = os.fstat(fd).st_size
    if held:
        time.sleep(held)
    got = os.pread(fd, 1000, 0)
    k = int(got[:8])
    assert size == 128 and got == b"%08d" % k * 16, f"{size} bytes, {got}"
    return k


def look(kind, d, rng):
    """What is seen: a state, or "even", "odd"."""
    f = d + "/f"
    if kind == "size":
        if rng.random() < 0.5:
            return os.stat(f).st_size
        fd = os.open(f, os.O_RDONLY)
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)
    if kind == "mode":
        mode = os.stat(f).st_mode & 0o7777
        return "low%d" % (mode & 0o377)
    if kind == "entries":
        return os.stat(d).st_nlink - 2
    if kind == "time":
        return int(os.stat(f).st_mtime)
    if kind == "move":
        try:
            os.stat(d + "/a/f")
            return "even"
        except FileNotFoundError:
            return "odd"
    try:
        fd = os.open(f, os.O_RDONLY)
    except FileNotFoundError:
        assert kind == "unlink"
        return "odd"
    return fd


def write(top, log, seconds, rng):
    state = {o: 0 for o in objects()}
    end = time.monotonic() + seconds
    while goes_on(end):
        o = rng.choice(objects())
        state[o] += 1
        t = time.monotonic_ns()
        change(o[0], f"{top}/{o[0]}{o[1]}", state[o])
        record(log, "w", *o, state[o], t, time.monotonic_ns())
        time.sleep(rng.choice((0, 0, 0.001, 0.01, 0.05, 0.2)))


def read(top, log, seconds, rng):
    end = time.monotonic() + seconds
    while goes_on(end):
        o = rng.choice(objects())
        t = time.monotonic_ns()
        seen = look(o[0], f"{top}/{o[0]}{o[1]}", rng)
        till = time.monotonic_ns()
        if o[0] in ("replace", "unlink") and seen != "odd":
            fd = seen
            try:
                seen = content(fd, rng.random() < 0.01 and rng.random())
            finally:
                os.close(fd)
        record(log, "r", *o, seen, t, till)


def fits(seen, k):
    if seen in ("even", "odd"):
        return k % 2 == (seen == "odd")
    if seen.startswith("low"):
        return k & 0o377 == int(seen[3:])
    return k == int(seen)


def check(path):
    writes, reads = {}, {}
    for line in open(path, "rb").read().decode().splitlines():
        what, kind, i, seen, t, till = line.split()
        (writes if what == "w" else reads).setdefault((kind, i), []).append((seen, int(t), int(till)))
    n = 0
    for o, seen_all in reads.items():
        changes = [("0", 0, 0)] + sorted(writes.get(o, []), key=lambda w: int(w[0]))
        for seen, t, till in seen_all:
            lo = max(k for k, w in enumerate(changes) if w[2] < t or k == 0)
            hi = max(k for k, w in enumerate(changes) if w[1] <= till)
            # The last change may not have been noted: its writer was at it when the time was up.
            could = list(range(lo, hi + 1)) + ([len(changes)] if hi == len(changes) - 1 else [])
            assert any(fits(seen, k) for k in could), \
                f"{o}: seen {seen}, when it could only be {lo} to {hi}; asked at {t}, until {till}"
            n += 1
        exact = sorted((t, till, int(s)) for s, t, till in seen_all if s.isdigit())
        by_end, at, newest = sorted(exact, key=lambda r: r[1]), 0, -1
        for t, till, k in exact:
            while by_end[at][1] < t:
                newest = max(newest, by_end[at][2])
                at += 1
            assert k >= newest, f"{o}: seen {k} at {t}, after {newest} had been seen"
    slowest = max(till - t for w in writes.values() for _, t, till in w) / 1e9
    n_writes = sum(map(len, writes.values()))
    print(f"{n_writes} changes, {n} looks, the slowest change took {slowest:.2f} s")
    assert n * SLOWER > 200 and n_writes * SLOWER > 10, "too little happened"
    return slowest


def main(top, log_path, seconds, seed, other):
    rng = random.Random(seed)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for kind, i in objects():
        begin(kind, f"{top}/{kind}{i}")

    def start(what, where=()):
        return subprocess.Popen([*where, sys.executable, __file__, what, top, log_path, str(seconds),
                                 str(rng.getrandbits(32))], start_new_session=True)

    here = [start("read") for _ in range(3)]
    there = [start("read", other) for _ in range(2)] if other else []
    writer = start("write", other)
    end = time.monotonic() + seconds
    stopped = None
    while goes_on(end - 2):
        time.sleep(rng.random())
        victims, where = (here, ()) if rng.random() < 0.5 or not there else (there, other)
        i = rng.randrange(len(victims))
        if rng.random() < 0.3:
            os.killpg(victims[i].pid, signal.SIGKILL)
            victims[i].wait()
            victims[i] = start("read", where)
        elif rng.random() < 0.5:
            stopped = victims[i]
            os.killpg(stopped.pid, signal.SIGSTOP)
            time.sleep(rng.random() * 2)
            os.killpg(stopped.pid, signal.SIGCONT)
    assert writer.wait(60 * SLOWER) == 0, "the writer failed"
    for p in here + there:
        assert p.wait(60 * SLOWER) == 0, "a reader failed"
    os.close(log)
    assert check(log_path) < 6 * SLOWER, "a change waited for somebody who was away"


if sys.argv[1] in ("write", "read"):
    _, what, top, log_path, seconds, seed = sys.argv
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND)
    globals()[what](top, log, float(seconds), random.Random(int(seed)))
else:
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
