#!/usr/bin/python3
"""Many files and one big one, for e2e-scale.sh.

  scale_files.py make DIR FILES BIG_MIB      files of 4 to 200 KiB and DIR/big
  scale_files.py compare LOCAL PREFIX READS  random preads of both, in random order, by CRC32
"""
import os
import random
import sys
import time
import zlib


def make(root, files, big_mib):
    rng = random.Random(7)
    for i in range(int(files)):
        directory = '%s/small/%03d' % (root, i % 100)
        os.makedirs(directory, exist_ok=True)
        with open('%s/%05d' % (directory, i), 'wb') as f:
            f.write(rng.randbytes(rng.randrange(4 << 10, 200 << 10)))
    # Every MiB another one, without drawing all of its bytes.
    base = rng.randbytes((1 << 20) + 65536)
    with open(root + '/big', 'wb') as f:
        for i in range(int(big_mib)):
            at = (i * 40503) % 65536
            f.write(i.to_bytes(8, 'little') + base[at + 8:at + (1 << 20)])


def pieces(fd, size, reads, rng):
    """Pairs of offset and length, covering ends and edges too."""
    yield 0, min(size, 4096)
    yield max(0, size - 1000), 5000
    for _ in range(reads):
        length = rng.choice([rng.randrange(1, 5000), rng.randrange(1, 300000),
                             rng.randrange(1, 5 << 20)])
        yield rng.randrange(0, size), min(length, size)


def compare(local, prefix, reads):
    rng = random.Random(11)
    names = [os.path.relpath(os.path.join(d, n), local)
             for d, _, ns in os.walk(local) for n in ns]
    there = [os.path.relpath(os.path.join(d, n), prefix)
             for d, _, ns in os.walk(prefix) for n in ns]
    if sorted(names) != sorted(there):
        raise SystemExit('the listings differ: %d files, %d there' % (len(names), len(there)))
    rng.shuffle(names)
    total = n = 0
    took = 0.0
    for name in names:
        a = os.open(os.path.join(local, name), os.O_RDONLY)
        b = os.open(os.path.join(prefix, name), os.O_RDONLY)
        size = os.fstat(a).st_size
        if os.fstat(b).st_size != size:
            raise SystemExit('%s: %d bytes, %d there' % (name, size, os.fstat(b).st_size))
        for offset, length in pieces(a, size, int(reads) if name == 'big' else 2, rng):
            want = os.pread(a, length, offset)
            began = time.perf_counter()
            got = os.pread(b, length, offset)
            took += time.perf_counter() - began
            if len(got) != len(want) or zlib.crc32(got) != zlib.crc32(want):
                raise SystemExit('%s: %d bytes at %d differ (%d came)' % (
                    name, length, offset, len(got)))
            total += len(got)
            n += 1
        os.close(a)
        os.close(b)
    print('%d files, %d preads of random offset and length, %.0f MiB: all CRCs equal, %.0f MiB/s'
          % (len(names), n, total / 2**20, total / 2**20 / took))


if __name__ == '__main__':
    {'make': make, 'compare': compare}[sys.argv[1]](*sys.argv[2:])
