"""Between clients and metad: passes everything, but holds requests of one operation back.

  hold_frames.py ADDRESS   prints where it listens
  hold OPERATION           on standard input: the next ones are held back; prints "held" for each
  go                       they are passed
"""
import select
import socket
import struct
import sys

HEADER = struct.Struct("<IHHIIQIIII")  # magic, version, operation, ..., body_len, payload_len, ...


class Side:
    def __init__(self, sock, to, is_client):
        self.sock, self.to, self.is_client, self.buf = sock, to, is_client, b""

    def receive(self, held):
        """Whether it is still there; passes whole frames that may pass."""
        try:
            got = self.sock.recv(1 << 16)
        except OSError:
            got = b""
        self.buf += got
        return bool(got) and self.pass_on(held)

    def pass_on(self, held):
        while len(self.buf) >= HEADER.size:
            h = HEADER.unpack_from(self.buf)
            if self.is_client and h[2] == held:
                return True
            size = HEADER.size + h[6] + h[7]
            if len(self.buf) < size:
                return True
            try:
                self.to.sendall(self.buf[:size])
            except OSError:
                return False
            self.buf = self.buf[size:]
        return True

    def holds(self, held):
        return self.is_client and len(self.buf) >= HEADER.size and HEADER.unpack_from(self.buf)[2] == held


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    held, told = None, set()
    listener = socket.create_server(("127.0.0.1", 0))
    print("127.0.0.1:%d" % listener.getsockname()[1], flush=True)
    sides = {}
    while True:
        for s in select.select([sys.stdin, listener, *sides], [], [])[0]:
            if s is sys.stdin:
                line = sys.stdin.readline()
                if not line:
                    return
                words = line.split()
                held = int(words[1]) if words[0] == "hold" else None
                told.clear()
                if held is None:
                    for side in list(sides.values()):
                        side.pass_on(None)
            elif s is listener:
                client = listener.accept()[0]
                try:
                    server = socket.create_connection((host, int(port)))
                except OSError:
                    client.close()
                    continue
                sides[client], sides[server] = Side(client, server, True), Side(server, client, False)
            elif s in sides:
                side = sides[s]
                if not side.receive(held):
                    sides.pop(side.to, None)
                    sides.pop(s)
                    s.close()
                    side.to.close()
                elif held is not None and side.holds(held) and s not in told:
                    told.add(s)
                    print("held", flush=True)


main()
