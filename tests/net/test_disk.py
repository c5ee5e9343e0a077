"""The thread that waits for the disk: order, outcomes, counting."""

import os
import threading
import time
from functools import partial

import gevent
import pytest

from gdht.net.disk import DiskThread


@pytest.fixture
def thread():
    thread = DiskThread()
    yield thread
    thread.close(5.0)


def test_work_is_done_elsewhere_and_told_here(thread, tools):
    worked, told = [], []
    for number in range(20):
        thread.run_aside(lambda: worked.append(threading.get_ident()), lambda _: told.append(threading.get_ident()))
        assert len(told) == number  # nothing was awaited
        tools.wait_for(lambda number=number: len(told) == number + 1)
    assert len(set(worked)) == 1
    assert worked[0] != threading.get_ident()
    assert told == [threading.get_ident()] * 20
    assert thread.stats.store_commits == {"ok": 20}
    assert thread.stats.store_commit_duration.count == 20


def test_its_waking_does_not_take_the_processor_from_the_loop(thread, tools):
    policies = []
    thread.run_aside(lambda: policies.append(os.sched_getscheduler(0)), lambda _: None)
    tools.wait_for(lambda: policies)
    assert policies == [os.SCHED_BATCH]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_what_went_wrong_is_told_and_the_next_work_is_done(thread, tools, capfd):
    told = []
    thread.run_aside(lambda: 1 / 0, told.append)
    tools.wait_for(lambda: told)
    thread.run_aside(lambda: None, told.append)
    tools.wait_for(lambda: told[1:])
    assert isinstance(told[0], ZeroDivisionError)
    assert told[1] is None
    assert thread.stats.store_commits == {"error": 1, "ok": 1}
    assert capfd.readouterr().err == ""


def test_the_loop_turns_while_the_disk_takes_its_time(thread, tools):
    told = []
    thread.run_aside(partial(time.sleep, 0.2), told.append)
    turns = 0
    while not told:
        gevent.sleep(0.01)
        turns += 1
    assert turns > 5


def test_one_that_fails_when_it_is_told_does_not_keep_the_next_from_being_told(thread, tools, caplog):
    told = []

    def done(_failure):
        raise ZeroDivisionError

    thread.run_aside(lambda: None, done)
    thread.run_aside(lambda: None, told.append)
    tools.wait_for(lambda: told == [None])
    assert "ZeroDivisionError" in caplog.text


def test_what_is_put_off_comes_when_what_is_at_hand_is_done(thread, tools):
    order = []
    thread.soon(lambda: order.append("soon"))
    order.append("at hand")
    tools.wait_for(lambda: len(order) == 2)
    assert order == ["at hand", "soon"]


def test_it_ends_when_all_that_it_was_given_is_done_and_told():
    told = []
    thread = DiskThread()
    for _ in range(3):
        thread.run_aside(partial(time.sleep, 0.01), told.append)
    assert thread.close(5.0)
    assert told == [None] * 3


def test_a_disk_that_hangs_holds_the_end_no_longer_than_it_may():
    released = threading.Event()
    thread = DiskThread()
    thread.run_aside(partial(released.wait, 5.0), lambda _: None)
    began_s = time.monotonic()
    assert not thread.close(0.1)
    assert 0.1 <= time.monotonic() - began_s < 2.0
    released.set()
    assert thread.close(5.0)
