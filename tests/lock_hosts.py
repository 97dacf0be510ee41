"""Locks on a file of the prefix between two "hosts": processes with different directories of lock
files. Usage: lock_hosts.py FILE HOST_A HOST_B, in HOST_A's environment."""
import fcntl, os, signal, struct, subprocess, sys

path, host_a, host_b = sys.argv[1:4]

CHILD = """
import fcntl, os, struct, sys
f = open(%r, "r+")
def attempt(call, *args):
    try:
        call(f, *args)
        return "ok"
    except OSError as e:
        return e.errno
NB = fcntl.LOCK_NB
"""


def run(host, code):
    env = dict(os.environ, XDG_RUNTIME_DIR=host)
    p = subprocess.run([sys.executable, "-c", CHILD % path + code], env=env, text=True,
                       stdout=subprocess.PIPE, timeout=60)
    return p.stdout.strip()


def expect(what, want, got):
    if str(want) != str(got):
        sys.exit(f"{what}: want {want}, got {got}")
    print("ok:", what)


def flock_of(host, kind):
    return run(host, f"print(attempt(fcntl.flock, fcntl.LOCK_{kind} | NB))")


def range_of(host, kind, n, start):
    return run(host, f"print(attempt(fcntl.lockf, fcntl.LOCK_{kind} | NB, {n}, {start}))")


open(path, "w").write("0\n")
f = open(path, "r+")

for host, name in (host_a, "this host"), (host_b, "the other host"):
    fcntl.flock(f, fcntl.LOCK_EX)
    expect(f"an exclusive flock excludes {name}", 11, flock_of(host, "SH"))
    fcntl.flock(f, fcntl.LOCK_SH)
    expect(f"a shared one lets {name} share", "ok", flock_of(host, "SH"))
    expect(f"and excludes its exclusive one", 11, flock_of(host, "EX"))
    fcntl.flock(f, fcntl.LOCK_UN)
    expect(f"after the unlock {name} gets it", "ok", flock_of(host, "EX"))

    fcntl.lockf(f, fcntl.LOCK_EX, 10, 0)
    expect(f"a range excludes {name}", 11, range_of(host, "EX", 10, 0))
    expect("but not from the bytes behind it", "ok", range_of(host, "EX", 10, 10))
    fcntl.lockf(f, fcntl.LOCK_SH, 5, 0)
    expect("converted in part: shared", "ok", range_of(host, "SH", 5, 0))
    expect("converted in part: the rest", 11, range_of(host, "SH", 5, 5))
    fcntl.lockf(f, fcntl.LOCK_UN, 2, 6)
    expect("a hole in the middle", "ok", range_of(host, "EX", 2, 6))
    expect("and its edges", 11, range_of(host, "EX", 1, 8))
    got = run(host, "r = fcntl.fcntl(f, fcntl.F_GETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))\n"
                    "print(struct.unpack('hhqqi4x', r)[:1])")
    expect(f"F_GETLK on {name}", (fcntl.F_RDLCK,) if host != host_a else got, got)
    os.close(os.open(path, os.O_RDONLY))  # POSIX: closing any descriptor drops them
    expect("any close drops them", "ok", range_of(host, "EX", 0, 0))
    F_OFD_SETLK = 37
    fcntl.fcntl(f, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 100, 10, 0))
    os.close(os.open(path, os.O_RDONLY))
    expect(f"an open-file-description lock excludes {name}, and outlives a close", 11,
           range_of(host, "EX", 1, 105))
    fcntl.fcntl(f, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_UNLCK, 0, 0, 0, 0))
    expect("and is given back", "ok", range_of(host, "EX", 1, 105))

# What flock does leaves the process's record locks alone.
with open(path, "r+") as other:
    fcntl.flock(other, fcntl.LOCK_SH)
    fcntl.lockf(f, fcntl.LOCK_EX, 10, 0)
    fcntl.flock(other, fcntl.LOCK_UN)
    expect("a flock beside record locks", 11, range_of(host_a, "EX", 10, 0))
    expect("... elsewhere", 11, range_of(host_b, "EX", 10, 0))

# Waiting for the other host: a signal ends it, the unlock grants it.
holder = subprocess.Popen([sys.executable, "-c", CHILD % path +
                           "fcntl.flock(f, fcntl.LOCK_EX)\nprint('held', flush=True)\n"
                           "sys.stdin.readline()\n"],
                          env=dict(os.environ, XDG_RUNTIME_DIR=host_b), text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE)
holder.stdout.readline()


class Interrupted(Exception):
    pass


def interrupt(*_):
    signal.setitimer(signal.ITIMER_REAL, 0)
    raise Interrupted


signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)  # again: the first may come just before the waiting
try:
    fcntl.flock(f, fcntl.LOCK_EX)
    sys.exit("two hosts have an exclusive lock")
except Interrupted:
    print("ok: a signal interrupts the waiting")
expect("and leaves nothing locked here", "ok", run(host_a, "import threading\nprint('ok')"))


def release(*_):
    signal.setitimer(signal.ITIMER_REAL, 0)
    holder.stdin.write("\n")
    holder.stdin.flush()


signal.signal(signal.SIGALRM, release)
signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
fcntl.flock(f, fcntl.LOCK_EX)
print("ok: the end of the other host's holder grants it")
holder.wait()
fcntl.flock(f, fcntl.LOCK_UN)

# Four processes on two hosts count in the file.
COUNT = """
for i in range(100):
    fcntl.flock(f, fcntl.LOCK_EX)
    f.seek(0)
    n = int(f.readline()) + 1
    f.seek(0)
    f.write("%d\\n" % n)
    f.flush()
    fcntl.flock(f, fcntl.LOCK_UN)
"""
workers = [subprocess.Popen([sys.executable, "-c", CHILD % path + COUNT],
                            env=dict(os.environ, XDG_RUNTIME_DIR=h))
           for h in (host_a, host_b) * 2]
for w in workers:
    expect("a counting process", 0, w.wait(timeout=300))
expect("none of their steps was lost", 400, open(path).readline().strip())
