#!/usr/bin/python3
"""What Python programs do with files, in the directory of argument 1. Prints what it saw; the same
lines must come from a local directory and from the prefix."""
import fcntl
import glob
import mmap
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zlib

D = sys.argv[1]
os.chdir('/')


def show(*what):
    print(*[str(w).replace(D, 'DIR') for w in what], flush=True)


def attempt(fn, *a, **k):
    try:
        return fn(*a, **k)
    except OSError as e:
        return 'error %d' % e.errno


def path(name):
    return os.path.join(D, name)


data = bytes(os.urandom(16) * 70001)
data = zlib.compress(bytes(range(256)) * 5000, 0)  # the same in every run


def files():
    with open(path('f'), 'wb') as f:
        show(f.fileno() < 10, f.write(data), f.tell())
    with open(path('f'), 'rb') as f:
        b = bytearray(1000)
        show(zlib.crc32(f.read()), f.seek(500), f.readinto(b), zlib.crc32(b), f.isatty())
        show(f.seek(0, 2), f.seek(-7, 2), f.read())
    with open(path('f'), 'rb', buffering=0) as f:
        show(len(f.read(7)), len(f.read(100000)), f.tell(), len(f.readall()))
    with open(path('t'), 'w+') as f:
        f.write('eins\nzwei\ndrei\n')
        f.seek(0)
        show(list(f), f.truncate(5), os.fstat(f.fileno()).st_size)
    with open(path('t'), 'a') as f:
        show(f.tell(), f.write('more'))
    show(open(path('t')).read(), os.path.getsize(path('t')))
    fd = os.open(path('f'), os.O_RDWR)
    a, b = bytearray(7), bytearray(93)
    show(os.preadv(fd, [a, b], 11), zlib.crc32(a + b), os.pwritev(fd, [b'ab', b'cd'], 3))
    show(os.pread(fd, 10, 0), os.lseek(fd, 0, 1), os.read(fd, 5), os.lseek(fd, 0, 1))
    show(os.pread(fd, 100, len(data) - 30), os.pread(fd, 100, len(data)), os.pread(fd, 1, 1 << 40))
    show(attempt(os.pread, fd, 1, -1), os.ftruncate(fd, 20), os.fstat(fd).st_size)
    show(fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND))
    os.close(fd)
    show(attempt(os.read, fd, 1), attempt(open, path('none')), attempt(open, D))
    show(attempt(os.open, path('f/x'), os.O_RDONLY), attempt(os.open, path('f'), os.O_CREAT | os.O_EXCL))


def names():
    os.makedirs(path('d/e/g'))
    for i in range(300):
        open(path('d/n%03d' % i), 'w').close()
    show(sorted(os.listdir(path('d')))[:3], len(os.listdir(path('d'))))
    show(sorted((e.name, e.is_dir(), e.is_file()) for e in os.scandir(path('d')) if e.name < 'n002'))
    show([(r.replace(D, ''), sorted(d), len(f)) for r, d, f in sorted(os.walk(D))])
    show(len(glob.glob(path('d/n*'))), len(glob.glob(path('**/n00*'), recursive=True)))
    fd = os.open(path('d'), os.O_RDONLY | os.O_DIRECTORY)
    show(len(os.listdir(fd)), os.stat('n001', dir_fd=fd).st_size, os.path.samestat(
        os.fstat(fd), os.stat(path('d'))))
    os.rename('n001', 'm001', src_dir_fd=fd, dst_dir_fd=fd)
    os.unlink('n002', dir_fd=fd)
    os.mkdir('made', dir_fd=fd)
    os.fsync(fd)
    show(len(os.listdir(fd)), os.access('m001', os.R_OK, dir_fd=fd))
    os.close(fd)
    show(attempt(os.rmdir, path('d')), attempt(os.mkdir, path('d')), attempt(os.unlink, path('d')) != 0)
    show(os.path.realpath(path('d/../d/./e')), os.path.exists(path('d/none')))
    os.symlink('d/m001', path('s'))
    show(os.readlink(path('s')), os.path.islink(path('s')), os.stat(path('s')).st_size)
    show(attempt(os.link, path('d/m001'), '/dev/shm/nowhere'), attempt(os.rename, path('s'), '/dev/shm/s'))
    shutil.copy(path('f'), path('copy'))
    shutil.copytree(path('d/e'), path('tree'))
    shutil.move(path('tree'), path('tree2'))
    show(sorted(os.listdir(D)))
    shutil.rmtree(path('tree2'))
    shutil.rmtree(path('d'))
    with tempfile.TemporaryDirectory(dir=D) as t, tempfile.NamedTemporaryFile(dir=t) as n:
        n.write(b'x')
        n.flush()
        show(os.path.getsize(n.name))
    with tempfile.TemporaryFile(dir=D) as f:
        f.write(b'abc')
        f.seek(0)
        show(f.read())
    show(sorted(os.listdir(D)))


