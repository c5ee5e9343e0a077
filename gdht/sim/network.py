"""The simulated network: bytes in flight between endpoints, with seeded delay, loss, cuts and partitions.

Frames are opaque here; `gdht.sim.endpoint` encodes and decodes them. What is sent arrives once, later, or never.
Messages may overtake each other, which is harder on a node than its real connections are.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from gdht.sim.scheduler import Scheduler
from gdht.sim.trace import Trace

if TYPE_CHECKING:
    from gdht.sim.endpoint import Endpoint

Frames = tuple[int, bytes, bytes]
"""The number of a request, a HELLO frame or nothing, the frame of the request or of its answer or nothing."""

Delay = Callable[[Random], float]
"""Draws the seconds that one message is under way."""


def constant(seconds: float) -> Delay:
    """Every message takes the same time."""
    return lambda _rng: seconds


def uniform(least_s: float, most_s: float) -> Delay:
    """Any time between the two is as likely."""
    return lambda rng: rng.uniform(least_s, most_s)


def exponential(mean_s: float) -> Delay:
    """Mostly short, sometimes very long. Source: the 2003 paper, section VI."""
    return lambda rng: rng.expovariate(1.0 / mean_s)


LOCAL = uniform(0.01, 0.05)


@dataclass(frozen=True)
class NetworkOptions:
    """How the network treats messages.

    loss: the share of messages that never arrive. refusal: the share of requests to a dead node that come back as
    refused; the others meet silence until the caller's deadline.
    """

    delay: Delay = LOCAL
    loss: float = 0.0
    refusal: float = 0.5


class Network:
    """Carries frames between endpoints."""

    def __init__(self, scheduler: Scheduler, seed: int, options: NetworkOptions, trace: Trace) -> None:
        self.scheduler = scheduler
        self.options = options
        self.trace = trace
        self.messages = 0
        self._rng = Random(f"{seed}/network")
        self._endpoints: dict[str, Endpoint] = {}
        self._cuts: set[tuple[str, str]] = set()
        self._groups: dict[str, int] = {}

    # Who is there -------------------------------------------------------------------------------------------------

    def attach(self, endpoint: "Endpoint") -> None:
        """Let an endpoint listen at its address, in place of an earlier one."""
        self._endpoints[endpoint.me.address] = endpoint

    def listening(self, address: str) -> "Endpoint | None":
        """The endpoint of a live process at an address."""
        endpoint = self._endpoints.get(address)
        return endpoint if endpoint is not None and endpoint.process.alive else None

    # Faults ---------------------------------------------------------------------------------------------------------

    def cut(self, source: str, target: str) -> None:
        """Drop whatever source sends to target from now on; the other way still works."""
        self._cuts.add((source, target))

    def mend(self, source: str, target: str) -> None:
        """Undo `cut`."""
        self._cuts.discard((source, target))

    def partition(self, *groups: Iterable[str]) -> None:
        """Let only addresses of one group reach each other; those in no group form one more."""
        self._groups = {address: index for index, group in enumerate(groups) for address in group}

    def heal(self) -> None:
        """End the partition and mend every cut link."""
        self._groups = {}
        self._cuts.clear()

    def reachable(self, source: str, target: str) -> bool:
        """Whether messages from source to target are carried at all."""
        if self._groups and self._groups.get(source) != self._groups.get(target):
            return False
        return (source, target) not in self._cuts

    # Carrying -------------------------------------------------------------------------------------------------------

    def ask(self, source: "Endpoint", target: str, link: "Endpoint | None", frames: Frames) -> None:
        """Carry a request to whoever listens at the target when it arrives.

        link: whom an open connection leads to, and nobody else; None: a new connection.
        """
        if self._carries(source.me.address, target):
            delay = self.options.delay(self._rng)
            self.scheduler.after(delay, self._arrive, (source, target, link, frames), None)

    def answer(self, source: "Endpoint", target: "Endpoint", frames: Frames) -> None:
        """Carry an answer back; it is for this run of the asking process only."""
        if self._carries(source.me.address, target.me.address):
            delay = self.options.delay(self._rng)
            self.scheduler.after(delay, target.take_answer, (source, frames), target.process)

    def _carries(self, source: str, target: str) -> bool:
        self.messages += 1
        if (self._groups or self._cuts) and not self.reachable(source, target):
            return False
        return not (self.options.loss and self._rng.random() < self.options.loss)

    def _arrive(self, message: "tuple[Endpoint, str, Endpoint | None, Frames]") -> None:
        source, address, link, frames = message
        target = self.listening(address)
        if target is not None and link in (None, target):
            self.scheduler.run_in(target.process, target.take_request, (source, frames))
            return
        self.trace.note(self.scheduler.now, "nobody", address, source.me.address)
        if self._rng.random() < self.options.refusal and self.reachable(address, source.me.address):
            delay = self.options.delay(self._rng)
            self.scheduler.after(delay, source.take_refusal, frames[0], source.process)
