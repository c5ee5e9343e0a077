"""The admin port: gevent's WSGI server, kept quiet and within bounds."""

import pytest

from gdht.config import Address
from gdht.net import admin_server
from gdht.net.admin_server import AdminServer
from gdht.net.listener import open_socket


def hello_app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


@pytest.fixture
def server(stack):
    server = AdminServer(open_socket(Address("127.0.0.1", 0), "admin address"), hello_app)
    server.start()
    stack.callback(server.stop, 0)
    return server


def test_an_application_is_served_without_a_log_line(server, dial, caplog):
    client = dial(server)
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert client.read_all().endswith(b"\r\n\r\nhello")
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]


@pytest.mark.parametrize("noise", [bytes(range(128, 250)) * 50 + b"\n", b"GET\r\n\r\n", b"% % % %\r\n\r\n"])
def test_noise_is_refused_with_one_short_line(server, dial, caplog, noise, monkeypatch):
    monkeypatch.setattr(admin_server.stranger_log, "_lines", 0)
    client = dial(server)
    client.send(noise)
    assert client.read_all().startswith(b"HTTP/1.1 400")
    (line,) = [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"]
    assert line == f"plane=admin client={client.address} closed reason=not_http"


def test_a_request_that_stops_in_its_headers_is_closed_without_a_traceback(server, dial, caplog, capfd, monkeypatch):
    monkeypatch.setattr(admin_server, "IDLE_S_MAX", 0.1)
    client = dial(server)
    client.send(b"GET / HTTP/1.1\r\nHost: x")
    assert client.read_all() == b""
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]
    assert capfd.readouterr() == ("", "")


def test_idle_connections_do_not_keep_others_out(stack, dial, monkeypatch):
    monkeypatch.setattr(admin_server, "CONNECTIONS_MAX", 2)
    monkeypatch.setattr(admin_server, "IDLE_S_MAX", 0.1)
    server = AdminServer(open_socket(Address("127.0.0.1", 0), "admin address"), hello_app)
    server.start()
    stack.callback(server.stop, 0)
    idle = [dial(server), dial(server)]
    client = dial(server)
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert client.read_all().endswith(b"hello")
    assert [each.read_all() for each in idle] == [b"", b""]
