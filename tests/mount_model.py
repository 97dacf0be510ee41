"""A file of a mount against a model in memory: random reads, writes, truncations, appends and
stores through a shared mapping, by several descriptors and (SECOND) a second mount of the same
directory. Usage: mount_model.py FILE SECOND|- STEPS SEED"""
import mmap
import os
import random
import sys

path, second, steps, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rnd = random.Random(seed)
SIZE = 3 << 20
model = bytearray()
fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
end = os.open(path, os.O_WRONLY | os.O_APPEND)
other = os.open(second, os.O_RDONLY) if second != '-' else fd
trail = []


def check(what, want, got):
    if want != got:
        at = next((i for i in range(min(len(want), len(got))) if want[i] != got[i]),
                  min(len(want), len(got)))
        print('\n'.join(trail[-20:]))
        sys.exit('seed %d: %s: %d bytes wanted, %d got, different at %d' %
                 (seed, what, len(want), len(got), at))


def data(n):
    return rnd.randbytes(n)


def put(at, b):
    if at > len(model):
        model.extend(bytes(at - len(model)))
    model[at:at + len(b)] = b


for step in range(steps):
    at, n = rnd.randrange(SIZE), rnd.choice((1, 7, 511, 4096, 70000, 300000))
    op = rnd.choice('wwwrrrtamMo')
    trail.append('%d %s %d %d size %d' % (step, op, at, n, len(model)))
    if op == 'w':
        b = data(n)
        assert os.pwrite(fd, b, at) == n
        put(at, b)
    elif op == 'r':
        check('read', model[at:at + n], os.pread(fd, n, at))
    elif op == 'o' and second != '-':
        check('read of the second mount', model[at:at + n], os.pread(other, n, at))
        check('size of the second mount', [len(model)], [os.stat(second).st_size])
    elif op == 't':
        at = min(at, len(model) + 100000)
        os.ftruncate(fd, at)
        del model[at:]
        put(at, b'')
    elif op == 'a':
        b = data(n)
        assert os.write(end, b) == n
        put(len(model), b)
    elif op in 'mM' and model:
        with mmap.mmap(fd, len(model)) as m:
            at %= len(model)
            check('mapping', model[at:at + n], m[at:at + n])
            if op == 'M':
                b = data(min(n, len(model) - at))
                m[at:at + len(b)] = b
                put(at, b)
                if rnd.random() < .5: # else munmap and what follows must do
                    m.flush()
    check('size', [len(model)], [os.fstat(fd).st_size])
os.close(end)
os.close(fd)
check('all of it', model, open(path, 'rb').read())
