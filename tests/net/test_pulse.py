"""The pulse of the event loop: every hold is seen, the longest is remembered, and who held it for long is named."""

import logging
import re
import socket as stdlib_socket
import sys
import time

import gevent
import pytest
from gevent import get_hub

from gdht.net import pulse as pulse_module
from gdht.net.pulse import Pulse, where
from gdht.node.stats import LAG_SECONDS, Histogram


@pytest.fixture
def holds():
    return Histogram(LAG_SECONDS)


@pytest.fixture
def pulse(holds, stack):
    measured = Pulse(holds)
    measured.start()
    stack.callback(measured.stop)
    gevent.sleep(0.01)
    measured.beat()
    return measured


def held(seconds):
    time.sleep(seconds)


def over(holds, seconds):
    """How many holds were longer."""
    return sum(count for count, bound in zip(holds.counts[1:], holds.bounds, strict=True) if bound >= seconds)


def test_a_greenlet_that_holds_the_loop_is_seen_once(pulse, holds):
    before = over(holds, 0.05)
    gevent.spawn(held, 0.06).join()
    gevent.sleep(0.01)
    assert over(holds, 0.05) == before + 1
    assert 0.06 <= pulse.beat() < 1.0


def test_waiting_for_the_sockets_is_no_hold(pulse, holds):
    busy_s = holds.total
    gevent.sleep(0.3)
    assert holds.total - busy_s < 0.1


def test_callbacks_of_one_turn_count_together(pulse, stack):
    ours, theirs = stdlib_socket.socketpair()
    watchers = [get_hub().loop.io(sock.fileno(), 2) for sock in (ours, theirs)]

    def hold(watcher):
        watcher.stop()
        held(0.03)

    for watcher in watchers:
        watcher.start(hold, watcher)
        stack.callback(watcher.close)
    gevent.sleep(0.01)
    ours.close()
    theirs.close()
    assert pulse.beat() >= 0.06


def test_holds_are_counted_and_summed(pulse, holds):
    count, total = holds.count, holds.total
    for _ in range(20):
        gevent.sleep(0.001)
    assert holds.count >= count + 20
    assert holds.total > total


def test_the_longest_hold_is_forgotten_after_a_minute_of_beats(pulse, monkeypatch):
    gevent.spawn(held, 0.02).join()
    gevent.sleep(0.001)
    assert [pulse.beat() >= 0.02 for _ in range(pulse_module.BEATS)] == [True] * pulse_module.BEATS
    assert pulse.beat() < 0.02


def test_a_long_hold_is_logged_with_what_ran(pulse, caplog):
    with caplog.at_level(logging.WARNING, logger="gdht.net.pulse"):
        gevent.spawn(held, 0.25).join()
        gevent.sleep(0.001)
    (line,) = caplog.messages
    told = re.fullmatch(r"the event loop was held for (\d+) ms, by .*test_pulse\.held:\d+", line)
    assert told, line
    assert int(told[1]) >= 250


def test_a_stopped_pulse_measures_nothing(holds):
    pulse = Pulse(holds)
    pulse.start()
    pulse.stop()
    gevent.sleep(0.001)
    assert holds.count == 0


def test_a_place_is_the_function_of_ours_and_the_innermost_one():
    frames = []

    def inner():
        frames.append(sys._getframe())

    ours = {"__name__": "gdht.node.repair", "inner": inner}
    exec("def repair():\n    inner()\n", ours)
    ours["repair"]()
    assert where(frames[0]).startswith("gdht.node.repair.repair:2 in ")
    assert ".inner:" in where(frames[0])


def test_what_was_before_it_began_to_measure_is_no_hold(holds, stack):
    gevent.sleep(0.001)
    held(0.06)
    pulse = Pulse(holds)
    pulse.start()
    stack.callback(pulse.stop)
    gevent.sleep(0.001)
    assert pulse.beat() < 0.05
