"""The processes of a load, from the side of who started them: orders out, progress and tallies in."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from selectors import EVENT_READ, DefaultSelector
from types import TracebackType
from typing import Any, Self

from gdht.cli.load.plan import Plan
from gdht.cli.load.tally import Tally
from gdht.cli.load.worker import GO, STOP
from gdht.errors import GdhtError

REFRESH_S = 0.1
END_S_MAX = 5.0
READ_BYTES_MAX = 1 << 16


class WorkerDied(GdhtError):
    """A process of the load ended before its work was done; it has said why on standard error."""


class Worker:
    """One process, and the lines it writes. done: requests of the present phase that it has told of."""

    def __init__(self, plan: Plan) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gdht.cli.load.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.done = 0
        self._rest = b""
        self.order(json.dumps(plan.to_json()))

    @property
    def output(self) -> int:
        """Where its lines come from, as a file descriptor."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def order(self, line: str) -> None:
        """Tell it something; nothing happens when it has ended."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def read(self) -> list[dict[str, Any]]:
        """What it has written since. Raises: WorkerDied."""
        data = os.read(self.output, READ_BYTES_MAX)
        if not data:
            raise WorkerDied(f"a process of the load ended with exit code {self.process.wait()}")
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def end(self) -> None:
        """Have it end, which the end of its input means, and wait for that."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Crew:
    """All processes of a load. Leaving the `with` block ends them.

    asked_to_stop: called often; whether somebody wants the present phase to end early.
    """

    def __init__(self, plans: Sequence[Plan], asked_to_stop: Callable[[], bool]) -> None:
        self.was_stopped = False
        self._asked_to_stop = asked_to_stop
        self._workers: list[Worker] = []
        self._plans = plans

    def __enter__(self) -> Self:
        try:
            for plan in self._plans:
                self._workers.append(Worker(plan))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        for worker in self._workers:
            worker.end()

    def fill(self, told: Callable[[int], None]) -> Tally:
        """Wait until all have stored their values. told: called with how many are. Raises: WorkerDied."""
        return self._follow("filled", told)

    def load(self, told: Callable[[int], None]) -> Tally:
        """Have all of them load, and wait for the end. told: called with how many requests are done."""
        for worker in self._workers:
            worker.done = 0
            worker.order(GO)
        return self._follow("loaded", told)

    def _follow(self, last: str, told: Callable[[int], None]) -> Tally:
        """Read what they say until each has said its last word; the sum of it."""
        tallies: list[Tally] = []
        with DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.output, EVENT_READ, worker)
            while len(tallies) < len(self._workers):
                if self._asked_to_stop():
                    self._stop()
                for key, _ in selector.select(REFRESH_S):
                    for said in key.data.read():
                        key.data.done = said.get("done", key.data.done)
                        if last in said:
                            tallies.append(Tally.from_json(said[last]))
                told(sum(worker.done for worker in self._workers))
        return _sum(tallies)

    def _stop(self) -> None:
        self.was_stopped = True
        for worker in self._workers:
            worker.order(STOP)


def _sum(tallies: Sequence[Tally]) -> Tally:
    whole = Tally()
    for tally in tallies:
        whole.merge(tally)
    return whole
