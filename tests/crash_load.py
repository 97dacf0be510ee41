#!/usr/bin/python3
"""Load for the crash tests, and its verifier. Runs under the shim, on a directory of its own.

  crash_load.py load DIR MODEL SEED PROGRESS STOP [RATE]
  crash_load.py verify DIR MODEL

`load` does random file operations below DIR until the local file STOP exists, and keeps what it
should find there in memory. One byte goes to the fifo PROGRESS after each operation, so that the
test kills daemons under load and not beside it. No operation may fail: a daemon that goes away
and comes back is the client's business. In between it reads back and compares. At the end it
writes what must be there, with checksums, to the local file MODEL, which `verify` compares with
what is there.
"""
import hashlib
import json
import os
import random
import sys

MAX_FILES, MAX_SIZE = 40, 400 << 10


class Load:
    def __init__(self, root, seed):
        self.root = root
        self.rng = random.Random(seed)
        self.files = {}  # name -> bytearray
        self.held = []   # (descriptor, name or None, bytearray): open over other operations
        self.n = 0
        self.counts = {}

    def path(self, name):
        return os.path.join(self.root, name)

    def fresh(self):
        self.n += 1
        return 'f%06d' % self.n

    def pick(self):
        """A name whose file is not held open elsewhere."""
        held = {name for _, name, _ in self.held}
        names = [name for name in self.files if name not in held]
        return self.rng.choice(names) if names else None

    def data(self):
        small = self.rng.random() < 0.6
        return self.rng.randbytes(self.rng.randrange(1, 16 << 10 if small else MAX_SIZE // 2))

    def write_all(self, fd, data, size=None):
        view = memoryview(data)
        while view:
            n = os.write(fd, view[:size or len(view)])
            view = view[n:]

    # Each operation returns when the file system has promised it.

    def create(self):
        name, data = self.fresh(), self.data()
        fd = os.open(self.path(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        self.write_all(fd, data, self.rng.choice([None, 1000, 65536]))
        if self.rng.random() < 0.3:
            os.fsync(fd)
        os.close(fd)
        self.files[name] = bytearray(data)

    def rewrite(self):
        name = self.pick()
        if name:
            data = self.data()
            fd = os.open(self.path(name), os.O_WRONLY | os.O_TRUNC)
            self.write_all(fd, data)
            os.close(fd)
            self.files[name] = bytearray(data)

    def overwrite(self):
        name = self.pick()
        if name:
            data, old = self.data(), self.files[name]
            at = self.rng.randrange(0, min(len(old) + 5000, MAX_SIZE))
            fd = os.open(self.path(name), os.O_RDWR)
            os.pwrite(fd, data, at)
            os.close(fd)
            self.patch(old, at, data)

    def append(self):
        name = self.pick()
        if name and len(self.files[name]) < MAX_SIZE:
            data = self.data()
            fd = os.open(self.path(name), os.O_WRONLY | os.O_APPEND)
            os.write(fd, data)
            os.close(fd)
            self.files[name] += data

    def truncate(self):
        name = self.pick()
        if name:
            old = self.files[name]
            size = self.rng.randrange(0, len(old) + 10000)
            os.truncate(self.path(name), size)
            if size < len(old):
                del old[size:]
            else:
                old += bytes(size - len(old))

    def rename(self):
        name = self.pick()
        if name:
            new = self.pick() if self.rng.random() < 0.3 else self.fresh()
            os.rename(self.path(name), self.path(new))
            self.files[new] = self.files.pop(name)

    def unlink(self):
        name = self.pick()
        if name:
            os.unlink(self.path(name))
            del self.files[name]

    def directory(self):
        name = self.path('d%06d' % self.n)
        self.n += 1
        os.mkdir(name)
        os.symlink('target of ' + name, name + '/link')
        assert os.readlink(name + '/link') == 'target of ' + name
        os.unlink(name + '/link')
        os.rmdir(name)

    def hold(self):
        """Opens a file and keeps it open, perhaps without its name."""
        name = self.pick()
        if name and len(self.held) < 4:
            fd = os.open(self.path(name), os.O_RDWR)
            content = self.files[name]
            if self.rng.random() < 0.3:
                os.unlink(self.path(name))
                del self.files[name]
                name = None
            self.held.append((fd, name, content))

    def use_held(self):
        if self.held:
            fd, _, content = self.rng.choice(self.held)
            data = self.data()
            at = self.rng.randrange(0, min(len(content) + 1, MAX_SIZE))
            os.pwrite(fd, data, at)
            self.patch(content, at, data)
            if self.rng.random() < 0.5:
                os.fsync(fd)
            self.compare('held', os.pread(fd, len(content) + 1, 0), content)

    def drop_held(self):
        if self.held:
            fd, _, content = self.held.pop(self.rng.randrange(len(self.held)))
            self.compare('held, at close', os.pread(fd, len(content) + 1, 0), content)
            os.close(fd)

    def read(self):
        name = self.pick()
        if name:
            content = self.files[name]
            fd = os.open(self.path(name), os.O_RDONLY)
            at = self.rng.randrange(0, len(content) + 1)
            n = self.rng.randrange(1, MAX_SIZE)
            self.compare(name, os.pread(fd, n, at), content[at:at + n])
            os.close(fd)

    @staticmethod
    def patch(content, at, data):
        if at > len(content):
            content += bytes(at - len(content))
        content[at:at + len(data)] = data

    @staticmethod
    def compare(what, got, want):
        if got != want:
            same = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b),
                        min(len(got), len(want)))
            raise SystemExit('%s: %d bytes read, %d expected, equal up to byte %d' % (
                what, len(got), len(want), same))

    def step(self):
        if len(self.files) > MAX_FILES:
            op = self.unlink
        else:
            op = self.rng.choice([
                self.create, self.create, self.create, self.rewrite, self.overwrite, self.append,
                self.truncate, self.rename, self.unlink, self.directory, self.hold,
                self.use_held, self.use_held, self.drop_held, self.read, self.read])
        try:
            op()
        except OSError as e:
            raise SystemExit('%s failed: %s' % (op.__name__, e))
        self.counts[op.__name__] = self.counts.get(op.__name__, 0) + 1

    def model(self):
        while self.held:
            self.drop_held()
        return {name: [len(c), hashlib.sha256(c).hexdigest()] for name, c in self.files.items()}


def load(root, model, seed, progress, stop):
    os.mkdir(root)
    work = Load(root, int(seed))
    out = os.open(progress, os.O_WRONLY)
    while not os.path.exists(stop):
        work.step()
        os.write(out, b'.')
    with open(model, 'w') as f:
        json.dump(work.model(), f)
    print('%s: %d operations: %s' % (root, sum(work.counts.values()), ', '.join(
        '%d %s' % (n, op) for op, n in sorted(work.counts.items()))))


def verify(root, model):
    with open(model) as f:
        want = json.load(f)
    names = set(os.listdir(root))
    if names != set(want):
        raise SystemExit('%s: missing %s, unexpected %s' % (
            root, sorted(set(want) - names), sorted(names - set(want))))
    total = 0
    for name, (size, digest) in want.items():
        with open(os.path.join(root, name), 'rb') as f:
            data = f.read()
        if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
            raise SystemExit('%s/%s: %d bytes, %d expected, %s' % (
                root, name, len(data), size,
                'other bytes' if len(data) == size else 'other length'))
        total += size
    print('%s: %d files, %d bytes, all as they were acknowledged' % (root, len(want), total))


if __name__ == '__main__':
    {'load': load, 'verify': verify}[sys.argv[1]](*sys.argv[2:])
