"""map_grow.py grow|look|follow FILE: one process makes a file longer, by calls, and sees at once what it wrote in a mapping
that was there before; others map the same file again and again meanwhile, at whatever length it has, or look in one
mapping at the last byte of what they are told is its length."""
import ctypes
import os
import sys

PAGES, PAGE, LENGTH = 3000 // int(os.environ.get("FF3FS_TEST_SLOWER", 1)), 4096, 64 << 20
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def map_file(fd):
    # Longer than the file is, which mmap.mmap refuses.
    at = libc.mmap(None, LENGTH, 1, 1, fd, 0)
    if at in (None, ctypes.c_void_p(-1).value):
        sys.exit(f"mmap: {os.strerror(ctypes.get_errno())}")
    return at


def byte(at, offset):
    return ctypes.c_ubyte.from_address(at + offset).value


def grow(path):
    fd = os.open(path, os.O_RDWR)
    at = map_file(fd)
    for i in range(1, PAGES):
        os.pwrite(fd, bytes([1 + i % 255]) * PAGE, i * PAGE)
        assert byte(at, i * PAGE + PAGE - 1) == 1 + i % 255, i


def look(path):
    size = 0
    while size < PAGES * PAGE:
        fd = os.open(path, os.O_RDONLY)
        at = map_file(fd)
        assert byte(at, PAGE - 1) == 1
        size = os.fstat(fd).st_size
        libc.munmap(at, LENGTH)
        os.close(fd)


def follow(path):
    fd = os.open(path, os.O_RDONLY)
    at = map_file(fd)
    size = 0
    while size < PAGES * PAGE:
        size = os.fstat(fd).st_size
        page = size // PAGE - 1
        assert byte(at, size - 1) == 1 + page % 255, page


{"grow": grow, "look": look, "follow": follow}[sys.argv[1]](sys.argv[2])
