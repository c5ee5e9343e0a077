"""Tasks, signals and processes on a virtual clock."""

import pytest

from gdht.sim.process import Process, Signal
from gdht.sim.scheduler import Scheduler, SimulationFailed


@pytest.fixture
def scheduler():
    with Scheduler("seed 7") as scheduler:
        yield scheduler


@pytest.fixture
def process(scheduler: Scheduler) -> Process:
    return scheduler.process("n1")


def test_events_run_in_order_of_time_then_of_scheduling(scheduler):
    ran = []
    scheduler.after(2.0, ran.append, "c", None)
    scheduler.after(1.0, ran.append, "a", None)
    scheduler.after(1.0, ran.append, "b", None)
    scheduler.run_for(5.0)
    assert ran == ["a", "b", "c"]
    assert scheduler.now == 5.0


def test_an_event_in_the_past_runs_now(scheduler):
    scheduler.run_for(3.0)
    scheduler.at(1.0, lambda _: None, None, None)
    assert scheduler.step()
    assert scheduler.now == 3.0


def test_a_cancelled_event_never_runs(scheduler):
    ran = []
    event = scheduler.after(1.0, ran.append, "a", None)
    event[2] = None
    assert not scheduler.step()
    assert ran == []


def test_sleeping_takes_virtual_time_only(scheduler, process):
    woken = []

    def sleeper() -> None:
        scheduler.sleep(86400.0, process)
        woken.append(scheduler.now)

    process.spawn(sleeper, "sleeper")
    scheduler.run_for(100000.0)
    assert woken == [86400.0]


def test_sleep_of_zero_lets_others_run_once(scheduler, process):
    ran = []

    def run(name: str) -> None:
        for _ in range(2):
            ran.append(name)
            scheduler.sleep(0, process)

    process.spawn(lambda: run("a"), "a")
    process.spawn(lambda: run("b"), "b")
    scheduler.run_for(0)
    assert ran == ["a", "b", "a", "b"]


def test_a_signal_set_twice_before_the_wait_counts_once(scheduler, process):
    signal = Signal(process)
    signal.set()
    signal.set()
    assert scheduler.run_task(process, lambda: (signal.wait(1.0), signal.wait(1.0)), 10.0) == (True, False)


def test_a_waiting_task_is_woken_at_the_time_of_the_set(scheduler, process):
    signal = Signal(process)
    scheduler.after(0.5, lambda _: signal.set(), None, process)
    assert scheduler.run_task(process, lambda: (signal.wait(9.0), scheduler.now), 10.0) == (True, 0.5)


def test_a_signal_can_be_awaited_again_after_its_waiter_was_cancelled(scheduler, process):
    signal = Signal(process)
    waiter = process.spawn(lambda: signal.wait(9.0), "waiter")
    scheduler.run_for(1.0)
    waiter.cancel()
    assert waiter.dead
    scheduler.after(1.0, lambda _: signal.set(), None, process)
    assert scheduler.run_task(process, lambda: signal.wait(9.0), 10.0) is True


def test_a_cancelled_task_ends_at_its_next_switch_and_unwinds(scheduler, process):
    ran = []

    def run() -> None:
        try:
            scheduler.sleep(10.0, process)
            ran.append("slept")
        finally:
            ran.append("unwound")

    task = process.spawn(run, "sleeper")
    process.spawn(task.cancel, "canceller")
    scheduler.run_for(20.0)
    assert ran == ["unwound"]
    assert task.dead
    assert not process.tasks


def test_a_task_cancelled_before_it_began_never_runs(scheduler, process):
    ran = []
    process.spawn(lambda: ran.append(1), "late").cancel()
    scheduler.run_for(1.0)
    assert ran == []
    assert not process.tasks


def test_a_task_may_cancel_itself(scheduler, process):
    ran = []

    def run() -> None:
        process.scheduler.task.cancel()
        ran.append("until the switch")
        scheduler.sleep(1.0, process)
        ran.append("after it")

    process.spawn(run, "self")
    scheduler.run_for(5.0)
    assert ran == ["until the switch"]


def test_a_killed_process_runs_nothing_more(scheduler, process):
    ran = []

    def ticker() -> None:
        while True:
            scheduler.sleep(1.0, process)
            ran.append(scheduler.now)

    process.spawn(ticker, "ticker")
    scheduler.after(1.5, ran.append, "timer", process)
    scheduler.run_for(1.2)
    process.kill()
    scheduler.run_for(10.0)
    assert ran == [1.0]
    assert not process.tasks


def test_the_finally_of_a_killed_task_cannot_touch_the_world(scheduler, process):
    ran = []

    def run() -> None:
        try:
            scheduler.sleep(10.0, process)
        finally:
            process.check_alive()
            ran.append("said goodbye")

    process.spawn(run, "task")
    scheduler.run_for(1.0)
    process.kill()
    scheduler.run_for(20.0)
    assert ran == []
    assert not process.tasks


