"""Whole nodes in this process: ports, readiness, checks, and how they leave."""

import logging
import os
import re
import shutil
import signal
import threading
import time
from dataclasses import replace

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from gdht.config import Address, AdminConfig, Config, DhtConfig
from gdht.core.ident import hash_ident
from gdht.errors import ListenError, StoreError
from gdht.net import daemon as daemon_module
from gdht.net.daemon import Daemon, DaemonState
from gdht.net.listener import ListenerState
from gdht.node.status import State
from gdht.store.journal import Journal
from gdht.store.lmdb_disk import LmdbDisk

READY = r"gdht ready node=([0-9a-f]{64}) p2p=127\.0\.0\.1:(\d+) api=127\.0\.0\.1:(\d+) admin=(127\.0\.0\.1:\d+|-)\n"


def make_config(*bootstrap, **changes):
    """Records in memory, unless `changes` say otherwise."""
    dht = DhtConfig(Address("127.0.0.1", 0), Address("127.0.0.1", 0), stabilize_interval=0.05, bootstrap=bootstrap)
    return Config(dht=replace(dht, **{"data_dir": "", **changes}), admin=AdminConfig(address=Address("127.0.0.1", 0)))


def text_app(status, *_others):
    """An admin application of three lines."""

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(status().state.value).encode()]

    return app


@pytest.fixture
def start(stack):
    """`start(*bootstrap, **config)`: a running daemon."""

    def run(*bootstrap, create_app=None, **changes):
        daemon = Daemon(make_config(*bootstrap, **changes), create_app)
        daemon.start()
        stack.callback(daemon.stop)
        return daemon

    return run


def ended(greenlet, within_s):
    """What a daemon of `serve` ends with."""
    with gevent.Timeout(within_s):
        return greenlet.get()


def stopped(greenlet, within_s):
    """The same, after a signal."""
    os.kill(os.getpid(), signal.SIGTERM)
    return ended(greenlet, within_s)


@pytest.fixture
def serve(stack, tools, monkeypatch):
    """`serve()`: a daemon in `serve_forever`, and a greenlet that ends with its exit code."""

    def run(**changes):
        daemon = Daemon(make_config(**changes), None)
        greenlet = gevent.spawn(tools.exit_code, daemon)
        stack.callback(daemon.stop)
        return daemon, greenlet

    return run


def http_get(address):
    with socket.create_connection(address) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while data := sock.recv(65536):
            answer += data
    return answer.decode()


def test_a_daemon_says_ready_once_it_is_in_its_ring(start, tools, capsys):
    daemon = start(create_app=text_app)
    tools.wait_for(lambda: daemon.node.state is State.ACTIVE)
    tools.wait_for(lambda: (line := capsys.readouterr().out) and re.fullmatch(READY, line))
    assert daemon.node.me.ident == hash_ident(daemon.node.me.address.encode())
    assert daemon.node.me.address == str(daemon.peer_server.address)


def test_without_a_member_to_join_it_listens_and_does_not_say_ready(start, free_port, capsys):
    daemon = start(Address("127.0.0.1", free_port))
    gevent.sleep(0.3)
    assert daemon.node.state is State.JOINING
    assert capsys.readouterr().out == ""
    assert all(check.ok for check in daemon.status().live_checks)


def test_a_value_put_through_one_node_is_read_through_the_other_and_outlives_the_first(start, dial, tools):
    first = start()
    second = start(first.peer_server.address)
    tools.wait_for(lambda: second.node.state is State.ACTIVE)
    tools.wait_for(lambda: first.node.ring.successors and second.node.ring.successors)
    keys = [tools.key(number << 240) for number in range(0, 60000, 1000)]
    client = dial(first.api_server)
    client.send(*(tools.put(key, key, answered=True) for key in keys))
    assert len(client.read(36 * len(keys))) == 36 * len(keys)
    reader = dial(second.api_server)
    reader.send(*map(tools.get, keys))
    assert reader.read(68 * len(keys)).count(b"\x02\x8c") == len(keys)
    first.stop()
    reader.send(*map(tools.get, keys))
    assert reader.read(68 * len(keys)).count(b"\x02\x8c") == len(keys)
    assert second.node.ring.successors == ()


