"""One node's end of the simulated network: its calls under way, and its server side, in real frames.

A link stands for a connection: until its first answer has come, each request on it is preceded by a HELLO, and the
answer too. What a server does to a HELLO or a request is what `gdht.net` does.
"""

from collections.abc import Callable
from typing import cast

from gdht.core.messages import (
    METHODS,
    REPLIES,
    ErrorReason,
    P2pError,
    P2pHello,
    P2pMessage,
    Reply,
    Request,
)
from gdht.core.peer import Peer
from gdht.errors import CallTimeout, PeerUnreachable, RemoteError, RemoteProtocolError
from gdht.node.runtime import Outcome
from gdht.node.stats import Stats
from gdht.sim.network import Frames, Network
from gdht.sim.scheduler import Event, Process
from gdht.wire.codec import PROTOCOL_VERSION, P2pDecoder, UnknownMessage, encode_p2p

REQUEST_IDS = 1 << 32
Handler = Callable[[Peer, Request], Reply]
Done = Callable[[Outcome | Peer], None]
"""Takes what became of a call; of one that only identifies, the peer."""


class Call:
    """A request under way. ident: who must answer, None: anybody. request None: the HELLO is all that is asked."""

    __slots__ = ("address", "done", "ident", "request", "started", "timer")

    def __init__(
        self, address: str, ident: int | None, request: Request | None, started: float, timer: Event, done: Done
    ) -> None:
        self.address = address
        self.ident = ident
        self.request = request
        self.started = started
        self.timer = timer
        self.done = done


