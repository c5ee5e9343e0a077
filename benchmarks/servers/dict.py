"""The yardstick for one node: the client API over a dict, by a raw gevent server that wastes nothing.

Big reads, all whole requests of a read answered by one send, `struct` for the heads, counters added up once per read.
It has no lives, no versions, no copies and nobody to ask. Prints `ready HOST:PORT`.
"""

from struct import Struct

from gevent.hub import get_hub
from gevent.server import StreamServer
from gevent.socket import socket

READ_BYTES = 1 << 16
"""Big, but below what the allocator takes from the system anew for each read."""

BACKLOG = 1024
HEAD = Struct("!HH")
pack_head, unpack_head = HEAD.pack, HEAD.unpack_from
PUT, GET, SUCCESS, FAILURE = 650, 651, 652, 653
KEYED = HEAD.size + 32
"""Bytes of a message that is nothing but a key."""

PUT_KEY = 8
PUT_VALUE = PUT_KEY + 32
DONE = pack_head(KEYED, SUCCESS)
MISSING = pack_head(KEYED, FAILURE)

values: dict[bytes, bytes] = {}
counts = {"hits": 0, "misses": 0, "puts": 0}


class MalformedError(Exception):
    """What a client sent is no request."""


def answer_all(data: bytes) -> tuple[bytes, bytes]:
    """The answers to all whole requests, and what is left. Raises: MalformedError."""
    answers: list[bytes] = []
    start, end = 0, len(data)
    hits = misses = puts = 0
    while end - start >= HEAD.size:
        size, kind = unpack_head(data, start)
        stop = start + size
        if stop > end:
            break
        if kind == GET and size == KEYED:
            key = data[start + HEAD.size : stop]
            value = values.get(key)
            if value is None:
                misses += 1
                answers.append(MISSING + key)
            else:
                hits += 1
                answers.append(pack_head(KEYED + len(value), SUCCESS) + key + value)
        elif kind == PUT and size >= PUT_VALUE:
            puts += 1
            key = data[start + PUT_KEY : start + PUT_VALUE]
            values[key] = data[start + PUT_VALUE : stop]
            if data[start + 7] & 1:
                answers.append(DONE + key)
        else:
            raise MalformedError
        start = stop
    counts["hits"] += hits
    counts["misses"] += misses
    counts["puts"] += puts
    return b"".join(answers), data[start:]


def handle(sock: socket, _address: object) -> None:
    """One connection.

    It waits before it reads: a read first costs a system call that mostly finds nothing, and where it does find
    something, a client that is quick enough keeps all others waiting.
    """
    wait, readable, recv, send = get_hub().wait, sock._read_event, sock._sock.recv, sock._sock.send
    rest = b""
    try:
        while True:
            wait(readable)
            if not (data := recv(READ_BYTES)):
                return
            answers, rest = answer_all(rest + data if rest else data)
            if not answers:
                continue
            sent = send(answers)
            if sent < len(answers):
                sock.sendall(answers[sent:])
    except MalformedError:
        sock.close()


if __name__ == "__main__":
    server = StreamServer(("127.0.0.1", 0), handle, backlog=BACKLOG)
    server.start()
    print(f"ready 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
