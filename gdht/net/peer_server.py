"""The P2P port: other nodes' requests, answered by `node.handle` from local state."""

import errno
import logging
import socket
from collections.abc import Callable, Sequence
from time import monotonic, perf_counter

import gevent
from gevent import get_hub

from gdht.core.messages import METHODS, ErrorReason, P2pError, P2pHello, Reply, Request
from gdht.core.peer import Peer
from gdht.errors import RemoteProtocolError
from gdht.net.hello import HELLO_ID, HELLO_TIMEOUT_S, refusal
from gdht.net.listener import Listener
from gdht.net.pool import IDLE_S_MAX, READ_BYTES
from gdht.net.stream import Stream
from gdht.net.turn import this_turn
from gdht.node.later import Answer, Later
from gdht.node.stats import Stats
from gdht.wire.codec import BrokenStream, P2pDecoder, UnknownMessage, encode_p2p

log = logging.getLogger(__name__)

UNSENT_BYTES_MAX = 1024 * 1024
"""Nothing more is read from a peer that has so many bytes of answers to take."""
TURN_S = 0.005
"""How long requests are answered before others get to run."""
QUIET_S_MAX = 2 * IDLE_S_MAX
"""A connection that brought no request for so long is closed; an honest peer would have closed it long before."""
QUIET_LOOKS = 10
"""How often in that time it is looked at."""
GENTLE_CLOSE_S = 2.0

Received = Sequence[tuple[int, object]]
"""Request ids and messages, as the decoder gives them."""

Handle = Callable[[Peer, Request], Answer]
"""`Node.handle`: atomic, never switches."""


