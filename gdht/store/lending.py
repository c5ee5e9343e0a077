"""How the loop's thread lets the thread of a commit have Python's interpreter, which only one of them can have.

LMDB gives the interpreter away for each call, some microseconds long, and a busy loop gives it back only after a whole
switch interval: a commit of some hundred records would take half a second. So the loop stands still, for a moment,
until nothing is left but to wait for the disk. For a short write it does not.
"""

from collections.abc import Callable
from threading import Event
from typing import Protocol

from gdht.store.disk import RunAside

LEND_S_MAX = 0.005
"""How long the loop stands still at the most; a commit that is not so far by then goes on beside it."""


class Lent(Protocol):
    """A disk that tells when its work needs the interpreter no more."""

    def expect_work(self, at_sync: Callable[[], None]) -> bool:
        """See `LmdbDisk`."""


def lending(run_aside: RunAside, disk: Lent) -> RunAside:
    """The same `run_aside`, which returns when the work on this disk waits for nothing but the disk, or is over."""

    given_back = Event()  # works come one after the other

    def run(work: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        given_back.clear()
        if not disk.expect_work(given_back.set):
            run_aside(work, done)
            return

        def work_and_give_back() -> None:
            try:
                work()
            finally:
                given_back.set()

        run_aside(work_and_give_back, done)
        given_back.wait(LEND_S_MAX)

    return run
