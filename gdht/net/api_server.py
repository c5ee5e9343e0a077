"""The client API port: see `gdht.net.api_connection` for what happens on one connection."""

import logging
import socket

from gdht.net.admission import Admission
from gdht.net.api_connection import ApiConnection, ApiNode
from gdht.net.express import Express
from gdht.net.listener import Listener
from gdht.net.stream import Stream
from gdht.net.workers import Workers
from gdht.node.stats import Stats

log = logging.getLogger(__name__)


class ApiServer(Listener):
    """Serves clients.

    node: carries out their requests. admission: how many at once. express: the way of those that take one round
    trip; None: there is none.
    """

    plane = "api"
    read_bytes = 128 * 1024
    send_timeout_s = 60.0

    def __init__(
        self,
        sock: socket.socket,
        connections_max: int,
        stats: Stats,
        node: ApiNode,
        admission: Admission,
        express: Express | None = None,
    ) -> None:
        super().__init__(sock, connections_max, stats)
        self._node = node
        self._express = express
        self._workers = Workers()
        self._admission = admission

    def serve(self, stream: Stream, client: str) -> None:
        """Serve one client until it closes or breaks the protocol. Switches: yes. Raises: OSError."""
        self.stats.api_accepted_connections["accepted"] += 1
        self.stats.api_connections += 1
        try:
            self._connection(stream, client).serve()
        finally:
            self.stats.api_connections -= 1

    def _connection(self, stream: Stream, client: str) -> ApiConnection:
        shared = (self._node, self.stats, self._workers, self.stranger_log, self._admission, self._express)
        return ApiConnection(stream, client, *shared)

    def refuse(self, _sock: socket.socket) -> None:
        """Count a connection that is over the limit; the API has no words for it. Switches: no."""
        self.stats.api_accepted_connections["rejected"] += 1
        self.stranger_log.warning("plane=api refused a connection: %d are open", len(self._streams))

    def stop(self, deadline_s: float) -> None:
        """Stop accepting, let requests finish for at most this long, then close the rest. Switches: yes."""
        super().stop(deadline_s)
        self._workers.stop()
