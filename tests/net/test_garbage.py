"""Garbage: looked for in small portions, and none made by a node at work."""

import gc

import gevent
import pytest

from gdht.config import Address, AdminConfig, Config, DhtConfig
from gdht.net import garbage
from gdht.net.daemon import Daemon
from gdht.node.status import State

ANYWHERE = Address("127.0.0.1", 0)


@pytest.fixture(autouse=True)
def own_collector():
    """The collector as it was before, when the test has ended."""
    before = gc.get_threshold()
    yield
    gc.enable()
    gc.set_threshold(*before)
    if garbage._watch in gc.callbacks:
        gc.callbacks.remove(garbage._watch)
    gc.unfreeze()


def test_what_is_there_at_first_is_set_aside():
    garbage.settle()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold() == garbage.THRESHOLDS


def test_the_collector_is_watched_once_however_many_nodes_a_process_has():
    garbage.settle()
    garbage.settle()
    assert gc.callbacks.count(garbage._watch) == 1


@pytest.mark.parametrize(("seconds", "kept_aside"), [(0.0, True), (60.0, False)])
def test_only_what_a_long_collection_left_is_set_aside(monkeypatch, seconds, kept_aside):
    garbage.settle()
    gc.disable()  # but for the one that is asked for
    monkeypatch.setattr(garbage, "FULL_S_MAX", seconds)
    things = [[] for _ in range(5000)]
    before = gc.get_freeze_count()
    gc.collect()
    set_aside = gc.get_freeze_count() - before  # less what else has gone meanwhile of what was set aside before
    assert (set_aside > len(things) / 2) == kept_aside


def test_a_node_at_work_makes_no_garbage(stack, dial, tools):
    """Or memory would grow between two collections, and the more so the seldomer they are."""
    first = start(stack)
    second = start(stack, first.peer_server.address)
    tools.wait_for(lambda: first.node.ring.successors and second.node.state is State.ACTIVE)
    work(first, dial, tools, range(20))
    gevent.sleep(0.2)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        work(first, dial, tools, range(20, 120))
        gevent.sleep(0.2)
        gc.collect()
        left = [type(one).__qualname__ for one in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()

    assert len(left) < 100, left[:100]


def start(stack, *bootstrap):
    """A running node without an admin port."""
    dht = DhtConfig(ANYWHERE, ANYWHERE, stabilize_interval=0.05, data_dir="", bootstrap=bootstrap)
    daemon = Daemon(Config(dht=dht, admin=AdminConfig(address=None)), None)
    daemon.start()
    stack.callback(daemon.stop)
    return daemon


def work(daemon, dial, tools, numbers):
    """A client for each number, that puts and gets and goes."""
    for number in numbers:
        client = dial(daemon.api_server)
        key = tools.key(number << 240)
        client.send(tools.put(key, b"value", answered=True), tools.get(key), tools.get(tools.key(number)))
        client.read(36 + 41 + 36)
        client.sock.close()
