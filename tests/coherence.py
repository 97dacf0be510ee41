"""Two processes and one file, in the directory of argument 1: what one has written, the other sees at
once, by whichever call and however slow it is; what a third has gathered when it is killed holds nobody up."""
import os
import signal
import sys
import time

os.chdir(sys.argv[1])
ROUNDS = 100
LINE = 7


def line(i):
    return b"%06d\n" % i


def pair():
    """Two functions: done(), and other() that waits for the other side's done()."""
    a, b = os.pipe(), os.pipe()
    return ((lambda: os.write(a[1], b"."), lambda: os.read(b[0], 1)),
            (lambda: os.write(b[1], b"."), lambda: os.read(a[0], 1)))


def writer(done, other):
    f = os.open("file", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    for i in range(ROUNDS):
        os.write(f, line(i))
        done()
        other()
    # Gathered bytes, then another's writes to them, appends, and a cut.
    for act in ("over", "append", "cut", "path"):
        os.ftruncate(f, 0)
        os.lseek(f, 0, os.SEEK_SET)
        os.write(f, b"0123456789")
        done()
        other()
    # Read from front to back in small pieces, so that read-ahead is at work, while it changes.
    os.ftruncate(f, 0)
    os.pwrite(f, b"a" * (64 * 4096), 0)
    done()
    other()
    os.pwrite(f, b"b" * (64 * 4096), 0)
    done()
    other()
    # Stopped with gathered bytes: the others do not wait for ever.
    g = os.open("held", os.O_WRONLY | os.O_CREAT)
    os.write(g, b"gathered")
    done()
    os.kill(os.getpid(), signal.SIGSTOP)


def reader(done, other):
    f = None
    for i in range(ROUNDS):
        other()
        f = os.open("file", os.O_RDWR) if f is None else f
        size = LINE * (i + 1)
        seen = [lambda: os.stat("file").st_size == size,
                lambda: os.fstat(f).st_size == size,
                lambda: os.pread(f, LINE, LINE * i) == line(i),
                lambda: os.lseek(f, 0, os.SEEK_END) == size,
                lambda: open("file", "rb").read().endswith(line(i)),
                lambda: [e.stat().st_size for e in os.scandir() if e.name == "file"] == [size]]
        assert seen[i % len(seen)](), f"round {i}: {os.stat('file').st_size} bytes, not {size}"
        done()
    appender = os.open("file", os.O_WRONLY | os.O_APPEND)
    for act, want in ((lambda: os.pwrite(f, b"ab", 4), b"0123ab6789"),
                      (lambda: os.write(appender, b"ab"), b"0123456789ab"),
                      (lambda: os.ftruncate(f, 3), b"012"),
                      (lambda: os.close(os.open("file", os.O_WRONLY | os.O_TRUNC)), b"")):
        other()
        act()
        time.sleep(0.15)  # longer than anybody gathers: nothing may come after it
        got = os.pread(f, 100, 0)
        assert got == want, f"{got}, not {want}"
        done()
    other()
    os.lseek(f, 0, os.SEEK_SET)
    for i in range(16):
        assert os.read(f, 4096) == b"a" * 4096
    done()
    other()
    for i in range(48):
        got = os.read(f, 4096)
        assert got == b"b" * 4096, f"piece {i} is what was there before"
    done()
    other()


def slowly(times):
    """Who asks for the size is stopped while the answer is under way, for longer than anybody gathers."""
    f = os.open("slowly", os.O_WRONLY | os.O_CREAT)
    asked, told = os.pipe(), os.pipe()
    stater = os.fork()
    if stater == 0:
        try:
            while os.read(asked[0], 1):
                os.write(told[1], b"%8d" % os.stat("slowly").st_size)
        finally:
            os._exit(1)

    def size(stop=None):
        begin = time.monotonic()
        os.write(asked[1], b".")
        if stop is not None:
            while time.monotonic() - begin < stop:
                pass
            os.kill(stater, signal.SIGSTOP)
            time.sleep(0.12)
            os.kill(stater, signal.SIGCONT)
        return int(os.read(told[0], 8)), time.monotonic() - begin

    takes = sorted(size()[1] for i in range(9))[4]
    for i in range(times):
        os.write(f, line(i))
        got = size(takes * 1.2 * i / times)[0]
        assert got == LINE * (i + 1), f"stopped {i}: {got} bytes, not {LINE * (i + 1)}"
    os.kill(stater, signal.SIGKILL)
    os.waitpid(stater, 0)


ours, theirs = pair()
child = os.fork()
if child == 0:
    try:
        writer(*ours)
    finally:
        os._exit(1)
reader(*theirs)
os.waitpid(child, os.WUNTRACED)
begin = time.monotonic()
for i in range(20):
    os.stat("held")
assert time.monotonic() - begin < 5, "a stopped writer holds everybody up"
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
slowly(16)
