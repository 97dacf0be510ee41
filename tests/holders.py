"""Several processes of one host hold unsynced writes of one file when the chunk daemons are killed: DIR ASK
ANSWER. Whoever writes `kill` into the pipe ASK finds them restarted when ANSWER says so. Each actor is a
process with $ACTOR_PRELOAD preloaded that does what it is told and nothing else."""
import errno, os, signal, subprocess, sys, time

PAGE = 4096
TIMEOUT = 4 * int(os.environ.get("FF3FS_TEST_SLOWER", 1))  # the client's, in seconds


def actor(path):
    f = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    child = None
    print('ready', flush=True)
    for text in sys.stdin:
        what, *args = text.split()
        try:
            if what == 'write':  # OFFSET LETTER PAGES
                n = os.pwrite(f, args[1].encode() * (PAGE * int(args[2])), int(args[0]) * PAGE)
                os.pread(f, 1, 0)  # what was only gathered is sent
                print(n == PAGE * int(args[2]), flush=True)
            elif what == 'read':  # PAGES
                data = os.pread(f, PAGE * int(args[0]), 0)
                pages = [data[i:i + PAGE] for i in range(0, len(data), PAGE)]
                print(''.join(chr(p[0]) if p == p[:1] * PAGE else '?' for p in pages).replace('\0', '.'), flush=True)
            elif what == 'size':
                print(os.fstat(f).st_size, flush=True)
            elif what == 'sync':
                os.fsync(f)
                print('synced', flush=True)
            elif what == 'fork':  # the rest is the child's; the parent goes on when it has ended
                child = os.fork()
                if child:
                    os.waitpid(child, 0)
                else:
                    print('forked', flush=True)
        except OSError as e:
            print(errno.errorcode[e.errno], flush=True)


class Actor:
    def __init__(self, path):
        self.process = subprocess.Popen(
            [sys.executable, __file__, 'actor', path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=dict(os.environ, LD_PRELOAD=os.environ['ACTOR_PRELOAD']), text=True, bufsize=1)
        self.process.stdout.readline()

    def tell(self, *words):
        print(*words, file=self.process.stdin, flush=True)

    def hear(self):
        return self.process.stdout.readline().strip()

    def do(self, *words):
        self.tell(*words)
        return self.hear()

    def write(self, page, letter, n=1):
        assert self.do('write', page, letter, n) == 'True'

    def signal(self, number):
        self.process.send_signal(number)


class Stage:
    def __init__(self, directory, ask, answer):
        self.directory, self.ask, self.answer, self.actors, self.n = directory, ask, answer, [], 0

    def restart(self):
        with open(self.ask, 'w') as f:
            f.write('kill\n')
        with open(self.answer) as f:
            assert f.readline() == 'started\n'

    def cast(self, n):
        self.end()
        self.n += 1
        self.actors = [Actor(f'{self.directory}/{self.n}') for _ in range(n)]
        return self.actors

    def end(self):
        for a in self.actors:
            a.process.kill()
            a.process.communicate()
        self.actors = []


def read_after(s):
    a, b = s.cast(2)
    a.write(0, 'a', 4)
    s.restart()
    yield 'aaaa', b.do('read', 4)
    b.write(1, 'b')
    yield 'synced', a.do('sync')
    yield 'abaa', b.do('read', 4)


def write_after(s):
    a, b, c = s.cast(3)
    a.write(0, 'a', 4)
    s.restart()
    b.write(2, 'b')
    yield 'synced', a.do('sync')
    yield 'aaba', c.do('read', 4)


def ordered(s):
    """The order of the writes, whoever made them, is that of the repetition."""
    a, b, c = s.cast(3)
    a.write(0, 'a', 4)
    b.write(1, 'b', 2)
    a.write(2, 'c')
    b.write(3, 'd')
    s.restart()
    yield 'abcd', c.do('read', 4)
    s.restart()
    s.restart()
    yield 'abcd', c.do('read', 4)


def synced_over(s):
    """Copies that are older than what is durable do not come back."""
    a, b, c = s.cast(3)
    a.write(0, 'a', 4)
    b.write(0, 'b', 2)
    yield 'synced', b.do('sync')
    b.write(1, 'c')
    yield 'synced', b.do('sync')
    s.restart()
    yield 'bcaa', c.do('read', 4)
    yield 'synced', a.do('sync')
    yield 'bcaa', c.do('read', 4)


def sync_for_others(s):
    a, b, c = s.cast(3)
    a.write(0, 'a', 2)
    s.restart()
    yield 'synced', b.do('sync')
    a.signal(signal.SIGKILL)
    a.process.wait()
    s.restart()
    yield 'aa', c.do('read', 2)


def killed(s):
    """What only a killed process had is gone, and nobody waits for it."""
    a, b, c = s.cast(3)
    b.write(1, 'b')
    a.write(0, 'a')
    a.signal(signal.SIGKILL)
    a.process.wait()
    s.restart()
    since = time.monotonic()
    yield 'b', c.do('read', 2)[1:]
    yield True, time.monotonic() - since < TIMEOUT - 1


def stopped(s):
    """One that is stopped is waited for, but not for ever; then it is told."""
    a, b, c = s.cast(3)
    a.write(0, 'a', 2)
    a.signal(signal.SIGSTOP)
    s.restart()
    b.tell('write', 0, 'b', 1)
    yield 'True', b.hear()
    a.signal(signal.SIGCONT)
    yield 'EIO', a.do('sync')
    yield 'b', c.do('read', 2)[:1]
    a.write(0, 'a', 2)
    s.restart()
    yield 'aa', c.do('read', 2)


def continued(s):
    a, b = s.cast(2)
    a.write(0, 'a', 2)
    a.signal(signal.SIGSTOP)
    s.restart()
    b.tell('write', 0, 'b', 1)
    a.signal(signal.SIGCONT)
    yield 'True', b.hear()
    yield 'ba', a.do('read', 2)
    yield 'synced', a.do('sync')
    yield 'ba', b.do('read', 2)


def forked(s):
    a, = s.cast(1)
    a.write(0, 'a', 3)
    yield 'forked', a.do('fork')
    a.write(1, 'b')
    s.restart()
    yield 'aba', a.do('read', 3)


def main(directory, ask, answer, *names):
    s = Stage(directory, ask, answer)
    scenes = [read_after, write_after, ordered, synced_over, sync_for_others, killed, stopped, continued, forked]
    try:
        for scene in scenes:
            if names and scene.__name__ not in names:
                continue
            for i, (want, got) in enumerate(scene(s)):
                if want != got:
                    sys.exit(f'{scene.__name__}, {i}: want {want}, got {got}')
            print('ok:', scene.__name__, flush=True)
    finally:
        s.end()
        with open(ask, 'w') as f:
            f.write('end\n')


if sys.argv[1] == 'actor':
    actor(sys.argv[2])
else:
    main(*sys.argv[1:])
