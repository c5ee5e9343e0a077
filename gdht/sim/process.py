"""What runs on the scheduler: processes, the tasks in them, and the signals that wake these."""

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit, getcurrent, greenlet  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from gdht.sim.scheduler import Scheduler

Event = list[Any]
"""[time, order, callback, argument, process]; a callback of None is a cancelled event."""


class Process:
    """Tasks and events that live, pause and die together: one run of a simulated program."""

    def __init__(self, scheduler: "Scheduler", name: str) -> None:
        self.scheduler = scheduler
        self.name = name
        self.alive = True
        self.held = False
        """Paused, slow or dead: its events do not run when they are due."""
        self.held_until_s = -inf
        """When that was so last."""
        self.tasks: dict[Task, None] = {}
        self._paused = False
        self._service_s = 0.0
        self._busy_until_s = 0.0
        self._timers: list[Event] = []
        self._mail: list[Event] = []

    def spawn(self, run: Callable[[], object], name: str) -> "Task":
        """Run something beside us, soon."""
        self.check_alive()
        task = Task(self, run, name)
        self.tasks[task] = None
        self.scheduler.soon(resume, (task, None), self)
        return task

    def check_alive(self) -> None:
        """End the asking task when its process is dead: what is left of it must not touch the world any more."""
        if not self.alive:
            raise GreenletExit

    def pause(self) -> None:
        """Run nothing of this process until `unpause`; what comes in waits."""
        self._paused = True
        self._update_held()

    def unpause(self) -> None:
        """Run again: first the timers that have come due meanwhile, then what others sent.

        That is the worse order, and what a process sees that was stopped and goes on: libev calls timers first, so a
        deadline has passed although the answer is there.
        """
        self._paused = False
        self._update_held()
        backlog, self._timers, self._mail = self._timers + self._mail, [], []
        if self.alive:
            for event in backlog:
                self.scheduler.again(event)

    def slow_down(self, service_s: float) -> None:
        """Let every event take so many seconds of this process, one after the other; 0: none, as at the start."""
        self._service_s = service_s
        self._update_held()

    def kill(self) -> None:
        """Stop at once, as by a crash: no task of it touches the world again. Switches: no."""
        self.alive = False
        self._update_held()
        self._timers.clear()
        self._mail.clear()
        self.scheduler.forget(self)
        tasks, self.tasks = self.tasks, {}
        for task in tasks:
            task.cancel()

    def hold(self, event: Event, *, mail: bool) -> None:
        """Deal with an event that came due while the process is `held`. mail: it came from another process."""
        if not self.alive:
            return
        if self._paused:
            (self._mail if mail else self._timers).append(event)
            return
        self._busy_until_s = max(self._busy_until_s, self.scheduler.now) + self._service_s
        self.scheduler.at(self._busy_until_s, self._run_late, (event, mail), None)

    def _run_late(self, held: tuple[Event, bool]) -> None:
        event, mail = held
        if event[2] is None or not self.alive:
            return
        if self._paused:
            (self._mail if mail else self._timers).append(event)
            return
        self.scheduler.run(event)

    def _update_held(self) -> None:
        was_held, self.held = self.held, self._paused or self._service_s > 0.0 or not self.alive
        if was_held or self.held:
            self.held_until_s = inf if self.held else self.scheduler.now


class Task(greenlet):  # type: ignore[misc]  # no types of its own
    """Something running in a process; a switch into it always comes from the hub. calls: how many it has made."""

    def __init__(self, process: Process, run: Callable[[], object], name: str) -> None:
        super().__init__(parent=process.scheduler.hub)
        self.process = process
        self.name = name
        self.cancelled = False
        self.calls = 0
        self._work = run

    def run(self, _first: object) -> None:
        """The body of the greenlet; the first switch brings an argument that nobody needs."""
        try:
            self._work()
        except Exception:
            self.process.scheduler.failed_task = self
            raise
        finally:
            self.process.tasks.pop(self, None)

    def cancel(self) -> None:
        """Stop it at its next switch. Switches: no."""
        if self.cancelled or self.dead:
            return
        self.cancelled = True
        if getcurrent() is self.process.scheduler.hub:
            _end(self)
        else:
            self.process.scheduler.soon(_end, self, None)


class Signal:
    """A wake-up for one waiting task; being set twice before it is awaited counts once."""

    __slots__ = ("_is_set", "_process", "_waiter")

    def __init__(self, process: Process) -> None:
        self._process = process
        self._is_set = False
        self._waiter: Task | None = None

    def set(self) -> None:
        """Wake the waiter, now or when it next waits. Switches: no."""
        self._is_set = True
        if self._waiter is not None:
            self._process.scheduler.soon(resume, (self._waiter, None), self._process)
            self._waiter = None

    def wait(self, timeout_s: float) -> bool:
        """Wait until set, at most this long, and clear it; True when it was set. Switches: yes."""
        self._process.check_alive()
        if not self._is_set:
            self._wait(timeout_s)
        was_set, self._is_set = self._is_set, False
        return was_set

    def _wait(self, timeout_s: float) -> None:
        assert self._waiter is None, "a signal has one waiter"
        scheduler = self._process.scheduler
        self._waiter = scheduler.task
        timer = scheduler.after(timeout_s, self._time_out, self._waiter, self._process)
        try:
            scheduler.switch()
        finally:
            timer[2] = None
            self._waiter = None

    def _time_out(self, task: Task) -> None:
        if self._waiter is task:
            resume((task, None))


def resume(target: tuple[Task, object]) -> None:
    """Switch into a waiting task, unless it has ended. Only the hub may."""
    task, value = target
    if not task.dead:
        task.switch(value)


def _end(task: Task) -> None:
    task.process.tasks.pop(task, None)
    if not task.dead:
        task.throw(GreenletExit)
