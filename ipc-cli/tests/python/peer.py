"""A real peer for `ipc-cli duct`: multiprocessing.connection, pyre's pickler, or Ductworks' format.

Arguments: multiprocessing|pyre|ductworks, listen|connect, the address (HOST:PORT or a path), and a
file with the key or "-". A listener prints its address and sends back what it receives until the
end; a client sends a few items and prints what comes back, as JSON lines.
"""

import json
import socket
import struct
import sys

ITEMS = [{"station": "Zürich", "readings": (1, None, -2.5)}, [True, 2**40], "x" * 30000]


class Multiprocessing:
    def __init__(self, role, address, key):
        from multiprocessing import connection

        family = "AF_UNIX" if isinstance(address, str) else "AF_INET"
        if role == "listen":
            with connection.Listener(address, family=family, authkey=key) as listener:
                announce(listener.address)
                self.connection = listener.accept()
        else:
            self.connection = connection.Client(address, family=family, authkey=key)
        self.send, self.recv = self.connection.send, self.connection.recv
        self.close = self.connection.close


class Pyre:
    def __init__(self, role, address, key):
        import pyre.ipc
        import pyre.schemata
        from pyre.ipc.Pickler import Pickler
        from pyre.ipc.PortTCP import PortTCP

        address = pyre.schemata.inet().coerce("ip4:%s:%d" % address)
        if role == "listen":
            port = PortTCP.install(address=address)
            announce(("127.0.0.1", port.address.port))
            self.channel, _ = port.accept()
        else:
            self.channel = PortTCP.open(address=address)
        self.pickler = Pickler()

    def send(self, item):
        self.pickler.send(item=item, channel=self.channel)

    def recv(self):
        return self.pickler.recv(channel=self.channel)

    def close(self):
        self.channel.close()


class Ductworks:
    """Written from the format alone: 0x54, a 32-bit big-endian length and UTF-8 JSON."""

    def __init__(self, role, address, key):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family)
        if role == "listen":
            self.socket.bind(address)
            self.socket.listen()
            announce(self.socket.getsockname())
            self.socket, _ = self.socket.accept()
        else:
            self.socket.connect(address)
        self.close = self.socket.close

    def send(self, item):
        payload = json.dumps(item).encode()
        self.socket.sendall(struct.pack(">BI", 0x54, len(payload)) + payload)

    def recv(self):
        mark, length = struct.unpack(">BI", self.exactly(5))
        if mark != 0x54:
            raise ValueError("frame begins with %#x" % mark)
        return json.loads(self.exactly(length))

    def exactly(self, count):
        parts = []
        while count:
            part = self.socket.recv(min(count, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def announce(address):
    print(address if isinstance(address, str) else "%s:%d" % tuple(address), flush=True)


def main():
    kind, role, address, key = sys.argv[1:]
    if "/" not in address:
        host, _, port = address.rpartition(":")
        address = (host, int(port))
    if key == "-":
        key = None
    else:
        with open(key, "rb") as file:
            key = file.read().rstrip(b"\n")
    peer = {"multiprocessing": Multiprocessing, "pyre": Pyre, "ductworks": Ductworks}[kind](
        role, address, key
    )
    if role == "listen":
        try:
            while True:
                peer.send(peer.recv())
        except Exception as error:
            # The second is how pyre's pickler meets the end.
            if type(error).__name__ not in ("EOFError", "EndOfStream"):
                raise
    else:
        for item in ITEMS:
            peer.send(item)
            print(json.dumps(peer.recv()))
    peer.close()


main()
