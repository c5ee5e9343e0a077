"""Servers of the client API for tests of clients: one does exactly what a test tells it to, one serves a dict."""

import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from gdht.core.messages import DhtFailure, DhtGet, DhtPut, DhtSuccess
from gdht.wire.codec import DhtDecoder, encode_dht

KEY = bytes(range(32))
OTHER_KEY = bytes(32)
GET_VECTOR = bytes.fromhex("0024028b" + KEY.hex())
SUCCESS_VECTOR = bytes.fromhex("0029028c" + KEY.hex() + "68656c6c6f")
FAILURE_VECTOR = bytes.fromhex("0024028d" + KEY.hex())
STORED = encode_dht(DhtSuccess(KEY, b""))
WAIT_S = 5.0


class Conversation:
    """One accepted connection, from the server's side."""

    def __init__(self, connection: socket.socket, over: threading.Event) -> None:
        self.socket = connection
        self.over = over
        self._decoder = DhtDecoder()
        self._requests: deque[DhtPut | DhtGet] = deque()

    def read(self) -> DhtPut | DhtGet:
        """The next request."""
        while not self._requests:
            data = self.socket.recv(1 << 16)
            assert data, "the client closed the connection"
            self._requests.extend(self._decoder.feed(data))
        return self._requests.popleft()

    def has_more(self) -> bool:
        """Whether there is more to read already."""
        return bool(self._requests) or bool(select.select([self.socket], [], [], 0)[0])

    def answer(self, *parts: bytes) -> DhtPut | DhtGet:
        """Read a request and answer it in these parts, each in a segment of its own."""
        request = self.read()
        for part in parts:
            self.socket.sendall(part)
        return request

    def wait_for_close(self) -> None:
        with suppress(ConnectionResetError):  # when the client closed with bytes unread
            assert self.socket.recv(1) == b""

    def wait_until_closed(self) -> None:
        """Read, and say nothing, until the client closes."""
        with suppress(ConnectionResetError):
            while self.socket.recv(1 << 16):
                pass

    def stall(self) -> None:
        """Say nothing until the test is over."""
        self.over.wait(WAIT_S)


Step = Callable[[Conversation], object]


class ScriptedServer:
    """Takes one connection per step of the script and plays it; a step's failure fails the test."""

    def __init__(self, *script: Step, family: socket.AddressFamily = socket.AF_INET) -> None:
        self._listener = socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family)
        self._listener.settimeout(WAIT_S)
        self._script = script
        self._failures: list[BaseException] = []
        self.connections = 0
        self.over = threading.Event()
        host, port = self._listener.getsockname()[:2]
        self.port = port
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._thread = threading.Thread(target=self._play)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, tb: object) -> None:
        self.over.set()
        self._thread.join()
        self._listener.close()
        if error is None:
            assert not self._failures, self._failures

    def _play(self) -> None:
        for step in self._script:
            try:
                connection, _ = self._listener.accept()
                self.connections += 1
                with connection:
                    connection.settimeout(WAIT_S)
                    step(Conversation(connection, self.over))
            except BaseException as failure:  # noqa: BLE001
                self._failures.append(failure)


def answers(*parts: bytes) -> Step:
    return lambda conversation: conversation.answer(*parts)


class DictServer:
    """Serves any number of connections from a dict, each in a thread of its own, until it is stopped.

    values: may be shared with another server, as the nodes of a ring do. refused: keys that no put may store.
    """

    def __init__(self, values: dict[bytes, bytes] | None = None) -> None:
        self.values = {} if values is None else values
        self.refused: set[bytes] = set()
        self.requests: list[DhtPut | DhtGet] = []
        self.connections = 0
        self.open_now = 0
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, kind: object, error: object, tb: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse new connections and break the present ones."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        with self._lock:
            for connection in self._sockets:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with self._lock:
                    self._sockets.add(connection)
                    self.connections += 1
                    self.open_now += 1
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        decoder = DhtDecoder()
        with connection, suppress(OSError):
            while data := connection.recv(1 << 16):
                frames = [self._answer(request) for request in decoder.feed(data)]
                connection.sendall(b"".join(frames))
        with self._lock:
            self._sockets.discard(connection)
            self.open_now -= 1

    def _answer(self, request: DhtPut | DhtGet) -> bytes:
        with self._lock:
            self.requests.append(request)
            if isinstance(request, DhtGet):
                value = self.values.get(request.key)
                return encode_dht(DhtFailure(request.key) if value is None else DhtSuccess(request.key, value))
            if request.key in self.refused:
                answer = encode_dht(DhtFailure(request.key))
            else:
                self.values[request.key] = request.value
                answer = encode_dht(DhtSuccess(request.key, b""))
            return answer if request.wants_answer else b""
