"""The other end of a duct that speaks Python's multiprocessing.connection.

Arguments: listen|connect, tcp|unix, the address (host:port or a path), the key or "-", the
generation of the authentication (old|new). A listener prints the address that it really has.
It echoes byte messages until b"bye", then objects until None.
"""

import hmac
import os
import sys
from multiprocessing import AuthenticationError
from multiprocessing import connection


def digest_of(message):
    """The prefix of CPython 3.12's messages; the older ones are 16 or 20 bytes without one."""
    if len(message) in (16, 20):
        return "md5", message
    name, curly, rest = message[1:].partition(b"}")
    if message[:1] != b"{" or not curly:
        raise AuthenticationError("no digest is named")
    return name.decode(), rest


def new_deliver_challenge(conn, authkey, digest_name="sha256"):
    """As CPython from 3.12 does it."""
    message = b"{" + digest_name.encode() + b"}" + os.urandom(40)
    conn.send_bytes(b"#CHALLENGE#" + message)
    name, mac = digest_of(conn.recv_bytes(256))
    if hmac.compare_digest(hmac.new(authkey, message, name).digest(), mac):
        conn.send_bytes(b"#WELCOME#")
    else:
        conn.send_bytes(b"#FAILURE#")
        raise AuthenticationError("digest received was wrong")


def new_answer_challenge(conn, authkey):
    """As CPython from 3.12 does it."""
    message = conn.recv_bytes(256)
    if not message.startswith(b"#CHALLENGE#"):
        raise AuthenticationError("protocol error")
    message = message[len(b"#CHALLENGE#"):]
    name, _ = digest_of(message)
    mac = hmac.new(authkey, message, name).digest()
    prefixed = mac if len(message) == 20 else b"{" + name.encode() + b"}" + mac
    conn.send_bytes(prefixed)
    if conn.recv_bytes(256) != b"#WELCOME#":
        raise AuthenticationError("digest sent was rejected")


def main():
    role, family, address, key, generation = sys.argv[1:]
    if generation == "new":
        connection.deliver_challenge = new_deliver_challenge
        connection.answer_challenge = new_answer_challenge
    authkey = None if key == "-" else key.encode()
    if family == "tcp":
        host, _, port = address.rpartition(":")
        address = (host, int(port))
    name = {"tcp": "AF_INET", "unix": "AF_UNIX"}[family]
    try:
        if role == "listen":
            with connection.Listener(address, family=name, authkey=authkey) as listener:
                real = listener.address
                print(real if family == "unix" else "%s:%d" % real, flush=True)
                conn = listener.accept()
        else:
            conn = connection.Client(address, family=name, authkey=authkey)
    except AuthenticationError:
        sys.exit(3)
    with conn:
        while (message := conn.recv_bytes()) != b"bye":
            conn.send_bytes(message)
        while (item := conn.recv()) is not None:
            conn.send(item)


main()
