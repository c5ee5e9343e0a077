"""How long the event loop is held at a time: measured in every turn, from one poll of its sockets to the next.

Whatever runs in between makes everybody else wait. Turns are seen by two watchers of the loop itself: one that runs
first after a poll and one that runs last before the next. Both together take about half a microsecond. What held the
loop for long is seen by a thread that looks ten times a second.
"""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from gevent import get_hub

from gdht.net.logs import LineLimit
from gdht.net.turn import this_turn
from gdht.node.stats import Histogram

log = logging.getLogger(__name__)

LONG_S = 0.1
"""A hold of this length is logged, with what was seen running meanwhile."""
LOOK_S = 0.1
"""How often the thread looks: at least once, then, while such a hold lasts."""
LINES_MAX = 2
"""How many such lines there are in one second."""

BEATS = 240
"""Over how many beats the longest hold is told: a minute, at four beats a second."""

OURS = "gdht."


class Pulse:
    """The holds of this thread's loop. holds: where they are counted; its `total` is how long the loop was busy.

    clock: seconds of the wall, or of this thread's work alone.
    """

    def __init__(self, holds: Histogram, clock: Callable[[], float] = time.perf_counter) -> None:
        self._holds = holds
        self._short_s = holds.bounds[0]
        self._clock = clock
        self._turn = this_turn() if clock is time.perf_counter else None  # which is measured already
        self._began_s = 0.0
        self._longest_s = 0.0
        self._of_beats: deque[float] = deque(maxlen=BEATS)
        self._lines = LineLimit(log, LINES_MAX)
        self._witness = Witness(threading.get_ident())
        loop = get_hub().loop
        self._first = loop.check(ref=False, priority=loop.MAXPRI)
        self._last = loop.prepare(ref=False, priority=loop.MINPRI)

    def start(self) -> None:
        """Begin to measure. Switches: no."""
        self._began_s = self._clock()
        if self._turn is None:
            self._first.start(self._polled)
        else:
            self._turn.began_s = self._began_s  # what was before is no concern of ours
        self._last.start(self._about_to_poll)
        self._witness.start()

    def stop(self) -> None:
        """Measure no more. Switches: no."""
        self._witness.stop()
        for watcher in (self._first, self._last):
            watcher.stop()
            watcher.close()

    def beat(self) -> float:
        """The longest hold over the last BEATS calls of this, which come at even intervals. Switches: no."""
        self._of_beats.append(self._longest_s)
        self._longest_s = 0.0
        return max(self._of_beats)

    def _polled(self) -> None:
        self._began_s = self._clock()

    def _about_to_poll(self) -> None:
        held_s = self._clock() - (self._began_s if self._turn is None else self._turn.began_s)
        if held_s > self._longest_s:
            self._longest_s = held_s
        if held_s > self._short_s:
            self._holds.observe(held_s)
            if held_s >= LONG_S:
                what = self._witness.seen_since(time.perf_counter() - held_s)
                self._lines.warning("the event loop was held for %.0f ms, by %s", held_s * 1000, what)
        else:  # nearly always
            self._holds.counts[0] += 1
            self._holds.total += held_s


class Witness:
    """A thread that looks now and then at what another one is doing. ident: that of the other."""

    def __init__(self, ident: int) -> None:
        self._ident = ident
        self._seen: tuple[float, str] = 0.0, ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin to look. Switches: no."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Switches: no."""
        self._ended.set()

    def seen_since(self, when_s: float) -> str:
        """What was seen last, if that was after a time by `perf_counter`. Switches: no."""
        seen_s, what = self._seen
        return what if seen_s > when_s else "something unseen"

    def _look(self) -> None:
        while not self._ended.wait(LOOK_S):
            frame = sys._current_frames().get(self._ident)  # noqa: SLF001  (there is no other way)
            if frame is not None:
                self._seen = time.perf_counter(), where(frame)


def where(frame: FrameType) -> str:
    """Where something runs: the innermost function, and the one of ours that it runs for."""
    inner = ours = frame
    while not _module(ours).startswith(OURS) and ours.f_back is not None:
        ours = ours.f_back
    if not _module(ours).startswith(OURS) or ours is inner:
        return _place(inner)
    return f"{_place(ours)} in {_place(inner)}"


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _place(frame: FrameType) -> str:
    return f"{_module(frame) or Path(frame.f_code.co_filename).name}.{frame.f_code.co_qualname}:{frame.f_lineno}"
