"""The other end of a duct that speaks pyre's pickler.

Arguments: "pipe" and two descriptors (to read from, to write to), or "tcp" and host and port to
connect to, or "listen", which prints the port it has and accepts one. It echoes items until None.
"""

import sys

import pyre.ipc
from pyre.ipc.Pickler import Pickler
from pyre.ipc.Pipe import Pipe
from pyre.ipc.PortTCP import PortTCP


def address_of(host, port):
    # The address type of pyre's own configuration system.
    import pyre.schemata

    return pyre.schemata.inet().coerce("ip4:%s:%d" % (host, int(port)))


def main():
    kind, *rest = sys.argv[1:]
    if kind == "pipe":
        channel = Pipe(infd=int(rest[0]), outfd=int(rest[1]))
    elif kind == "tcp":
        channel = PortTCP.open(address=address_of(*rest))
    else:
        port = PortTCP.install(address=address_of("127.0.0.1", 0))
        print(port.address.port, flush=True)
        channel, _ = port.accept()
    pickler = Pickler()
    while (item := pickler.recv(channel=channel)) is not None:
        pickler.send(item=item, channel=channel)


main()
