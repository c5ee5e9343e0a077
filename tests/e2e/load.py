"""A write load from several clients, in one thread: each keeps a few puts in flight and connects again when cut off.

Everything happens inside of `Load.run`, so a test does harm between two calls, with requests in flight.
"""

import random
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence

from tests.e2e.handmade import ANSWER_WANTED, FAILURE, SUCCESS, dial, put_frame
from tests.e2e.ledger import Ledger, Write

IN_FLIGHT = 4
KEYS_MAX = 1000
"""How many keys a writer has; when it has put them all it overwrites."""

NEW_KEY = 0.6
"""How often a put is of a new key, as long as there are such."""

SHORT_LIFE = 0.1
SHORT_TTL_S, TTL_S = 4, 3600

PAUSE_S = 0.1
"""After a refusal, of a connection or of a put."""

ANSWER_S_MAX = 30.0
"""A put that is not answered for so long, by a node that runs, fails the test."""

TURN_S = 0.02
ANSWER = struct.Struct(">HH32s")


class Writer:
    """One client of one node."""

    def __init__(self, address: str, ledger: Ledger, rng: random.Random) -> None:
        self.address = address
        self._ledger = ledger
        self._rng = rng
        self._socket: socket.socket | None = None
        self._rest = b""
        self._keys: list[bytes] = []
        self._in_flight: deque[tuple[bytes, Write]] = deque()
        self._paused_until_s = 0.0

    @property
    def idle(self) -> bool:
        """Whether no answer is due."""
        return not self._in_flight

    @property
    def fd(self) -> int | None:
        """What to wait for; None while it has no connection."""
        return self._socket.fileno() if self._socket else None

    def send(self) -> None:
        """Have as many puts in flight as it may."""
        now_s = time.monotonic()
        if now_s < self._paused_until_s or not (self._socket or self._dial(now_s)):
            return
        while len(self._in_flight) < IN_FLIGHT and self._socket:
            key = self._next_key()
            ttl_s = SHORT_TTL_S if self._rng.random() < SHORT_LIFE else TTL_S
            write = self._ledger.begin(key, ttl_s, time.monotonic())
            self._in_flight.append((key, write))
            try:
                self._socket.sendall(put_frame(key, write.value, ttl_s, 0, ANSWER_WANTED))
            except OSError:
                self._break()

    def receive(self) -> None:
        """Take the answers that have come."""
        assert self._socket
        try:
            data = self._socket.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._break()
            return
        self._rest += data
        while len(self._rest) >= ANSWER.size:
            self._take(*ANSWER.unpack_from(self._rest))
            self._rest = self._rest[ANSWER.size :]

    def overdue(self, now_s: float) -> bool:
        """Whether the oldest put is unanswered for too long."""
        return bool(self._in_flight) and now_s - self._in_flight[0][1].sent_at_s > ANSWER_S_MAX

    def close(self) -> None:
        """Go away; what is unanswered stays in doubt."""
        self._break()

    def _dial(self, now_s: float) -> bool:
        try:
            self._socket = dial(self.address)
        except OSError:
            self._paused_until_s = now_s + PAUSE_S
        return self._socket is not None

    def _next_key(self) -> bytes:
        if len(self._keys) < KEYS_MAX and (len(self._keys) <= IN_FLIGHT or self._rng.random() < NEW_KEY):
            self._keys.append(self._rng.randbytes(32))
            return self._keys[-1]
        busy = {key for key, _ in self._in_flight}
        while (key := self._rng.choice(self._keys)) in busy:
            pass
        return key

    def _take(self, size: int, kind: int, key: bytes) -> None:
        expected, write = self._in_flight.popleft()
        assert (size, key) == (ANSWER.size, expected), f"{self.address} answered {size} bytes for {key.hex()}"
        assert kind in (SUCCESS, FAILURE), kind
        now_s = time.monotonic()
        if kind == SUCCESS:
            self._ledger.acknowledge(key, write, now_s)
        else:
            self._ledger.refuse(write, now_s)
            self._paused_until_s = now_s + PAUSE_S

    def _break(self) -> None:
        now_s = time.monotonic()
        for _, write in self._in_flight:
            self._ledger.lose(write, now_s)
        self._in_flight.clear()
        if self._socket:
            self._socket.close()
        self._socket, self._rest = None, b""
        self._paused_until_s = now_s + PAUSE_S


class Load:
    """All writers of a test."""

    def __init__(self, addresses: Sequence[str], ledger: Ledger, rng: random.Random) -> None:
        self.ledger = ledger
        self.writers = [Writer(address, ledger, rng) for address in addresses]

    def run(self, seconds: float) -> None:
        """Write for so long; returns with requests in flight."""
        ends_at_s = time.monotonic() + seconds
        self.run_until(lambda: time.monotonic() >= ends_at_s, "the time is over", 2 * seconds + ANSWER_S_MAX)

    def run_until(self, condition: Callable[[], object], what: str, within_s: float) -> None:
        """Write until a condition holds, which is asked every now and then. Fails after so many seconds."""
        ends_at_s = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < ends_at_s, f"not within {within_s:g} s: {what}"
            for writer in self.writers:
                writer.send()
            self._receive()

    def finish(self) -> None:
        """Send nothing more and wait for the answers that are due."""
        while any(not writer.idle for writer in self.writers):
            self._receive()

    def close(self) -> None:
        """End all connections."""
        for writer in self.writers:
            writer.close()

    def _receive(self) -> None:
        waiting = {writer.fd: writer for writer in self.writers if writer.fd is not None}
        readable, _, _ = select.select([*waiting], [], [], TURN_S)
        for fd in readable:
            waiting[fd].receive()
        late = [writer.address for writer in self.writers if writer.overdue(time.monotonic())]
        assert not late, f"a put is unanswered after {ANSWER_S_MAX:g} s through {', '.join(late)}"
