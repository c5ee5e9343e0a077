"""One client's connection: requests in, answers out in the order of the requests.

What the node can answer from local state is answered in the reading greenlet, a whole read at a time, with one send for
all of it. What must ask other nodes is handed to workers, so that several such requests of one connection overlap; but
requests for the same key never overtake each other: a GET sees the PUTs before it.
"""

import logging
from collections import Counter, deque
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from gevent.event import Event

from gdht.core.messages import DhtFailure, DhtGet, DhtPut, DhtSuccess
from gdht.errors import RemoteProtocolError
from gdht.net.logs import LineLimit
from gdht.net.stream import Stream, let_others_run
from gdht.net.workers import Workers
from gdht.node.replication.get import GetOutcome
from gdht.node.replication.put import PutOutcome
from gdht.node.stats import Stats
from gdht.wire.codec import BrokenStream, DhtDecoder, encode_dht

log = logging.getLogger(__name__)

IN_FLIGHT_MAX = 64
"""Requests of one connection that wait for other nodes at the same time."""
PENDING_MAX = 128
"""Requests of one connection that are read but not carried out; at more, nothing is read."""
UNSENT_BYTES_MAX = 256 * 1024
"""Bytes of answers that wait, for the client to read or for their turn; at more, nothing is carried out or read."""
CHUNK = 512
"""Requests that are answered before others get to run."""
GENTLE_CLOSE_S = 2.0

SILENT = b""
"""The answer to a PUT that wants none."""


class ApiNode(Protocol):
    """What carries out the clients' requests: a Node."""

    def try_get(self, key: bytes) -> GetOutcome | None: ...
    def try_put(self, key: bytes, value: bytes, ttl_s: int, replication: int) -> PutOutcome | None: ...
    def get(self, key: bytes) -> GetOutcome: ...
    def put(self, key: bytes, value: bytes, ttl_s: int, replication: int) -> PutOutcome: ...


class _Slot:
    """The place of one answer among the others. frame None: not known yet."""

    __slots__ = ("frame",)

    def __init__(self, frame: bytes | None = None) -> None:
        self.frame = frame


class _Job(NamedTuple):
    """A request that has to wait, and where its answer goes; None when it gets none."""

    message: DhtPut | DhtGet
    slot: _Slot | None
    started_s: float


