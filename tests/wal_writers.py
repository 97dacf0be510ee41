"""SQLite in WAL mode, written by several processes at once: wal_writers.py round DIR WRITERS ROWS SEED SHAPE… runs one
round on a new database, and is not loaded itself with what the writers have preloaded ($WRITER_PRELOAD). Each
writer inserts its rows one by one, opens its connection anew every few, and acknowledges each commit
on its output. Afterwards every acknowledged row is there, once, and no other but one that a killed
writer was about to acknowledge; the database is whole.

Shapes: full, normal: how synchronous; small: a checkpoint every 8 pages; kill: writers are killed in the
middle and others take their place; nice: they run beside busy processes; fork: they are forks of one
process that has had the database open; keep: one connection to the end."""
import os, random, selectors, signal, sqlite3, subprocess, sys

LOADED = dict(os.environ, LD_PRELOAD=os.environ.get('WRITER_PRELOAD', ''))


def loaded(*args):
    return [sys.executable, __file__, *map(str, args)]


def connect(path, shape):
    c = sqlite3.connect(path, timeout=120, isolation_level=None)
    c.execute('pragma synchronous=' + ('full' if 'full' in shape else 'normal'))
    if 'small' in shape:
        c.execute('pragma wal_autocheckpoint=8')
    return c


def write(path, who, first, rows, shape, seed):
    rng, c, i = random.Random(seed), None, first
    try:
        while i < rows:
            c = c or connect(path, shape)
            try:
                c.execute('insert into t values(?,?,?)', (who, i, 'x' * rng.randrange(1500)))
            except sqlite3.OperationalError as e:
                if e.sqlite_errorname != 'SQLITE_PROTOCOL':
                    raise
                continue  # it has tried for ten seconds: a busy machine
            os.write(1, b'%d\n' % i)
            i += 1
            if rng.randrange(5) == 0 and 'keep' not in shape:
                c.close()
                c = None
        if c is not None:
            c.close()
    except sqlite3.Error as e:
        sys.exit(f'writer {who}, row {i}: {e.sqlite_errorname}: {e}')


class Writer:
    """One process after another that inserts the rows of `who`."""

    def __init__(self, path, who, rows, shape, seed):
        self.path, self.who, self.rows, self.shape, self.seed = path, who, rows, shape, seed
        self.acknowledged, self.maybe, self.kills = 0, [], 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            loaded('write', self.path, self.who, self.acknowledged, self.rows, self.seed + self.kills, *self.shape),
            stdout=subprocess.PIPE, bufsize=0, env=LOADED,
            preexec_fn=(lambda: os.nice(10 * (self.who % 2))) if 'nice' in self.shape else None)
        self.text = b''

    def read(self):
        """Some acknowledgements. False at its end."""
        got = self.process.stdout.read(65536)
        *lines, self.text = (self.text + got).split(b'\n')
        for line in lines:
            assert int(line) == self.acknowledged, (line, self.acknowledged)
            self.acknowledged += 1
        return bool(got)

    def ended(self):
        """True if another process goes on."""
        status = self.process.wait()
        self.process.stdout.close()
        if status == -signal.SIGKILL and self.kills:
            self.maybe.append(self.acknowledged)  # committed, perhaps, and not said
            self.acknowledged += 1
        elif status != 0 or self.acknowledged != self.rows:
            sys.exit(f'writer {self.who}: status {status}, {self.acknowledged} rows acknowledged')
        if self.acknowledged >= self.rows:
            return False
        self.start()
        return True

    def kill(self):
        self.kills += 1
        self.process.kill()


def drive(writers, shape, rng):
    """Reads all acknowledgements, and kills who shall be killed."""
    sel = selectors.DefaultSelector()
    for w in writers:
        w.kill_at = rng.randrange(w.rows) if 'kill' in shape else w.rows
        sel.register(w.process.stdout, selectors.EVENT_READ, w)
    while sel.get_map():
        for key, _ in sel.select():
            w = key.data
            if w.read():
                if w.acknowledged > w.kill_at:
                    w.kill_at = w.acknowledged + rng.randrange(w.rows)
                    w.kill()
                continue
            sel.unregister(key.fileobj)
            if w.ended():
                sel.register(w.process.stdout, selectors.EVENT_READ, w)


def check(path, rows, maybes):
    c = sqlite3.connect(path, timeout=120)
    got = c.execute('select who, i, count(*) from t group by who, i').fetchall()
    ok = c.execute('pragma integrity_check').fetchone()[0]
    n = c.execute('select count(*) from t').fetchone()[0]
    want = {(who, i) for who in range(len(maybes)) for i in range(rows)}
    unsure = {(who, i) for who, m in enumerate(maybes) for i in m}
    have = {(who, i) for who, i, _ in got}
    wrong = [r for r in got if r[2] != 1]
    print(n, ok, 'missing', sorted(want - unsure - have), 'more', sorted(have - want), 'twice', wrong)
    sys.exit(ok != 'ok' or want - unsure != have - unsure or bool(have - want) or bool(wrong))


def round_(directory, n, rows, seed, shape):
    path, rng = f'{directory}/wal.db', random.Random(seed)
    if subprocess.run(loaded('new', path), env=LOADED).returncode:
        sys.exit('no new database')
    busy = [subprocess.Popen(['sh', '-c', 'while :; do :; done']) for _ in range(3 if 'nice' in shape else 0)]
    maybes, writers = [[]] * n, []
    try:
        if 'fork' in shape:
            if subprocess.run(loaded('fork', path, n, rows, seed, *shape), env=LOADED).returncode:
                sys.exit('a forked writer failed')
        else:
            for who in range(n):
                writers.append(Writer(path, who, rows, shape, seed * 1000 + who * 100))
            drive(writers, shape, rng)
            maybes = [w.maybe for w in writers]
    finally:
        for p in busy + [w.process for w in writers]:
            p.kill()
            p.wait()
    sys.exit(subprocess.run(loaded('check', path, rows, *(','.join(map(str, m)) or '-' for m in maybes)),
                            env=LOADED).returncode)


def fork(path, n, rows, shape, seed):
    """Forks of one process instead of processes of their own; acknowledgements are not looked at."""
    c = connect(path, shape)
    c.execute('select count(*) from t').fetchone()
    c.close()
    children = []
    for who in range(n):
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open('/dev/null', os.O_WRONLY), 1)
            write(path, who, 0, rows, shape, seed + who)
            os._exit(0)
        children.append(pid)
    sys.exit(any(os.waitpid(pid, 0)[1] for pid in children))


def new(path):
    for suffix in '', '-wal', '-shm', '-journal':
        if os.path.exists(path + suffix):
            os.unlink(path + suffix)
    c = sqlite3.connect(path)
    assert c.execute('pragma journal_mode=wal').fetchone()[0] == 'wal'
    c.execute('create table t(who, i, s)')
    c.commit()
    c.close()


what, args = sys.argv[1], sys.argv[2:]
if what == 'write':
    write(args[0], int(args[1]), int(args[2]), int(args[3]), args[5:], int(args[4]))
elif what == 'new':
    new(args[0])
elif what == 'fork':
    fork(args[0], int(args[1]), int(args[2]), args[4:], int(args[3]))
elif what == 'check':
    check(args[0], int(args[1]), [[int(x) for x in a.split(',')] if a != '-' else [] for a in args[2:]])
else:
    round_(args[0], int(args[1]), int(args[2]), int(args[3]), args[4:])