def maps():
    with open(path('m'), 'wb') as f:
        f.write(data)
    with open(path('m'), 'rb') as f:
        m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        show(len(m), zlib.crc32(m[:]), m[5:9], m.find(b'\xff\x00'))
        m.close()
        m = mmap.mmap(f.fileno(), 8192, access=mmap.ACCESS_COPY, offset=4096)
        m[0:4] = b'copy'
        show(m[0:6])
        f.seek(4096)
        show(f.read(4))
        private = mmap.mmap(f.fileno(), 100, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if zlib.crc32(private[:]) == zlib.crc32(data[:100]) else 1)
        show(os.waitpid(pid, 0)[1])
    show(attempt(mmap.mmap, os.open(path('m'), os.O_WRONLY), 10, prot=mmap.PROT_READ))
    try:
        import numpy as np
    except ImportError:
        return
    a = np.arange(100000, dtype='<f4')
    a.tofile(path('a.bin'))
    np.save(path('a.npy'), a)
    np.savez(path('a.npz'), a=a, b=a * 2)
    show(np.fromfile(path('a.bin'), '<f4').sum(), np.load(path('a.npy')).sum())
    show(np.memmap(path('a.bin'), '<f4', 'r')[7777], np.load(path('a.npy'), mmap_mode='r')[5:8])
    show(np.memmap(path('a.bin'), '<f4', 'c', offset=400)[0], np.load(path('a.npz'))['b'].sum())
    w = np.memmap(path('w.bin'), '<f4', 'w+', shape=(1000, 100))
    w[10] = 5
    w.flush()
    w[20] = 7
    del w
    show(np.fromfile(path('w.bin'), '<f4').sum())
    w = np.lib.format.open_memmap(path('w.npy'), 'w+', dtype='<i8', shape=(5000,))
    w[:] = range(5000)
    del w
    show(np.load(path('w.npy')).sum())


def children():
    with open(path('in'), 'w') as f:
        f.write('line one\nline two\n')
    for _ in range(3):
        with open(path('in')) as f:
            show(subprocess.run(['cat'], stdin=f, stdout=subprocess.PIPE).stdout)
    with open(path('in')) as f:
        f.readline()
        f.seek(5)
        show(subprocess.run(['sed', 's/one/1/'], stdin=f, stdout=subprocess.PIPE).stdout)
    with open(path('out'), 'w') as f:
        subprocess.run(['sh', '-c', 'echo child; echo err >&2'], stdout=f, stderr=subprocess.STDOUT)
        f.write('parent\n')
    show(open(path('out')).read())
    with tempfile.NamedTemporaryFile(dir=D) as f:  # what was written is there for a child
        for i in range(20):
            f.write(b'%d' % i)
            f.flush()
            show(subprocess.run(['wc', '-c'], stdin=open(f.name), stdout=subprocess.PIPE).stdout)
    with tempfile.TemporaryFile(dir=D) as f:
        f.write(b'pear')
        f.seek(0)
        show(subprocess.run(['tr', 'a-z', 'A-Z'], stdin=f, stdout=subprocess.PIPE).stdout)
    os.chdir(D)
    shutil.copy('/bin/echo', path('prog'))
    show(subprocess.run(['./cat', '/dev/null'], cwd='/bin').returncode)
    show(subprocess.run(['./prog', 'ran'], stdout=subprocess.PIPE).stdout)
    os.chdir('/')
    show(subprocess.run(['./prog', 'ran'], cwd=D, stdout=subprocess.PIPE).stdout)
    show(subprocess.run(['/bin/pwd'], cwd=D, stdout=subprocess.PIPE).stdout.decode().strip())
    show(subprocess.run(['cat', 'in'], cwd=D, stdout=subprocess.PIPE).stdout)
    show(os.system('cat %s | wc -l' % path('in')), os.popen('head -1 %s' % path('in')).read())
    f = open(path('in'), 'rb')
    for _ in range(1000):  # each a vfork whose child closes and copies
        subprocess.run(['/bin/true'], stdout=subprocess.DEVNULL, close_fds=True)
    show(f.read(), os.fstat(f.fileno()).st_size)


