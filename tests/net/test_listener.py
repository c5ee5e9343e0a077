"""Opening ports, and accepting through trouble."""

import errno
import logging
import resource
import socket

import gevent
import pytest

from gdht.config import Address
from gdht.errors import ListenError
from gdht.net import limits, listener
from gdht.net.listener import ListenerState, bound_address, open_socket
from gdht.net.logs import LineLimit


class FailingSocket:
    """A listening socket whose accept() fails some times before it works. failures: errno of each."""

    def __init__(self, sock, failures):
        self._real = sock
        self.failures = failures

    def accept(self):
        if self.failures:
            code = self.failures.pop(0)
            raise OSError(code, errno.errorcode[code])
        return self._real.accept()

    def __getattr__(self, name):
        return getattr(self._real, name)


@pytest.fixture
def failing(monkeypatch):
    """`failing(errno, ...)`: from now on, accept() of new listeners fails so before it works."""

    def patch(*codes):
        opened = []
        monkeypatch.setattr(
            listener._Acceptor,
            "set_listener",
            lambda self, sock: (
                opened.append(FailingSocket(sock, list(codes))),
                super(listener._Acceptor, self).set_listener(opened[0]),
            ),
        )

    return patch


def test_accept_survives_a_full_file_table(failing, serve_api, dial, tools, caplog, monkeypatch):
    monkeypatch.setattr(listener, "PAUSE_S_MIN", 0.01)
    failing(errno.EMFILE, errno.ENFILE, errno.ENOBUFS)
    server = serve_api()
    client = dial(server)
    tools.wait_for(lambda: not server.accepting)
    client.send(tools.get(tools.key(1)))
    assert len(client.read(36)) == 36
    assert server.accepting
    pauses = [line for line in caplog.messages if "accept failed" in line]
    assert len(pauses) == 3
    assert "EMFILE; pausing" in pauses[0]


def test_a_connection_lost_before_accept_pauses_nothing(failing, serve_api, dial, tools, caplog):
    failing(errno.ECONNABORTED)
    client = dial(serve_api())
    client.send(tools.get(tools.key(1)))
    assert len(client.read(36)) == 36
    assert not caplog.messages


def test_a_listener_may_be_stopped_while_it_pauses(failing, serve_api, dial, monkeypatch):
    monkeypatch.setattr(listener, "PAUSE_S_MIN", 0.02)
    failing(*[errno.EMFILE] * 9)
    server = serve_api()
    with socket.create_connection(server.address):
        gevent.sleep(0.01)
        server.stop(0)
        gevent.sleep(0.05)
    assert server.state is ListenerState.STOPPED


def test_a_port_in_use_names_the_port_and_the_option():
    with open_socket(Address("127.0.0.1", 0), "p2p_address") as taken:
        address = bound_address(taken)
        with pytest.raises(ListenError) as caught:
            open_socket(address, "api_address")
    assert str(caught.value) == f"cannot listen on {address} (api_address): address already in use"


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_an_address_that_is_not_ours_is_a_listen_error(host):
    with pytest.raises(ListenError, match=rf"cannot listen on {host}:1234 \(api_address\): "):
        open_socket(Address(host, 1234), "api_address")


def test_a_name_is_listened_on_and_port_0_becomes_a_real_one():
    with open_socket(Address("localhost", 0), "api_address") as sock:
        assert bound_address(sock).port > 0


def test_the_limit_of_open_files_is_raised_or_a_warning_given(monkeypatch, caplog):
    calls = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, 1000))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, values: calls.append(values))
    assert limits.allow_open_files(100) == 256
    assert limits.allow_open_files(500) == 500 + limits.SPARE_FILES
    assert not caplog.messages
    assert limits.allow_open_files(5000) == 1000
    assert calls == [(500 + limits.SPARE_FILES, 1000), (1000, 1000)]
    assert "open_files_limit=1000" in caplog.text


def test_a_flood_of_lines_is_cut_and_the_rest_counted(caplog):
    clock = [0.0]
    lines = LineLimit(logging.getLogger("test"), 3, lambda: clock[0])
    for number in range(10):
        lines.warning("line=%d", number)
    clock[0] = 1.0
    lines.warning("line=%d", 10)
    assert caplog.messages == ["line=0", "line=1", "line=2", "line=10", "left_out_lines=7 (too many of them at once)"]
