"""One connection of the blocking client: a socket that is read while it is written, so that no side can block both.

Times are of `time.monotonic`; who passes the end of his attempt gets TimeoutError.
"""

import select
import socket
import time

from gdht.client.addresses import Attempts
from gdht.client.protocol import Batch, Pipeline, reason_of
from gdht.config import Address
from gdht.errors import ClientDisconnected, ClientError

READ_BYTES_MAX = 1 << 18
IN_FLIGHT_MAX = 128
"""Requests of a batch that wait for their answers: twice as many as a node takes of one connection while they wait for
other nodes, so that the next ones are there when it reads on."""
UNSENT_BYTES_MAX = 1 << 18
"""Bytes of requests that wait for the socket; at more, no further request is made ready."""


class Connection:
    """A connected socket. Raises on opening: ClientDisconnected, TimeoutError."""

    def __init__(self, address: Address, until_s: float) -> None:
        self.address = address
        self.was_used = False
        """Whether a request before this one has used it."""
        self.pipeline = Pipeline(str(address))
        self._unsent = bytearray()
        self._socket = _connect(address, until_s)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def close(self) -> None:
        """Close the socket, once or again."""
        self._socket.close()

    def is_usable(self) -> bool:
        """Whether the idle connection is open and silent; bytes that nobody asked for put it out of step."""
        return not self._poll.poll(0)

    def broke_between_answers(self, error: ClientError) -> bool:
        """Whether its end says little of the node: it had been in use before, and no answer was cut short."""
        was_used = self.was_used or self.pipeline.has_answered
        return was_used and isinstance(error, ClientDisconnected) and not self.pipeline.is_mid_answer

    def exchange(self, batch: Batch, attempts: Attempts) -> None:
        """Send what has no answer yet, and take the answers.

        Raises: TimeoutError, ClientDisconnected, ClientError; the connection is of no more use then.
        """
        batch.rewind()
        self._send(batch)
        while self._unsent or self.pipeline.in_flight:
            events = self._wait(attempts.until_s)
            if events & ~select.POLLOUT:
                self._receive(batch, attempts)
            self._send(batch)

    def _send(self, batch: Batch) -> None:
        """Send until the socket takes no more, or as many requests are under way as may be."""
        self._fill(batch)
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
                self._fill(batch)
        except BlockingIOError:
            pass
        except OSError as error:
            raise self.pipeline.end(error) from error

    def _fill(self, batch: Batch) -> None:
        while batch.has_more and self.pipeline.in_flight < IN_FLIGHT_MAX and len(self._unsent) < UNSENT_BYTES_MAX:
            self._unsent += self.pipeline.send(batch.next())

    def _wait(self, until_s: float) -> int:
        """What the socket is ready for."""
        self._poll.modify(self._socket, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        found = self._poll.poll(_left_s(until_s) * 1000)
        if not found:
            raise TimeoutError
        return found[0][1]

    def _receive(self, batch: Batch, attempts: Attempts) -> None:
        try:
            data = self._socket.recv(READ_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            raise self.pipeline.end(error) from error
        if not data:
            raise self.pipeline.end()
        answers = self.pipeline.feed(data)
        if answers:
            batch.take(answers, self.pipeline.name)
            attempts.progressed(self.address, time.monotonic())


def _connect(address: Address, until_s: float) -> socket.socket:
    """A connection to the first of the name's addresses that takes one; they share the time that is left."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ClientDisconnected(f"no address for {address.host!r}: {reason_of(error)}") from error
    failure: OSError | None = None
    for index, (family, kind, protocol, _, place) in enumerate(found):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left_s(until_s) / (len(found) - index))
            connection.connect(place)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            return connection
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
    if isinstance(failure, TimeoutError) or failure is None:
        raise TimeoutError
    raise ClientDisconnected(f"cannot reach {address}: {reason_of(failure)}") from failure


def _left_s(until_s: float) -> float:
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
