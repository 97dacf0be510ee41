"""A daemon of another make: answers every hello, and prints where.

  forged_daemon.py version   by a frame of the next protocol version
  forged_daemon.py build     in our version and with the right checksums, but other fields"""

import socket
import struct
import sys


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(version, status, body):
    head = struct.pack("<IHHIIQIII", 0x01334646, version, 1, 1, status, 1, len(body), 0, crc32c(body))
    return head + struct.pack("<I", crc32c(head)) + body


def answer(kind, ours):
    return frame(ours + 1, 4096, b"") if kind == "version" else frame(ours, 0, b"short")


listener = socket.create_server(("127.0.0.1", 0))
print("127.0.0.1:%d" % listener.getsockname()[1], flush=True)
while True:
    conn, _ = listener.accept()
    with conn:
        head = conn.recv(40, socket.MSG_WAITALL)
        conn.recv(struct.unpack_from("<I", head, 24)[0], socket.MSG_WAITALL)
        conn.sendall(answer(sys.argv[1], struct.unpack_from("<H", head, 4)[0]))
