"""The outbound connections of a node: one per peer, opened on first use, closed when idle, bounded in number."""

import logging
import random
from time import monotonic

import gevent

from gdht.core.messages import P2pHello
from gdht.core.peer import Peer
from gdht.errors import CallTimeout
from gdht.net.calls import Call, Rejected, Reset
from gdht.net.connection import Connection, Failure, greet
from gdht.net.stream import read_buffer
from gdht.node.stats import Stats

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 512
IDLE_S_MAX = 300.0
"""A connection that carried no call for so long is closed by `close_idle`."""
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.1, 5.0
BACKOFFS_MAX = 1024
"""Peers whose failures are remembered."""
READ_BYTES = 32 * 1024
"""Of many short frames, what is read at once is decoded at once: a few milliseconds' work."""


class Backoff:
    """How long one peer is left alone after it could not be reached, and why."""

    __slots__ = ("_delay_s", "error", "until_s")

    def __init__(self) -> None:
        self._delay_s = BACKOFF_S_MIN
        self.until_s = 0.0
        self.error: Failure | None = None

    def failed(self, error: Failure, now_s: float, rng: random.Random) -> float:
        """Once more in vain. Returns for how many seconds calls now fail at once: half to all of the doubling delay."""
        delay_s = self._delay_s * rng.uniform(0.5, 1.0)
        self.until_s = now_s + delay_s
        self.error = error
        self._delay_s = min(self._delay_s * 2, BACKOFF_S_MAX)
        return delay_s


class Pool:
    """All outbound connections. hello: what is said first on each. stats: where calls are counted."""

    def __init__(self, hello: P2pHello, stats: Stats) -> None:
        self.stats = stats
        self._hello = hello
        self._rng = random.Random()  # for jitter only
        self._buffer = read_buffer(READ_BYTES)
        self._connections: dict[Peer, Connection] = {}
        self._backoffs: dict[Peer, Backoff] = {}
        self._closed = False

    def submit(self, call: Call) -> None:
        """Send a call on the peer's connection; it ends at once when that cannot be. Switches: no.

        Raises: LocalProtocolError when the request cannot be encoded.
        """
        connection = self._connections.get(call.peer)
        if connection is None:
            refused = self._refused(call.peer)
            if refused is not None:
                call.end(refused)
                return
            connection = Connection(call.peer, self._hello, self._buffer, self.stats, self._on_closed)
            self._connections[call.peer] = connection
        connection.send(call)

    def ready(self, peer: Peer) -> Connection | None:
        """The connection to a peer, if a call on it would be sent at once. Switches: no."""
        connection = self._connections.get(peer)
        return connection if connection is not None and connection.is_ready() else None

    def tend(self) -> bool:
        """Look at all calls that have waited for a while and have no timer of their own. Switches: no.

        Returns whether there are any without a timer.
        """
        now_s = monotonic()
        untimed = [connection.tend(now_s) for connection in list(self._connections.values())]
        return any(untimed)

    def identify(self, address: str, timeout_s: float) -> Peer:
        """Who answers at an address; always by a new connection, so that it is true now. Switches: yes.

        Raises: CallTimeout, PeerUnreachable, RemoteError, RemoteProtocolError.
        """
        with gevent.Timeout(timeout_s, CallTimeout(f"{address} did not answer within {timeout_s:g} s")):
            stream, _decoder, theirs = greet(address, self._hello, self._buffer, self.stats)
        stream.close()
        return theirs.peer

    def close_idle(self) -> None:
        """Close what has not been used for a while. Switches: no."""
        oldest_s = monotonic() - IDLE_S_MAX
        for connection in list(self._connections.values()):
            if connection.idle and connection.used_s < oldest_s:
                connection.close("closed after lying idle")

    def close(self) -> None:
        """Close everything; calls under way end, further ones are rejected. Switches: no."""
        self._closed = True
        for connection in list(self._connections.values()):
            connection.close("this node stops")

    def _refused(self, peer: Peer) -> Failure | None:
        """Why no connection to this peer is opened now; None when one may be."""
        if self._closed:
            return Rejected(f"{peer}: this node stops")
        backoff = self._backoffs.get(peer)
        if backoff is not None and backoff.error is not None and monotonic() < backoff.until_s:
            return backoff.error
        return None if self._make_room() else Rejected(f"{peer}: {CONNECTIONS_MAX} connections, none of them idle")

    def _make_room(self) -> bool:
        """Whether one more connection is within the bound, the one that was idle for longest being closed for it."""
        if len(self._connections) < CONNECTIONS_MAX:
            return True
        idle = [connection for connection in self._connections.values() if connection.idle]
        if idle:
            min(idle, key=lambda connection: connection.used_s).close("closed in favour of another peer")
        return bool(idle)

    def _on_closed(self, connection: Connection, error: Failure, again: list[Call]) -> None:
        peer = connection.peer
        del self._connections[peer]
        if connection.opened:
            self._backoffs.pop(peer, None)
            log.debug("peer=%s connection closed: %s", peer, error)
        elif not isinstance(error, Reset):  # else it was we who gave it up
            self._back_off(peer, error)
        for call in again:
            self.submit(call)

    def _back_off(self, peer: Peer, error: Failure) -> None:
        now_s = monotonic()
        if peer not in self._backoffs and len(self._backoffs) >= BACKOFFS_MAX:
            self._backoffs = {known: one for known, one in self._backoffs.items() if one.until_s > now_s}
        if len(self._backoffs) < BACKOFFS_MAX or peer in self._backoffs:
            backoff = self._backoffs.setdefault(peer, Backoff())
            delay_s = backoff.failed(error.with_traceback(None), now_s, self._rng)
            log.info("peer=%s unreachable for=%.2fs: %s", peer, delay_s, error)
