"""A load generator for the client API: one process, one epoll loop, frames built beforehand, every answer checked.

It keeps a fixed number of requests in flight on each connection and sends the next one when an answer is in.
"""

import select
import socket
import struct
import time
from dataclasses import dataclass
from hashlib import sha256

VALUE = b"v" * 100
READ_BYTES = 1 << 18
STALL_S = 10.0
"""No answer for this long ends the run with an error: a lost answer must not look like a slow one."""


def key(number: int) -> bytes:
    """The key of a record, spread over the ring."""
    return sha256(b"benchmark %d" % number).digest()


def put_frame(number: int, replication: int) -> bytes:
    """A PUT that asks for an answer. Source: the client API, PUT with bit 0 of `reserved` set."""
    return struct.pack("!HHHBB", 40 + len(VALUE), 650, 3600, replication, 1) + key(number) + VALUE


def get_frame(number: int) -> bytes:
    """A GET."""
    return struct.pack("!HH", 36, 651) + key(number)


@dataclass(frozen=True)
class Pattern:
    """What is sent. answer_bytes: how long each right answer is; one of another length is an error."""

    name: str
    frames: list[bytes]
    answer_bytes: int

    @property
    def answer_head(self) -> bytes:
        """The first bytes of a right answer: its size and SUCCESS."""
        return struct.pack("!HH", self.answer_bytes, 652)


def puts(records: int, replication: int) -> Pattern:
    """PUT of all records in turn."""
    return Pattern("PUT", [put_frame(number, replication) for number in range(records)], 36)


def gets(records: int) -> Pattern:
    """GET of all records in turn."""
    return Pattern("GET", [get_frame(number) for number in range(records)], 36 + len(VALUE))


class Connection:
    """One connection with a fixed number of requests in flight."""

    def __init__(self, address: tuple[str, int], pattern: Pattern, first: int) -> None:
        self.sock = socket.create_connection(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pattern = pattern
        self._next = first
        self._rest = b""

    def send(self, requests: int) -> None:
        """Send the next so many requests in one write."""
        frames = self._pattern.frames
        data = b"".join(frames[(self._next + n) % len(frames)] for n in range(requests))
        self._next += requests
        self.sock.sendall(data)

    def receive(self) -> int:
        """Read what has come; returns how many whole answers that completes, after checking each."""
        data = self._rest + self.sock.recv(READ_BYTES)
        size = self._pattern.answer_bytes
        whole = len(data) // size
        for start in range(0, whole * size, size):
            if data[start : start + 4] != self._pattern.answer_head:
                raise SystemExit(f"a wrong answer to {self._pattern.name}: {data[start : start + 36].hex()}")
        if not data:
            raise SystemExit(f"the server closed a connection during {self._pattern.name}")
        self._rest = data[whole * size :]
        return whole


def run(addresses: list[tuple[str, int]], pattern: Pattern, connections: int, in_flight: int, seconds: float) -> float:
    """Answers per second over so many seconds, with the connections spread over the addresses."""
    opened = [
        Connection(addresses[n % len(addresses)], pattern, n * len(pattern.frames) // connections)
        for n in range(connections)
    ]
    poll = select.epoll()
    by_fd = {connection.sock.fileno(): connection for connection in opened}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    started = time.perf_counter()
    answers, waiting = 0, connections * in_flight
    for connection in opened:
        connection.send(in_flight)
    while waiting:
        ready = poll.poll(STALL_S)
        if not ready:
            raise SystemExit(f"no answer to {pattern.name} for {STALL_S:.0f} s; {waiting} are missing")
        go_on = time.perf_counter() - started < seconds
        for fd, _events in ready:
            done = by_fd[fd].receive()
            answers += done
            if go_on and done:
                by_fd[fd].send(done)
            else:
                waiting -= done
    rate = answers / (time.perf_counter() - started)
    poll.close()
    for connection in opened:
        connection.sock.close()
    return rate


def fill(address: tuple[str, int], records: int, replication: int) -> None:
    """Put every record once."""
    pattern = puts(records, replication)
    connection = Connection(address, pattern, 0)
    for start in range(0, records, 64):
        batch = min(64, records - start)
        connection.send(batch)
        while batch:
            batch -= connection.receive()
    connection.sock.close()
