"""The thread that waits for the disk."""

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread

import gevent

from gdht.node.stats import Stats
from gdht.store.disk import Work

log = logging.getLogger(__name__)

SWITCH_S = 0.0005
"""How long the thread may keep the loop's thread from running, instead of Python's 5 ms."""

CLOSE_LOOK_S = 0.001
"""How often it is looked whether the thread has ended."""

Done = Callable[[Exception | None], None]


class DiskThread:
    """One thread for one store, whose work names being resolved elsewhere cannot hold up.

    A plain queue, and one watcher by which the thread wakes the loop: gevent's pool of threads makes a watcher, a lock
    and a result for each work, which costs more than a short write.
    """

    def __init__(self) -> None:
        self.stats = Stats()
        self._works: SimpleQueue[Work | None] = SimpleQueue()
        self._outcomes: SimpleQueue[Exception | None] = SimpleQueue()
        self._under_way: deque[tuple[Done, float]] = deque()  # who is told, and when it began
        self._loop = gevent.get_hub().loop
        self._wake = self._loop.async_()
        self._wake.start(self._ended)
        self._thread = Thread(target=self._run, name="disk", daemon=True)
        self._thread.start()
        sys.setswitchinterval(SWITCH_S)

    def run_aside(self, work: Work, done: Done) -> None:
        """Have `work` run in the thread, then `done` in the hub, where it must not wait. Switches: no."""
        self._under_way.append((done, time.monotonic()))
        self._works.put(work)

    @property
    def busy_since_s(self) -> float | None:
        """When the work under way began, by `time.monotonic()`; None: there is none. Switches: no."""
        return self._under_way[0][1] if self._under_way else None

    def soon(self, run: Callable[[], None]) -> None:
        """Have `run` called in the hub, when what the loop has at hand is done. Switches: no."""
        self._loop.run_callback(run)

    def _run(self) -> None:
        """In the thread."""
        _let_others_go_first()
        while (work := self._works.get()) is not None:
            self._outcomes.put(_caught(work))
            self._wake.send()

    def _ended(self) -> None:
        """Called in the hub; once for several works that ended at once."""
        while not self._outcomes.empty():
            failure = self._outcomes.get()
            done, began_s = self._under_way.popleft()
            self.stats.store_commits["error" if failure else "ok"] += 1
            self.stats.store_commit_duration.observe(time.monotonic() - began_s)
            try:
                done(failure)
            except Exception:  # a bug of ours: the next work must be told of all the same
                log.exception("what follows a commit failed")

    def close(self, within_s: float) -> bool:
        """Let the thread end when what it was given is done; whether it has, within so many seconds. Switches: yes.

        One that the disk holds for longer is left to itself, and ends with the process.
        """
        self._works.put(None)
        ends_at_s = time.monotonic() + within_s
        while self._thread.is_alive():
            if time.monotonic() >= ends_at_s:
                return False
            gevent.sleep(CLOSE_LOOK_S)
        self._ended()  # the loop may have had no turn since the last work
        self._wake.stop()
        self._wake.close()
        return True


def _let_others_go_first() -> None:
    """Have this thread, when it is woken, not take the processor from the one who woke it.

    That is the loop's, which has the interpreter, too: nothing could be done before both are given back. Another policy
    than the usual one is an operator's choice, and stays.
    """
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _caught(work: Work) -> Exception | None:
    try:
        work()
    except Exception as error:  # noqa: BLE001  (the store tells what it is)
        return error
    return None
