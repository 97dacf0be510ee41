"""How long a group's clients wait when its primary is killed: failover.py PREFIX RUNS

Eight processes make files below PREFIX. In each run the primary gets SIGKILL; what is counted is the time until
the first of them has a file made that it began to make after that. Then the member is started again, and the
next run begins when it votes. Uses ff3fs dev's cluster; prints each run's milliseconds, then p50, p99 and the longest.
"""
import json, math, mmap, os, signal, struct, subprocess, sys, time

prefix, runs = sys.argv[1], int(sys.argv[2])
WORKERS = 8
shared = mmap.mmap(-1, 4096)  # of each process: when its last file was begun, and when it was there
plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}


def work(k):
    where = os.path.join(prefix, str(k))
    os.mkdir(where)
    n = 0
    while True:
        begun = time.monotonic_ns()
        os.close(os.open(os.path.join(where, str(n)), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        struct.pack_into("<QQ", shared, 16 * k, begun, time.monotonic_ns())
        n += 1


def dev(*args):
    return subprocess.run(["ff3fs", "dev", *args], env=plain, stdout=subprocess.PIPE, text=True).stdout


def primary():
    while True:
        for d in json.loads(dev("status", "--json"))["daemons"]:
            if d.get("role") == "primary":
                return d["pid"]


def since(t):
    """The first end of what was begun after t, or None."""
    ends = [end for begun, end in (struct.unpack_from("<QQ", shared, 16 * k) for k in range(WORKERS)) if begun > t]
    return min(ends) if ends else None


pids = []
for k in range(WORKERS):
    pid = os.fork()
    if pid == 0:
        try:
            work(k)
        except BaseException as e:
            print("a process of the job:", e, file=sys.stderr, flush=True)
        os._exit(1)
    pids.append(pid)
times = []
try:
    for run in range(runs):
        victim = primary()
        t = time.monotonic_ns()
        os.kill(victim, signal.SIGKILL)
        end = None
        while end is None:
            time.sleep(0.0005)
            end = since(t)
            if time.monotonic_ns() - t > 60e9:
                sys.exit("nothing goes on after 60 s")
        times.append((end - t) / 1e6)
        print("%.0f" % times[-1], end=" ", flush=True)
        dev("up", "--quiet")
        for pid in pids:
            if os.waitpid(pid, os.WNOHANG)[0]:
                sys.exit("the job had an error")
finally:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
times.sort()
at = lambda p: times[min(len(times) - 1, math.ceil(p * len(times)) - 1)]
print("\nfailover   runs %d, p50 %.0f ms, p99 %.0f ms, longest %.0f ms" % (len(times), at(.5), at(.99), times[-1]))
