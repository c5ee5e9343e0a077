"""Long work in short turns: whoever works on many things lets others run every few milliseconds.

The work is counted in time and not in things, since a thing may be read from memory, from a disk, or found in a moment.
In simulation time stands still while somebody works, so nothing is interrupted there but where tests ask for it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from gdht.node.runtime import Runtime

TURN_S = 0.001
"""How long one works before the others' turn."""

Thing = TypeVar("Thing")


class Pace:
    """The turns of one who works. now: seconds of any origin; give_way: lets others run. Switches: as its methods."""

    def __init__(self, now: Callable[[], float], give_way: Callable[[], None]) -> None:
        self._now = now
        self._give_way = give_way
        self._began_s = now()

    def step(self) -> None:
        """Let others run if this turn has lasted long enough. Switches: maybe."""
        if self._now() - self._began_s > TURN_S:
            self._give_way()
            self._began_s = self._now()

    def over(self, things: Iterable[Thing]) -> Iterator[Thing]:
        """The same things; others may run after each of them. Switches: when iterated, maybe."""
        for thing in things:
            yield thing
            self.step()


STEADY = Pace(lambda: 0.0, lambda: None)
"""For work that is not interrupted."""


def pace(rt: Runtime) -> Pace:
    """The turns of a task, beginning now."""
    return Pace(rt.now, lambda: rt.sleep(0))


def paced(rt: Runtime, things: Iterable[Thing]) -> Iterator[Thing]:
    """The same things; others may run after each of them. Switches: when iterated, maybe."""
    return pace(rt).over(things)
