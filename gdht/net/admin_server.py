"""The admin port: a WSGI application served by gevent."""

import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any

from gevent.pool import Pool
from gevent.pywsgi import LoggingLogAdapter, WSGIServer

from gdht.config import Address
from gdht.net.listener import bound_address

log = logging.getLogger(__name__)

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

REQUESTS_MAX = 64
"""Connections served at a time; further ones wait in the backlog."""


class AdminServer:
    """Serves one application on one listening socket. Requests are logged at debug level, errors as errors."""

    def __init__(self, sock: socket.socket, app: WsgiApp) -> None:
        self.address: Address = bound_address(sock)
        requests = LoggingLogAdapter(log, logging.DEBUG)
        self._server = WSGIServer(sock, app, log=requests, error_log=log)
        self._server.set_spawn(Pool(REQUESTS_MAX))

    def start(self) -> None:
        """Begin to accept. Switches: no."""
        self._server.start()

    def stop(self, deadline_s: float) -> None:
        """Stop accepting, let requests finish for at most this long. Switches: yes."""
        self._server.stop(timeout=deadline_s)
