"""One node's end of the simulated network: its calls under way, and its server side, in real frames.

Until its first answer has come, each request on a connection is preceded by a HELLO, and the answer too. What a server
does to a HELLO or a request, and what becomes of the calls of a lost connection, is what `gdht.net` does.
"""

from collections.abc import Callable
from typing import cast

from gdht.core.messages import (
    METHODS,
    ErrorReason,
    P2pError,
    P2pHello,
    Reply,
    Request,
    fits,
)
from gdht.core.peer import Peer
from gdht.errors import CallTimeout, PeerUnreachable, RemoteError, RemoteProtocolError
from gdht.node.later import Answer, Later
from gdht.node.runtime import Outcome
from gdht.node.stats import Stats
from gdht.sim.frames import decode, decode_hello
from gdht.sim.network import Frames, Network
from gdht.sim.process import Event, Process
from gdht.wire.codec import PROTOCOL_VERSION, encode_p2p

REQUEST_IDS = 1 << 32
HELLO_ID = 0
"""The request id of every HELLO frame."""

Handler = Callable[[Peer, Request], Answer]
Done = Callable[[Outcome | Peer], None]
"""Takes what became of a call; of one that only identifies, the peer."""


class Connection:
    """What the requests to one address are sent on, all together. target: whom it leads to, None until HELLO came back.

    Once lost, nothing that is still under way on it brings an answer.
    """

    __slots__ = ("address", "lost", "target")

    def __init__(self, address: str) -> None:
        self.address = address
        self.target: Endpoint | None = None
        self.lost = False


class Call:
    """A request under way. ident: who must answer, None: anybody. request None: the HELLO is all that is asked.

    retriable: sent on a connection that was open before it, so it is sent once more when that one is lost.
    """

    __slots__ = ("address", "connection", "done", "ident", "request", "retriable", "started", "timer")

    def __init__(
        self, address: str, ident: int | None, request: Request | None, started: float, timer: Event, done: Done
    ) -> None:
        self.address = address
        self.ident = ident
        self.request = request
        self.started = started
        self.timer = timer
        self.done = done
        self.connection: Connection
        self.retriable = False


