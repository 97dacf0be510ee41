"""What Python programs of machine learning do with files below sys.argv[1]; prints what they see.

numpy in all its ways of mapping, workers by spawn and forkserver, loads in the manner of safetensors (a header of
JSON, then tensors, each a view of one mapping), torch's own files and its DataLoader. Without torch those parts
say so; the caller compares with a local directory, so it prints no path and no time.
"""
import hashlib
import json
import mmap
import multiprocessing
import os
import resource
import struct
import sys
import threading
import zlib

import numpy as np

D = sys.argv[1]


def path(name):
    return os.path.join(D, name)


def show(*what):
    print(*what, flush=True)


def digest(a):
    return hashlib.md5(np.ascontiguousarray(a)).hexdigest()[:12]


def arrays():
    a = np.random.default_rng(1).standard_normal((700, 301)).astype('<f4')
    a.tofile(path('a.bin'))
    np.save(path('a.npy'), a)
    np.savez_compressed(path('z.npz'), a=a, b=a[:5].astype('i2'))
    show(digest(np.fromfile(path('a.bin'), '<f4', offset=1204, count=301)), digest(np.load(path('a.npy'))))
    with open(path('a.npy'), 'rb') as f:  # two in one file, by dup + fdopen + fread
        show(digest(np.load(f)), f.tell())
    with open(path('two.npy'), 'wb') as f:
        np.save(f, a)
        np.save(f, a[:3])
    with open(path('two.npy'), 'rb') as f:
        show(np.load(f).shape, np.load(f).shape)
    z = np.load(path('z.npz'))
    show(digest(z['a']), digest(z['b']))
    m = np.load(path('a.npy'), mmap_mode='r')
    show(digest(m[::7, 3:9]), m.flags.writeable)
    c = np.memmap(path('a.bin'), '<f4', 'c', shape=(700, 301))
    c[5] = 0
    show(digest(c), digest(np.memmap(path('a.bin'), '<f4', 'r')))
    w = np.memmap(path('w.bin'), '<i4', 'w+', shape=(300000,))
    w[:] = np.arange(300000)
    w.flush()
    r = np.memmap(path('w.bin'), '<i4', 'r+')
    r[1000:1100] = -1
    show(w[999:1001].tolist(), digest(np.fromfile(path('w.bin'), '<i4')))  # two mappings of one file
    del w, r
    show(digest(np.fromfile(path('w.bin'), '<i4')))
    np.savetxt(path('t.txt'), a[:50])
    show(digest(np.loadtxt(path('t.txt'), dtype='f4')))


def larger():
    """A mapping several times as large as what the process may have of memory of its own."""
    n = 48 << 20
    with open(path('large'), 'wb') as f:
        for i in range(n >> 20):
            f.write(np.full(1 << 18, i, '<u4').tobytes())
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            used = int(open('/proc/self/statm').read().split()[5]) * 4096
            resource.setrlimit(resource.RLIMIT_DATA, (used + (16 << 20), used + (16 << 20)))
            m = np.memmap(path('large'), '<u4', 'r')
            ok = all(int(m[(i << 18) + i]) == i for i in range(n >> 20)) and int(m.sum(dtype='u8')) == sum(
                i << 18 for i in range(n >> 20))
            child = os.fork()  # and a forked reader
            if child == 0:
                os._exit(0 if int(m[-1]) == (n >> 20) - 1 else 1)
            status = 0 if ok and os.waitpid(child, 0)[1] == 0 else 1
        finally:
            os._exit(status)
    show('larger than its limit', os.waitpid(pid, 0)[1])
    os.unlink(path('large'))


def work(i):
    with open(path('a.bin'), 'rb') as f:
        f.seek(i * 1204)
        return i, zlib.crc32(f.read(1204)), float(np.load(path('a.npy'), mmap_mode='r')[i].sum())


def send(conn, name):
    conn.send((os.stat(name).st_size, zlib.crc32(open(name, 'rb').read())))


def workers():
    for how in ('spawn', 'forkserver', 'fork'):
        ctx = multiprocessing.get_context(how)
        with ctx.Pool(2) as pool:
            got = pool.map(work, range(40), chunksize=5)
        mine, theirs = ctx.Pipe()
        with open(path('for-child'), 'wb') as f:
            f.write(how.encode() * 5000)
            f.flush()
            p = ctx.Process(target=send, args=(theirs, path('for-child')))
            p.start()
            seen = mine.recv()
            p.join()
        show(how, got == list(map(work, range(40))), seen, p.exitcode)


def safetensors():
    tensors = {'t%02d' % i: np.random.default_rng(i).standard_normal((64, 33 + i)).astype('<f4') for i in range(20)}
    head, at = {}, 0
    for name, t in tensors.items():
        head[name] = {'dtype': 'F32', 'shape': t.shape, 'data_offsets': [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(head).encode()
    text += b' ' * (-len(text) % 8)
    with open(path('model.safetensors'), 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        for t in tensors.values():
            f.write(t.tobytes())
    bad, got = [], {}

    def load(names):
        with open(path('model.safetensors'), 'rb') as f:
            m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        n = struct.unpack('<Q', m[:8])[0]
        h = json.loads(m[8:8 + n])
        for name in names:
            b, e = h[name]['data_offsets']
            t = np.frombuffer(m, '<f4', (e - b) // 4, 8 + n + b).reshape(h[name]['shape'])
            if not np.array_equal(t, tensors[name]):
                bad.append(name)
            got[name] = digest(t)
    ts = [threading.Thread(target=load, args=(list(tensors)[k::3],)) for k in range(3)]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    show(bad, sorted(got.items())[::5])


def torches():
    try:
        import torch
        from torch.utils.data import DataLoader, Dataset
    except ImportError:
        show('no torch')
        return
    torch.set_num_threads(1)
    net = torch.nn.Linear(30, 7)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.arange(p.numel()).reshape(p.shape) / 100)
    for zipped in (True, False):
        torch.save({'net': net.state_dict(), 'step': 5}, path('ckpt'), _use_new_zipfile_serialization=zipped)
        back = torch.load(path('ckpt'))
        show(os.path.getsize(path('ckpt')) > 800, float(back['net']['weight'].sum()), back['step'])
    torch.save(torch.arange(100000), path('tmp'))
    os.replace(path('tmp'), path('ckpt'))
    show(int(torch.load(path('ckpt')).sum()))
    show(int(torch.from_file(path('w.bin'), shared=False, size=300000, dtype=torch.int32).sum()))
    shared = torch.from_file(path('w.bin'), shared=True, size=300000, dtype=torch.int32)
    shared[7] = 12345
    del shared
    show(int(np.fromfile(path('w.bin'), '<i4')[7]))

    class Rows(Dataset):
        def __init__(self):
            self.m = np.memmap(path('a.bin'), '<f4', 'r', shape=(700, 301))  # before the fork

        def __len__(self):
            return 700

        def __getitem__(self, i):
            with open(path('a.bin'), 'rb') as f:
                f.seek(i * 1204)
                assert np.array_equal(np.frombuffer(f.read(1204), '<f4'), self.m[i])
            return torch.from_numpy(self.m[i].copy())
    total = sum(float(b.double().sum()) for b in DataLoader(Rows(), batch_size=50, num_workers=2))
    show('%.3f' % total)


if __name__ == '__main__':
    for part in (arrays, larger, workers, safetensors, torches):
        show('---', part.__name__)
        part()
