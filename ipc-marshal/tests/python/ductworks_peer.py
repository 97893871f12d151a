"""A small peer that speaks Ductworks' message duct, written from the format alone.

A frame is the byte 0x54, a 32-bit big-endian length and UTF-8 JSON. Arguments: a scenario and the
path of the unix socket to connect to.
"""

import json
import socket
import struct
import sys


def send(sock, item):
    payload = json.dumps(item).encode()
    sock.sendall(struct.pack(">BI", 0x54, len(payload)) + payload)


def exactly(sock, count):
    parts = []
    while count:
        part = sock.recv(min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def recv(sock):
    mark, length = struct.unpack(">BI", exactly(sock, 5))
    if mark != 0x54:
        raise ValueError("frame begins with %#x" % mark)
    return json.loads(exactly(sock, length))


def main():
    scenario, path = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        if scenario == "echo":
            while (item := recv(sock)) is not None:
                send(sock, item)
        elif scenario == "produce":
            count, size = recv(sock)
            for _ in range(count):
                send(sock, "x" * size)
        elif scenario == "garbage":
            sock.sendall(b"GARBAGE")
        elif scenario == "cut":
            sock.sendall(struct.pack(">BI", 0x54, 100) + b'"half')


main()
