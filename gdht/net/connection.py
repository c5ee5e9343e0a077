"""One outbound connection to a peer, shared by all calls to it: request ids out, answers in, in any order."""

import errno
import logging
from collections.abc import Callable, Sequence
from enum import Enum
from math import inf
from time import monotonic

import gevent

from gdht.core.messages import P2pError, P2pHello
from gdht.core.peer import Peer
from gdht.errors import CallError, PeerSilent, PeerUnreachable, RemoteError, RemoteProtocolError
from gdht.net.calls import Call, Refused, Rejected, Reset
from gdht.net.dial import connect
from gdht.net.hello import HELLO_ID, HELLO_TIMEOUT_S, refusal, remote_error
from gdht.net.stream import Stream
from gdht.node.stats import Stats
from gdht.wire.codec import BrokenStream, P2pDecoder, encode_p2p

log = logging.getLogger(__name__)

IN_FLIGHT_MAX = 4096
"""Requests without an answer on one connection."""
QUEUED_BYTES_MAX = 16 * 1024 * 1024
"""Bytes that one peer has not taken yet."""
SEND_TIMEOUT_S = 15.0
SILENT_TIMEOUTS_MAX = 3
"""So many calls without an answer, and nothing else heard meanwhile: the connection is taken for dead."""
STANDSTILL_S = 0.1
"""A peer that has calls to answer and says nothing for so long stands still, or may: what it answers now is late."""
YOUNG_S = 0.005
"""Calls that have waited for less are let alone."""
REQUEST_IDS = 1 << 32

Failure = CallError | RemoteError | RemoteProtocolError
"""Why a connection ended, as its callers hear it."""


class ConnectionState(Enum):
    """Where a connection is in its life; it goes through these in order."""

    OPENING = "opening"  # requests queue until HELLO has come
    OPEN = "open"
    CLOSED = "closed"


class Connection:
    """To one peer. on_closed is told once: why, and which calls may be tried again on another connection."""

    def __init__(
        self,
        peer: Peer,
        hello: P2pHello,
        buffer: memoryview,
        stats: Stats,
        on_closed: Callable[["Connection", Failure, list[Call]], None],
    ) -> None:
        self.peer = peer
        self.state = ConnectionState.OPENING
        self.used_s = monotonic()
        self.opened = False
        self._hello = hello
        self._buffer = buffer
        self._stats = stats
        self._on_closed = on_closed
        self._stream: Stream | None = None
        self._calls: dict[int, Call] = {}
        self._next_id = HELLO_ID + 1
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._unanswered = 0
        self._heard_s = -inf
        self._greenlet = gevent.spawn(self._run)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way on it."""
        return not self._calls

    @property
    def under_way(self) -> int:
        """How many calls wait for an answer."""
        return len(self._calls)

    def stands_still(self) -> bool:
        """Whether calls have waited for a while in which nothing was heard. Switches: no."""
        if not self._calls:
            return False
        oldest = next(iter(self._calls.values()))
        return monotonic() - max(oldest.started_s, self._heard_s) > STANDSTILL_S

    def is_ready(self) -> bool:
        """Whether a call would be sent in this turn of the loop, not queued or rejected."""
        stream = self._stream
        if stream is None or self.state is not ConnectionState.OPEN:
            return False
        return len(self._calls) < IN_FLIGHT_MAX and stream.unsent_bytes < QUEUED_BYTES_MAX

    @property
    def _queued_bytes(self) -> int:
        return self._stream.unsent_bytes if self._stream is not None else self._waiting_bytes

    def send(self, call: Call) -> None:
        """Send a request, or end the call with Rejected when too much is under way. Switches: no.

        Raises: LocalProtocolError when the request cannot be encoded.
        """
        assert self.state is not ConnectionState.CLOSED
        queued_bytes = self._queued_bytes
        if len(self._calls) >= IN_FLIGHT_MAX or queued_bytes >= QUEUED_BYTES_MAX:
            under_way = f"{len(self._calls)} requests and {queued_bytes} bytes"
            call.end(Rejected(f"{self.peer}: queue full, {under_way} under way"))
            return
        frame = self._begin(call)
        call.retriable = self.state is ConnectionState.OPEN
        if self.state is ConnectionState.OPEN and self._stream is not None:
            self._stream.write(frame)
        else:
            self._waiting.append(frame)
            self._waiting_bytes += len(frame)

    def send_at_once(self, call: Call) -> None:
        """Send a request, as this connection is ready for it. Switches: no. Raises: as `send`."""
        assert self._stream is not None, "it is ready"
        request_id = self._next_id  # `_begin`, spelled out: every request of a client does this
        if request_id in self._calls or request_id == REQUEST_IDS - 1:
            frame = self._begin(call)
        else:
            self._next_id = request_id + 1
            call.request_id = request_id
            frame = call.frame()
            call.connection = self
            self._calls[request_id] = call
            self.used_s = call.started_s
        call.retriable = True
        self._stream.write(frame)

    def _begin(self, call: Call) -> bytes:
        """The call waits for its answer from now on; its frame, which is to be sent. Raises: LocalProtocolError."""
        request_id = self._next_id
        while request_id in self._calls:
            request_id = _id_after(request_id)
        self._next_id = _id_after(request_id)
        call.request_id = request_id
        frame = call.frame()
        call.connection = self
        self._calls[request_id] = call
        self.used_s = call.started_s
        return frame

    def forget(self, call: Call) -> None:
        """The call's deadline has passed; its answer, should it come, is dropped. Switches: no."""
        del self._calls[call.request_id]
        self._unanswered += 1
        if self._unanswered >= SILENT_TIMEOUTS_MAX and self._stream is not None:
            self._stream.abort(OSError(errno.ETIMEDOUT, f"{self._unanswered} calls without an answer"))

    def tend(self, now_s: float) -> bool:
        """Look at the calls that have waited for a while and have no timer of their own. Switches: no.

        Returns whether there are any without a timer.
        """
        waiting = []
        any_untimed = False
        for call in self._calls.values():  # the oldest first
            if call.has_timer:
                continue
            any_untimed = True
            if call.started_s > now_s - YOUNG_S:
                break
            waiting.append(call)
        for call in waiting:
            call.tend(now_s)
        return any_untimed

    def close(self, reason: str) -> None:
        """Close it; its calls end. Switches: no."""
        self._greenlet.kill(block=False)
        self._end(Reset(f"{self.peer}: {reason}"), lost=False)

    def _run(self) -> None:
        try:
            stream, decoder = self._open()
            self._read_answers(stream, decoder)
        except (CallError, RemoteError, RemoteProtocolError) as error:
            self._end(error, lost=False)
        except OSError as error:
            self._end(Reset(f"{self.peer}: connection lost: {(error.strerror or str(error)).lower()}"), lost=True)
        except Exception as error:
            log.exception("peer=%s connection failed", self.peer)  # a bug of ours: its calls must end all the same
            self._end(Reset(f"{self.peer}: connection failed: {error}"), lost=False)

    def _open(self) -> tuple[Stream, P2pDecoder]:
        stream, decoder, theirs = greet(self.peer.address, self._hello, self._buffer, self._stats)
        if theirs.peer.ident != self.peer.ident:
            stream.close()
            raise Refused(f"another node answers at {self.peer.address}: {theirs.peer}")
        if self.state is ConnectionState.CLOSED:  # in the same turn of the loop as HELLO came
            stream.close()
            raise Reset(f"{self.peer}: closed")
        self._stream = stream
        self._heard_s = monotonic()
        self._unanswered = 0
        self.state = ConnectionState.OPEN
        self.opened = True
        self._stats.peer_connections["outbound"] += 1
        stream.write_now(b"".join(self._waiting))
        self._waiting.clear()
        return stream, decoder

    def _read_answers(self, stream: Stream, decoder: P2pDecoder) -> None:
        def take_read(data: bytes) -> None:
            self._unanswered = 0
            self._heard_s = monotonic()
            try:
                messages = decoder.feed(data)
            except BrokenStream as error:
                self._dispatch(error.before)
                raise
            self._dispatch(messages)

        stream.read_all(take_read)
        raise OSError(errno.ECONNRESET, "closed by the peer")

    def _dispatch(self, messages: Sequence[tuple[int, object]]) -> None:
        for request_id, message in messages:
            call = self._calls.pop(request_id, None)
            if call is not None:
                error = call.reply(message)
                if error is not None:
                    raise error
            elif request_id == HELLO_ID and isinstance(message, P2pError):
                raise remote_error(message)  # about the connection as such

    def _end(self, error: Failure, *, lost: bool) -> None:
        """Close, and end all calls but those that may be tried again. lost: the connection broke under us.

        A call sent on a connection that was open before it, and broke before the answer, has most likely met a peer
        that was restarted while the connection lay idle. It is sent once more: every request is idempotent (writes
        carry versions, NOTIFY and LEAVE state a fact), so no harm is done if the first one was carried out after all.
        """
        if self.state is ConnectionState.CLOSED:
            return
        if self.state is ConnectionState.OPEN:
            self._stats.peer_connections["outbound"] -= 1
        self.state = ConnectionState.CLOSED
        if self._stream is not None:
            self._stream.close()
        calls, self._calls = list(self._calls.values()), {}
        again = [call for call in calls if lost and call.retriable]
        for call in calls:
            if not (lost and call.retriable):
                call.end(error)
        self._on_closed(self, error, again)


