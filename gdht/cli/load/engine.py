"""The event loop of a load: it connects all lanes, sends for a time or until nothing is left, and awaits the rest."""

from collections.abc import Callable, Iterator
from contextlib import closing
from selectors import DefaultSelector
from time import perf_counter, process_time

from gdht.cli.load.lane import Lane, Phase, State
from gdht.cli.load.plan import Plan
from gdht.cli.load.tally import Tally
from gdht.client.requests import Request

TICK_S = 0.05
"""How often lanes are looked after, and somebody may stop us."""

Orders = Callable[[Tally], bool]
"""Called at every tick with what is counted so far; says whether to stop."""


class Engine:
    """One phase of a load: storing the values, or the load itself. seconds: None until `requests` are used up."""

    def __init__(
        self, plan: Plan, requests: Iterator[Request], in_flight_max: int, seconds: float | None, orders: Orders
    ) -> None:
        self.tally = Tally()
        self._seconds = seconds
        self._orders = orders
        self._patience_s = plan.timeout_s
        self._selector = DefaultSelector()
        self._phase = Phase(self.tally, requests, in_flight_max, plan.timeout_s)
        self._lanes = [Lane(number, plan.addresses, self._selector, self._phase) for number in range(plan.connections)]
        self._is_stopped = False
        self._open_at_s = perf_counter()

    def run(self) -> Tally:
        """Do all of it; returns what is counted."""
        with closing(self._selector):
            try:
                for lane in self._lanes:
                    lane.connect()
                self._spin(self._is_connecting)
                if not self._is_stopped:
                    self._send()
                    self._await_rest()
            finally:
                for lane in self._lanes:
                    lane.give_up()
        return self.tally

    def _send(self) -> None:
        started_s, started_cpu_s = perf_counter(), process_time()
        if self._seconds is not None:
            self._phase.ends_at_s = started_s + self._seconds
        self._phase.is_sending = True
        for lane in self._lanes:
            lane.top_up()
        self.tally.waited_s = self._spin(self._is_sending)
        self._phase.is_sending = False
        self._phase.ends_at_s = min(self._phase.ends_at_s, perf_counter())
        self.tally.seconds = self._phase.ends_at_s - started_s
        self.tally.cpu_s = process_time() - started_cpu_s

    def _await_rest(self) -> None:
        """Wait for the last answers, no longer than for any other; who stops us once more gets none."""
        self._is_stopped = False
        until_s = perf_counter() + self._patience_s
        self._spin(lambda now_s: now_s < until_s and any(lane.in_flight for lane in self._lanes))

    def _is_connecting(self, now_s: float) -> bool:
        return now_s < self._open_at_s + self._patience_s and any(
            lane.state is State.CONNECTING for lane in self._lanes
        )

    def _is_sending(self, now_s: float) -> bool:
        """Whether the time is not over, or there are requests left; not for long without any connection."""
        if self._phase.is_used_up and not any(lane.in_flight for lane in self._lanes):
            return False
        if any(lane.state is State.OPEN for lane in self._lanes):
            self._open_at_s = now_s
        return now_s < min(self._phase.ends_at_s, self._open_at_s + self._patience_s)

    def _spin(self, goes_on: Callable[[float], bool]) -> float:
        """Turn the loop while it goes on, to be asked at every tick, or until we are stopped; how long it waited."""
        waited_s = 0.0
        tick_at_s = 0.0
        while not self._is_stopped:
            now_s = perf_counter()
            if now_s >= tick_at_s:
                tick_at_s = now_s + TICK_S
                if not goes_on(now_s):
                    break
                self._tick(now_s)
            ready = self._selector.select(0)
            if not ready:  # only now it is waiting
                began_s = perf_counter()
                ready = self._selector.select(TICK_S)
                waited_s += perf_counter() - began_s
            for key, events in ready:
                key.data.handle(events)
        return waited_s

    def _tick(self, now_s: float) -> None:
        for lane in self._lanes:
            lane.look(now_s)
        self._is_stopped = self._orders(self.tally)
