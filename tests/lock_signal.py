"""A signal comes while a lock of a description that two processes have is being asked for.
Usage: lock_signal.py FILE, with an XDG_RUNTIME_DIR of its own."""
import errno, fcntl, os, signal, struct, sys

F_OFD_SETLK, F_OFD_SETLKW = 37, 38
RECVMSG = {"x86_64": "47", "aarch64": "212"}[os.uname().machine]
path = sys.argv[1]
runtime = ("XDG_RUNTIME_DIR=%s" % os.environ["XDG_RUNTIME_DIR"]).encode()


def content(name):
    try:
        with open(name, "rb") as f:
            return f.read()
    except OSError as e:
        if e.errno not in (errno.ENOENT, errno.ESRCH):
            raise
        return b""


def lock(f, cmd, first):
    fcntl.fcntl(f, cmd, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, first, 1, 0))


def keepers():
    return [int(p) for p in os.listdir("/proc") if p.isdigit() and
            content(f"/proc/{p}/comm") == b"ff3fs-lock\n" and
            runtime in content(f"/proc/{p}/environ").split(b"\0")]


def signal_while_it_waits(locker, signalled):
    """The signal comes while the locker waits for the keeper, which goes on when it has come."""
    kept = keepers()
    if not kept:
        sys.exit("nobody keeps the locks")
    for k in kept:
        os.kill(k, signal.SIGSTOP)
        while content(f"/proc/{k}/stat").split(b") ")[1][:1] != b"T":
            pass
    try:
        os.write(go, b".")
        while content(f"/proc/{locker}/syscall").split()[0].decode() != RECVMSG:
            pass
        os.kill(locker, signal.SIGUSR1)
        os.read(signalled, 1)
    finally:
        for k in kept:
            os.kill(k, signal.SIGCONT)


def locker(signalled):
    signal.signal(signal.SIGUSR1, lambda *_: None)
    os.set_blocking(signalled, False)
    signal.set_wakeup_fd(signalled)
    lock(f, F_OFD_SETLK, 0)  # makes the keeper
    os.write(made, b".")
    if os.read(go_r, 1):
        lock(f, F_OFD_SETLKW, 1)


signal.signal(signal.SIGTERM, lambda *_: sys.exit("out of time"))  # nobody stays stopped
f, g = open(path, "r+"), open(path, "r+")
(made_r, made), (go_r, go), (signalled_r, signalled) = os.pipe(), os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    os.close(go)
    locker(signalled)
    os._exit(0)
os.close(made)
if not os.read(made_r, 1):
    sys.exit("no first lock")
signal_while_it_waits(child, signalled_r)
if os.waitpid(child, 0)[1]:
    sys.exit("the locker failed")
try:
    lock(g, F_OFD_SETLK, 1)
    sys.exit("the lock was not taken")
except BlockingIOError:
    pass
