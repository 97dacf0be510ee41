#!/usr/bin/python3
"""The same random file operations on two directories; every result, errno and byte must be equal.

  posix_twin.py LOCAL OTHER [OPERATIONS [SEED]]

LOCAL is a directory of a kernel's file system, which is right by definition, OTHER the one under
test. Names come from a small pool, so that operations meet. On the first difference the last
operations are printed and the exit status is 1.
"""
import ctypes
import errno
import mmap
import os
import random
import stat
import sys

NAMES = ['a', 'b', 'c', 'd', 'dir', 'dir/a', 'dir/b', 'dir/sub', 'dir/sub/a', 'link', 'dir/link',
         'none/x', 'a/x', 'dir/../a', './dir//b', 'dir/.', 'dir/', 'b/', 'link/a', '.', 'loop']
TARGETS = ['a', 'dir', 'dir/a', '../a', 'none', 'loop', 'sub', '.', 'dir/link']
FLAGS = [os.O_CREAT, os.O_EXCL | os.O_CREAT, os.O_TRUNC, os.O_APPEND, os.O_NOFOLLOW, os.O_DIRECTORY,
         os.O_SYNC, os.O_CLOEXEC, os.O_CREAT | os.O_TRUNC, os.O_CREAT | os.O_APPEND]
# What fcntl(F_GETFL) may differ in: flags that mean nothing after the open.
GETFL = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_SYNC
libc = ctypes.CDLL(None, use_errno=True)


def renameat2(a, b, flags):
    if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags) < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))