def test_a_process_may_be_killed_by_one_of_its_own_tasks(scheduler, process):
    ran = []

    def run() -> None:
        process.kill()
        ran.append("until the switch")
        process.check_alive()
        ran.append("after it")

    process.spawn(run, "suicidal")
    process.spawn(lambda: ran.append("other"), "other")
    scheduler.run_for(1.0)
    assert ran == ["until the switch"]


def test_a_paused_process_catches_up_later_in_order(scheduler, process):
    ran = []
    for at in (1.0, 2.0, 3.0):
        scheduler.at(at, lambda at: ran.append((at, scheduler.now)), at, process)
    process.pause()
    scheduler.run_for(2.5)
    assert ran == []
    process.unpause()
    scheduler.run_for(1.0)
    assert ran == [(1.0, 2.5), (2.0, 2.5), (3.0, 3.0)]


def test_a_paused_process_catches_up_with_its_timers_before_its_mail(scheduler, process):
    ran = []
    scheduler.after(1.0, lambda _: scheduler.run_in(process, ran.append, "mail"), None, None)
    scheduler.after(2.0, ran.append, "timer", process)
    process.pause()
    scheduler.run_for(3.0)
    process.unpause()
    scheduler.run_for(0.0)
    assert ran == ["timer", "mail"]


def test_a_slow_process_takes_its_time_over_one_event_after_the_other(scheduler, process):
    ran = []
    process.slow_down(0.5)
    for at in (1.0, 1.1, 4.0):
        scheduler.at(at, lambda at: ran.append((at, scheduler.now)), at, process)
    scheduler.run_for(10.0)
    assert ran == [(1.0, 1.5), (1.1, 2.0), (4.0, 4.5)]


def test_a_slow_process_that_is_paused_and_goes_on_loses_nothing(scheduler, process):
    ran = []
    process.slow_down(0.5)
    scheduler.after(1.0, ran.append, "timer", process)
    scheduler.after(1.2, lambda _: process.pause(), None, None)
    scheduler.run_for(5.0)
    assert ran == []
    process.unpause()
    scheduler.run_for(1.0)
    assert ran == ["timer"]


def test_a_slow_process_that_is_killed_runs_nothing_more(scheduler, process):
    ran = []
    process.slow_down(0.5)
    scheduler.after(1.0, ran.append, "timer", process)
    scheduler.after(1.2, lambda _: process.kill(), None, None)
    scheduler.run_for(5.0)
    assert ran == []


def test_a_timer_cancelled_while_its_process_is_paused_stays_cancelled(scheduler, process):
    ran = []
    timer = scheduler.after(1.0, ran.append, "timer", process)
    process.pause()
    scheduler.run_for(2.0)
    timer[2] = None
    process.unpause()
    scheduler.run_for(1.0)
    assert ran == []


def test_an_exception_in_a_task_stops_the_run_and_tells_seed_time_and_task(scheduler, process):
    def run() -> None:
        scheduler.sleep(1.25, process)
        raise KeyError("lost")

    process.spawn(run, "stabilize")
    with pytest.raises(SimulationFailed, match=r"at 1\.250000 s, task stabilize of n1: KeyError: 'lost' \[seed 7\]"):
        scheduler.run_for(5.0)


def test_an_exception_in_a_callback_stops_the_run(scheduler, process):
    scheduler.after(1.0, lambda _: 1 // 0, None, process)
    with pytest.raises(SimulationFailed, match=r"ZeroDivisionError.*seed 7"):
        scheduler.run_for(5.0)


def test_run_until_stops_at_the_event_that_fulfils_it(scheduler):
    ran = []
    for at in (1.0, 2.0, 3.0):
        scheduler.at(at, ran.append, at, None)
    assert scheduler.run_until(lambda: len(ran) == 2, 10.0)
    assert scheduler.now == 2.0


def test_run_until_gives_up_when_its_time_is_over(scheduler):
    assert not scheduler.run_until(lambda: False, 10.0)
    assert not scheduler.run_until(lambda: False, 1.0, every_s=0.3)
    assert scheduler.now == 11.0


def test_run_task_says_nothing_came_of_a_task_whose_process_died(scheduler, process):
    scheduler.after(1.0, lambda _: process.kill(), None, None)
    assert scheduler.run_task(process, lambda: scheduler.sleep(5.0, process) or "done", 10.0) is None


def test_the_watcher_hears_of_every_event_of_a_process(scheduler, process):
    heard = []
    scheduler.watch = heard.append
    scheduler.after(1.0, lambda _: None, None, process)
    scheduler.after(2.0, lambda _: scheduler.run_in(process, lambda _: None, None), None, None)
    scheduler.after(3.0, lambda _: None, None, None)
    scheduler.run_for(5.0)
    assert heard == [process, process]
