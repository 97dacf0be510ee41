"""Local sockets, named pipes and scarce descriptors, in the directory of argument 1. The same lines
must come from a local directory."""
import fcntl
import os
import resource
import socket
import stat
import subprocess
import sys

here = sys.argv[1]
os.makedirs(here, exist_ok=True)
os.chdir(here)


def tried(call, *args):
    try:
        return call(*args)
    except OSError as e:
        return os.strerror(e.errno)


def plain(text):
    return text.replace(here, "DIR") if isinstance(text, str) else text


def stream(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    print("bound to", plain(s.getsockname()), stat.filemode(os.lstat(path).st_mode))
    print("bound twice:", tried(socket.socket(socket.AF_UNIX).bind, path))
    print("does not listen:", tried(socket.socket(socket.AF_UNIX).connect, path))
    s.listen()
    c = socket.socket(socket.AF_UNIX)
    c.connect(path)
    a, peer = s.accept()
    print("accepted", repr(peer), plain(a.getsockname()), plain(c.getpeername()), repr(c.getsockname()))
    c.sendall(b"sent")
    print(a.recv(10))
    child = os.fork()
    if child == 0:
        k = socket.socket(socket.AF_UNIX)
        k.connect(path)
        k.sendall(b"by a child")
        os._exit(0)
    b, _ = s.accept()
    print(b.recv(10), os.waitpid(child, 0)[1])
    other = subprocess.run([sys.executable, "-c", "import socket, sys\ns = socket.socket(socket.AF_UNIX)\n"
                            "s.connect(sys.argv[1])\ns.sendall(b'by a program')", path])
    b, _ = s.accept()
    print(b.recv(20), other.returncode)
    print("opened:", tried(os.open, path, os.O_RDONLY))
    os.chmod(path, 0o600)
    print(stat.filemode(os.stat(path).st_mode))
    os.rename(path, path + ".new")
    print("renamed:", tried(socket.socket(socket.AF_UNIX).connect, path + ".new"),
          tried(socket.socket(socket.AF_UNIX).connect, path))
    s.close()
    print("closed:", tried(socket.socket(socket.AF_UNIX).connect, path + ".new"))
    os.unlink(path + ".new")
    print("removed:", tried(socket.socket(socket.AF_UNIX).connect, path + ".new"))


def datagrams():
    u, v = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in "uv")
    u.bind("u")
    v.bind("v")
    u.sendto(b"sendto", "v")
    print(v.recvfrom(10))
    v.sendmsg([b"sendmsg"], [], 0, "u")
    message = u.recvmsg(10, 100)
    print(message[0], message[3])
    u.connect("v")
    u.send(b"send")
    print(v.recvfrom(5), u.getpeername())
    print("nobody:", tried(u.sendto, b"x", "nobody"))
    open("file", "w").close()
    print("a file:", tried(u.sendto, b"x", "file"), tried(u.bind, "file"), tried(u.bind, "no/socket"))
    r, w = os.pipe()
    with open("file", "w") as f:
        f.write("passed over")
    fd = os.open("file", os.O_RDONLY)
    socket.send_fds(u, [b"f"], [fd])
    os.close(fd)
    _, fds, _, _ = socket.recv_fds(v, 10, 1)
    print(os.read(fds[0], 20))
    print(sorted(os.listdir(".")))


def pipes():
    os.mkfifo("pipe", 0o640)
    print(stat.filemode(os.stat("pipe").st_mode), tried(os.mkfifo, "pipe"))
    print("nobody reads:", tried(os.open, "pipe", os.O_WRONLY | os.O_NONBLOCK))
    child = os.fork()
    if child == 0:
        with open("pipe", "w") as f:
            f.write("through the pipe")
        os._exit(0)
    with open("pipe") as f:
        print(f.read(), os.waitpid(child, 0)[1])
    fd = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    print(stat.S_ISFIFO(os.fstat(fd).st_mode), os.read(fd, 1))
    os.close(fd)
    print(subprocess.run("cat pipe & echo from the shell >pipe; wait", shell=True, capture_output=True).stdout)


def notify():
    fd = os.open(".", os.O_RDONLY)
    print("F_NOTIFY of nothing:", fcntl.fcntl(fd, fcntl.F_NOTIFY, fcntl.DN_MULTISHOT))
    with open("file") as f:
        print("F_NOTIFY of a file:", tried(fcntl.fcntl, f, fcntl.F_NOTIFY, fcntl.DN_MODIFY))


# A program with every number below its limit in use, that names a file there for the first time.
FULL = """
import os, resource, sys
with open('full', 'w') as f: f.write('full')
os.listdir('.')
"""


def scarce():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    keep = [os.open("/dev/null", os.O_RDONLY) for _ in range(40)]
    for fd in keep[:10]:
        os.close(fd)
    for fd in keep[10:]:
        os.set_inheritable(fd, True)
    # RDMA takes more numbers than there are then: the next transport is taken.
    transports = os.environ.get("FF3FS_CLIENT_TRANSPORTS", "").replace("verbs", "verbs tcp")
    env = {**os.environ, **({"FF3FS_CLIENT_TRANSPORTS": transports} if transports else {})}
    done = subprocess.run([sys.executable, "-c", FULL], close_fds=False, env=env,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (keep[14], hard)))
    print("few numbers:", done.returncode, open("full").read())
    for fd in keep[10:]:
        os.close(fd)


def closes_all():
    """What closes every number, or puts files over them, must not meet our connections."""
    os.stat("file")
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                pass
    os.closerange(3, 70000)
    fds = [os.open("/dev/null", os.O_WRONLY) for _ in range(600)]
    with open("after", "w") as f:
        f.write("x" * 100000)
    print("closed all:", os.stat("after").st_size, fds == list(range(fds[0], fds[0] + 600)))
    for fd in fds:
        os.close(fd)


stream(here + "/absolute")
stream("relative")
datagrams()
pipes()
notify()
scarce()
closes_all()