class Endpoint:
    """Sends a node's requests, takes its answers, and serves it to others once `serve` was called."""

    def __init__(self, network: Network, process: Process, me: Peer, ring: str) -> None:
        self.network = network
        self.process = process
        self.me = me
        self.ring = ring
        self.stats = Stats()
        self._handler: Handler | None = None
        self._hello = encode_p2p(P2pHello(PROTOCOL_VERSION, PROTOCOL_VERSION, ring, me), HELLO_ID)
        self._calls: dict[int, Call] = {}
        self._last_request_id = HELLO_ID
        self._connections: dict[str, Connection] = {}
        self._senders: dict[str, Peer] = {}

    def serve(self, handler: Handler, stats: Stats) -> None:
        """Let others reach this node, and count into its stats."""
        self.stats = stats
        self._handler = handler
        self.network.attach(self)

    # Asking ---------------------------------------------------------------------------------------------------------

    def ask(self, address: str, ident: int | None, request: Request | None, timeout_s: float, done: Done) -> None:
        """Send a request; `done` is called, from the hub, with what became of it. Switches: no."""
        self._last_request_id = request_id = self._last_request_id % (REQUEST_IDS - 1) + 1
        scheduler = self.network.scheduler
        timer = scheduler.after(timeout_s, self._time_out, request_id, self.process)
        call = self._calls[request_id] = Call(address, ident, request, scheduler.now, timer, done)
        self._send(request_id, call)

    def _send(self, request_id: int, call: Call) -> None:
        frame = b"" if call.request is None else encode_p2p(call.request, request_id)
        connection = Connection(call.address) if call.request is None else self._connection(call.address)
        call.connection, call.retriable = connection, connection.target is not None
        self.network.ask(self, connection, (request_id, b"" if connection.target else self._hello, frame))

    def _connection(self, address: str) -> Connection:
        connection = self._connections.get(address)
        if connection is None or (connection.target and connection.target is not self.network.listening(address)):
            connection = self._connections[address] = Connection(address)
        return connection

    def take_answer(self, message: "tuple[Endpoint, Connection, Frames]") -> None:
        """An answer has arrived."""
        source, connection, (request_id, hello, frame) = message
        if hello:
            self._take_hello(source, connection, request_id, hello)
        if frame:
            self._take_reply(frame)

    def take_refusal(self, request_id: int) -> None:
        """Nobody listens where a request went."""
        call = self._calls.get(request_id)
        if call is not None:
            self._finish(request_id, PeerUnreachable(f"{call.address}: connection refused"), "refused")

    def lose(self, connection: Connection) -> None:
        """A connection was reset: what was under way on it is sent once more, or has failed. Switches: no.

        As in `gdht.net.connection`: a call for which the connection was opened is not tried again.
        """
        connection.lost = True
        if self._connections.get(connection.address) is connection:
            del self._connections[connection.address]
        calls = [(request_id, call) for request_id, call in self._calls.items() if call.connection is connection]
        for request_id, call in calls:
            if call.retriable:
                self._send(request_id, call)
            else:
                self._finish(request_id, PeerUnreachable(f"{call.address}: connection reset"), "reset")

    def _take_hello(self, source: "Endpoint", connection: Connection, request_id: int, hello: bytes) -> None:
        message = decode_hello(hello)
        self.network.trace.frame(self.network.scheduler.now, "HELLO back", self.me.address, hello)
        connection.target = source
        call = self._calls.get(request_id)
        if call is None:
            return
        if call.ident is not None and call.ident != message.peer.ident:
            self._finish(request_id, PeerUnreachable(f"{call.address}: somebody else answers"), "refused")
        elif call.request is None:
            self._finish(request_id, message.peer, "ok")

    def _take_reply(self, frame: bytes) -> None:
        request_id, message = decode(frame)
        self.network.trace.frame(self.network.scheduler.now, type(message).__name__, self.me.address, frame)
        call = self._calls.get(request_id)
        if call is None:
            return
        if isinstance(message, P2pError):
            self._finish(request_id, remote_error(message), "remote_error")
        elif call.request is None or not fits(call.request, message):
            wrong = f"{type(message).__name__} does not answer {type(call.request).__name__}"
            self._finish(request_id, RemoteProtocolError("type", wrong), "remote_error")
        else:
            self._finish(request_id, cast("Reply", message), "ok")  # nothing else fits

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

    def take_request(self, message: "tuple[Endpoint, Connection, Frames]") -> None:
        """A request has arrived."""
        source, connection, (request_id, hello, frame) = message
        hello_back = b""
        if hello:
            refusal = self._greet(source, hello)
            if refusal is not None:
                self.network.answer(self, source, connection, (request_id, b"", encode_p2p(refusal, request_id)))
                return
            hello_back = self._hello
        answer = self._answer(source, frame) if frame else None
        if isinstance(answer, Later):
            self._answer_later(source, connection, request_id, answer)
            answer = None
        reply = b"" if answer is None else encode_p2p(answer, request_id)
        self.network.answer(self, source, connection, (request_id, hello_back, reply))

    def _answer_later(self, source: "Endpoint", connection: Connection, request_id: int, later: Later) -> None:
        """Send a reply once what it says is on the disk."""

        def send(reply: Reply) -> None:
            self.network.answer(self, source, connection, (request_id, b"", encode_p2p(reply, request_id)))

        later.when_ready(send)

    def _greet(self, source: "Endpoint", hello: bytes) -> P2pError | None:
        message = decode_hello(hello)
        self.network.trace.frame(self.network.scheduler.now, "HELLO", self.me.address, hello)
        if message.ring != self.ring:
            return P2pError(ErrorReason.RING, f"this is ring {self.ring}, not {message.ring}")
        if message.peer.ident == self.me.ident and message.peer.address != self.me.address:
            return P2pError(ErrorReason.IDENT, f"{message.peer.address} has the identifier of {self.me.address}")
        self._senders[source.me.address] = message.peer
        return None

    def _answer(self, source: "Endpoint", frame: bytes) -> Answer:
        _, request = decode(frame)
        name = type(request).__name__
        self.network.trace.frame(self.network.scheduler.now, name, self.me.address, frame)
        method = METHODS.get(type(request))
        if method is None:
            return P2pError(ErrorReason.UNSUPPORTED, f"{type(request).__name__} is no request")
        assert self._handler is not None
        answer = self._handler(self._senders[source.me.address], request)  # type: ignore[arg-type]  # METHODS has requests
        self.stats.rpc_received_requests[method, "error" if isinstance(answer, P2pError) else "ok"] += 1
        return answer


def remote_error(message: P2pError) -> RemoteError:
    """The error that an ERROR frame stands for; a reason we do not know is not retriable."""
    known = message.reason in ErrorReason.__members__.values()
    retriable = known and ErrorReason(message.reason).retriable
    return RemoteError(message.reason, message.detail, retriable=retriable)
