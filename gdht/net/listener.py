"""What the API port and the P2P port have in common: open, accept within bounds, survive, stop in two steps."""

import errno
import logging
import socket
from enum import Enum
from typing import Any

import gevent
from gevent.pool import Group
from gevent.server import StreamServer

from gdht.config import Address
from gdht.errors import ListenError
from gdht.net.logs import LineLimit
from gdht.net.stream import Stream, read_buffer, tune
from gdht.node.stats import Stats

log = logging.getLogger(__name__)

BACKLOG = 1024
PAUSE_S_MIN, PAUSE_S_MAX = 0.05, 2.0
"""How long to accept nothing after accept() failed: doubling, reset by the next connection."""
KILL_WAIT_S = 0.5

_ONE_CONNECTION_LOST = (errno.ECONNABORTED, errno.EPROTO, errno.EINTR, errno.EPERM)


class ListenerState(Enum):
    """Where a listener is in its life; it goes through these in order."""

    OPEN = "open"  # bound, clients queue in the backlog
    ACCEPTING = "accepting"
    STOPPING = "stopping"  # accepts nothing, connections finish what they have
    STOPPED = "stopped"


def open_socket(address: Address, option: str) -> socket.socket:
    """A listening socket. option: the configuration key, for the error. Port 0 takes a free one.

    Raises: ListenError.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return _bind_first(found)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ListenError(f"cannot listen on {address} ({option}): {reason}") from error


def _bind_first(found: list[Any]) -> socket.socket:
    """Bind the first of the addresses that can be bound; the last one's error is raised when none can."""
    for last, (family, kind, protocol, _name, where) in enumerate(found, 1 - len(found)):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # [::] serves IPv4 too
            sock.bind(where)
            sock.listen(BACKLOG)
            sock.setblocking(False)
            return sock
        except OSError:
            sock.close()
            if last == 0:
                raise
    raise OSError(errno.EADDRNOTAVAIL, "the name has no address")


def bound_address(sock: socket.socket) -> Address:
    """Where a socket really listens, its port included."""
    host, port = sock.getsockname()[:2]
    return Address(host, port)


class Listener:
    """Accepts connections on one port and runs `serve` for each in a greenlet of its own.

    connections_max: beyond it a new connection is refused at once (see `refuse`), never left hanging.
    """

    plane = ""
    """`api` or `p2p`: the label of the byte counters."""
    read_bytes = 64 * 1024
    send_timeout_s = 60.0

    def __init__(self, sock: socket.socket, connections_max: int, stats: Stats) -> None:
        self.address = bound_address(sock)
        self.state = ListenerState.OPEN
        self.stats = stats
        self.stranger_log = LineLimit(logging.getLogger(type(self).__module__))
        self._sock = sock
        self._connections_max = connections_max
        self._streams: set[Stream] = set()
        self._greenlets = Group()
        self._buffer = read_buffer(self.read_bytes)
        self._acceptor: _Acceptor | None = None

    def start(self) -> None:
        """Begin to accept. Switches: no."""
        assert self.state is ListenerState.OPEN
        self._acceptor = _Acceptor(self._sock, self)
        self._acceptor.start()
        self.state = ListenerState.ACCEPTING

    @property
    def accepting(self) -> bool:
        """Whether new connections are taken; False too while accept() is paused after an error."""
        return self.state is ListenerState.ACCEPTING and self._acceptor is not None and not self._acceptor.paused

    def stop_accepting(self) -> None:
        """Close the port and end the input of every connection; what has arrived is still served. Switches: no."""
        if self.state in (ListenerState.STOPPING, ListenerState.STOPPED):
            return
        self.state = ListenerState.STOPPING
        if self._acceptor is not None:
            self._acceptor.close()
        self._sock.close()
        for stream in self._streams:
            stream.stop_reading()

    def stop(self, deadline_s: float) -> None:
        """Stop accepting, let connections finish for at most this long, then close the rest. Switches: yes."""
        self.stop_accepting()
        self._greenlets.join(timeout=deadline_s)
        if self._greenlets:
            log.warning("plane=%s connections=%d cut off at the deadline", self.plane, len(self._greenlets))
            self._greenlets.kill(timeout=KILL_WAIT_S)
        self.state = ListenerState.STOPPED

    def admit(self, sock: socket.socket, where: Any) -> None:
        """Serve a new connection, or refuse it when there are too many. Switches: no."""
        if len(self._streams) >= self._connections_max or self.state is not ListenerState.ACCEPTING:
            with sock:
                self.refuse(sock)
            return
        tune(sock)
        stream = Stream(sock, self._buffer, self.plane, self.stats, self.send_timeout_s)
        self._streams.add(stream)
        self._greenlets.spawn(self._run, stream, str(Address(*where[:2])))

    def _run(self, stream: Stream, client: str) -> None:
        try:
            self.serve(stream, client)
        except OSError as error:
            log.debug("plane=%s client=%s closed: %s", self.plane, client, error)
        except Exception:
            log.exception("plane=%s client=%s failed", self.plane, client)  # a bug of ours: this connection only
        finally:
            stream.close()
            self._streams.discard(stream)

    def serve(self, stream: Stream, client: str) -> None:
        """Serve one connection until it ends; the caller closes it. client: its address. Switches: yes.

        Raises: OSError when the connection breaks.
        """
        raise NotImplementedError

    def refuse(self, _sock: socket.socket) -> None:
        """Count a connection that is over the limit, and say so if the protocol can. Switches: no."""
        raise NotImplementedError


class _Acceptor(StreamServer):  # type: ignore[misc]  # gevent has no types
    """gevent's accept loop, with our own answer to errors: log once, pause, go on."""

    def __init__(self, sock: socket.socket, listener: Listener) -> None:
        super().__init__(sock, listener.admit, spawn=None)
        self._listener = listener
        self._pause_s = PAUSE_S_MIN
        self.paused = False

    def do_read(self) -> tuple[socket.socket, Any] | None:
        """Accept one connection; None when there is none, or when accepting is paused."""
        try:
            accepted: tuple[socket.socket, Any] = self.socket.accept()
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in _ONE_CONNECTION_LOST:
                self._pause(error)
            return None
        self._pause_s = PAUSE_S_MIN
        return accepted

    def do_handle(self, sock: socket.socket, where: Any) -> None:
        """Hand it over; a plain call, since `admit` never switches and owns the socket from here on."""
        try:
            self._listener.admit(sock, where)
        except OSError as error:
            log.debug("client=%s lost while accepted: %s", where, error)
            sock.close()

    def _pause(self, error: OSError) -> None:
        log.warning(
            "plane=%s accept failed: %s; pausing %.2f s", self._listener.plane, error.strerror or error, self._pause_s
        )
        self.paused = True
        self.stop_accepting()
        gevent.spawn_later(self._pause_s, self._resume)
        self._pause_s = min(self._pause_s * 2, PAUSE_S_MAX)

    def _resume(self) -> None:
        self.paused = False
        if self.started:
            self.start_accepting()
