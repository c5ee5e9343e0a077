"""A connected socket: what comes is taken by the event loop, and the reader gets what is left to do."""

import socket
from time import sleep

import gevent
import pytest
from gevent import get_hub, getcurrent

from gdht.net.stream import Stream, read_buffer
from gdht.net.turn import TURN_S_MAX


@pytest.fixture
def pair(stats):
    """A stream, and the plain socket at its other end."""
    ours, theirs = socket.socketpair()
    stream = Stream(ours, read_buffer(1024), "api", stats, 5.0)
    yield stream, theirs
    stream.close()
    theirs.close()
    gevent.sleep(0)


def test_reads_are_taken_without_waking_the_reader_until_something_is_left(pair):
    stream, theirs = pair
    taken, where = [], []

    def take(data):
        taken.append(data)
        where.append(getcurrent())
        return data.upper() if data == b"three" else None

    reader = gevent.spawn(stream.read_all, take)
    for piece in (b"one", b"two", b"three"):
        theirs.send(piece)
        gevent.sleep(0.01)
    assert reader.get(timeout=1) == b"THREE"
    assert taken == [b"one", b"two", b"three"]
    assert set(where) == {get_hub()}


def test_nothing_is_taken_while_the_reader_is_busy(pair):
    stream, theirs = pair
    taken = []
    theirs.send(b"first")
    assert stream.read_all(lambda data: taken.append(data) or data) == b"first"
    theirs.send(b"second")
    gevent.sleep(0.01)
    assert taken == [b"first"]
    theirs.close()
    assert stream.read_all(taken.append) is None
    assert taken == [b"first", b"second"]


def test_an_empty_rest_is_something_left(pair):
    stream, theirs = pair
    theirs.send(b"x")
    assert stream.read_all(lambda _data: []) == []


def test_what_taking_raises_is_the_readers(pair):
    stream, theirs = pair

    def take(_data):
        raise ValueError("not today")

    theirs.send(b"x")
    with pytest.raises(ValueError, match="not today"):
        stream.read_all(take)


def test_the_end_of_the_stream_is_told_again_and_again(pair):
    stream, theirs = pair
    theirs.close()
    assert [stream.read(), stream.read_all(bytes)] == [b"", None]


@pytest.mark.parametrize("during", ["waiting", "taking"])
def test_the_reader_hears_that_the_stream_was_aborted(pair, during):
    stream, theirs = pair
    error = OSError(5, "gone")
    if during == "waiting":
        gevent.spawn_later(0.01, stream.abort, error)
    else:
        theirs.send(b"x")
    with pytest.raises(OSError, match="gone"):
        stream.read_all(lambda _data: stream.abort(error))


def test_a_reader_that_was_killed_leaves_the_stream_to_the_next(pair):
    stream, theirs = pair
    taken = []
    reader = gevent.spawn(stream.read_all, taken.append)
    gevent.sleep(0.01)
    reader.kill()
    theirs.send(b"x")
    gevent.sleep(0.01)
    assert taken == []
    assert stream.read() == b"x"


def test_in_a_long_turn_a_read_is_put_off_and_comes_all_the_same(pair):
    stream, theirs = pair
    order = []
    reader = gevent.spawn(stream.read_all, lambda data: order.append(data) or data)
    gevent.sleep(0.01)
    theirs.send(b"read")
    watcher = get_hub().loop.check()
    watcher.start(lambda: (watcher.stop(), sleep(2 * TURN_S_MAX), order.append("long")))
    assert reader.get(timeout=1) == b"read"
    watcher.close()
    assert order == ["long", b"read"]
