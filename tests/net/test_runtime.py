"""The real Runtime's tasks, signals and clock; its calls are tested with the pool."""

import random
import time

import gevent
import pytest

from gdht.net import runtime
from gdht.net.workers import Workers


def test_a_task_that_raises_is_counted_logged_and_started_again(rt, pool, tools, caplog, monkeypatch):
    monkeypatch.setattr(runtime, "RESTART_S_MIN", 0.01)
    runs = []

    def run():
        runs.append(None)
        if len(runs) < 3:
            raise KeyError("oh")

    rt.spawn(run, "stabilize")
    tools.wait_for(lambda: len(runs) == 3)
    assert pool.stats.task_crashes == {"stabilize": 2}
    assert caplog.text.count("KeyError: 'oh'") == 2
    assert "task=stabilize" in caplog.text


def test_a_task_that_returns_has_ended(rt):
    runs = []
    rt.spawn(lambda: runs.append(None), "once")
    gevent.sleep(0.05)
    assert len(runs) == 1


@pytest.mark.parametrize("started", [False, True])
def test_a_cancelled_task_does_no_more(rt, pool, started):
    steps = []

    def run():
        while True:
            steps.append(None)
            rt.sleep(0.01)

    task = rt.spawn(run, "upkeep")
    if started:
        rt.sleep(0.015)
    task.cancel()
    rt.sleep(0.001)  # a step that was due already may still be taken: it stops at its next switch
    count = len(steps)
    rt.sleep(0.03)
    task.cancel()
    assert len(steps) == count
    assert started == bool(count)
    assert not pool.stats.task_crashes


def test_a_task_may_cancel_itself_and_goes_on_to_its_next_switch(rt):
    steps, tasks = [], []

    def run():
        tasks[0].cancel()
        steps.append("before")
        rt.sleep(0)
        steps.append("after")

    tasks.append(rt.spawn(run, "leave"))
    rt.sleep(0.01)
    assert steps == ["before"]


def test_a_signal_set_twice_before_it_is_awaited_counts_once(rt):
    signal = rt.signal()
    signal.set()
    signal.set()
    assert signal.wait(0.01)
    assert not signal.wait(0.01)
    gevent.spawn_later(0.01, signal.set)
    assert signal.wait(5)


def test_clocks_and_chance_are_real(rt):
    assert abs(rt.now() - time.monotonic()) < 1
    assert abs(rt.wall() - time.time()) < 1
    assert isinstance(rt.rng, random.Random)


def test_giving_way_again_and_again_keeps_no_timer_waiting(rt):
    rang = []
    gevent.spawn_later(0.001, rang.append, True)
    rt.sleep(0)
    for _ in range(5):
        started_s = time.monotonic()
        while time.monotonic() - started_s < 0.002:
            pass
        rt.sleep(0)
    assert rang


def test_no_calls_have_no_outcomes(rt):
    assert list(rt.calls([], 1.0)) == []


def test_workers_are_reused_and_bounded_and_a_job_that_raises_stops_none(caplog):
    workers, done = Workers(2), []

    def job(number):
        gevent.sleep(0.001)
        done.append((number, gevent.getcurrent()))
        if number == 3:
            raise ValueError(number)

    for number in range(10):
        workers.submit(lambda number=number: job(number))
    with gevent.Timeout(5):
        while len(done) < 10:
            gevent.sleep(0.001)
    assert [number for number, _worker in done] == list(range(10))
    assert len({id(worker) for _number, worker in done}) == 2
    assert "a job failed" in caplog.text
    workers.stop()
    gevent.sleep(0)
    assert all(worker.dead for _number, worker in done)
