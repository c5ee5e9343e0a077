"""What the tests of real sockets share: a node made of a dictionary, ports that are closed again, clients for them."""

import socket as stdlib_socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import socket

from gdht.config import Address
from gdht.core.messages import (
    DhtGet,
    DhtPut,
    P2pAck,
    P2pGet,
    P2pHello,
    P2pPing,
    P2pPut,
    P2pSuccess,
    Reply,
    Request,
)
from gdht.core.peer import Peer
from gdht.core.records import NO_VERSION
from gdht.net.admission import Admission
from gdht.net.api_server import ApiServer
from gdht.net.daemon import Daemon
from gdht.net.hello import our_hello
from gdht.net.listener import open_socket
from gdht.net.peer_server import PeerServer
from gdht.net.pool import Pool
from gdht.net.runtime import GeventRuntime
from gdht.node.express import Intake, OwnRecords
from gdht.node.replication.get import GetOutcome
from gdht.node.replication.put import PutOutcome
from gdht.node.stats import Stats
from gdht.wire.codec import P2pDecoder, encode_dht, encode_p2p

LOOPBACK = Address("127.0.0.1", 0)


class FakeNode:
    """A node that is a dictionary. slow: keys that take the slow path, and for how many seconds; log: what it did."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.slow: dict[bytes, float] = {}
        self.log: list[tuple[str, bytes]] = []
        self.requests: list[tuple[Peer, Request]] = []
        self.running = self.running_max = 0
        self.answer: Callable[[Peer, Request], Reply] | None = None

    def try_get(self, key: bytes) -> GetOutcome | None:
        return None if key in self.slow else self._get(key)

    def try_put(self, key: bytes, value: bytes, ttl_s: int, replication: int) -> PutOutcome | None:
        return None if key in self.slow else self._put(key, value)

    def get(self, key: bytes) -> GetOutcome:
        self._wait(key)
        return self._get(key)

    def put(self, key: bytes, value: bytes, ttl_s: int, replication: int) -> PutOutcome:
        self._wait(key)
        return self._put(key, value)

    def own_records(self) -> OwnRecords | None:
        return None

    def intake(self) -> Intake | None:
        return None

    def handle(self, sender: Peer, request: Request) -> Reply:
        self.requests.append((sender, request))
        if self.answer is not None:
            return self.answer(sender, request)
        match request:
            case P2pPing():
                return P2pAck()
            case P2pPut() | P2pGet():
                value = request.value if isinstance(request, P2pPut) else self.values.get(request.key, b"")
                return P2pSuccess(request.key, 1000, 1, NO_VERSION, value)
        raise AssertionError(request)

    def _wait(self, key: bytes) -> None:
        self.running += 1
        self.running_max = max(self.running, self.running_max)
        gevent.sleep(self.slow.get(key, 0))
        self.running -= 1

    def _get(self, key: bytes) -> GetOutcome:
        self.log.append(("get", key))
        value = self.values.get(key)
        return GetOutcome("not_found" if value is None else "success", value)

    def _put(self, key: bytes, value: bytes) -> PutOutcome:
        self.log.append(("put", key))
        self.values[key] = value
        return PutOutcome("success", 1, 1)


class Client:
    """A socket to a port, in a test's own greenlet."""

    def __init__(self, address: Address) -> None:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.sock = socket.socket(family)
        self.sock.settimeout(10)
        try:
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise
        self.address = Address(*self.sock.getsockname()[:2])

    def send(self, *frames: bytes) -> None:
        self.sock.sendall(b"".join(frames))

    def read(self, size: int) -> bytes:
        """Exactly so many bytes, or fewer at the end of the stream."""
        data = b""
        while len(data) < size and (more := self.sock.recv(size - len(data))):
            data += more
        return data

    def read_all(self) -> bytes:
        """Everything up to the end of the stream."""
        return self.read(1 << 30)

    def end(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)


def make_key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def make_put(key: bytes, value: bytes, *, answered: bool = False) -> bytes:
    return encode_dht(DhtPut(60, 1, int(answered), key, value))


def make_get(key: bytes) -> bytes:
    return encode_dht(DhtGet(key))


