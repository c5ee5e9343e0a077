"""The Runtime of real nodes: gevent's greenlets, real sockets, the real clock."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

import gevent
from gevent.event import Event

from gdht.core.messages import Reply, Request
from gdht.core.peer import Peer
from gdht.net.calls import Batch
from gdht.net.pool import Pool
from gdht.node.runtime import Calls, Signal, Task

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Another one each time the machine starts."""

YIELD_S = 1e-6
"""After `gevent.sleep(0)` up to 50 more callbacks run before sockets and timers get their turn; after this, none."""

RESTART_S_MIN, RESTART_S_MAX = 0.1, 30.0
"""How long a task that raised is left before it is started again: doubling."""
HEALTHY_S = 60.0
"""A task that ran for so long before it raised begins with the shortest wait again."""


class GeventTask:
    """A greenlet, for those who may only stop it."""

    def __init__(self, greenlet: gevent.Greenlet) -> None:
        self._greenlet = greenlet

    def cancel(self) -> None:
        """Stop it at its next switch; nothing happens when it has ended. Switches: no."""
        self._greenlet.kill(block=False)


class GeventSignal:
    """A wake-up for one waiting task; being set twice before it is awaited counts once."""

    def __init__(self) -> None:
        self._event = Event()

    def set(self) -> None:
        """Wake the waiter, now or when it next waits. Switches: no."""
        self._event.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until set, at most `timeout_s` seconds, and clear it; True when it was set. Switches: yes."""
        was_set: bool = self._event.wait(timeout_s)
        self._event.clear()
        return was_set


class GeventRuntime:
    """Everything a node may ask of the world; see `gdht.node.runtime.Runtime` for the promises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._rng = random.Random()  # seeded by the system
        self._boot = _boot()
        self.now: Callable[[], float] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
        """Seconds since the machine started, those in which it slept too. Switches: no."""
        self.wall: Callable[[], float] = time.time
        """Seconds since the epoch. Switches: no."""

    @property
    def rng(self) -> random.Random:
        """The only source of chance."""
        return self._rng

    @property
    def boot(self) -> str:
        """Which start of this machine `now` counts from."""
        return self._boot

    def sleep(self, seconds: float) -> None:
        """Let others run for this long; 0 lets them run once. Switches: yes."""
        gevent.sleep(max(seconds, YIELD_S))

    def spawn(self, run: Callable[[], None], name: str) -> Task:
        """Run something beside us; should it raise, that is logged and counted, and it runs again. Switches: no."""
        return GeventTask(gevent.spawn(self._keep_running, run, name))

    def signal(self) -> Signal:
        """A new wake-up."""
        return GeventSignal()

    def call(self, peer: Peer, request: Request, timeout_s: float) -> Reply:
        """Ask a peer and wait for its answer. Switches: yes. Raises: see Runtime."""
        _index, outcome = next(self.calls([(peer, request)], timeout_s))
        if isinstance(outcome, Exception):
            raise outcome.with_traceback(None)  # the same error may end many calls
        return outcome

    def calls(self, requests: Sequence[tuple[Peer, Request]], timeout_s: float) -> Calls:
        """Ask many at once. Switches: when iterated."""
        batch = Batch(self._pool.submit, timeout_s, self._pool.stats)
        batch.ask(requests)
        return batch

    def identify(self, address: str, timeout_s: float) -> Peer:
        """Who answers at this address. Switches: yes. Raises: see Runtime."""
        return self._pool.identify(address, timeout_s)

    def _keep_running(self, run: Callable[[], None], name: str) -> None:
        delay_s = RESTART_S_MIN
        while True:
            started_s = time.monotonic()
            try:
                run()
                return
            except Exception:
                self._pool.stats.task_crashes[name] += 1
                if time.monotonic() - started_s > HEALTHY_S:
                    delay_s = RESTART_S_MIN
                log.exception("task=%s raised; started again in %.1f s", name, delay_s)
            gevent.sleep(delay_s)
            delay_s = min(delay_s * 2, RESTART_S_MAX)


def _boot() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return uuid4().hex  # nobody can tell: as if the machine had just started
