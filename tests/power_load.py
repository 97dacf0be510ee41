#!/usr/bin/python3
"""Load for the power-cut test: what was promised, written down outside.

  power_load.py load DIR JOURNAL SEED PROGRESS    until it is killed or the file system fails
  power_load.py verify DIR JOURNAL

The journal has a line before each change ("try") and one when the file system has promised it
("done"). After a cut each name must have the content of its last "done", or of a later "try".
"""
import hashlib
import os
import random
import sys

GONE = '-'


def load(root, journal, seed, progress):
    rng = random.Random(int(seed))
    log = open(journal, 'a', buffering=1)
    out = os.open(progress, os.O_WRONLY)
    names, n = [], 0
    os.makedirs(root, exist_ok=True)
    while True:
        n += 1
        op = rng.choice(['create', 'create', 'create', 'replace', 'append', 'unlink'])
        if op != 'create' and not names:
            continue
        size = rng.randrange(1, rng.choice([6000, 40000, 600000]))
        data = rng.randbytes(size)
        if op == 'create':
            name = '%s-%05d' % (seed, n)
            names.append(name)
        else:
            name = rng.choice(names)
        path = os.path.join(root, name)
        if op == 'append':
            with open(path, 'rb') as f:
                data = f.read() + data
        digest = GONE if op == 'unlink' else '%d:%s' % (len(data), hashlib.sha256(data).hexdigest())
        log.write('try %s %s\n' % (name, digest))
        if op == 'create':
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            os.write(fd, data)
            if rng.random() < 0.5:
                os.fsync(fd)
            os.close(fd)
        elif op == 'replace':
            fd = os.open(path + '.tmp', os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            os.write(fd, data)
            os.close(fd)
            os.rename(path + '.tmp', path)
        elif op == 'append':
            fd = os.open(path, os.O_WRONLY | os.O_APPEND)
            os.write(fd, data[-size:])
            os.close(fd)
        else:
            os.unlink(path)
            names.remove(name)
        log.write('done %s %s\n' % (name, digest))
        os.write(out, b'.')


def verify(root, journal):
    allowed, acknowledged = {}, 0
    with open(journal) as f:
        for line in f:
            what, name, digest = line.split()
            if what == 'done':
                allowed[name] = [digest]
                acknowledged += 1
            else:
                allowed.setdefault(name, [GONE]).append(digest)
    # An append that was under way may have left any part of it; its first bytes are the old ones.
    bad = 0
    for name, digests in allowed.items():
        try:
            with open(os.path.join(root, name), 'rb') as f:
                data = f.read()
            got = '%d:%s' % (len(data), hashlib.sha256(data).hexdigest())
        except FileNotFoundError:
            data, got = b'', GONE
        if got in digests:
            continue
        if len(digests) > 1:
            old = digests[0]
            if old == GONE:
                continue
            n = int(old.split(':')[0])
            if '%d:%s' % (n, hashlib.sha256(data[:n]).hexdigest()) == old:
                continue
        bad += 1
        print('%s: is %s, must be %s' % (name, got[:20], ' or '.join(d[:20] for d in digests)))
    if bad:
        raise SystemExit('%d of %d files lost or changed' % (bad, len(allowed)))
    print('%d promises kept, %d files' % (acknowledged, len(allowed)))


if __name__ == '__main__':
    {'load': load, 'verify': verify}[sys.argv[1]](*sys.argv[2:])
