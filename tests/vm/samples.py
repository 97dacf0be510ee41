#!/usr/bin/python3
"""What a training job does with its samples, without PyTorch, which takes minutes to start under emulation.

  samples.py make DIR N     N samples in DIR, each twice: as a file and in one big file
  samples.py read DIR LIB   two forked workers read every sample twice, from either, and check its checksum

LIB: libff3fs.so as the shim has loaded it; its counters of RDMA, of all workers together, are printed."""
import ctypes
import json
import os
import random
import sys
import zlib

SIZE = 16384


class Stats(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in
                ('sends', 'recvs', 'fetched', 'copies', 'copied', 'registered', 'known', 'dropped')]


def make(root, n):
    rnd = random.Random(n)
    crcs = []
    os.makedirs(root + '/files')
    with open(root + '/packed', 'wb') as packed:
        for i in range(n):
            raw = rnd.randbytes(SIZE)
            with open('%s/files/%04d' % (root, i), 'wb') as f:
                f.write(raw)
            packed.write(raw)
            crcs.append(zlib.crc32(raw))
    with open(root + '/samples.json', 'w') as f:
        json.dump(crcs, f)


def work(root, crcs, which, seed):
    packed = os.open(root + '/packed', os.O_RDONLY)
    order = [i for i in range(len(crcs)) if i % 2 == which] * 2
    random.Random(seed).shuffle(order)
    for step, i in enumerate(order):
        if step % 8 == 0:
            with open('%s/files/%04d' % (root, i), 'rb', buffering=0) as f:
                raw = f.read(SIZE)
        else:
            raw = os.pread(packed, SIZE, i * SIZE)
        if zlib.crc32(raw) != crcs[i]:
            sys.exit('sample %d is wrong' % i)
    return len(order)


def read(root, lib):
    with open(root + '/samples.json') as f:
        crcs = json.load(f)
    total = dict(samples=0)
    pipes = []
    for which in range(2):
        r, w = os.pipe()
        if os.fork() == 0:
            stats = Stats()
            told = {'samples': work(root, crcs, which, which)}
            if ctypes.CDLL(lib).ff3fs_rdma_stats(ctypes.byref(stats)) == 0:
                told.update((name, getattr(stats, name)) for name, _ in stats._fields_)
            os.write(w, json.dumps(told).encode())
            os._exit(0)
        os.close(w)
        pipes.append(r)
    for r in pipes:
        with open(r, 'rb') as f:
            for name, n in json.load(f).items():
                total[name] = total.get(name, 0) + n
    if any(os.wait()[1] for _ in pipes):
        sys.exit('a worker failed')
    print(' '.join('%s %d' % item for item in total.items()))


if __name__ == '__main__':
    {'make': lambda: make(sys.argv[2], int(sys.argv[3])),
     'read': lambda: read(sys.argv[2], sys.argv[3])}[sys.argv[1]]()
