"""A job of several processes for e2e-failover.sh: failover_load.py DIR

Each process does one kind of thing again and again, such that an operation which was lost, applied twice, or
failed is noticed. Commands come on standard input:
  wait N SECONDS   until each has done N more steps; prints how long the longest step took
  stop             ends them, and checks from a new process what they have left behind
"""
import fcntl, mmap, os, random, signal, struct, sys, time

ROOT = sys.argv[1]
shared = mmap.mmap(-1, 4096)  # per process: steps, ms of its longest step; then whether to stop
STOP = 4088


def path(*parts):
    return os.path.join(ROOT, *parts)


def creates(me):
    """O_EXCL: what is applied twice fails."""
    n = 0
    while True:
        fd = os.open(path(f"created-{me}", str(n)), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.write(fd, b"%d" % n)
        os.close(fd)
        n += 1
        yield n


def check_creates(me, n):
    names = os.listdir(path(f"created-{me}"))
    assert sorted(map(int, names)) == list(range(n)), f"{len(names)} files, {n} were made"
    for i in names:
        assert open(path(f"created-{me}", i)).read() == i, i


def renames(me):
    n = 0
    open(path(f"renamed-{me}.0"), "w").close()
    while True:
        os.rename(path(f"renamed-{me}.{n}"), path(f"renamed-{me}.{n + 1}"))
        n += 1
        yield n


def check_renames(me, n):
    assert [x for x in os.listdir(ROOT) if x.startswith(f"renamed-{me}.")] == [f"renamed-{me}.{n}"]


def directories(me):
    """Made and removed: the second time either fails."""
    n = 0
    while True:
        os.mkdir(path(f"dir-{me}"))
        os.symlink("x", path(f"dir-{me}", "link"))
        os.unlink(path(f"dir-{me}", "link"))
        os.rmdir(path(f"dir-{me}"))
        n += 1
        yield n


def check_directories(me, n):
    assert not os.path.exists(path(f"dir-{me}"))


def appends(me):
    fd = os.open(path("appended"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    n = 0
    while True:
        assert os.write(fd, b"%d %d\n" % (me, n)) > 0
        n += 1
        yield n


def check_appends(me, n):
    lines = [line.split() for line in open(path("appended"), "rb")]
    mine = [int(i) for who, i in lines if int(who) == me]
    assert mine == list(range(n)), f"{len(mine)} lines, {n} were appended: {sorted(set(range(n)) - set(mine))[:5]}"


def locks(me):
    """A counter that two change under a lock."""
    fd = os.open(path("counter"), os.O_RDWR | os.O_CREAT, 0o666)
    n = 0
    while True:
        fcntl.lockf(fd, fcntl.LOCK_EX)
        now = int(os.pread(fd, 20, 0) or b"0")
        os.pwrite(fd, b"%d" % (now + 1), 0)
        os.fsync(fd)
        fcntl.lockf(fd, fcntl.LOCK_UN)
        n += 1
        yield n


def check_locks(me, n):
    total = sum(steps(k) for k, (run, _) in enumerate(WORKERS) if run is locks)
    assert int(open(path("counter")).read()) == total, f"the counter is not {total}"


def holds(me):
    """An open file without a name."""
    fd = os.open(path(f"held-{me}"), os.O_RDWR | os.O_CREAT, 0o600)
    os.unlink(path(f"held-{me}"))
    content = bytearray(64 * 1024)
    os.pwrite(fd, bytes(content), 0)
    draw = random.Random(me)
    n = 0
    while True:
        at = draw.randrange(16) * 4096
        content[at:at + 4096] = draw.randbytes(4096)
        assert os.pwrite(fd, content[at:at + 4096], at) == 4096
        assert os.fstat(fd).st_nlink == 0
        assert os.pread(fd, len(content), 0) == bytes(content)
        n += 1
        time.sleep(0.002)
        yield n


def reads(me):
    """Another one, that is only read: nothing but a ping tells metad that it is open still."""
    fd = os.open(path(f"read-{me}"), os.O_RDWR | os.O_CREAT, 0o600)
    content = random.Random(me).randbytes(64 * 1024)
    os.pwrite(fd, content, 0)
    os.fsync(fd)
    os.unlink(path(f"read-{me}"))
    n = 0
    while True:
        assert os.pread(fd, len(content), 0) == content
        n += 1
        time.sleep(0.005)
        yield n


def grows(me):
    """What was synced is there, and the size is right at once."""
    fd = os.open(path(f"grown-{me}"), os.O_WRONLY | os.O_CREAT, 0o600)
    n = 0
    while True:
        os.write(fd, b"%09d\n" % n)
        os.fsync(fd)
        n += 1
        size = os.stat(path(f"grown-{me}")).st_size
        assert size == 10 * n, f"{size} bytes, {10 * n} were written"
        yield n


def check_grows(me, n):
    assert open(path(f"grown-{me}"), "rb").read() == b"".join(b"%09d\n" % i for i in range(n))


WORKERS = [(creates, check_creates), (creates, check_creates), (renames, check_renames),
           (directories, check_directories), (appends, check_appends), (appends, check_appends),
           (locks, check_locks), (locks, check_locks), (holds, None), (reads, None), (grows, check_grows)]


def steps(k):
    return struct.unpack_from("<Q", shared, 16 * k)[0]


def longest(k):
    return struct.unpack_from("<Q", shared, 16 * k + 8)[0]


def work(k):
    begun = time.monotonic()
    for n in WORKERS[k][0](k):
        now = time.monotonic()
        if (now - begun) * 1000 > longest(k):
            struct.pack_into("<Q", shared, 16 * k + 8, int((now - begun) * 1000))
        struct.pack_into("<Q", shared, 16 * k, n)
        if shared[STOP]:
            os._exit(0)
        begun = time.monotonic()


def start(what, *args):
    pid = os.fork()
    if pid:
        return pid
    try:
        what(*args)
        os._exit(0)
    except BaseException as e:
        print(f"{args}: {type(e).__name__}: {e}", file=sys.stderr, flush=True)
        os._exit(1)


def check_alive(pids):
    for k, pid in enumerate(pids):
        if os.waitpid(pid, os.WNOHANG)[0]:
            print("failed:", WORKERS[k][0].__name__, flush=True)
            sys.exit(1)


def wait(pids, n, seconds):
    goals = [steps(k) + n for k in range(len(pids))]
    for k in range(len(pids)):
        struct.pack_into("<Q", shared, 16 * k + 8, 0)
    end = time.monotonic() + seconds
    while any(steps(k) < goal for k, goal in enumerate(goals)):
        check_alive(pids)
        if time.monotonic() > end:
            print("late:", [WORKERS[k][0].__name__ for k in range(len(pids)) if steps(k) < goals[k]], flush=True)
            sys.exit(1)
        time.sleep(0.005)
    print("ok %d ms, with a lock %d ms" % tuple(
        max(longest(k) for k, (run, _) in enumerate(WORKERS) if (run is locks) == locked)
        for locked in (False, True)), flush=True)


def check_all():
    for k, (_, check) in enumerate(WORKERS):
        if check:
            check(k, steps(k))


def finish(pids):
    shared[STOP] = 1
    status = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    status.append(os.waitstatus_to_exitcode(os.waitpid(start(check_all), 0)[1]))
    names = " ".join(f"{run.__name__}:{steps(k)}" for k, (run, _) in enumerate(WORKERS))
    print("stopped" if not any(status) else "failed", names, flush=True)
    sys.exit(any(status))


def main():
    for k, (run, _) in enumerate(WORKERS):
        if run is creates:
            os.mkdir(path(f"created-{k}"))
    pids = [start(work, k) for k in range(len(WORKERS))]
    try:
        for line in sys.stdin:
            words = line.split()
            if words[0] == "wait":
                wait(pids, int(words[1]), float(words[2]))
            elif words[0] == "stop":
                finish(pids)
    finally:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


main()
