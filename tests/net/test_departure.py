"""Drain and leave as the admin port tells a whole node to: what stops at once, what goes on, how the process ends."""

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from gdht.admin import create_app
from gdht.config import Address, AdminConfig, Config, DhtConfig
from gdht.net import daemon as daemon_module
from gdht.net.daemon import Daemon, DaemonState
from gdht.node.status import State

KEY = bytes(range(32))
ANYWHERE = Address("127.0.0.1", 0)


@pytest.fixture
def serve(stack, tools, monkeypatch):
    """`serve(*bootstrap)`: a daemon in `serve_forever` that has joined, and a greenlet that ends with its exit code."""
    monkeypatch.setattr(daemon_module, "ADMIN_LINGER_S", 0.2)

    def run(*bootstrap):
        dht = DhtConfig(ANYWHERE, ANYWHERE, data_dir="", stabilize_interval=0.05, bootstrap=bootstrap)
        daemon = Daemon(Config(dht=dht, admin=AdminConfig(address=ANYWHERE)), create_app)
        greenlet = gevent.spawn(tools.exit_code, daemon)
        stack.callback(wait_for, lambda: daemon.state is DaemonState.STOPPED)  # somebody else may be stopping it
        stack.callback(daemon.stop)
        wait_for(lambda: daemon.state is DaemonState.RUNNING and daemon.node.state is State.ACTIVE)
        return daemon, greenlet

    return run


def wait_for(condition, timeout_s=10.0):
    with gevent.Timeout(timeout_s):
        while not condition():
            gevent.sleep(0.01)


@pytest.fixture
def pair(serve):
    """Two nodes that know each other."""
    first, _ = serve()
    second, greenlet = serve(first.peer_server.address)
    wait_for(lambda: first.node.ring.predecessors and second.node.ring.predecessors and not second.node.receiving)
    return first, second, greenlet


def checks(daemon):
    status = daemon.status()
    return {check.name: check.ok for check in status.live_checks + status.ready_checks}


def post(daemon, path):
    with socket.create_connection((daemon.admin_server.address.host, daemon.admin_server.address.port)) as sock:
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while data := sock.recv(65536):
            answer += data
    return answer.partition(b" ")[2][:3]


def test_a_drained_node_takes_no_clients_and_stays_in_the_ring(pair):
    first, second, _ = pair
    assert post(second, "/admin/api/drain") == b"202"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((second.api_server.address.host, second.api_server.address.port))
    assert second.node.state is State.DRAINING
    assert {name for name, ok in checks(second).items() if not ok} == {"not_draining"}
    gevent.sleep(0.3)  # several rounds of stabilization
    assert first.node.ring.successors == (second.node.me,)
    assert first.node.put(KEY, b"hello", 60, 2).acknowledged == 2


def test_clients_of_a_drained_node_are_answered_what_they_asked_and_then_let_go(pair):
    _, second, _ = pair
    with socket.create_connection((second.api_server.address.host, second.api_server.address.port)) as client:
        client.sendall(bytes.fromhex("0024028b") + KEY)
        gevent.sleep(0.1)
        second.drain()
        assert client.recv(1000)[2:4] == bytes.fromhex("028d")
        assert client.recv(1000) == b""
    wait_for(lambda: second.node.stats.api_connections == 0)


def test_a_node_told_to_leave_hands_over_tells_so_and_ends_with_0(pair):
    first, second, greenlet = pair
    assert second.node.put(KEY, b"hello", 60, 1).result == "success"
    assert post(second, "/admin/api/leave?timeout=5") == b"202"
    wait_for(lambda: (moved := second.status().handover) and moved.kind == "leave" and moved.ended)
    assert second.status().handover.without_taker == 0
    assert greenlet.get(timeout=10) == 0
    assert first.node.get(KEY).value == b"hello"
    assert first.node.ring.successors == ()


def test_a_dry_run_leaves_the_node_where_it_is(pair):
    _, second, greenlet = pair
    assert post(second, "/admin/api/leave?dry_run=1") == b"200"
    gevent.sleep(0.1)
    assert second.node.state is State.ACTIVE
    assert not greenlet.ready()


@pytest.fixture
def slow_leave(serve, monkeypatch):
    """A node that finds no end of its leave before the deadline, its greenlet, and the deadlines it is given."""
    daemon, greenlet = serve()
    given, test_is_over = [], Event()

    def leave(deadline_s):
        given.append(deadline_s)
        test_is_over.wait(deadline_s)

    monkeypatch.setattr(daemon.node, "leave", leave)
    yield daemon, greenlet, given
    test_is_over.set()


def test_a_signal_cuts_a_long_leave_short(slow_leave, monkeypatch):
    monkeypatch.setattr(daemon_module, "SIGNAL_S_MAX", 0.1)
    daemon, greenlet, given = slow_leave
    daemon.leave(3600.0)
    wait_for(lambda: given)
    daemon._on_signal()
    assert greenlet.get(timeout=5) == 1
    assert given == [3600.0]


def test_a_leave_that_is_asked_for_later_does_not_make_one_by_signal_longer(slow_leave, monkeypatch):
    daemon, _, given = slow_leave
    monkeypatch.setattr(daemon_module, "HAND_OVER_S", 0.1)
    daemon._on_signal()
    daemon.leave(3600.0)
    wait_for(lambda: given)
    assert given == [0.1]
