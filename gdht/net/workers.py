"""Greenlets that are kept and reused for requests that have to wait, as spawning one for each costs too much."""

import logging
from collections.abc import Callable

import gevent
from gevent.queue import SimpleQueue

log = logging.getLogger(__name__)

WORKERS_MAX = 1024

Job = Callable[[], None]


class Workers:
    """Runs jobs, each in one of at most `WORKERS_MAX` greenlets; further ones wait their turn, first come first served.

    Whoever submits bounds how many jobs it has here at a time.
    """

    def __init__(self, workers_max: int = WORKERS_MAX) -> None:
        self._workers_max = workers_max
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._count = 0
        self._open = 0

    def submit(self, job: Job) -> None:
        """Run it soon. Switches: no."""
        self._open += 1
        if self._open > self._count and self._count < self._workers_max:
            self._count += 1
            gevent.spawn(self._work)
        self._jobs.put(job)

    def stop(self) -> None:
        """End the workers, each after what it does now. Switches: no."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _work(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                try:
                    job()
                except Exception:
                    log.exception("a job failed")
                finally:
                    self._open -= 1
        finally:
            self._count -= 1
