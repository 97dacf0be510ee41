#!/usr/bin/python3
"""A small but real training job on real samples, the handwritten digits that scikit-learn ships.

  try_train.py pack DIR                              make the data set in DIR
  try_train.py train --data DIR --ckpt DIR [--stop-at STEP] [--resume]

The set has every sample twice: as a file of its own (DIR/files/NN/NNNN.f32) and in one big file
(DIR/packed.f32). Training reads every other sample from either, in two forked workers, checks its
checksum, and saves a checkpoint now and then. All of it is plain Python: nothing here knows ff3fs.

`train` ends with one line of JSON. Its loss and digest (of all weights) depend on the samples
alone, so a run that was stopped and resumed prints the same as one that was not.
"""
import argparse
import hashlib
import json
import os
import time
import zlib

SIDE = 64  # the 8 x 8 images are enlarged to this: 16 KiB for a sample
STEPS, BATCH, EVERY = 240, 32, 60


def pack(root):
    import numpy as np
    from sklearn.datasets import load_digits
    digits = load_digits()
    images = np.kron(digits.images / 16, np.ones((SIDE // 8, SIDE // 8))).astype('<f4')
    samples = []
    with open(os.path.join(root, 'packed.f32'), 'wb') as packed:
        for i, (image, label) in enumerate(zip(images, digits.target)):
            raw = image.tobytes()
            name = 'files/%02d/%04d.f32' % (i % 50, i)
            os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
            with open(os.path.join(root, name), 'wb') as f:
                f.write(raw)
            packed.write(raw)
            samples.append([name, int(label), zlib.crc32(raw)])
    with open(os.path.join(root, 'samples.json'), 'w') as f:
        json.dump(samples, f)
    print('%d samples: %d files of %d KiB and one of %.0f MiB' % (
        len(samples), len(samples), len(raw) >> 10, len(samples) * len(raw) / 2**20))


def dataset(root):
    import torch
    from torch.utils.data import Dataset

    class Digits(Dataset):
        def __init__(self):
            with open(os.path.join(root, 'samples.json')) as f:
                self.samples = json.load(f)
            self.packed = None

        def __len__(self):
            return len(self.samples)

        def __getitem__(self, i):
            name, label, crc = self.samples[i]
            size = SIDE * SIDE * 4
            began = time.perf_counter()
            if i % 2:
                with open(os.path.join(root, name), 'rb') as f:
                    raw = f.read()
            else:
                if self.packed is None:
                    self.packed = os.open(os.path.join(root, 'packed.f32'), os.O_RDONLY)
                raw = os.pread(self.packed, size, i * size)
            took = time.perf_counter() - began
            if len(raw) != size or zlib.crc32(raw) != crc:
                raise RuntimeError('sample %d: wrong bytes' % i)
            x = torch.frombuffer(bytearray(raw), dtype=torch.float32)
            return x, label, took

    return Digits()


def order(n, first, last):
    """Batches that depend on the step alone, so that a resumed run goes on with what comes next."""
    import numpy as np
    return [np.random.RandomState(s).randint(0, n, BATCH).tolist() for s in range(first, last)]


def save(state, directory, step):
    import torch
    name = os.path.join(directory, 'step-%04d.pt' % step)
    with open(name + '.tmp', 'wb') as f:
        torch.save(state, f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(name + '.tmp', name)


def train(args):
    import torch
    from torch.utils.data import DataLoader
    torch.manual_seed(1)
    torch.set_num_threads(1)
    net = torch.nn.Sequential(torch.nn.Linear(SIDE * SIDE, 64), torch.nn.ReLU(),
                              torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    os.makedirs(args.ckpt, exist_ok=True)
    step = 0
    if args.resume:
        newest = max(n for n in os.listdir(args.ckpt) if n.endswith('.pt'))
        state = torch.load(os.path.join(args.ckpt, newest))
        net.load_state_dict(state['net'])
        optimizer.load_state_dict(state['optimizer'])
        step = state['step']
    digits = dataset(args.data)
    last = args.stop_at or STEPS
    loader = DataLoader(digits, batch_sampler=order(len(digits), step, last), num_workers=2,
                        multiprocessing_context='fork')
    began, n, reading, loss = time.perf_counter(), 0, 0.0, None
    for x, y, took in loader:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        step += 1
        n += len(y)
        reading += float(took.sum())
        if step % EVERY == 0:
            save(dict(net=net.state_dict(), optimizer=optimizer.state_dict(), step=step),
                 args.ckpt, step)
    seconds = time.perf_counter() - began
    digest = hashlib.sha256()
    for value in net.state_dict().values():
        digest.update(value.numpy().tobytes())
    print(json.dumps(dict(step=step, loss='%.6f' % loss.item(), digest=digest.hexdigest()[:16],
                          samples=n, bytes=n * SIDE * SIDE * 4, seconds=round(seconds, 3),
                          read_us=round(reading / n * 1e6, 1))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest='command', required=True)
    commands.add_parser('pack').add_argument('dir')
    t = commands.add_parser('train')
    t.add_argument('--data', required=True)
    t.add_argument('--ckpt', required=True)
    t.add_argument('--stop-at', type=int, default=0)
    t.add_argument('--resume', action='store_true')
    args = parser.parse_args()
    if args.command == 'pack':
        pack(args.dir)
    else:
        train(args)


if __name__ == '__main__':
    main()
