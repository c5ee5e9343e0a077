"""A small API port and admin ports for the commands to talk to."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from click.testing import CliRunner, Result

from gdht.admin import create_app
from gdht.cli import cli
from gdht.core.messages import DhtFailure, DhtGet, DhtPut, DhtSuccess
from gdht.errors import RemoteProtocolError
from gdht.wire.codec import DhtDecoder, encode_dht
from tests.cli.fake_ring import Ring

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run one command line in this process, with nothing of gdht's in the environment."""
    runner = CliRunner(env=dict.fromkeys(("GDHT_API_ADDRESS", "GDHT_ADMIN", "GDHT_ADMIN_ADDRESS", "GDHT_ADMIN_TOKEN")))

    def run_line(*arguments: str, **more: object) -> Result:
        return runner.invoke(cli, arguments, prog_name="gdht", **more)  # type: ignore[arg-type]

    return run_line


class ApiPort(socketserver.ThreadingTCPServer):
    """An API port on a dict. refuses: answer every put with FAILURE."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ApiHandler)
        self.values: dict[bytes, bytes] = {}
        self.puts: list[DhtPut] = []
        self.refuses = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _ApiHandler(socketserver.BaseRequestHandler):
    server: ApiPort

    def handle(self) -> None:
        decoder = DhtDecoder()
        with suppress(RemoteProtocolError):
            while data := self.request.recv(1 << 16):
                for message in decoder.feed(data):
                    self.request.sendall(encode_dht(self._answer(message)))

    def _answer(self, message: object) -> DhtSuccess | DhtFailure:
        if isinstance(message, DhtPut):
            self.server.puts.append(message)
            if self.server.refuses:
                return DhtFailure(message.key)
            self.server.values[message.key] = message.value
            return DhtSuccess(message.key, b"")
        assert isinstance(message, DhtGet)
        value = self.server.values.get(message.key)
        return DhtFailure(message.key) if value is None else DhtSuccess(message.key, value)


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def api_port() -> Iterator[ApiPort]:
    with ApiPort() as server, _serving(server):
        yield server


class AdminScript(ThreadingHTTPServer):
    """An admin port that gives one answer to everything, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, status: int, body: bytes, content_type: str) -> None:
        super().__init__(("127.0.0.1", 0), _AdminHandler)
        self.answer = (status, body, content_type)
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _AdminHandler(BaseHTTPRequestHandler):
    server: AdminScript

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        status, body, content_type = self.server.answer
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def admin_script() -> Iterator[Callable[..., AdminScript]]:
    """Start admin ports: status, body, content type."""
    running: list[tuple[AdminScript, threading.Thread]] = []

    def start(status: int = 200, body: bytes = b"{}", content_type: str = "application/json") -> AdminScript:
        server = AdminScript(status, body, content_type)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def node() -> Iterator[tuple[str, Ring]]:
    """The address of an admin port with token `secret`, and the ring behind it."""
    ring = Ring()
    app = create_app(lambda: ring.status, ring, ring, "secret")
    server = make_server("127.0.0.1", 0, app, handler_class=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}", ring
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def ask(run, node) -> Run:
    """Run a verb against the node, with its token."""
    return lambda *line: run(*line, "--admin", node[0], "--token", "secret")
