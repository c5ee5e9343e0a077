"""The P2P port: who may come in; `gdht.net.peer_connection` has what happens then."""

import logging
import socket

import gevent

from gdht.core.messages import ErrorReason, P2pError, P2pHello
from gdht.core.peer import Peer
from gdht.errors import RemoteProtocolError
from gdht.net.hello import HELLO_ID, HELLO_TIMEOUT_S, refusal
from gdht.net.listener import Listener
from gdht.net.peer_connection import PeerConnection, PeerNode, Received
from gdht.net.pool import READ_BYTES
from gdht.net.stream import Stream
from gdht.node.stats import Stats
from gdht.wire.codec import P2pDecoder, encode_p2p

log = logging.getLogger(__name__)

GENTLE_CLOSE_S = 2.0


class PeerServer(Listener):
    """Serves other nodes. hello: what this node says of itself; node: answers them."""

    plane = "p2p"
    read_bytes = READ_BYTES
    send_timeout_s = 15.0

    def __init__(
        self, sock: socket.socket, connections_max: int, stats: Stats, hello: P2pHello, node: PeerNode
    ) -> None:
        super().__init__(sock, connections_max, stats)
        self._hello = hello
        self._node = node

    def serve(self, stream: Stream, client: str) -> None:
        """Serve one peer: HELLO, then its requests until it closes. Switches: yes. Raises: OSError."""
        self.stats.peer_connections["inbound"] += 1
        decoder = P2pDecoder()
        sender = None
        try:
            sender, messages = self._greet(stream, decoder)
            if sender is not None:
                PeerConnection(stream, decoder, sender, self._node, self.stats).serve(messages)
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

    def _reject(self, stream: Stream, client: str, error: RemoteProtocolError, *, greeted: bool) -> None:
        """Close on somebody who broke the protocol; a stranger, who may speak another one, is told nothing."""
        self.stats.peer_rejected[error.reason] += 1
        self.stranger_log.warning("plane=p2p client=%s closed reason=%s: %s", client, error.reason, error.detail)
        if greeted:
            stream.write_now(encode_p2p(P2pError(ErrorReason.MALFORMED, error.detail), HELLO_ID))
        stream.close_gently(GENTLE_CLOSE_S)
