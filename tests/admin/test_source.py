"""One walk or check serves several pages."""

import threading

import pytest

from gdht.admin import source as source_module
from gdht.admin.source import Source
from gdht.errors import PeerUnreachable


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(source_module, "time", clock)
    return clock


def test_a_fresh_walk_is_handed_out_again(ring, clock):
    source = Source(ring.status, ring, lambda: None)
    first = source.walk()
    clock.now += 0.9
    assert source.walk() is first
    clock.now += 0.2
    assert source.walk() is not first
    assert ring.walks == 2


def test_who_comes_during_a_walk_gets_the_last_one(ring, clock):
    started, go_on = threading.Event(), threading.Event()
    walk = ring.walk

    def slow_walk():
        started.set()
        assert go_on.wait(10)
        return walk()

    ring.walk = slow_walk
    source = Source(ring.status, ring, lambda: None)
    go_on.set()
    last = source.walk()
    started.clear()
    go_on.clear()
    clock.now += 5
    walker = threading.Thread(target=source.walk)
    walker.start()
    assert started.wait(10)
    assert source.walk() is last
    go_on.set()
    walker.join()
    assert ring.walks == 2
    assert source.walk() is not last


def test_a_failed_walk_is_not_remembered(ring, clock):
    source = Source(ring.status, ring, lambda: None)
    ring.error = PeerUnreachable("gone")
    for _ in range(2):
        with pytest.raises(PeerUnreachable):
            source.walk()
    ring.error = None
    assert source.walk().complete


def test_a_check_is_shared_like_a_walk(ring, clock):
    source = Source(ring.status, ring, lambda: None)
    first = source.check()
    clock.now += 0.9
    assert source.check() is first
    clock.now += 0.2
    assert source.check() is not first
