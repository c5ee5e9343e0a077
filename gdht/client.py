"""A blocking client of the API port: put and get from any program, on a plain socket of the standard library.

Only what one connection needs lives here: opening it, one request at a time, one deadline per request.
"""

import hashlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from gdht.config import Address, parse_address
from gdht.core.ident import IDENT_BYTES
from gdht.core.messages import VALUE_BYTES_MAX, DhtFailure, DhtGet, DhtMessage, DhtPut, DhtSuccess
from gdht.errors import ClientDisconnected, ClientError, ClientTimeout, PutFailed, RemoteProtocolError
from gdht.wire.codec import DhtDecoder, encode_dht

TTL_MAX_S = 0xFFFF
REPLICATION_MAX = 0xFF
READ_BYTES_MAX = 1 << 16
WANTS_ANSWER = 1
"""Bit 0 of `reserved` in DHT PUT."""


def hash_key(text: str | bytes) -> bytes:
    """The key of a text or of any bytes: their SHA-256, 32 bytes; a text is taken as UTF-8.

    >>> hash_key("motd").hex()[:16]
    '5faab372d8fe1b00'
    >>> hash_key("motd") == hash_key(b"motd")
    True
    """
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return hashlib.sha256(data).digest()


class Client:
    """One lasting connection to the API port of a node, opened by the first request.

    address: `host:port`, `[ipv6]:port`, a name or a literal. timeout_s: for each whole request, connecting included.
    Threads may share a client: their requests wait for one another. Processes may not: make one after a fork.

    A connection that turns out dead after lying idle is opened anew, once, and the request sent again; values of
    `put_nowait` that were still on their way are then lost. After a timeout the connection is closed, since answers
    would be out of step; the next request opens a new one.

    >>> client = Client("127.0.0.1:7001", timeout_s=2.0)
    >>> with client:  # doctest: +SKIP
    ...     client.put(hash_key("motd"), b"hello", ttl_s=3600)
    ...     client.get(hash_key("motd"))
    b'hello'
    """

    def __init__(self, address: str, timeout_s: float = 5.0) -> None:
        """Raises: ValueError when the address is not one, its port is 0, or the timeout is not above 0."""
        if timeout_s <= 0:
            raise ValueError(f"timeout_s must be above 0, not {timeout_s}")
        self._address = parse_address(address, port_min=1)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._connection: _Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, if there is one; a later request opens a new one."""
        with self._lock:
            self._drop()

    def put(self, key: bytes, value: bytes, ttl_s: int = 0, replication: int = 0) -> None:
        """Store a value and wait until the write quorum holds it.

        key: 32 bytes, see `hash_key`. value: 0 to 65,495 bytes. ttl_s: 0 to 65,535, 0 for the node's default.
        replication: 0 to 255 nodes, 0 for the node's default. The node cuts both to its own limits.
        Raises: PutFailed, ClientTimeout (it may be stored all the same: put it again), ClientDisconnected,
        ClientError (the answer made no sense), ValueError.
        """
        answer = self._ask(_put(key, value, ttl_s, replication, WANTS_ANSWER))
        if isinstance(answer, DhtFailure):
            raise PutFailed(f"{self._address}: the write quorum did not store the value")
        if answer.value:
            raise ClientError(f"{self._address} answered a put with a value of {len(answer.value)} bytes")

    def put_nowait(self, key: bytes, value: bytes, ttl_s: int = 0, replication: int = 0) -> None:
        """Send a value and do not ask what became of it: the silent, best-effort PUT of the protocol.

        Arguments as for `put`. A later `get` on this client sees it, as long as the connection lasts.
        Raises: ClientTimeout (the node does not read), ClientDisconnected, ValueError.
        """
        message = _put(key, value, ttl_s, replication, 0)
        with self._exchange() as deadline:
            self._send(message, deadline)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key; None: there is no such value, or the node could not find out.

        key: 32 bytes, see `hash_key`.
        Raises: ClientTimeout, ClientDisconnected, ClientError (the answer made no sense), ValueError.
        """
        answer = self._ask(DhtGet(_key(key)))
        return answer.value if isinstance(answer, DhtSuccess) else None

    def _ask(self, message: DhtPut | DhtGet) -> DhtSuccess | DhtFailure:
        with self._exchange() as deadline:
            connection, fresh = self._send(message, deadline)
            try:
                answer = connection.receive(deadline)
            except ClientDisconnected:
                if fresh or connection.mid_answer:
                    raise
                self._drop()
                answer = self._send(message, deadline)[0].receive(deadline)
            return self._checked(answer, message.key)

    def _checked(self, answer: DhtMessage, key: bytes) -> DhtSuccess | DhtFailure:
        assert isinstance(answer, DhtSuccess | DhtFailure), "the decoder accepts nothing else"
        if answer.key != key:
            raise ClientError(f"{self._address} answered for another key: {answer.key.hex()}")
        return answer

    def _send(self, message: DhtPut | DhtGet, deadline: float) -> "tuple[_Connection, bool]":
        """Send on the open connection, or on a new one when there is none or it died idle; and whether it is new."""
        frame = encode_dht(message)
        if self._connection is not None and self._connection.is_usable():
            try:
                self._connection.send(frame, deadline)
                return self._connection, False
            except ClientDisconnected:
                pass
        self._drop()
        self._connection = _Connection(self._address, deadline)
        self._connection.send(frame, deadline)
        return self._connection, True

    @contextmanager
    def _exchange(self) -> Iterator[float]:
        """Our turn on the connection, until a deadline; whatever goes wrong closes the connection."""
        deadline = time.monotonic() + self._timeout_s
        if not self._lock.acquire(timeout=self._timeout_s):
            raise ClientTimeout(f"{self._address}: other threads' requests took all of {self._timeout_s:g} s")
        try:
            yield deadline
        except TimeoutError as error:
            self._drop()
            raise ClientTimeout(f"{self._address} did not answer within {self._timeout_s:g} s") from error
        except BaseException:
            self._drop()
            raise
        finally:
            self._lock.release()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Connection:
    """A connected socket and what was read from it. Deadlines are of `time.monotonic`; passing one: TimeoutError."""

    def __init__(self, address: Address, deadline: float) -> None:
        self._address = address
        self._decoder = DhtDecoder(accepted=(DhtSuccess, DhtFailure))
        self._socket = _connect(address, deadline)
        self.mid_answer = False
        """Whether some bytes of the answer have come, but not all."""

    def close(self) -> None:
        self._socket.close()

    def is_usable(self) -> bool:
        """Whether the idle connection is open and silent; bytes that nobody asked for put it out of step."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            return not selector.select(timeout=0)

    def send(self, frame: bytes, deadline: float) -> None:
        self._socket.settimeout(_left(deadline))
        try:
            self._socket.sendall(frame)
        except TimeoutError:
            raise
        except OSError as error:
            raise ClientDisconnected(f"{self._address} closed the connection: {_reason(error)}") from error

    def receive(self, deadline: float) -> DhtMessage:
        """Exactly one message: a byte more would be taken for the next answer."""
        received = 0
        while True:
            data = self._read(deadline)
            received += len(data)
            try:
                messages = self._decoder.feed(data)
            except RemoteProtocolError as error:
                raise ClientError(f"{self._address} sent what is no answer: {error}") from error
            self.mid_answer = not messages
            if messages:
                break
        if received != len(encode_dht(messages[0])):
            raise ClientError(f"{self._address} sent more than one answer to one request")
        return messages[0]

    def _read(self, deadline: float) -> bytes:
        self._socket.settimeout(_left(deadline))
        try:
            data = self._socket.recv(READ_BYTES_MAX)
        except TimeoutError:
            raise
        except OSError as error:
            raise ClientDisconnected(f"{self._address} closed the connection: {_reason(error)}") from error
        if not data:
            when = "in the middle of its answer" if self.mid_answer else "without an answer"
            raise ClientDisconnected(f"{self._address} closed the connection {when}")
        return data


def _connect(address: Address, deadline: float) -> socket.socket:
    """A connection to the first of the name's addresses that takes one; they share the time that is left."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ClientDisconnected(f"no address for {address.host!r}: {_reason(error)}") from error
    failure: OSError | None = None
    for index, (family, kind, protocol, _, place) in enumerate(found):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left(deadline) / (len(found) - index))
            connection.connect(place)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            connection.close()
            failure = error
    if isinstance(failure, TimeoutError) or failure is None:
        raise TimeoutError
    raise ClientDisconnected(f"cannot reach {address}: {_reason(failure)}") from failure


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: OSError | UnicodeError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _key(key: bytes) -> bytes:
    if len(key) != IDENT_BYTES:
        raise ValueError(f"a key is {IDENT_BYTES} bytes, not {len(key)}; hash_key makes one from anything")
    return key


def _put(key: bytes, value: bytes, ttl_s: int, replication: int, reserved: int) -> DhtPut:
    if len(value) > VALUE_BYTES_MAX:
        raise ValueError(f"a value is at most {VALUE_BYTES_MAX:,} bytes, not {len(value):,}")
    if not 0 <= ttl_s <= TTL_MAX_S:
        raise ValueError(f"ttl_s is 0 to {TTL_MAX_S}, not {ttl_s}")
    if not 0 <= replication <= REPLICATION_MAX:
        raise ValueError(f"replication is 0 to {REPLICATION_MAX}, not {replication}")
    return DhtPut(ttl_s, replication, reserved, _key(key), value)