def test_the_admin_port_serves_the_application(start):
    daemon = start(create_app=text_app)
    gevent.sleep(0.1)
    assert http_get(daemon.admin_server.address).endswith("active")


def test_live_checks_tell_the_loop_and_both_listeners(start):
    daemon = start()
    assert [(check.name, check.ok) for check in daemon.status().live_checks] == [
        ("event_loop", True),
        ("api_listener", True),
        ("p2p_listener", True),
    ]
    daemon.api_server.stop_accepting()
    daemon._beat_s -= 2 * daemon_module.STUCK_S
    assert [check.ok for check in daemon.status().live_checks] == [False, False, True]


def test_the_lag_of_the_event_loop_is_measured(start, tools, monkeypatch):
    monkeypatch.setattr(daemon_module, "HEARTBEAT_S", 0.01)
    daemon = start()
    tools.wait_for(lambda: daemon.node.stats.event_loop_lag.count > 3)
    time.sleep(0.06)  # hold the loop
    tools.wait_for(lambda: sum(daemon.node.stats.event_loop_lag.counts[7:]))


@pytest.mark.parametrize("option", ["p2p_address", "api_address"])
def test_a_port_in_use_stops_the_start_and_leaves_nothing_open(start, option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = Address(*taken.getsockname())
        with pytest.raises(ListenError, match=rf"{address} \({option}\): address already in use"):
            start(**{option: address})


def test_an_advertised_address_is_who_the_node_is(start):
    me = start(advertise_address=Address("node.example", 6001)).node.me
    assert me == (hash_ident(b"node.example:6001"), "node.example:6001")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_leaves(serve, tools, number):
    daemon, greenlet = serve()
    tools.wait_for(lambda: daemon.state is DaemonState.RUNNING)
    os.kill(os.getpid(), number)
    assert ended(greenlet, within_s=10) == 0
    assert daemon.state is DaemonState.STOPPED


def test_a_signal_finishes_the_requests_that_were_received(serve, dial, tools):
    daemon, greenlet = serve()
    tools.wait_for(lambda: daemon.state is DaemonState.RUNNING and daemon.node.state is State.ACTIVE)
    client = dial(daemon.api_server)
    client.send(*[tools.get(tools.key(1))] * 500)
    os.kill(os.getpid(), signal.SIGTERM)
    assert len(client.read_all()) == 36 * 500
    greenlet.join()


def test_a_second_signal_stops_at_once_with_a_failure(serve, tools, monkeypatch):
    released = Event()
    daemon, greenlet = serve()
    tools.wait_for(lambda: daemon.state is DaemonState.RUNNING)
    monkeypatch.setattr(daemon.node, "leave", lambda _deadline_s: released.wait())
    os.kill(os.getpid(), signal.SIGTERM)
    tools.wait_for(lambda: daemon.state is DaemonState.STOPPING)
    assert stopped(greenlet, within_s=2) == 1
    released.set()
    tools.wait_for(lambda: daemon.state is DaemonState.STOPPED)


def test_a_stop_that_fails_is_logged_and_ends_with_a_failure(serve, tools, monkeypatch, caplog):
    daemon, greenlet = serve()
    tools.wait_for(lambda: daemon.state is DaemonState.RUNNING)

    def stop_and_fail(stop=daemon.stop):
        stop()
        raise ZeroDivisionError

    monkeypatch.setattr(daemon, "stop", stop_and_fail)
    assert stopped(greenlet, within_s=5) == 1
    assert "ZeroDivisionError" in caplog.text


def test_ports_are_closed_even_if_leaving_fails(start, monkeypatch, caplog):
    daemon = start()
    monkeypatch.setattr(daemon.node, "leave", lambda _deadline_s: 1 / 0)
    daemon.stop()
    assert daemon.state is DaemonState.STOPPED
    assert "ZeroDivisionError" in caplog.text


def put_values(client, tools, keys):
    """Put each key as its own value, and wait until all are acknowledged."""
    client.send(*(tools.put(key, key, answered=True) for key in keys))
    assert client.read(36 * len(keys)).count(b"\x02\x8c") == len(keys)


def test_values_outlive_a_node_that_stops_without_a_word(start, dial, tools, tmp_path):
    keys = [tools.key(number << 240) for number in range(0, 60000, 1000)]
    first = start(data_dir=str(tmp_path / "data"))
    tools.wait_for(lambda: first.node.state is State.ACTIVE)
    put_values(dial(first.api_server), tools, keys)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")  # as a crash would leave it
    second = start(data_dir=str(tmp_path / "copy"))
    tools.wait_for(lambda: second.node.state is State.ACTIVE)
    reader = dial(second.api_server)
    reader.send(*map(tools.get, keys))
    assert reader.read(68 * len(keys)).count(b"\x02\x8c") == len(keys)


def test_commits_are_counted_by_the_node_that_waits_for_them(start, dial, tools, tmp_path):
    daemon = start(data_dir=str(tmp_path / "data"))
    tools.wait_for(lambda: daemon.node.state is State.ACTIVE)
    before = daemon.node.stats.store_commits["ok"]
    put_values(dial(daemon.api_server), tools, [tools.key(1)])
    assert daemon.node.stats.store_commits["ok"] > before


def test_a_store_in_use_stops_the_start_and_leaves_nothing_open(start, tmp_path, free_port):
    start(data_dir=str(tmp_path / "data"))
    with pytest.raises(StoreError, match="is in use by process"):
        start(data_dir=str(tmp_path / "data"), p2p_address=Address("127.0.0.1", free_port))
    start(p2p_address=Address("127.0.0.1", free_port))


def test_a_stopped_node_lets_go_of_its_store(start, tmp_path):
    start(data_dir=str(tmp_path / "data")).stop()
    start(data_dir=str(tmp_path / "data"))


def test_a_disk_that_takes_writes_again_is_found_out_without_a_client(start, tools, tmp_path, monkeypatch):
    monkeypatch.setattr(daemon_module, "TRY_STORE_S", 0.02)
    daemon = start(data_dir=str(tmp_path / "data"))
    tools.wait_for(lambda: daemon.node.state is State.ACTIVE and daemon.node.store.pending is None)
    daemon.node.store.error = "it broke"
    tools.wait_for(lambda: daemon.node.store.error == "")


# A disk that hangs ----------------------------------------------------------------------------------------------------

HANG_S_MAX = 5.0
"""Far longer than a process has to end after a second signal."""


@pytest.fixture
def hang(tools, monkeypatch):
    """`hang(kind, name)`: from now on a method of the disk comes back only when the test is over, or the event is set
    that this returns."""
    released = threading.Event()
    hung = []

    def run(kind, name):
        go_on = getattr(kind, name)

        def wait(*arguments):
            hung.append(threading.current_thread())
            released.wait(HANG_S_MAX)
            return go_on(*arguments)

        monkeypatch.setattr(kind, name, wait)
        return released

    yield run
    released.set()
    tools.wait_for(lambda: not any(thread.is_alive() for thread in hung))


@pytest.fixture
def durable(serve, tools, tmp_path):
    """A daemon with a disk that has taken all that was written so far, and a greenlet that ends with its exit code."""
    daemon, greenlet = serve(data_dir=str(tmp_path / "data"))
    tools.wait_for(lambda: daemon.state is DaemonState.RUNNING and daemon.node.state is State.ACTIVE)
    tools.wait_for(lambda: daemon.node.store.pending is None)
    return daemon, greenlet


@pytest.fixture
def short_looks(monkeypatch):
    """A daemon that is started after this looks at its disk often."""
    monkeypatch.setattr(daemon_module, "TRY_STORE_S", 0.05)


def test_a_clean_stop_leaves_nothing_in_the_journal(durable, start, dial, tools, tmp_path):
    daemon, greenlet = durable
    keys = [tools.key(number << 240) for number in range(0, 60000, 1000)]
    put_values(dial(daemon.api_server), tools, keys)
    assert stopped(greenlet, within_s=10) == 0
    (tmp_path / "data" / "journal").unlink()
    again = start(data_dir=str(tmp_path / "data"))
    tools.wait_for(lambda: again.node.state is State.ACTIVE)
    reader = dial(again.api_server)
    reader.send(*map(tools.get, keys))
    assert reader.read(68 * len(keys)).count(b"\x02\x8c") == len(keys)


def test_a_disk_that_hangs_is_told_of_until_it_goes_on(short_looks, durable, hang, tools, caplog):
    daemon, greenlet = durable
    caplog.set_level(logging.INFO)
    release = hang(Journal, "append")
    daemon.node.store.write_note("note", b"")
    tools.wait_for(lambda: "at one write for" in daemon.status().store_error)
    assert not {check.name: check.ok for check in daemon.status().ready_checks}["store_writable"]
    gevent.sleep(0.2)
    assert caplog.text.count("writes hang") == 1
    release.set()
    tools.wait_for(lambda: not daemon.status().store_error)
    assert "writes are durable again" in caplog.text
    assert stopped(greenlet, within_s=10) == 0


def test_a_node_that_stood_still_does_not_take_its_disk_for_hanging(short_looks, durable, hang, tools, caplog):
    daemon, greenlet = durable
    release = hang(Journal, "append")
    daemon.node.store.write_note("note", b"")
    for _ in range(3):
        time.sleep(0.2)  # the whole process, but for the disk's thread
        gevent.sleep(0)
    release.set()
    tools.wait_for(lambda: daemon.node.store.pending is None)
    assert "writes hang" not in caplog.text
    assert stopped(greenlet, within_s=10) == 0


def test_a_disk_that_hangs_does_not_keep_a_node_from_ending_with_a_failure(
    durable, hang, monkeypatch, caplog, tmp_path
):
    daemon, greenlet = durable
    monkeypatch.setattr(daemon_module, "STOP_S", 0.0)
    hang(Journal, "append")
    daemon.node.store.write_note("note", b"")
    assert stopped(greenlet, within_s=3) == 1
    assert daemon.state is DaemonState.STOPPED
    assert f"the disk hangs: data_dir {tmp_path / 'data'} could not be closed" in caplog.text
    assert "the last writes are not durable" in caplog.text


def test_a_disk_that_hangs_only_when_it_is_closed_has_lost_nothing(durable, hang, monkeypatch, caplog):
    _, greenlet = durable
    monkeypatch.setattr(daemon_module, "STOP_S", 0.0)
    hang(LmdbDisk, "close")
    assert stopped(greenlet, within_s=3) == 1
    assert "all in it is durable" in caplog.text


def test_a_store_that_fails_when_it_is_closed_is_a_failure_that_names_its_directory(durable, monkeypatch, caplog):
    daemon, greenlet = durable
    close = daemon.node.store.close

    def fail():
        close()
        raise OSError("gone")

    monkeypatch.setattr(daemon.node.store, "close", fail)
    assert stopped(greenlet, within_s=10) == 1
    assert "data was not closed: OSError('gone')" in caplog.text


def test_a_second_signal_ends_at_once_also_when_the_disk_hangs(durable, hang, tools):
    daemon, greenlet = durable
    hang(Journal, "append")
    daemon.node.store.write_note("note", b"")
    os.kill(os.getpid(), signal.SIGTERM)
    tools.wait_for(lambda: daemon.peer_server.state is ListenerState.STOPPED)
    assert stopped(greenlet, within_s=1) == 1