def one(i):
    with open(path('f')) as f:
        return i, len(f.read()), zlib.crc32(os.pread(shared, 1000, i * 10))


def forks():
    global shared
    shared = os.open(path('m'), os.O_RDONLY)
    with multiprocessing.get_context('fork').Pool(4) as pool:
        show(pool.map(one, range(40)))
    r, w = os.pipe()
    os.lseek(shared, 0, 0)
    for _ in range(4):  # the offset is one for all: no byte twice, none lost
        if os.fork() == 0:
            got = 0
            while True:
                b = os.read(shared, 1000)
                if not b:
                    break
                got += len(b)
                os.write(w, b'%d\n' % zlib.crc32(b))
            os._exit(0)
    os.close(w)
    sums = os.fdopen(r).read().split()
    for _ in range(4):
        os.wait()
    want = [zlib.crc32(data[i:i + 1000]) for i in range(0, len(data), 1000)]
    show(len(sums), sorted(map(int, sums)) == sorted(want))


def threads():
    bad = []

    def work(k):
        for i in range(20):
            with open(path('th%d' % k), 'wb') as f:
                f.write(bytes([k]) * (1000 + i))
            with open(path('th%d' % k), 'rb') as f:
                if f.read() != bytes([k]) * (1000 + i):
                    bad.append(k)
    ts = [threading.Thread(target=work, args=(k,)) for k in range(16)]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    show(bad, len(glob.glob(path('th*'))))


def locks():
    a = os.open(path('lock'), os.O_RDWR | os.O_CREAT)
    fcntl.lockf(a, fcntl.LOCK_EX, 100, 50)
    pid = os.fork()
    if pid == 0:
        b = os.open(path('lock'), os.O_RDWR)
        r = [attempt(fcntl.lockf, b, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 60),
             attempt(fcntl.lockf, b, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 200)]
        os._exit(0 if r == ['error 11', None] else 1)
    show(os.waitpid(pid, 0)[1])
    fcntl.lockf(a, fcntl.LOCK_UN)
    fcntl.flock(a, fcntl.LOCK_SH)
    b = os.open(path('lock'), os.O_RDWR)
    show(attempt(fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB), attempt(
        fcntl.flock, b, fcntl.LOCK_SH | fcntl.LOCK_NB))
    os.close(a)
    os.close(b)
    b = os.open(path('lock'), os.O_RDWR)
    show(attempt(fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB))
    os.close(b)


def signals():
    hits, rounds = [], 0

    def on_alarm(*_):
        hits.append(len(open(path('in')).read()))
        signal.setitimer(signal.ITIMER_REAL, .001)  # the next one: none is due before another is over

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, .001)
    while rounds < 100 or not hits:
        with open(path('m'), 'rb') as f:
            if f.read() != data:
                show('bad')
        rounds += 1
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)
    show(set(hits))


def objects():
    show(pickle.load(open(path('p'), 'rb')) if pickle.dump([1, 'x'], open(path('p'), 'wb')) else [1, 'x'])
    with open(path('mod_of_ours.py'), 'w') as f:
        f.write('value = 42\n')
    sys.path.insert(0, D)
    import mod_of_ours
    show(mod_of_ours.value, os.path.exists(path('__pycache__')))


for part in (files, names, maps, children, forks, threads, locks, signals, objects):
    show('---', part.__name__)
    part()