def wait_for(condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
    """Let others run until it is so."""
    with gevent.Timeout(timeout_s, AssertionError("it did not happen in time")):
        while not condition():
            gevent.sleep(0.005)


def exit_code(daemon: Daemon) -> int:
    """Serve until it has stopped; what the process would end with."""
    try:
        daemon.serve_forever()
    except SystemExit as error:
        assert isinstance(error.code, int)
        return error.code
    return 0


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened
    gevent.sleep(0)  # closing a stream takes one turn of the loop


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def stats() -> Stats:
    return Stats()


@pytest.fixture
def dial(stack: ExitStack) -> Callable[[Any], Client]:
    """`dial(server)`: a client of it."""

    def connect(server: Any) -> Client:
        client = Client(server if isinstance(server, Address) else server.address)
        stack.callback(client.sock.close)
        return client

    return connect


@pytest.fixture
def serve_api(stack: ExitStack, node: FakeNode, stats: Stats) -> Callable[..., ApiServer]:
    """`serve_api(connections_max=..., address=...)`: a running API server of the fake node."""

    def serve(connections_max: int = 100, address: Address = LOOPBACK) -> ApiServer:
        server = ApiServer(open_socket(address, "api_address"), connections_max, stats, node, Admission())
        server.start()
        stack.callback(server.stop, 0)
        return server

    return serve


@pytest.fixture
def serve_peers(stack: ExitStack, node: FakeNode, stats: Stats) -> Callable[..., PeerServer]:
    """`serve_peers(ident=..., ring=..., address=..., connections_max=...)`: a running P2P server of the fake node."""

    def serve(
        ident: int = 7, ring: str = "test", address: Address = LOOPBACK, connections_max: int = 100
    ) -> PeerServer:
        sock = open_socket(address, "p2p_address")
        host, port = sock.getsockname()[:2]
        server = PeerServer(sock, connections_max, stats, our_hello(ring, Peer(ident, str(Address(host, port)))), node)
        server.start()
        stack.callback(server.stop, 0)
        return server

    return serve


@pytest.fixture
def make_pool(stack: ExitStack) -> Callable[..., Pool]:
    """`make_pool(ident=..., ring=...)`: a pool with its own counters, closed at the end."""

    def make(ident: int = 1, ring: str = "test", address: str = "127.0.0.1:1") -> Pool:
        pool = Pool(our_hello(ring, Peer(ident, address)), Stats())
        stack.callback(gevent.sleep, 0)
        stack.callback(pool.close)
        return pool

    return make


@pytest.fixture
def pool(make_pool: Callable[..., Pool]) -> Pool:
    return make_pool()


@pytest.fixture
def rt(pool: Pool) -> GeventRuntime:
    return GeventRuntime(pool)


@pytest.fixture
def hello() -> Callable[..., P2pHello]:
    """`hello(ident=..., ring=...)`: what somebody says first."""

    def make(ident: int = 1, ring: str = "test", address: str = "127.0.0.1:1") -> P2pHello:
        return our_hello(ring, Peer(ident, address))

    return make


@pytest.fixture
def fake_peer(stack: ExitStack) -> Callable[..., Any]:
    """`fake_peer(talk)`: a port whose every connection is handed to `talk(socket)`, in a greenlet of its own."""

    @contextmanager
    def listening(talk: Callable[[Any], None], port: int) -> Iterator[Address]:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
        connections: list[Any] = []

        def accept() -> None:
            while True:
                connection, _where = sock.accept()
                connections.append(connection)
                greenlets.append(gevent.spawn(talk, connection))

        greenlets = [gevent.spawn(accept)]
        try:
            yield Address("127.0.0.1", sock.getsockname()[1])
        finally:
            gevent.killall(greenlets)
            for each in [sock, *connections]:
                each.close()
            gevent.sleep(0)

    def start(talk: Callable[[Any], None], port: int = 0) -> Any:
        context = listening(talk, port)
        address = context.__enter__()
        stack.push(context)
        return SimpleNamespace(address=address, peer=Peer(7, str(address)))

    return start


@pytest.fixture
def free_port() -> int:
    with stdlib_socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def tools() -> Any:
    """The functions above, for the test modules."""
    return SimpleNamespace(key=make_key, put=make_put, get=make_get, wait_for=wait_for, exit_code=exit_code)


def answers_in(data):
    return P2pDecoder(dialling=True).feed(data)


def read_answers(client, decoder, count):
    found = []
    while len(found) < count and (data := client.sock.recv(65536)):
        found += decoder.feed(data)
    return found


@pytest.fixture
def greeted(dial, hello):
    """`greeted(server)`: a client that has said HELLO and been answered, and its decoder."""

    def greet(server):
        client, decoder = dial(server), P2pDecoder(dialling=True)
        client.send(encode_p2p(hello(1), 0))
        assert [message for _id, message in read_answers(client, decoder, 1)] == [hello(7, address=str(server.address))]
        return client, decoder

    return greet
