"""One client's connection: requests in, answers out in the order of the requests.

What the node can answer from local state is answered as it is read, by the event loop, with one send for all of a read.
What one round trip to nodes that we know can answer goes the express way (`gdht.net.express`), without a
greenlet. All else is handed to workers, which go the long way. Several requests of one connection overlap; but those
for the same key never overtake each other, unless they only read: a GET sees the PUTs before it.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Protocol

from gevent.event import Event

from gdht.core.messages import DhtGet, DhtPut
from gdht.errors import RemoteProtocolError
from gdht.net.admission import Admission
from gdht.net.express import Express
from gdht.net.logs import LineLimit
from gdht.net.stream import Stream
from gdht.net.turn import this_turn
from gdht.net.workers import Workers
from gdht.node.express import OwnRecords
from gdht.node.replication.get import GetOutcome
from gdht.node.replication.put import PutOutcome
from gdht.node.stats import Stats
from gdht.wire.codec import BrokenStream, DhtDecoder
from gdht.wire.packed import dht_failure_frame, dht_success_frame

log = logging.getLogger(__name__)

IN_FLIGHT_MAX = 64
"""Requests of one connection that go the long way at the same time."""
PENDING_MAX = 64
"""Requests of one connection that are read but not carried out; at more, nothing is read. With twice as many, a client
could fill a thin cable to a peer for longer than maintenance has patience."""
UNSENT_BYTES_MAX = 256 * 1024
"""Bytes of answers that wait, for the client to read or for their turn; at more, nothing is carried out or read."""
CHUNK = 64
"""Requests that are answered before a look at how long this turn of the loop has lasted."""
SMALL_BYTES_MAX = UNSENT_BYTES_MAX // CHUNK
"""Longer values are answered one by one, with a look at what waits in between."""
GENTLE_CLOSE_S = 2.0

SILENT = b""
"""The answer to a PUT that wants none."""

Message = DhtPut | DhtGet
Finish = Callable[[], Any] | None
"""How the long way goes on from what the express way began, to an outcome; None: from the beginning."""


class ApiNode(Protocol):
    """What carries out the clients' requests: a Node."""

    def try_get(self, key: bytes) -> GetOutcome | None: ...
    def try_put(self, key: bytes, value: bytes, ttl_s: int, replication: int) -> PutOutcome | None: ...
    def get(self, key: bytes) -> GetOutcome: ...
    def put(self, key: bytes, value: bytes, ttl_s: int, replication: int) -> PutOutcome: ...
    def note_overload(self, operation: str, key: bytes, detail: str) -> None: ...


class Pending:
    """A request that is not answered yet, and the place of its answer among the others.

    frame: the answer; None: not known yet. express: it is on its way to nodes that we know. finish: how the long way
    goes on from there. together: how many requests for its key are under way, where this one is the first of them.
    behind: those for the same key that wait until none is.
    """

    __slots__ = ("behind", "express", "finish", "frame", "message", "started_s", "together")

    def __init__(self, message: Message, started_s: float, frame: bytes | None = None) -> None:
        self.message = message
        self.started_s = started_s
        self.frame = frame
        self.finish: Finish = None
        self.together = 1
        self.behind: deque[Pending] | None = None
        self.express = False


