"""The bytes of the client API, built and read by hand as any other program would; its specification has the tables."""

import socket
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

PUT, GET, SUCCESS, FAILURE = 650, 651, 652, 653
ANSWER_WANTED = 1
VALUE_BYTES_MAX = 65_495
TIMEOUT_S = 15.0

Item = TypeVar("Item")


def put_frame(key: bytes, value: bytes, ttl: int = 0, replication: int = 0, reserved: int = 0) -> bytes:
    """DHT PUT: size, type, ttl, replication, reserved, key, value."""
    return struct.pack(">HHHBB32s", 40 + len(value), PUT, ttl, replication, reserved, key) + value


def get_frame(key: bytes) -> bytes:
    """DHT GET: size, type, key."""
    return struct.pack(">HH32s", 36, GET, key)


def success_frame(key: bytes, value: bytes = b"") -> bytes:
    """DHT SUCCESS: size, type, key, value."""
    return struct.pack(">HH32s", 36 + len(value), SUCCESS, key) + value


def failure_frame(key: bytes) -> bytes:
    """DHT FAILURE: size, type, key."""
    return struct.pack(">HH32s", 36, FAILURE, key)


class Message(NamedTuple):
    """One answer."""

    type_number: int
    key: bytes
    value: bytes


def split_address(address: str) -> tuple[str, int]:
    """Host, without brackets, and port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def dial(address: str) -> socket.socket:
    """A plain connection, with a time limit for each call."""
    sock = socket.create_connection(split_address(address), timeout=TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_to_end(sock: socket.socket) -> bytes:
    """All that comes until the other side closes; being reset is an end too."""
    received = bytearray()
    try:
        while data := sock.recv(1 << 16):
            received += data
    except (ConnectionResetError, BrokenPipeError):
        pass
    return bytes(received)


class ApiSocket:
    """A client's connection."""

    def __init__(self, address: str) -> None:
        self.socket = dial(address)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    @property
    def name(self) -> str:
        """Our own address, as the other side sees it."""
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def end_sending(self) -> None:
        """Close our direction of the connection."""
        self.socket.shutdown(socket.SHUT_WR)

    def read(self) -> Message:
        """The next message. Fails when the connection ends first."""
        size, type_number = struct.unpack(">HH", self._take(4))
        assert size >= 36, size
        return Message(type_number, self._take(32), self._take(size - 36))

    def read_bytes(self, count: int) -> bytes:
        """Exactly so many bytes."""
        return self._take(count)

    def read_to_end(self) -> bytes:
        """All that comes until the node closes."""
        return self._rest + read_to_end(self.socket)

    def _take(self, count: int) -> bytes:
        parts = bytearray(self._rest)
        while len(parts) < count:
            data = self.socket.recv(1 << 18)
            assert data, f"closed after {bytes(parts[:80])!r}, {count} bytes were expected"
            parts += data
        self._rest = bytes(parts[count:])
        return bytes(parts[:count])

    # Whole requests --------------------------------------------------------------------------------------------------

    def put(self, key: bytes, value: bytes, ttl: int = 0, replication: int = 0) -> bool:
        """Put and wait for the outcome; whether it is stored."""
        self.send(put_frame(key, value, ttl, replication, ANSWER_WANTED))
        answer = self.read()
        assert answer in ((SUCCESS, key, b""), (FAILURE, key, b"")), answer
        return answer.type_number == SUCCESS

    def get(self, key: bytes) -> bytes | None:
        """The value, None for FAILURE."""
        self.send(get_frame(key))
        answer = self.read()
        assert answer.key == key
        assert answer.type_number in (SUCCESS, FAILURE)
        return answer.value if answer.type_number == SUCCESS else None

    def put_all(self, values: Iterable[tuple[bytes, bytes]], ttl: int = 0, replication: int = 0) -> None:
        """Put many, pipelined; all of them must be stored."""
        for part in _parts([*values]):
            self.send(b"".join(put_frame(key, value, ttl, replication, ANSWER_WANTED) for key, value in part))
            for key, _ in part:
                assert self.read() == (SUCCESS, key, b"")

    def get_all(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Get many, pipelined; those that were found."""
        found = {}
        for part in _parts([*keys]):
            self.send(b"".join(map(get_frame, part)))
            for key in part:
                answer = self.read()
                assert answer.key == key
                if answer.type_number == SUCCESS:
                    found[key] = answer.value
        return found


def _parts(items: list[Item], size: int = 250) -> Iterable[list[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
