"""Appends the same line to a file again and again, until SIGTERM or N times; prints "begun" when it has done so for
SECONDS, and at the end how often it was told that it is there. HOW: long, one descriptor; short, opened and closed
for each.

append_same.py FILE HOW SECONDS [N]"""
import os
import signal
import sys
import time

LINE = b'the same line, whoever writes it\n'


def main():
    path, how = sys.argv[1:3]
    begun = time.monotonic() + float(sys.argv[3])
    most = int(sys.argv[4]) if len(sys.argv) > 4 else 1 << 62
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    fd, n = -1, 0
    while not ended and n < most:
        if fd < 0:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        if os.write(fd, LINE) != len(LINE):
            sys.exit('a short append')
        n += 1
        if how == 'short':
            os.close(fd)
            fd = -1
        if begun and time.monotonic() >= begun:
            os.write(1, b'begun\n')
            begun = 0
    if fd >= 0:
        os.close(fd)
    print(n)


main()