class Endpoint:
    """Sends a node's requests, takes its answers, and serves it to others once `serve` was called."""

    def __init__(self, network: Network, process: Process, me: Peer, ring: str) -> None:
        self.network = network
        self.process = process
        self.me = me
        self.ring = ring
        self.stats = Stats()
        self._handler: Handler | None = None
        self._hello = P2pHello(PROTOCOL_VERSION, PROTOCOL_VERSION, ring, me)
        self._calls: dict[int, Call] = {}
        self._last_request_id = 0
        self._links: dict[str, Endpoint] = {}
        self._senders: dict[str, Peer] = {}
        self._decoder = P2pDecoder(greeted=True)

    def serve(self, handler: Handler, stats: Stats) -> None:
        """Let others reach this node, and count into its stats."""
        self.stats = stats
        self._handler = handler
        self.network.attach(self)

    # Asking ---------------------------------------------------------------------------------------------------------

    def ask(self, address: str, ident: int | None, request: Request | None, timeout_s: float, done: Done) -> None:
        """Send a request; `done` is called, from the hub, with what became of it. Switches: no."""
        self._last_request_id = request_id = self._last_request_id % (REQUEST_IDS - 1) + 1
        frame = b"" if request is None else encode_p2p(request, request_id)
        link = None if request is None else self._links.get(address)
        if link is None or link is not self.network.listening(address):
            link = None
        hello = b"" if link else encode_p2p(self._hello, request_id)
        scheduler = self.network.scheduler
        timer = scheduler.after(timeout_s, self._time_out, request_id, self.process)
        self._calls[request_id] = Call(address, ident, request, scheduler.now, timer, done)
        self.network.ask(self, address, link, (request_id, hello, frame))

    def take_answer(self, message: "tuple[Endpoint, Frames]") -> None:
        """An answer has arrived."""
        source, (request_id, hello, frame) = message
        if hello:
            self._take_hello(source, request_id, hello)
        if frame:
            self._take_reply(frame)

    def take_refusal(self, request_id: int) -> None:
        """Nobody listens where a request went."""
        call = self._calls.get(request_id)
        if call is not None:
            self._finish(request_id, PeerUnreachable(f"{call.address}: connection refused"), "refused")

    def _take_hello(self, source: "Endpoint", request_id: int, hello: bytes) -> None:
        ((_, message),) = P2pDecoder().feed(hello)
        assert isinstance(message, P2pHello)
        self.network.trace.frame(self.network.scheduler.now, "HELLO back", self.me.address, hello)
        self._links[source.me.address] = source
        call = self._calls.get(request_id)
        if call is None:
            return
        if call.ident is not None and call.ident != message.peer.ident:
            self._finish(request_id, PeerUnreachable(f"{call.address}: somebody else answers"), "refused")
        elif call.request is None:
            self._finish(request_id, message.peer, "ok")

    def _take_reply(self, frame: bytes) -> None:
        ((request_id, message),) = self._decoder.feed(frame)
        self.network.trace.frame(self.network.scheduler.now, type(message).__name__, self.me.address, frame)
        call = self._calls.get(request_id)
        if call is None:
            return
        if isinstance(message, P2pError):
            self._finish(request_id, remote_error(message), "remote_error")
        elif call.request is None or type(message) not in REPLIES[type(call.request)]:
            wrong = f"{type(message).__name__} does not answer {type(call.request).__name__}"
            self._finish(request_id, RemoteProtocolError("type", wrong), "remote_error")
        else:
            self._finish(request_id, cast("Reply", message), "ok")  # REPLIES holds nothing else

    def _time_out(self, request_id: int) -> None:
        call = self._calls[request_id]
        if call.request is not None:
            self.stats.rpc_timeouts[METHODS[type(call.request)]] += 1
        seconds = self.network.scheduler.now - call.started
        self._finish(request_id, CallTimeout(f"{call.address}: no answer in {seconds:g} s"), "timeout")

    def _finish(self, request_id: int, outcome: Outcome | Peer, result: str) -> None:
        call = self._calls.pop(request_id)
        call.timer[2] = None
        if call.request is not None:
            method = METHODS[type(call.request)]
            self.stats.rpc_sent_requests[method, result] += 1
            self.stats.rpc_sent_duration[method].observe(self.network.scheduler.now - call.started)
        call.done(outcome)

    # Serving --------------------------------------------------------------------------------------------------------

    def take_request(self, message: "tuple[Endpoint, Frames]") -> None:
        """A request has arrived."""
        source, (request_id, hello, frame) = message
        hello_back = b""
        if hello:
            refusal = self._greet(source, hello)
            if refusal is not None:
                self.network.answer(self, source, (request_id, b"", encode_p2p(refusal, request_id)))
                return
            hello_back = encode_p2p(self._hello, request_id)
        reply = self._answer(source, frame) if frame else b""
        self.network.answer(self, source, (request_id, hello_back, reply))

    def _greet(self, source: "Endpoint", hello: bytes) -> P2pError | None:
        ((_, message),) = P2pDecoder().feed(hello)
        assert isinstance(message, P2pHello)
        self.network.trace.frame(self.network.scheduler.now, "HELLO", self.me.address, hello)
        if message.ring != self.ring:
            return P2pError(ErrorReason.RING, f"this is ring {self.ring}, not {message.ring}")
        if message.peer.ident == self.me.ident and message.peer.address != self.me.address:
            return P2pError(ErrorReason.IDENT, f"{message.peer.address} has the identifier of {self.me.address}")
        self._senders[source.me.address] = message.peer
        return None

    def _answer(self, source: "Endpoint", frame: bytes) -> bytes:
        ((request_id, request),) = self._decoder.feed(frame)
        name = type(request).__name__
        self.network.trace.frame(self.network.scheduler.now, name, self.me.address, frame)
        return encode_p2p(self._handle(self._senders[source.me.address], request), request_id)

    def _handle(self, sender: Peer, request: P2pMessage | UnknownMessage) -> Reply:
        method = METHODS.get(type(request))
        if method is None:
            return P2pError(ErrorReason.UNSUPPORTED, f"{type(request).__name__} is no request")
        assert self._handler is not None
        reply = self._handler(sender, request)  # type: ignore[arg-type]  # METHODS holds every kind of request
        self.stats.rpc_received_requests[method, "error" if isinstance(reply, P2pError) else "ok"] += 1
        return reply


def remote_error(message: P2pError) -> RemoteError:
    """The error that an ERROR frame stands for; a reason we do not know is not retriable."""
    known = message.reason in ErrorReason.__members__.values()
    retriable = known and ErrorReason(message.reason).retriable
    return RemoteError(message.reason, message.detail, retriable=retriable)