class Twin:
    def __init__(self, roots, rng):
        self.roots, self.rng = roots, rng
        self.fds = []  # [local, other]
        self.log = []

    def both(self, what, fn):
        """fn(i) on each side; equal results are returned, an equal error is None."""
        results = []
        for i in (0, 1):
            try:
                results.append(('ok', fn(i)))
            except OSError as e:
                results.append(('error', errno.errorcode.get(e.errno, str(e.errno))))
        self.log.append('%-70s %s' % (what, self.show(results[0])))
        del self.log[:-25]
        (kind, a), (other_kind, b) = results
        if kind != other_kind or (what.split()[0] != 'open' and a != b) or (
                kind == 'error' and a != b):
            print('\n'.join(self.log))
            raise SystemExit('DIFFERENT: %s\n  local: %s\n  other: %s' % (
                what, self.show(results[0]), self.show(results[1])))
        if kind == 'error':
            return None
        return [a, b] if what.split()[0] == 'open' else a

    @staticmethod
    def show(result):
        text = repr(result[1])
        return '%s %s' % (result[0], text if len(text) < 200 else text[:160] + '… (%d)' % len(text))

    def name(self):
        return self.rng.choice(NAMES)

    def path(self, i, name):
        return self.roots[i] + '/' + name

    def fd(self):
        return self.rng.choice(self.fds) if self.fds else None

    def size(self):
        return self.rng.choice([0, 1, 100, 4095, 4096, 4097, 70000, self.rng.randrange(300000)])

    def offset(self):
        return self.rng.choice([0, 0, 1, 4096, 65536, 1048575, 1048576, self.rng.randrange(200000),
                                self.rng.randrange(3000000)])

    @staticmethod
    def facts(st):
        kind = stat.S_IFMT(st.st_mode)
        return (oct(st.st_mode), st.st_size if kind != stat.S_IFDIR else 'dir',
                st.st_nlink if kind != stat.S_IFDIR else 'dir', st.st_uid, st.st_gid)

    # --- operations ---

    def op_open(self):
        if len(self.fds) > 12:
            return self.op_close()
        name = self.name()
        flags = self.rng.choice([os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR])
        for _ in range(self.rng.choice([0, 1, 1, 2])):
            flags |= self.rng.choice(FLAGS)
        if flags & os.O_CREAT:  # together they mean something else in every other kernel
            flags &= ~os.O_DIRECTORY
            name = name.rstrip('/')  # which of two errors comes first is nobody's business
        mode = self.rng.choice([0o644, 0o600, 0o777, 0o444])
        pair = self.both('open %s %#o %#o' % (name, flags, mode),
                         lambda i: os.open(self.path(i, name), flags, mode))
        if pair:
            self.fds.append(pair)

    def op_close(self):
        if self.fds:
            pair = self.fds.pop(self.rng.randrange(len(self.fds)))
            self.both('close', lambda i: os.close(pair[i]))

    def op_dup(self):
        pair = self.fd()
        if pair and len(self.fds) < 12:
            self.fds.append(self.both('open by dup', lambda i: os.dup(pair[i])))

    def op_write(self):
        pair, data = self.fd(), self.rng.randbytes(self.size())
        if pair:
            self.both('write %d' % len(data), lambda i: os.write(pair[i], data))

    def op_writev(self):
        pair, data = self.fd(), [self.rng.randbytes(self.rng.randrange(5000)) for _ in range(3)]
        if pair:
            self.both('writev', lambda i: os.writev(pair[i], data))

    def op_pwrite(self):
        pair, data, at = self.fd(), self.rng.randbytes(self.size()), self.offset()
        if pair:
            self.both('pwrite %d at %d' % (len(data), at), lambda i: os.pwrite(pair[i], data, at))

    def op_read(self):
        pair, n = self.fd(), self.size()
        if pair:
            self.both('read %d' % n, lambda i: os.read(pair[i], n))

    def op_readv(self):
        pair, n = self.fd(), self.rng.randrange(1, 9000)

        def readv(i):
            buffers = [bytearray(n), bytearray(7), bytearray(n)]
            return os.readv(pair[i], buffers), buffers
        if pair:
            self.both('readv %d' % n, readv)

    def op_pread(self):
        pair, n, at = self.fd(), self.size(), self.offset()
        if pair:
            self.both('pread %d at %d' % (n, at), lambda i: os.pread(pair[i], n, at))

    def op_lseek(self):
        pair, at = self.fd(), self.offset() - 100
        whence = self.rng.choice([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])
        if pair and not stat.S_ISDIR(os.fstat(pair[0]).st_mode):
            self.both('lseek %d %d' % (at, whence), lambda i: os.lseek(pair[i], at, whence))

    def op_ftruncate(self):
        pair, n = self.fd(), self.offset()
        if pair:
            self.both('ftruncate %d' % n, lambda i: os.ftruncate(pair[i], n))

    def op_truncate(self):
        name, n = self.name(), self.offset()
        self.both('truncate %s %d' % (name, n), lambda i: os.truncate(self.path(i, name), n))

    def op_fsync(self):
        pair = self.fd()
        if pair:
            self.both('fsync', lambda i: os.fsync(pair[i]))

    def op_fstat(self):
        pair = self.fd()
        if pair:
            self.both('fstat', lambda i: self.facts(os.fstat(pair[i])))

    def op_getfl(self):
        import fcntl
        pair = self.fd()
        if pair:
            self.both('getfl', lambda i: oct(fcntl.fcntl(pair[i], fcntl.F_GETFL) & GETFL))

    def op_setfl(self):
        import fcntl
        pair, flags = self.fd(), self.rng.choice([0, os.O_APPEND])
        if pair:
            self.both('setfl %#o' % flags, lambda i: fcntl.fcntl(pair[i], fcntl.F_SETFL, flags))

    def op_mmap(self):
        pair = self.fd()
        if pair and os.fstat(pair[0]).st_size > 0:
            def look(i):
                with mmap.mmap(pair[i], 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as m:
                    return m[:]
            self.both('mmap', look)

    def op_stat(self):
        name = self.name()
        self.both('stat %s' % name, lambda i: self.facts(os.stat(self.path(i, name))))

    def op_lstat(self):
        name = self.name()
        self.both('lstat %s' % name, lambda i: self.facts(os.lstat(self.path(i, name))))

    def op_access(self):
        name, mode = self.name(), self.rng.choice([os.F_OK, os.R_OK, os.W_OK, os.X_OK])
        self.both('access %s %d' % (name, mode), lambda i: os.access(self.path(i, name), mode))

    def op_chmod(self):
        name, mode = self.name(), self.rng.choice([0o644, 0o600, 0o755, 0o4711, 0o400])
        self.both('chmod %s %#o' % (name, mode), lambda i: os.chmod(self.path(i, name), mode))

    def op_utime(self):
        name, t = self.name(), (self.rng.randrange(1 << 60), self.rng.randrange(1 << 60))

        def utime(i):
            os.utime(self.path(i, name), ns=t)
            st = os.stat(self.path(i, name))
            return st.st_atime_ns, st.st_mtime_ns
        self.both('utime %s %s' % (name, t), utime)

    def op_listdir(self):
        name = self.name()
        self.both('listdir %s' % name, lambda i: sorted(os.listdir(self.path(i, name))))

    def op_scandir(self):
        name = self.name()

        def scan(i):
            with os.scandir(self.path(i, name)) as entries:
                return sorted((e.name, e.is_dir(follow_symlinks=False), e.is_symlink(),
                               e.is_file(follow_symlinks=False)) for e in entries)
        self.both('scandir %s' % name, scan)

    def op_mkdir(self):
        name = self.name()
        self.both('mkdir %s' % name, lambda i: os.mkdir(self.path(i, name), 0o755))

    def op_rmdir(self):
        name = self.name()
        if os.path.realpath(self.path(0, name)) != os.path.realpath(self.roots[0]):
            self.both('rmdir %s' % name, lambda i: os.rmdir(self.path(i, name)))

    def op_unlink(self):
        name = self.name()
        self.both('unlink %s' % name, lambda i: os.unlink(self.path(i, name)))

    def op_rename(self):
        a, b = self.name(), self.name()
        self.both('rename %s %s' % (a, b), lambda i: os.rename(self.path(i, a), self.path(i, b)))

    def op_renameat2(self):
        a, b, flags = self.name(), self.name(), self.rng.choice([1, 2])
        self.both('renameat2 %s %s %d' % (a, b, flags),
                  lambda i: renameat2(self.path(i, a), self.path(i, b), flags))

    def op_link(self):
        a, b = self.name(), self.name()
        self.both('link %s %s' % (a, b), lambda i: os.link(self.path(i, a), self.path(i, b)))

    def op_symlink(self):
        a, b = self.rng.choice(TARGETS), self.name()
        self.both('symlink %s %s' % (a, b), lambda i: os.symlink(a, self.path(i, b)))

    def op_readlink(self):
        name = self.name()
        self.both('readlink %s' % name, lambda i: os.readlink(self.path(i, name)))

    def op_xattr(self):
        name, key = self.name(), self.rng.choice(['user.one', 'user.two'])
        value = self.rng.randbytes(self.rng.choice([0, 1, 200]))
        flags = self.rng.choice([0, os.XATTR_CREATE, os.XATTR_REPLACE])
        what = self.rng.choice(['set', 'get', 'list', 'remove'])
        self.both('xattr %s %s %s %d' % (what, name, key, flags), {
            'set': lambda i: os.setxattr(self.path(i, name), key, value, flags),
            'get': lambda i: os.getxattr(self.path(i, name), key),
            'list': lambda i: sorted(os.listxattr(self.path(i, name))),
            'remove': lambda i: os.removexattr(self.path(i, name), key)}[what])

    def op_at(self):
        """Relative to an open directory."""
        name, sub = self.rng.choice(['dir', '.', 'dir/sub', 'a']), self.rng.choice(['a', 'b', 'sub', '../c'])
        what = self.rng.choice(['stat', 'unlink', 'mkdir', 'open'])

        def at(i):
            d = os.open(self.path(i, name), os.O_RDONLY | os.O_DIRECTORY)
            try:
                if what == 'stat':
                    return self.facts(os.stat(sub, dir_fd=d))
                if what == 'unlink':
                    return os.unlink(sub, dir_fd=d)
                if what == 'mkdir':
                    return os.mkdir(sub, 0o755, dir_fd=d)
                fd = os.open(sub, os.O_RDWR | os.O_CREAT, 0o644, dir_fd=d)
                os.write(fd, b'at')
                os.close(fd)
                return sorted(os.listdir(d))
            finally:
                os.close(d)
        self.both('at %s %s %s' % (what, name, sub), at)

    def run(self, n):
        ops = [getattr(self, name) for name in sorted(dir(self)) if name.startswith('op_')]
        weights = [5 if op.__name__ in ('op_open', 'op_pwrite', 'op_write', 'op_pread', 'op_read')
                   else 1 if op.__name__ in ('op_rename', 'op_unlink', 'op_rmdir') else 2
                   for op in ops]
        for _ in range(n):
            self.rng.choices(ops, weights)[0]()
        while self.fds:
            self.op_close()
        # What is left, byte for byte.
        trees = []
        for root in self.roots:
            tree = []
            for directory, dirs, files in os.walk(root):
                dirs.sort()
                for name in sorted(dirs + files):
                    path = os.path.join(directory, name)
                    st = os.lstat(path)
                    content = open(path, 'rb').read() if stat.S_ISREG(st.st_mode) else (
                        os.readlink(path) if stat.S_ISLNK(st.st_mode) else None)
                    tree.append((os.path.relpath(path, root), self.facts(st), content))
            trees.append(tree)
        if trees[0] != trees[1]:
            for a, b in zip(*trees):
                if a != b:
                    print('local', a[:2], '\nother', b[:2])
            raise SystemExit('DIFFERENT: the trees at the end')
        return len(trees[0])


def main():
    n = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    os.umask(0o022)
    roots = []
    for root in sys.argv[1:3]:
        roots.append('%s/twin.%d' % (root, seed))
        os.mkdir(roots[-1])
    left = Twin(roots, random.Random(seed)).run(n)
    print('%d operations, seed %d: equal; %d names left' % (n, seed, left))


if __name__ == '__main__':
    main()
