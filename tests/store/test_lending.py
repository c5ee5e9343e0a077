"""How the loop stands still for a commit: until it waits for the disk, until it is over, and never for long."""

import threading
import time

import pytest

from gdht.store import lending
from gdht.store.lending import lending as lent


class Disk:
    """What is told to its thread."""

    is_long = True

    def expect_work(self, at_sync):
        self.at_sync = at_sync
        return self.is_long


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def threads():
    """`run_aside` with a thread for each work, all of which have ended in the end."""
    started: list[threading.Thread] = []

    def run_aside(work, done):
        def run():
            try:
                work()
            except ZeroDivisionError as error:
                done(error)
            else:
                done(None)

        started.append(threading.Thread(target=run))
        started[-1].start()

    yield run_aside
    for thread in started:
        thread.join()


@pytest.fixture
def patient(monkeypatch):
    """Nothing takes too long."""
    monkeypatch.setattr(lending, "LEND_S_MAX", 60.0)


def test_it_returns_when_the_commit_waits_for_the_disk(disk, threads, patient):
    synced, steps = threading.Event(), []

    def work():
        steps.append("put")
        disk.at_sync()
        synced.wait()
        steps.append("synced")

    lent(threads, disk)(work, lambda _: steps.append("done"))
    assert steps == ["put"]
    synced.set()


@pytest.mark.parametrize(("work", "outcome"), [(lambda: None, type(None)), (lambda: 1 / 0, ZeroDivisionError)])
def test_it_returns_when_the_work_is_over_or_has_failed_before_that(disk, threads, patient, work, outcome):
    told, ended = [], threading.Event()
    lent(threads, disk)(work, lambda error: (told.append(error), ended.set()))
    ended.wait()
    assert type(told[0]) is outcome


def test_a_commit_that_takes_long_is_not_waited_for(disk, threads):
    going_on = threading.Event()
    began_s = time.monotonic()
    lent(threads, disk)(going_on.wait, lambda _: None)
    assert time.monotonic() - began_s >= lending.LEND_S_MAX
    assert not going_on.is_set()
    going_on.set()
