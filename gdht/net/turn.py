"""The turns of the event loop, from one poll of its sockets to the next, and how long one may last.

What a single read brings is little work; but in one turn hundreds of connections may have something to read. So who is
about to do more looks how long the turn has lasted, and lets others run first: timers, other sockets, maintenance. Who
waits so goes on in the order of waiting, in as many turns as that takes.
"""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from time import perf_counter

from gevent import get_hub
from gevent.hub import Waiter

TURN_S_MAX = 0.005
"""After so long, nobody begins with more work in this turn."""


class Turn:
    """The present turn of this thread's loop. began_s: when it began, by `perf_counter`."""

    def __init__(self) -> None:
        self.hub = get_hub()
        loop = self.hub.loop
        self.began_s = perf_counter()
        self._waiting: deque[tuple[float, Callable[[], object]]] = deque()  # with the turn that each gave way in
        self._ending: deque[Callable[[], object]] = deque()
        self._next = loop.timer(0)
        self._watcher = loop.check(ref=False, priority=loop.MAXPRI)
        self._watcher.start(self._begin)

    def is_long(self) -> bool:
        """Whether others should run before anything else is begun. Switches: no."""
        return perf_counter() - self.began_s > TURN_S_MAX

    def let_others_run(self) -> None:
        """Give way to whatever is ready, and to those that gave way before. Switches: yes, for a turn at least."""
        waiter = Waiter(self.hub)
        self.put_off(partial(waiter.switch, None))  # in vain when we are killed meanwhile
        waiter.get()

    def put_off(self, go_on: Callable[[], object]) -> None:
        """Have this called by the event loop in a later turn, after those that gave way before. Switches: no."""
        self._waiting.append((self.began_s, go_on))
        if not self._next.active:
            self._next.start(self._go_on)

    def at_end(self, call: Callable[[], object]) -> None:
        """Have this called by the event loop at the end of this turn, after all that is ready now. Switches: no."""
        if not self._ending:
            self.hub.loop.run_callback(self._end)
        self._ending.append(call)

    def _end(self) -> None:
        ending, self._ending = self._ending, deque()
        try:
            while ending:
                ending.popleft()()
        finally:
            for call in ending:  # one of them failed
                self.at_end(call)

    def _begin(self) -> None:
        self.began_s = perf_counter()

    def _go_on(self) -> None:
        """Called in the hub, after a poll."""
        self._next.stop()
        while self._waiting and self._waiting[0][0] < self.began_s:
            _, go_on = self._waiting.popleft()
            go_on()
            if self.is_long():
                break
        if self._waiting:
            self._next.start(self._go_on)


_of_thread = threading.local()


def this_turn() -> Turn:
    """The turn of this thread's loop, the same one for everybody. Switches: no."""
    turn: Turn | None = getattr(_of_thread, "turn", None)
    if turn is None or turn.hub is not get_hub():
        turn = _of_thread.turn = Turn()
    return turn