class ApiConnection:
    """Serves one client. client: its address, for the log. express: None: everything remote goes the long way."""

    def __init__(
        self,
        stream: Stream,
        client: str,
        node: ApiNode,
        stats: Stats,
        workers: Workers,
        stranger_log: LineLimit,
        admission: Admission,
        express: Express | None,
    ) -> None:
        self._stream = stream
        self._client = client
        self._node = node
        self._stats = stats
        self._workers = workers
        self._stranger_log = stranger_log
        self._admission = admission
        self._express = express
        self._turn = this_turn()
        self._decoder = DhtDecoder()
        self._answers: deque[Pending] = deque()  # in the order of their requests, from the first that is not known
        self._held_bytes = 0  # of answers that are known, behind one that is not
        self._pending = 0
        self._running = 0
        self._under_way: dict[bytes, Pending] = {}  # for each key the first of those under way together
        self._startable: deque[Pending] = deque()
        self._progress: Event | None = None  # somebody waits for an answer

    def serve(self) -> None:
        """Read and answer until the client closes or breaks the protocol. Switches: yes. Raises: OSError."""
        try:
            while (left := self._stream.read_all(self._take_read)) is not None:
                self._take(left)
            if not self._stream.input_ended:
                self._decoder.eof()
            self._finish()
        except BrokenStream as error:
            self._take(error.before)
            self._finish()
            self._reject(error)

    # The requests of one read --------------------------------------------------------------------------------------

    def _take_read(self, data: bytes) -> Sequence[Any] | None:
        """Carry out what has come, or begin to; what there was no time or no room for is left. Switches: no."""
        messages: Sequence[Any] = self._decoder.feed(data)
        taken = self._take_some(messages)
        return None if taken == len(messages) and self._has_room() else messages[taken:]

    def _take(self, messages: Sequence[Any]) -> None:
        """Carry all of them out, or begin to; back when there is room for more. Switches: maybe. Raises: OSError."""
        while messages:
            self._wait_for_room()
            if self._turn.is_long():
                self._turn.let_others_run()
            messages = messages[self._take_some(messages) :]
        self._wait_for_room()

    def _take_some(self, messages: Sequence[Message]) -> int:
        """Carry out what needs no other node, and begin with the others, while there is room; how many of them.

        There has to be room for one. Switches: no.
        """
        started_s = perf_counter()
        if len(messages) > CHUNK:
            messages = messages[:CHUNK]
        own = self._express.node.own_records() if self._express is not None and messages else None
        taken = gets = self._answer_own_gets(messages, own) if own is not None and own.is_all else 0
        puts = 0
        for message in messages[taken:] if taken else messages:
            if taken and not self._has_room():
                break
            taken += 1
            frame = self._try_here(message, own) if message.key not in self._under_way else None
            if frame is None:
                self._begin(message, started_s)
                continue
            if type(message) is DhtGet:
                gets += 1
            else:
                puts += 1
            self._answer(message, started_s, frame)
        if gets or puts:
            self._observe(perf_counter() - started_s, gets, puts)
        if puts:  # they take so long that a client on this machine would fall asleep and be woken for each answer
            self._stream.flush_at_end()
        elif self._stream.unsent_bytes:
            self._stream.flush()
        return taken

    def _observe(self, seconds: float, gets: int, puts: int) -> None:
        """So many requests took that long to answer from local state, all together."""
        durations = self._stats.api_request_duration
        durations["get"].observe(seconds, gets)
        durations["put"].observe(seconds, puts)

    def _answer_own_gets(self, messages: Sequence[Message], own: OwnRecords) -> int:
        """Answer the GETs in front for which this node surely has the values, and small ones; how many. Switches: no.

        0 while anything is under way whose answer has to leave before theirs, or which they would have to see.
        """
        value_of, frames = own.value, []
        if self._answers or self._under_way:
            return 0
        try:
            for message in messages:
                key = message.key
                if type(message) is not DhtGet or (value := value_of(key)) is None or len(value) > SMALL_BYTES_MAX:
                    break
                frames.append(dht_success_frame(key, value))
        except Exception:  # noqa: BLE001  (of the store: the long way says what is wrong)
            pass
        if frames:
            self._stats.api_requests["get", "success"] += len(frames)
            self._stream.hold(frames[0] if len(frames) == 1 else b"".join(frames))
        return len(frames)

    def _try_here(self, message: Message, own: OwnRecords | None) -> bytes | None:
        """The answer from local state; None when it takes more. Switches: no."""
        try:
            if type(message) is DhtGet:
                return self._get_here(message.key, own)
            return self._put_here(message) if own is None or own.is_all else None  # type: ignore[arg-type]  # a PUT it is
        except Exception:  # noqa: BLE001  (of the store: the long way says what is wrong)
            return None

    def _get_here(self, key: bytes, own: OwnRecords | None) -> bytes | None:
        """The answer from local state; None when it takes another node. Switches: no."""
        if own is not None and not own.is_all:
            value = own.value(key)
            if value is None:
                return None
            self._stats.api_requests["get", "success"] += 1
            return dht_success_frame(key, value)
        found = self._node.try_get(key)
        if found is None:
            return None
        self._stats.api_requests["get", found.result] += 1
        return dht_failure_frame(key) if found.value is None else dht_success_frame(key, found.value)

    def _put_here(self, message: DhtPut) -> bytes | None:
        """The answer when all replicas are this node; None when it takes another one. Switches: no."""
        stored = self._node.try_put(message.key, message.value, message.ttl_s, message.replication)
        if stored is None:
            return None
        self._stats.api_requests["put", stored.result] += 1
        return _put_answer(message, stored)

    def _answer(self, message: Message, started_s: float, frame: bytes) -> None:
        """An answer that is known leaves with the next flush, or waits for those before it."""
        if not frame:
            return
        if not self._answers:
            self._stream.hold(frame)
        else:
            self._answers.append(Pending(message, started_s, frame))
            self._held_bytes += len(frame)

    def _has_room(self) -> bool:
        has_sent = self._stream.unsent_bytes <= UNSENT_BYTES_MAX
        return has_sent and self._pending < PENDING_MAX and self._held_bytes <= UNSENT_BYTES_MAX

    def _wait_for_room(self) -> None:
        self._stream.flush()
        while not self._has_room():
            if self._pending >= PENDING_MAX or self._held_bytes > UNSENT_BYTES_MAX:
                self._wait_for_progress()
            self._stream.wait_unsent(UNSENT_BYTES_MAX)

    def _wait_for_progress(self) -> None:
        """Wait until one more request is answered. Switches: yes."""
        self._progress = Event()
        try:
            self._progress.wait()
        finally:
            self._progress = None

    # Requests that wait for other nodes ----------------------------------------------------------------------------

    def _begin(self, message: Message, started_s: float) -> None:
        """Send a request on its way, or queue it behind another one. Switches: no."""
        pending = Pending(message, started_s)
        if not self._admission.admit(pending):
            self._shed(message, started_s)
            return
        self._pending += 1
        if type(message) is DhtGet or message.wants_answer:  # type: ignore[union-attr]  # a PUT it is
            self._answers.append(pending)
        before = self._under_way.get(message.key)
        if before is None:
            self._under_way[message.key] = pending
        elif before.express and before.behind is None and _both_read(before, pending):
            before.together += 1
        else:
            before.behind = before.behind or deque()
            before.behind.append(pending)
            return
        try:
            if self._express is None or not self._express.send(pending, self):
                self._go_the_long_way(pending)
        except Exception as error:  # noqa: BLE001
            self._fail(pending, error)

    def _shed(self, message: Message, started_s: float) -> None:
        """More is under way than this node can be expected to answer in time: say no at once."""
        self._note_overload(message, "too many requests")
        self._answer(message, started_s, _failure(message))

    def refuse(self, pending: Pending) -> None:
        """Too much waits already for a node that a request needs: say no at once. Switches: no."""
        self._note_overload(pending.message, "too many requests for a node that does not answer")
        self._admission.discount(pending)
        self._settle(pending, _failure(pending.message))

    def _note_overload(self, message: Message, detail: str) -> None:
        operation = _operation(message)
        self._stats.api_requests[operation, "overload"] += 1
        self._node.note_overload(operation, message.key, detail)

    def answer_get(self, pending: Pending, value: bytes) -> None:
        """A GET that went the express way has its value, if the long way was not sooner. Switches: no."""
        if pending.frame is None:
            stats = self._stats
            stats.api_requests["get", "success"] += 1
            stats.api_request_duration["get"].observe(perf_counter() - pending.started_s)
            self._settle(pending, dht_success_frame(pending.message.key, value))

    def answer_put(self, pending: Pending, outcome: PutOutcome) -> None:
        """A PUT that went the express way has its outcome. Switches: no."""
        stats = self._stats
        stats.api_requests["put", outcome.result] += 1
        stats.api_request_duration["put"].observe(perf_counter() - pending.started_s)
        self._settle(pending, _put_answer(pending.message, outcome))  # type: ignore[arg-type]  # a PUT it is

    def fall_back(self, pending: Pending, finish: Finish = None) -> None:
        """The express way was none: the long way it is, from what `finish` knows. Switches: no."""
        pending.express = False
        pending.finish = finish
        self._go_the_long_way(pending)

    def _go_the_long_way(self, pending: Pending) -> None:
        if self._running < IN_FLIGHT_MAX:
            self._running += 1
            self._workers.submit(partial(self._work, pending))
        else:
            self._startable.append(pending)

    def _work(self, pending: Pending | None) -> None:
        while pending is not None:
            if pending.frame is None:
                self._carry_out(pending)
            pending = self._startable.popleft() if self._startable else None
        self._running -= 1

    def _carry_out(self, pending: Pending) -> None:
        """Carry out a request whatever it takes, and answer it, if the express way was not sooner. Switches: yes."""
        message = pending.message
        try:
            if isinstance(message, DhtGet):
                found = pending.finish() if pending.finish else self._node.get(message.key)
                result, frame = found.result, _get_answer(message, found)
            else:
                put = partial(self._node.put, message.key, message.value, message.ttl_s, message.replication)
                stored = pending.finish() if pending.finish else put()
                result, frame = stored.result, _put_answer(message, stored)
        except Exception as error:  # noqa: BLE001
            self._fail(pending, error)
            return
        if pending.frame is None:
            self._count(_operation(message), result, pending)
            self._settle(pending, frame)

    def _fail(self, pending: Pending, error: Exception) -> None:
        """A bug of ours, or a disk that cannot be read: this request only fails. Switches: no."""
        operation = _operation(pending.message)
        log.error("client=%s %s failed", self._client, operation, exc_info=error)
        if pending.frame is None:
            self._count(operation, "error", pending)
            self._settle(pending, _failure(pending.message))

    def _count(self, operation: str, result: str, pending: Pending) -> None:
        self._stats.api_requests[operation, result] += 1
        self._stats.api_request_duration[operation].observe(perf_counter() - pending.started_s)

    def _settle(self, pending: Pending, frame: bytes) -> None:
        """A request is done: send its answer and those that waited behind it, if it is their turn. Switches: no."""
        self._pending -= 1
        self._admission.under_way -= 1
        key = pending.message.key
        first = self._under_way[key]
        first.together -= 1
        if not first.together:
            if first.behind:
                self._begin_next(key, first.behind)
            else:
                del self._under_way[key]
        pending.frame = frame
        self._held_bytes += len(frame)
        answers = self._answers
        while answers and (ready := answers[0].frame) is not None:
            answers.popleft()
            self._held_bytes -= len(ready)
            self._stream.write(ready)
        if self._progress is not None:
            self._progress.set()

    def _begin_next(self, key: bytes, behind: deque[Pending]) -> None:
        """The next request for the same key may begin."""
        following = behind.popleft()
        following.behind = behind or None
        self._under_way[key] = following
        self._go_the_long_way(following)

    # The end -------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Everything that was asked is answered, and taken by the kernel. Switches: yes. Raises: OSError."""
        while self._pending:
            self._wait_for_progress()
        self._stream.wait_unsent(0)

    def _reject(self, error: RemoteProtocolError) -> None:
        self._stats.api_malformed_messages[error.reason] += 1
        self._stranger_log.warning("plane=api client=%s closed reason=%s: %s", self._client, error.reason, error.detail)
        self._stream.close_gently(GENTLE_CLOSE_S)


def _operation(message: Message) -> str:
    return "get" if isinstance(message, DhtGet) else "put"


def _both_read(one: Pending, other: Pending) -> bool:
    return type(one.message) is DhtGet and type(other.message) is DhtGet


def _get_answer(message: DhtGet, outcome: GetOutcome) -> bytes:
    return dht_failure_frame(message.key) if outcome.value is None else dht_success_frame(message.key, outcome.value)


def _put_answer(message: DhtPut, outcome: PutOutcome) -> bytes:
    if not message.wants_answer:
        return SILENT
    return dht_success_frame(message.key, b"") if outcome.result == "success" else dht_failure_frame(message.key)


def _failure(message: Message) -> bytes:
    return dht_failure_frame(message.key) if isinstance(message, DhtGet) or message.wants_answer else SILENT