class PeerServer(Listener):
    """Serves other nodes. hello: what this node says of itself; handle: what it answers."""

    plane = "p2p"
    read_bytes = READ_BYTES
    send_timeout_s = 15.0

    def __init__(
        self, sock: socket.socket, connections_max: int, stats: Stats, hello: P2pHello, handle: Handle
    ) -> None:
        super().__init__(sock, connections_max, stats)
        self._hello = hello
        self._handle = handle

    def serve(self, stream: Stream, client: str) -> None:
        """Serve one peer: HELLO, then its requests until it closes. Switches: yes. Raises: OSError."""
        self.stats.peer_connections["inbound"] += 1
        decoder = P2pDecoder()
        sender = None
        try:
            sender, messages = self._greet(stream, decoder)
            if sender is not None:
                self._answer_all(stream, decoder, sender, messages)
        except RemoteProtocolError as error:
            self._reject(stream, client, error, greeted=sender is not None)
        finally:
            self.stats.peer_connections["inbound"] -= 1

    def refuse(self, sock: socket.socket) -> None:
        """Count a connection that is over the limit and tell it so. Switches: no."""
        self.stats.peer_rejected["overload"] += 1
        self.stranger_log.warning("plane=p2p refused a connection: %d are open", len(self._streams))
        sock.setblocking(False)
        sock.send(encode_p2p(P2pError(ErrorReason.OVERLOAD, "too many connections"), HELLO_ID))

    def _greet(self, stream: Stream, decoder: P2pDecoder) -> tuple[Peer | None, Received]:
        """Their HELLO and ours. Who they are, None when they are gone or refused; what else came with theirs."""
        with gevent.Timeout(HELLO_TIMEOUT_S, RemoteProtocolError("hello_timeout", "said nothing")):
            while not (messages := decoder.feed(data := stream.read())):
                if not data:
                    decoder.eof()
                    return None, []
        theirs = messages[0][1]
        assert isinstance(theirs, P2pHello), "the decoder lets nothing else come first"
        refused = refusal(self._hello, theirs)
        if refused is None:
            stream.write_now(encode_p2p(self._hello, HELLO_ID))
            return theirs.peer, messages[1:]
        reason = ErrorReason(refused.reason).name.lower()
        self.stats.peer_rejected[reason] += 1
        self.stranger_log.warning("peer=%s refused reason=%s: %s", theirs.peer, reason, refused.detail)
        stream.write_now(encode_p2p(refused, HELLO_ID))
        stream.close_gently(GENTLE_CLOSE_S)
        return None, []

    def _answer_all(self, stream: Stream, decoder: P2pDecoder, sender: Peer, messages: Received) -> None:
        """Answer what came with HELLO, then read after read, until nothing was asked for too long."""
        heard_s = monotonic()

        def take_read(data: bytes) -> Received | None:
            nonlocal heard_s
            messages = decoder.feed(data)
            if messages:  # bytes alone do not keep a connection
                heard_s = monotonic()
            left = self._answer(stream, sender, messages)
            return left if left or stream.unsent_bytes > UNSENT_BYTES_MAX else None

        def look() -> None:
            if monotonic() - heard_s >= QUIET_S_MAX:
                stream.abort(OSError(errno.ETIMEDOUT, f"no request for {QUIET_S_MAX:g} s"))

        timer = get_hub().loop.timer(QUIET_S_MAX / QUIET_LOOKS, QUIET_S_MAX / QUIET_LOOKS)
        timer.start(look)
        try:
            self._answer_rest(stream, sender, messages)
            while (left := stream.read_all(take_read)) is not None:
                self._answer_rest(stream, sender, left)
            if not stream.input_ended:
                decoder.eof()
            stream.wait_unsent(0)
        except BrokenStream as error:
            self._answer_rest(stream, sender, error.before)
            raise
        finally:
            timer.close()

    def _answer_rest(self, stream: Stream, sender: Peer, messages: Received) -> None:
        """Answer what one turn has left, in as many as it takes. Switches: maybe. Raises: OSError."""
        stream.wait_unsent(UNSENT_BYTES_MAX)
        while messages:
            this_turn().let_others_run()
            messages = self._answer(stream, sender, messages)
            stream.wait_unsent(UNSENT_BYTES_MAX)

    def _answer(self, stream: Stream, sender: Peer, messages: Received) -> Received:
        """Answer requests in one send, until that takes long or fills much memory; what is left. Switches: no."""
        ends_s = perf_counter() + TURN_S
        frames: list[bytes] = []
        frames_bytes = 0
        for request_id, message in messages:
            frame = self._answer_one(stream, sender, request_id, message)
            frames.append(frame)
            frames_bytes += len(frame)
            if frames_bytes > UNSENT_BYTES_MAX or perf_counter() > ends_s:
                break
        stream.write_now(b"".join(frames))
        return messages[len(frames) :] if len(frames) < len(messages) else []

    def _answer_one(self, stream: Stream, sender: Peer, request_id: int, message: object) -> bytes:
        """The frame that answers one request, empty when it follows later. Raises: RemoteProtocolError: it is none."""
        if isinstance(message, UnknownMessage):
            self.stats.rpc_received_requests["unknown", "unsupported"] += 1
            return encode_p2p(
                P2pError(ErrorReason.UNSUPPORTED, f"message type {message.type_number} is not known here"), request_id
            )
        method = METHODS.get(type(message))
        if method is None:
            raise RemoteProtocolError("type", f"{type(message).__name__} is not a request")
        try:
            answer = self._handle(sender, message)  # type: ignore[arg-type]  # METHODS has requests
        except Exception:
            log.exception("peer=%s %s failed", sender, method)  # a bug of ours: this request only
            answer = P2pError(ErrorReason.INTERNAL, "the request failed here")
        if isinstance(answer, Later):
            answer.when_ready(lambda reply: stream.write(self._frame(method, request_id, reply)))
            return b""
        return self._frame(method, request_id, answer)

    def _frame(self, method: str, request_id: int, reply: Reply) -> bytes:
        self.stats.rpc_received_requests[method, "error" if isinstance(reply, P2pError) else "ok"] += 1
        return encode_p2p(reply, request_id)

    def _reject(self, stream: Stream, client: str, error: RemoteProtocolError, *, greeted: bool) -> None:
        """Close on somebody who broke the protocol; a stranger, who may speak another one, is told nothing."""
        self.stats.peer_rejected[error.reason] += 1
        self.stranger_log.warning("plane=p2p client=%s closed reason=%s: %s", client, error.reason, error.detail)
        if greeted:
            stream.write_now(encode_p2p(P2pError(ErrorReason.MALFORMED, error.detail), HELLO_ID))
        stream.close_gently(GENTLE_CLOSE_S)