class ApiConnection:
    """Serves one client. client: its address, for the log."""

    def __init__(
        self, stream: Stream, client: str, node: ApiNode, stats: Stats, workers: Workers, stranger_log: LineLimit
    ) -> None:
        self._stream = stream
        self._client = client
        self._node = node
        self._stats = stats
        self._workers = workers
        self._stranger_log = stranger_log
        self._slots: deque[_Slot] = deque()
        self._held_bytes = 0  # of answers that are known, behind one that is not
        self._pending = 0
        self._running = 0
        self._behind: dict[bytes, deque[_Job]] = {}  # key under way: requests for it, in order
        self._startable: deque[_Job] = deque()
        self._progress = Event()

    def serve(self) -> None:
        """Read and answer until the client closes or breaks the protocol. Switches: yes. Raises: OSError."""
        decoder = DhtDecoder()
        try:
            while data := self._stream.read():
                self._take(decoder.feed(data))
            if not self._stream.input_ended:
                decoder.eof()
            self._finish()
        except BrokenStream as error:
            self._take(error.before)
            self._finish()
            self._reject(error)

    # The requests of one read --------------------------------------------------------------------------------------

    def _take(self, messages: list[Any]) -> None:
        """Carry them out, or begin to; back when there is room for more. Switches: maybe. Raises: OSError."""
        position = 0
        while position < len(messages):
            position = self._take_some(messages, position)
            if self._stream.unsent_bytes > UNSENT_BYTES_MAX or not self._has_room():
                self._wait_for_room()
            elif position < len(messages):
                let_others_run()  # a long batch lets others run in between

    def _take_some(self, messages: list[Any], position: int) -> int:
        """Carry out those from `position` on, as far as is good in one go; where to go on. Switches: maybe."""
        ready: list[bytes] = []
        ready_bytes = 0
        counts: Counter[tuple[str, str]] = Counter()
        started_s = perf_counter()
        end = min(position + CHUNK, len(messages))
        alone = len(messages) == 1
        while position < end and ready_bytes <= UNSENT_BYTES_MAX and self._has_room():
            message = messages[position]
            position += 1
            frame = None if message.key in self._behind else self._try(message, counts)
            if frame is None and alone and not self._pending:
                self._wait_here(message)
            elif frame is None:
                self._wait_elsewhere(message, started_s)
            elif frame and self._slots:
                self._slots.append(_Slot(frame))
                self._held_bytes += len(frame)
            elif frame:
                ready.append(frame)
                ready_bytes += len(frame)
        if ready:
            self._stream.write_now(ready[0] if len(ready) == 1 else b"".join(ready))
        self._count(counts, perf_counter() - started_s)
        return position

    def _try(self, message: DhtPut | DhtGet, counts: Counter[tuple[str, str]]) -> bytes | None:
        """Carry out what needs no other node; the answer, or None when it needs one. Switches: no."""
        if isinstance(message, DhtGet):
            found = self._node.try_get(message.key)
            if found is None:
                return None
            counts["get", found.result] += 1
            return _get_answer(message, found)
        stored = self._node.try_put(message.key, message.value, message.ttl_s, message.replication)
        if stored is None:
            return None
        counts["put", stored.result] += 1
        return _put_answer(message, stored)

    def _count(self, counts: Counter[tuple[str, str]], seconds: float) -> None:
        for (operation, result), times in counts.items():
            self._stats.api_requests[operation, result] += times
            self._stats.api_request_duration[operation].observe(seconds, times)

    def _has_room(self) -> bool:
        return self._pending < PENDING_MAX and self._held_bytes <= UNSENT_BYTES_MAX

    def _wait_for_room(self) -> None:
        while not self._has_room():
            self._progress.clear()
            self._progress.wait()
        self._stream.wait_unsent(UNSENT_BYTES_MAX)

    # Requests that wait for other nodes ----------------------------------------------------------------------------

    def _wait_here(self, message: DhtPut | DhtGet) -> None:
        """The only request under way is carried out by the reading greenlet: nobody else is needed for it."""
        self._stream.write_now(self._carry_out(message, perf_counter()))

    def _wait_elsewhere(self, message: DhtPut | DhtGet, started_s: float) -> None:
        """Queue it behind an earlier one of the same key, or hand it to a worker, or let it wait for its turn."""
        slot = None
        if isinstance(message, DhtGet) or message.wants_answer:
            slot = _Slot()
            self._slots.append(slot)
        job = _Job(message, slot, started_s)
        self._pending += 1
        behind = self._behind.get(message.key)
        if behind is not None:
            behind.append(job)
            return
        self._behind[message.key] = deque()
        if self._running < IN_FLIGHT_MAX:
            self._running += 1
            self._workers.submit(partial(self._work, job))
        else:
            self._startable.append(job)

    def _work(self, job: _Job | None) -> None:
        while job is not None:
            self._settle(job.slot, self._carry_out(job.message, job.started_s))
            job = self._next_job(job.message.key)

    def _next_job(self, key: bytes) -> _Job | None:
        """What the worker that has carried out a request for `key` does next; None: nothing."""
        behind = self._behind[key]
        if behind:
            return behind.popleft()
        del self._behind[key]
        if self._startable:
            return self._startable.popleft()
        self._running -= 1
        return None

    def _carry_out(self, message: DhtPut | DhtGet, started_s: float) -> bytes:
        """Carry out a request whatever it takes; its answer. Switches: yes."""
        operation = "get" if isinstance(message, DhtGet) else "put"
        try:
            if isinstance(message, DhtGet):
                found = self._node.get(message.key)
                result, frame = found.result, _get_answer(message, found)
            else:
                stored = self._node.put(message.key, message.value, message.ttl_s, message.replication)
                result, frame = stored.result, _put_answer(message, stored)
        except Exception:
            log.exception("client=%s %s failed", self._client, operation)  # a bug of ours: this request only
            result, frame = "error", _failure(message)
        self._stats.api_requests[operation, result] += 1
        self._stats.api_request_duration[operation].observe(perf_counter() - started_s)
        return frame

    def _settle(self, slot: _Slot | None, frame: bytes) -> None:
        """A request is done: send its answer and those that waited behind it, if it is their turn. Switches: no."""
        self._pending -= 1
        if slot is not None:
            slot.frame = frame
            self._held_bytes += len(frame)
            while self._slots and (ready := self._slots[0].frame) is not None:
                self._slots.popleft()
                self._held_bytes -= len(ready)
                self._stream.write(ready)
        self._progress.set()

    # The end -------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Everything that was asked is answered, and taken by the kernel. Switches: yes. Raises: OSError."""
        while self._pending:
            self._progress.clear()
            self._progress.wait()
        self._stream.wait_unsent(0)

    def _reject(self, error: RemoteProtocolError) -> None:
        self._stats.api_malformed_messages[error.reason] += 1
        self._stranger_log.warning("plane=api client=%s closed reason=%s: %s", self._client, error.reason, error.detail)
        self._stream.close_gently(GENTLE_CLOSE_S)


def _get_answer(message: DhtGet, outcome: GetOutcome) -> bytes:
    if outcome.value is None:
        return encode_dht(DhtFailure(message.key))
    return encode_dht(DhtSuccess(message.key, outcome.value))


def _put_answer(message: DhtPut, outcome: PutOutcome) -> bytes:
    if not message.wants_answer:
        return SILENT
    return encode_dht(DhtSuccess(message.key, b"") if outcome.result == "success" else DhtFailure(message.key))


def _failure(message: DhtPut | DhtGet) -> bytes:
    return encode_dht(DhtFailure(message.key)) if isinstance(message, DhtGet) or message.wants_answer else SILENT
