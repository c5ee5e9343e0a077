"""The simulated network: bytes in flight between endpoints; seeded delay, loss, resets, cuts, clogs and partitions.

Frames are opaque here; `gdht.sim.endpoint` encodes and decodes them. What is sent arrives once, later, or never.
Messages may overtake each other, which is harder on a node than its real connections are.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from gdht.sim.delays import LOCAL, Delay, constant, exponential, uniform
from gdht.sim.scheduler import Scheduler
from gdht.sim.trace import Trace

if TYPE_CHECKING:
    from gdht.sim.endpoint import Connection, Endpoint

__all__ = ["Delay", "Frames", "Network", "NetworkOptions", "constant", "exponential", "uniform"]

Frames = tuple[int, bytes, bytes]
"""The number of a request, a HELLO frame or nothing, the frame of the request or of its answer or nothing."""

Link = tuple[str, str]
"""Whose messages to whom, by address; one way."""

LinkDelay = Callable[[Link, Random], float]
"""Draws the seconds that one message is under way on a link."""

Deliver = Callable[[Any], None]
"""Takes a message at the end of its way."""

RESET_CARRIED = 0.5
"""The share of requests under way on a connection that are carried out although it was reset."""


@dataclass(frozen=True)
class NetworkOptions:
    """How the network treats messages.

    loss: the share of messages that never arrive. refusal: the share of requests to a dead node that come back as
    refused; the others meet silence until the caller's deadline. reset: the share of requests that cost the connection
    they are sent on, with everything else under way on it. link_delay: in place of delay, where some ways are longer.
    """

    delay: Delay = LOCAL
    loss: float = 0.0
    refusal: float = 0.5
    reset: float = 0.0
    link_delay: LinkDelay | None = None


class Network:
    """Carries frames between endpoints."""

    def __init__(self, scheduler: Scheduler, seed: int, options: NetworkOptions, trace: Trace) -> None:
        self.scheduler = scheduler
        self.options = options
        self.trace = trace
        self.messages = 0
        self.longest_s = 0.0
        """The longest that any message was under way."""
        self._rng = Random(f"{seed}/network")
        self._endpoints: dict[str, Endpoint] = {}
        self._cuts: set[Link] = set()
        self._groups: dict[str, int] = {}
        self._clogged: dict[Link, list[tuple[float, Deliver, Any]]] = {}

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

    def clog(self, source: str, target: str) -> None:
        """Keep whatever source sends to target from now on until `unclog`; the other way still works."""
        self._clogged.setdefault((source, target), [])

    def unclog(self, source: str, target: str) -> None:
        """Let through what has waited; each message takes its time from now."""
        for sent_s, deliver, message in self._clogged.pop((source, target), ()):
            self._send((source, target), deliver, message, sent_s)

    @property
    def clogged(self) -> list[Link]:
        """The links on which messages wait, in order of their clogging."""
        return list(self._clogged)

    def partition(self, *groups: Iterable[str]) -> None:
        """Let only addresses of one group reach each other; those in no group form one more."""
        self._groups = {address: index for index, group in enumerate(groups) for address in group}

    @property
    def is_parted(self) -> bool:
        """Whether there is a partition."""
        return bool(self._groups)

    def heal(self) -> None:
        """End the partition, mend every cut link and unclog every other one."""
        self._groups = {}
        self._cuts.clear()
        for link in self.clogged:
            self.unclog(*link)

    def reachable(self, source: str, target: str) -> bool:
        """Whether messages from source to target are carried at all."""
        if self._groups and self._groups.get(source) != self._groups.get(target):
            return False
        return (source, target) not in self._cuts

    # Carrying -------------------------------------------------------------------------------------------------------

    def ask(self, source: "Endpoint", connection: "Connection", frames: Frames) -> None:
        """Carry a request to whoever listens at the connection's address when it arrives.

        Once the connection was opened, it leads to that run of the target and to nobody else.
        """
        options = self.options
        if options.reset and self._rng.random() < options.reset:
            self.scheduler.after(options.delay(self._rng), self._reset, (source, connection), None)
        address, target = source.me.address, connection.address
        if self._carries(address, target):
            self._send((address, target), self._arrive, (source, connection, frames))

    def answer(self, source: "Endpoint", target: "Endpoint", connection: "Connection", frames: Frames) -> None:
        """Carry an answer back; it is for this run of the asking process only."""
        if self._carries(source.me.address, target.me.address):
            self._send((source.me.address, target.me.address), self._return, (source, target, connection, frames))

    def _carries(self, source: str, target: str) -> bool:
        self.messages += 1
        if (self._groups or self._cuts) and not self.reachable(source, target):
            return False
        return not (self.options.loss and self._rng.random() < self.options.loss)

    def _send(self, link: Link, deliver: Deliver, message: Any, sent_s: float | None = None) -> None:
        """sent_s: when it was sent, None: now."""
        now = self.scheduler.now
        if self._clogged and link in self._clogged:
            self._clogged[link].append((now, deliver, message))
            return
        arrives_s = now + self._delay_s(link)
        self.longest_s = max(self.longest_s, arrives_s - (now if sent_s is None else sent_s))
        self.scheduler.at(arrives_s, deliver, message, None)

    def _delay_s(self, link: Link) -> float:
        options = self.options
        return options.link_delay(link, self._rng) if options.link_delay else options.delay(self._rng)

    def _arrive(self, message: "tuple[Endpoint, Connection, Frames]") -> None:
        source, connection, frames = message
        address = connection.address
        if connection.lost and self._rng.random() >= RESET_CARRIED:
            return
        target = self.listening(address)
        if target is not None and connection.target in (None, target):
            self.scheduler.run_in(target.process, target.take_request, (source, connection, frames))
            return
        self.trace.note(self.scheduler.now, "nobody", address, source.me.address)
        if self._rng.random() < self.options.refusal and self.reachable(address, source.me.address):
            self._send((address, source.me.address), self._refuse, (source, connection, frames[0]))

    def _return(self, message: "tuple[Endpoint, Endpoint, Connection, Frames]") -> None:
        source, target, connection, frames = message
        if not connection.lost:
            self.scheduler.run_in(target.process, target.take_answer, (source, connection, frames))

    def _refuse(self, message: "tuple[Endpoint, Connection, int]") -> None:
        source, connection, request_id = message
        if not connection.lost:
            self.scheduler.run_in(source.process, source.take_refusal, request_id)

    def _reset(self, message: "tuple[Endpoint, Connection]") -> None:
        source, connection = message
        self.trace.note(self.scheduler.now, "reset", source.me.address, connection.address)
        self.scheduler.run_in(source.process, source.lose, connection)
