"""One connection of a load: it keeps a number of requests under way, and comes back when it breaks.

Nothing here waits: the engine says when the socket is ready, and now and then what time it is.
"""

import errno
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector
from time import perf_counter

from gdht.cli.load import tally as kinds
from gdht.cli.load.tally import Tally
from gdht.client.protocol import Pipeline
from gdht.client.requests import Answer, Request
from gdht.config import Address
from gdht.core.messages import DhtFailure, DhtPut
from gdht.errors import ClientError

READ_BYTES_MAX = 1 << 18
REST_S = 0.2
"""How long a lane waits before it connects again; then to the next address."""


class State(Enum):
    """What a lane is doing."""

    RESTING = "resting"
    CONNECTING = "connecting"
    OPEN = "open"


@dataclass
class Phase:
    """What all lanes do at present.

    requests: where they take them from. in_flight_max: how many each keeps under way. timeout_s: without an answer.
    ends_at_s: answers after this moment are late.
    """

    tally: Tally
    requests: Iterator[Request]
    in_flight_max: int
    timeout_s: float
    ends_at_s: float = float("inf")
    is_sending: bool = False
    is_used_up: bool = False


class Lane:
    """One connection. number: says at which of the addresses, which are literals, it begins."""

    def __init__(self, number: int, addresses: Sequence[Address], selector: BaseSelector, phase: Phase) -> None:
        self.state = State.RESTING
        self._turn = number
        self._addresses = addresses
        self._selector = selector
        self._phase = phase
        self._due_s = 0.0  # when the present state has lasted too long, or the silence of the node
        self._sent: deque[tuple[float, bool]] = deque()  # when, whether it is a put; in the order of the pipeline
        self._unsent = bytearray()
        self._is_full = False  # whether the socket took no more

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return len(self._sent)

    # What the engine says -------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Begin to connect to the next address."""
        address = self._addresses[self._turn % len(self._addresses)]
        self._turn += 1
        self._pipeline = Pipeline(str(address))
        self._socket = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(self._socket, EVENT_WRITE, self)
        self._become(State.CONNECTING, self._phase.timeout_s)
        if self._socket.connect_ex(tuple(address)) not in (0, errno.EINPROGRESS):
            self._fail(kinds.UNREACHABLE)

    def handle(self, events: int) -> None:
        """The socket is ready for something."""
        if self.state is State.CONNECTING:
            self._end_connecting()
            return
        if events & EVENT_READ:
            self._read()
        if events & EVENT_WRITE and self.state is State.OPEN:
            self._write()

    def look(self, now_s: float) -> None:
        """Time has passed: perhaps too much."""
        if now_s < self._due_s:
            return
        if self.state is State.RESTING:
            self.connect()
        elif self.state is State.CONNECTING:
            self._fail(kinds.UNREACHABLE)
        elif self._sent:
            self._fail(kinds.TIMEOUT)

    def top_up(self) -> None:
        """Send as many requests as may be under way, in one write."""
        phase = self._phase
        missing = phase.in_flight_max - len(self._sent)
        if self.state is not State.OPEN or not phase.is_sending or missing <= 0:
            return
        now_s = perf_counter()
        if not self._sent:
            self._due_s = now_s + phase.timeout_s
        taken = 0
        for request in islice(phase.requests, missing):
            self._unsent += self._pipeline.send(request)
            self._sent.append((now_s, isinstance(request, DhtPut)))
            taken += 1
        phase.is_used_up = taken < missing
        if taken:
            self._write()

    def give_up(self) -> None:
        """The load is over: what has no answer gets none any more."""
        if self.state is not State.RESTING:
            self._lose(kinds.TIMEOUT)
            self._close()

    # The socket ------------------------------------------------------------------------------------------------------

    def _end_connecting(self) -> None:
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._fail(kinds.UNREACHABLE)
            return
        self._become(State.OPEN, self._phase.timeout_s)
        self._selector.modify(self._socket, EVENT_READ, self)
        self.top_up()

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._fail(kinds.DISCONNECTED)
            return
        try:
            answers = self._pipeline.feed(data)
        except ClientError:
            self._fail(kinds.NONSENSE)
            return
        if answers:
            self._count(answers)
            self.top_up()

    def _write(self) -> None:
        try:
            del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._fail(kinds.DISCONNECTED)
            return
        if bool(self._unsent) != self._is_full:
            self._is_full = bool(self._unsent)
            self._selector.modify(self._socket, EVENT_READ | (EVENT_WRITE if self._is_full else 0), self)

    # Counting --------------------------------------------------------------------------------------------------------

    def _count(self, answers: list[Answer]) -> None:
        now_s = perf_counter()
        self._due_s = now_s + self._phase.timeout_s
        tally = self._phase.tally
        in_time = int(now_s <= self._phase.ends_at_s)
        for answer in answers:
            sent_s, is_put = self._sent.popleft()
            operation = tally.puts if is_put else tally.gets
            if isinstance(answer, DhtFailure):
                operation.failures[kinds.REFUSED if is_put else kinds.NOT_FOUND] += 1
            else:
                operation.latencies.add(now_s - sent_s)
                operation.in_time += in_time

    def _fail(self, kind: str) -> None:
        """The connection is of no more use: count what it loses, and rest."""
        self._phase.tally.connections[kind] += 1
        self._lose(kind)
        self._close()

    def _lose(self, kind: str) -> None:
        for _, is_put in self._sent:
            operation = self._phase.tally.puts if is_put else self._phase.tally.gets
            operation.failures[kind] += 1
        self._sent.clear()

    def _close(self) -> None:
        self._unsent.clear()
        self._is_full = False
        self._selector.unregister(self._socket)
        self._socket.close()
        self._become(State.RESTING, REST_S)

    def _become(self, state: State, due_in_s: float) -> None:
        self.state = state
        self._due_s = perf_counter() + due_in_s
