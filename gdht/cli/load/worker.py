"""One process of a load. Lines of JSON go out, its plan and orders come in, on standard output and input.

In: the plan; `go` once all processes have stored their values; `stop` to end early, twice to end at once. The end of
standard input stops it too, so it does not outlive whoever started it. Out: `{"done": N}` now and then, `{"filled":
TALLY}`, `{"loaded": TALLY}`.
"""

import json
import os
import random
import select
import sys
from contextlib import suppress
from typing import Any

from gdht.cli.load.engine import TICK_S, Engine, Orders
from gdht.cli.load.plan import Plan
from gdht.cli.load.tally import Tally

GO, STOP = "go", "stop"
TICKS_PER_REPORT = round(0.2 / TICK_S)
READ_BYTES_MAX = 1 << 16


class OrderLines:
    """The lines of a pipe. They are read past Python's own buffer, so that the system knows what is left to read."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""
        self._has_ended = False

    def wait(self) -> str:
        """The next line; empty at the end."""
        while b"\n" not in self._rest and not self._has_ended:
            self._read()
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def says_stop(self) -> bool:
        """Whether somebody told us to stop since the last time, or nobody is there any more."""
        if not self._has_ended and select.select([self._fd], [], [], 0)[0]:
            self._read()
        if b"\n" not in self._rest:
            return self._has_ended
        return self.wait() == STOP

    def _read(self) -> None:
        data = os.read(self._fd, READ_BYTES_MAX)
        self._rest += data
        self._has_ended = not data


def main() -> None:
    """Store the values, load, and tell what came of it."""
    lines = OrderLines(sys.stdin.fileno())
    with suppress(BrokenPipeError):
        _run(Plan.from_json(json.loads(lines.wait())), lines)


def _run(plan: Plan, lines: OrderLines) -> None:
    filled = Tally()
    if plan.fill_count:
        filled = Engine(plan, plan.fill(), plan.fill_pipeline, None, _orders(lines)).run()
    _tell(filled=filled.to_json())
    if lines.wait() == GO:
        loaded = Engine(plan, plan.mix(random.Random()), plan.pipeline, plan.seconds, _orders(lines)).run()
        _tell(loaded=loaded.to_json())


def _orders(lines: OrderLines) -> Orders:
    """What an engine calls at its ticks."""
    ticks = 0

    def at_tick(tally: Tally) -> bool:
        nonlocal ticks
        ticks += 1
        if ticks % TICKS_PER_REPORT == 0:
            _tell(done=tally.answered + tally.failed)
        return lines.says_stop()

    return at_tick


def _tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
