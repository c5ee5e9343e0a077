"""Calls under way: each has one outcome, counted once; those asked for together share a deadline and one waiter."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from gevent import get_hub
from gevent.event import Event

from gdht.core.messages import METHODS, P2pError, Request, fits
from gdht.core.peer import Peer
from gdht.errors import CallNotSent, CallTimeout, PeerSilent, PeerUnreachable, RemoteProtocolError
from gdht.net.hello import remote_error
from gdht.node.runtime import Outcome
from gdht.node.stats import Stats
from gdht.wire.codec import encode_p2p

if TYPE_CHECKING:
    from gdht.net.connection import Connection


class Refused(PeerUnreachable):
    """No connection could be made: nobody there, unknown name, or another node answers."""


class Reset(PeerUnreachable):
    """The connection was lost before the answer came."""


class Rejected(CallNotSent):
    """Not sent: too much is under way to this peer already."""


_RESULTS = (
    (CallTimeout, "timeout"),
    (PeerSilent, "timeout"),
    (Refused, "refused"),
    (Reset, "reset"),
    (Rejected, "rejected"),
)


def result_word(outcome: Outcome) -> str:
    """The label of `gdht_rpc_sent_requests_total`; a FAILURE reply is an answer like others, so `ok`."""
    if not isinstance(outcome, Exception):
        return "ok"
    return next((word for kind, word in _RESULTS if isinstance(outcome, kind)), "remote_error")


class Call:
    """One request to one peer, whatever waits for its answer: subclasses say what becomes of the outcome.

    connection: where it waits for its answer, under `request_id`; None: nowhere (yet). started_s, due_s: when it began,
    and when it ends without an answer, by `monotonic()`. has_timer: its maker sees to that, otherwise the pool does.
    """

    has_timer = False

    __slots__ = ("_stats", "connection", "due_s", "peer", "request_id", "retriable", "started_s")

    def __init__(self, peer: Peer, timeout_s: float, stats: Stats) -> None:
        self.peer = peer
        self.request_id = 0
        self.connection: Connection | None = None
        self.retriable = False  # sent on a connection that was open before it
        self._stats = stats
        self.started_s = monotonic()
        self.due_s = self.started_s + timeout_s

    @property
    def request(self) -> Request:
        """What is asked."""
        raise NotImplementedError

    def frame(self) -> bytes:
        """The request under its id. Switches: no. Raises: LocalProtocolError when it cannot be encoded."""
        return encode_p2p(self.request, self.request_id)

    def reply(self, message: object) -> RemoteProtocolError | None:
        """End it with what the peer sent; the error when that is no answer to this request. Switches: no."""
        if isinstance(message, P2pError):
            self.end(remote_error(message))
        elif monotonic() > self.due_s:  # we stood still: what it says of times is over
            self.end(CallTimeout(f"{self.peer} answered, but we were too late to hear it"))
        elif fits(self.request, message):
            self.end(message)  # type: ignore[arg-type]  # only a Reply fits
        else:
            detail = f"{type(message).__name__} is no answer to this {type(self.request).__name__}"
            error = RemoteProtocolError("type", detail)
            self.end(error)
            return error
        return None

    def tend(self, now_s: float) -> None:
        """Look at it, as it has waited for a while: end it when its time is over. Switches: no."""
        if now_s >= self.due_s:
            self.expire()

    def expire(self) -> None:
        """End it, as no answer has come in time. Switches: no."""
        if self.connection is not None:
            self.connection.forget(self)
        self.end(CallTimeout(f"{self.peer} did not answer within {self.due_s - self.started_s:g} s"))

    def end(self, outcome: Outcome) -> None:
        """Count the outcome and hand it to who waits. Switches: no."""
        self.connection = None
        method, stats = METHODS[type(self.request)], self._stats
        stats.rpc_sent_requests[method, result_word(outcome)] += 1
        stats.rpc_sent_duration[method].observe(monotonic() - self.started_s)
        if isinstance(outcome, CallTimeout):
            stats.rpc_timeouts[method] += 1
        self.take(outcome)

    def take(self, outcome: Outcome) -> None:
        """Do what the outcome is for. Switches: no."""
        raise NotImplementedError


class BatchCall(Call):
    """One of several that somebody waits for. index: which of them."""

    has_timer = True
    __slots__ = ("_batch", "_request", "index")

    def __init__(self, batch: "Batch", index: int, peer: Peer, request: Request) -> None:
        super().__init__(peer, batch.timeout_s, batch.stats)
        self._batch = batch
        self._request = request
        self.index = index

    @property
    def request(self) -> Request:
        """What is asked."""
        return self._request

    def take(self, outcome: Outcome) -> None:
        """Hand it to the batch. Switches: no."""
        self._batch.take(self.index, outcome)


class Batch:
    """The calls of one caller: `gdht.node.runtime.Calls`. submit: sends a call.

    They end at their deadline whether or not the caller still waits for them.
    """

    def __init__(self, submit: Callable[[Call], None], timeout_s: float, stats: Stats) -> None:
        self.stats = stats
        self.timeout_s = timeout_s
        self._submit = submit
        self._asked = 0
        self._open: dict[int, Call] = {}
        self._outcomes: deque[tuple[int, Outcome]] = deque()
        self._news = Event()
        self._timers: list[Any] = []

    def ask(self, requests: Sequence[tuple[Peer, Request]]) -> None:
        """Send these too. Switches: no. Raises: LocalProtocolError when a request cannot be encoded."""
        if not requests:
            return
        indices = range(self._asked, self._asked + len(requests))
        calls = {index: BatchCall(self, index, *request) for index, request in zip(indices, requests, strict=True)}
        self._asked += len(calls)
        self._open.update(calls)
        timer = get_hub().loop.timer(self.timeout_s)
        timer.start(self._expire, indices, update=True)
        self._timers.append(timer)
        for call in calls.values():
            self._submit(call)

    def take(self, index: int, outcome: Outcome) -> None:
        """The outcome of a call is known. Switches: no."""
        del self._open[index]
        self._outcomes.append((index, outcome))
        if not self._open:
            while self._timers:
                self._timers.pop().close()
        self._news.set()

    def __iter__(self) -> Iterator[tuple[int, Outcome]]:
        return self

    def __next__(self) -> tuple[int, Outcome]:
        if not self._outcomes and not self._open:
            raise StopIteration
        while not self._outcomes:
            self._news.clear()
            self._news.wait()
        return self._outcomes.popleft()

    def within(self, seconds: float) -> tuple[int, Outcome] | None:
        """The next outcome, should it come in so many seconds. Switches: maybe."""
        if not self._outcomes and self._open:
            self._news.clear()
            self._news.wait(seconds)
        return self._outcomes.popleft() if self._outcomes else None

    def _expire(self, indices: range) -> None:
        for call in [self._open[index] for index in indices if index in self._open]:
            call.expire()
