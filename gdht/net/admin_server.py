"""The admin port: a WSGI application served by gevent."""

import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any

from gevent.pool import Pool
from gevent.pywsgi import LoggingLogAdapter, WSGIHandler, WSGIServer

from gdht.config import Address
from gdht.net.listener import bound_address
from gdht.net.logs import LineLimit

log = logging.getLogger(__name__)
stranger_log = LineLimit(log)

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

CONNECTIONS_MAX = 256
"""Connections served at a time; further ones wait in the backlog."""
IDLE_S_MAX = 15.0
"""A connection that sends or takes nothing for so long is closed, so that idle ones do not keep the probes out."""


class AdminServer:
    """Serves one application on one listening socket. Requests are logged at debug level."""

    def __init__(self, sock: socket.socket, app: WsgiApp) -> None:
        self.address: Address = bound_address(sock)
        requests = LoggingLogAdapter(log, logging.DEBUG)
        self._server = WSGIServer(sock, app, log=requests, error_log=log, handler_class=_Handler)
        self._server.set_spawn(Pool(CONNECTIONS_MAX))

    def start(self) -> None:
        """Begin to accept. Switches: no."""
        self._server.start()

    def stop(self, deadline_s: float) -> None:
        """Stop accepting, let requests finish for at most this long. Switches: yes."""
        self._server.stop(timeout=deadline_s)


class _Handler(WSGIHandler):  # type: ignore[misc]  # gevent has no types
    """One connection, with a bound on its silence and on what it can make us log."""

    def handle(self) -> None:
        """Serve its requests."""
        self.socket.settimeout(IDLE_S_MAX)
        super().handle()

    def log_error(self, _message: str, *_values: object) -> None:
        """One short line about bad input; gevent's own would repeat all of it."""
        stranger_log.warning("plane=admin client=%s closed reason=not_http", Address(*self.client_address[:2]))

    def _handle_client_error(self, error: Exception) -> tuple[str, bytes] | None:
        """What a bad request is answered; nothing when its sender is gone or silent, which gevent takes for a bug."""
        if isinstance(error, ConnectionError | TimeoutError):
            return None
        answer: tuple[str, bytes] = super()._handle_client_error(error)
        return answer
