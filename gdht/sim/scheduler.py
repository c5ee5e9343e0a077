"""A scheduler with a virtual clock: tasks are greenlets, events a heap of (time, order of scheduling).

Nothing here knows of nodes or networks, and nothing reads a real clock: the same program and the same seed give the
same order of events. The greenlet that made the scheduler is its hub: only the hub runs events, and every switch
leads from the hub into a task or from a task back to the hub.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from types import TracebackType
from typing import Any, Self, TypeVar

from greenlet import getcurrent  # type: ignore[import-untyped]

from gdht.errors import GdhtError
from gdht.sim.process import Event, Process, Task, resume

__all__ = ["Event", "Process", "Scheduler", "SimulationFailed"]

T = TypeVar("T")


class SimulationFailed(GdhtError):
    """A run stopped: a task or handler raised, or a checker found a violation. The cause is chained."""


class Scheduler:
    """Runs events in order of virtual time, which starts at 0 seconds.

    context: what an error message must tell so that the run can be repeated (the seed, a command line).
    watch: called after every event of a process with that process; None: nobody looks.
    """

    def __init__(self, context: str = "") -> None:
        self.hub = getcurrent()
        self.context = context
        self.now = 0.0
        self.events = 0
        self.watch: Callable[[Process], None] | None = None
        self.failed_task: Task | None = None
        self._heap: list[Event] = []
        self._order = 0
        self._processes: dict[Process, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill every process, so that no task is left to be collected."""
        for process in list(self._processes):
            process.kill()
        self._heap.clear()

    def process(self, name: str) -> Process:
        """A new process without tasks."""
        process = Process(self, name)
        self._processes[process] = None
        return process

    def forget(self, process: Process) -> None:
        """It is dead."""
        self._processes.pop(process, None)

    @property
    def task(self) -> Task:
        """The task that runs now. Only a task may ask."""
        current = getcurrent()
        assert isinstance(current, Task), "only a task may switch"
        return current

    # Scheduling: none of these switches ---------------------------------------------------------------------------

    def at(self, time: float, callback: Callable[[Any], object], argument: object, process: Process | None) -> Event:
        """Call back at a time, or now when it has passed; set item 2 of the event to None to cancel it."""
        self._order += 1
        event = [time if time > self.now else self.now, self._order, callback, argument, process]
        heappush(self._heap, event)
        return event

    def after(
        self, seconds: float, callback: Callable[[Any], object], argument: object, process: Process | None
    ) -> Event:
        """Call back after some seconds."""
        return self.at(self.now + seconds, callback, argument, process)

    def soon(self, callback: Callable[[Any], object], argument: object, process: Process | None) -> Event:
        """Call back at this very time, after everything already scheduled for it."""
        return self.at(self.now, callback, argument, process)

    def again(self, event: Event) -> None:
        """Schedule an event that was postponed anew, for now."""
        self._order += 1
        event[0], event[1] = self.now, self._order
        heappush(self._heap, event)

    # Switching: only tasks ----------------------------------------------------------------------------------------

    def switch(self) -> Any:
        """Leave the current task until somebody resumes it; what it was resumed with. Switches: yes."""
        return self.hub.switch()

    def sleep(self, seconds: float, process: Process) -> None:
        """Let others run for this long. Switches: yes."""
        self.at(self.now + seconds, resume, (self.task, None), process)
        self.hub.switch()

    # Running: only the hub ----------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Run the next event; False when there is none."""
        while self._heap:
            before = self.events
            self._run(self._heap[0][0], once=True)
            if self.events > before:
                return True
        return False

    def run_for(self, seconds: float) -> None:
        """Run everything of the next so many seconds; the clock then stands at their end."""
        end = self.now + seconds
        self._run(end)
        self.now = end

    def run_until(self, predicate: Callable[[], bool], timeout_s: float, every_s: float = 0.0) -> bool:
        """Run until the predicate holds, looked at after every event, or every so many seconds; False: it never did."""
        end = self.now + timeout_s
        while not predicate():
            if self.now >= end or (every_s == 0.0 and not (self._heap and self._heap[0][0] <= end)):
                self.now = end
                return predicate()
            if every_s == 0.0:
                self.step()
            else:
                self.run_for(min(every_s, end - self.now))
        return True

    def run_task(self, process: Process, run: Callable[[], T], timeout_s: float) -> T | None:
        """Run something as a task to its end; None when its process died first or the time was up."""
        results: list[T] = []
        task = process.spawn(lambda: results.append(run()), "visitor")
        self.run_until(lambda: task.dead, timeout_s)
        return results[0] if results else None

    def run_in(self, process: Process, callback: Callable[[Any], object], argument: object) -> None:
        """Go on, within one event, as an event of this process: something has come in for it."""
        if process.held:
            process.hold([self.now, 0, callback, argument, process], mail=True)
            return
        callback(argument)
        if self.watch is not None:
            self.watch(process)

    def run(self, event: Event) -> None:
        """Run an event of a process that was held, now."""
        event[2](event[3])
        if self.watch is not None:
            self.watch(event[4])

    def _run(self, end: float, once: bool = False) -> None:
        assert getcurrent() is self.hub, "only the hub runs events"
        heap, watch = self._heap, self.watch
        try:
            while heap and heap[0][0] <= end:
                event = heappop(heap)
                time, _, callback, argument, process = event
                if callback is None:
                    continue
                self.now = time
                self.events += 1
                if process is None:
                    callback(argument)
                elif process.held:
                    process.hold(event, mail=False)
                else:
                    callback(argument)
                    if watch is not None:
                        watch(process)
                if once:
                    return
        except SimulationFailed:
            raise
        except Exception as error:
            raise SimulationFailed(self._describe(error)) from error

    def _describe(self, error: Exception) -> str:
        where = ""
        if self.failed_task is not None:
            where = f", task {self.failed_task.name} of {self.failed_task.process.name}"
        return f"at {self.now:.6f} s{where}: {type(error).__name__}: {error} [{self.context}]"