def _id_after(request_id: int) -> int:
    """The next one; they come round, but for the one that means the connection as such."""
    return (request_id + 1) % REQUEST_IDS or HELLO_ID + 1


def greet(address: str, ours: P2pHello, buffer: memoryview, stats: Stats) -> tuple[Stream, P2pDecoder, P2pHello]:
    """Connect, and exchange HELLO. Switches: yes.

    Raises: Refused (nobody there), PeerSilent (no telling), RemoteError (refused by either side), RemoteProtocolError.
    """
    try:
        stream = Stream(connect(address), buffer, "p2p", stats, SEND_TIMEOUT_S)
    except OSError as error:
        raise _unreachable(address, error) from error
    try:
        stream.write_now(encode_p2p(ours, HELLO_ID))
        decoder = P2pDecoder(dialling=True)
        with gevent.Timeout(HELLO_TIMEOUT_S, PeerSilent(f"{address}: connected, but said nothing")):
            theirs = _await_hello(stream, decoder, address)
        reason = refusal(ours, theirs)
        if reason is not None:
            stream.write_now(encode_p2p(reason, HELLO_ID))
            raise remote_error(reason)
    except OSError as error:
        stream.close()
        raise _unreachable(address, error) from error
    except BaseException:
        stream.close()
        raise
    return stream, decoder, theirs


def _unreachable(address: str, error: OSError) -> PeerUnreachable:
    """What a failed connection says of the peer: a refusal that it is not there, all else nothing for sure."""
    kind = Refused if isinstance(error, ConnectionError) else PeerSilent
    return kind(f"{address}: {(error.strerror or str(error)).lower()}")


def _await_hello(stream: Stream, decoder: P2pDecoder, address: str) -> P2pHello:
    while data := stream.read():
        for _request_id, message in decoder.feed(data):
            if isinstance(message, P2pError):
                raise remote_error(message)
            if isinstance(message, P2pHello):
                return message
    raise Refused(f"{address}: closed the connection instead of saying HELLO")
