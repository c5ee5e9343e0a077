"""Whole rings in a line: nodes by address on one scheduler and one network, faults, clients, watching checkers."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from types import TracebackType
from typing import Self, TypeVar

from gdht.config import Address, DhtConfig
from gdht.core.invariant import Member, Violation, best_successor, check_ideal
from gdht.core.known_arcs import ARCS_MAX
from gdht.core.records import Version
from gdht.errors import GdhtError
from gdht.node.node import Node
from gdht.node.replication.get import GetOutcome
from gdht.node.replication.put import PutOutcome
from gdht.node.status import State
from gdht.node.storage import Store
from gdht.sim import express
from gdht.sim.checkers import InvariantViolated, check_replicas
from gdht.sim.delays import Delay
from gdht.sim.disk import SimDisk, aside
from gdht.sim.endpoint import Endpoint
from gdht.sim.host import Host, describe
from gdht.sim.network import Network, NetworkOptions
from gdht.sim.observer import Observer
from gdht.sim.runtime import SimRuntime
from gdht.sim.scheduler import Scheduler, SimulationFailed
from gdht.sim.trace import Trace
from gdht.store.durable import DurableStore
from gdht.store.memory import MemoryStore

T = TypeVar("T")
PORT = 6000
JOIN_TIMEOUT_S = 60.0
LEAVE_DEADLINE_S = 10.0
LEAVE_TIMEOUT_S = 60.0
CLIENT_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.25
"""How often to ask whether something has come about that no single event tells."""
LOOK_AT_RECORDS_EVERY_S = 2.0
BOOTSTRAP_MEMBERS = 3
LAST_KEY = b"\xff" * 32
RECORDS_MAX = 1_000_000


class Cluster:
    """A simulated ring and everything that may happen to it.

    config: of every node; addresses and bootstrap lists are filled in. network: how messages are treated. skew_s: each
    node's wall clock is off by up to so many seconds, either way. safe: check the ring's safety after every event.
    replay: the command line that repeats the run, for error messages. sync: how long the disks take, on which records
    survive crashes; None: they are kept in memory.
    """

    def __init__(
        self,
        seed: int,
        config: DhtConfig | None = None,
        network: NetworkOptions | None = None,
        *,
        skew_s: float = 0.0,
        safe: bool = True,
        replay: str = "",
        sync: Delay | None = None,
    ) -> None:
        self.seed = seed
        self.config = config or DhtConfig()
        self.rng = Random(f"{seed}/cluster")
        self.trace = Trace()
        self.scheduler = Scheduler(f"seed {seed}" + (f"; replay: {replay}" if replay else ""))
        self.network = Network(self.scheduler, seed, network or NetworkOptions(), self.trace)
        self.hosts: list[Host] = []
        self.reboots = 0
        """How often a machine started again, or a node whose disk may not know what time it was."""
        self.observer = Observer(
            self.config.successor_list_length,
            self.config.call_timeout,
            lambda: self.now,
            lambda host: self._note(host, "ring", describe(host.node)),
            self.failure,
            safe=safe,
        )
        self.scheduler.watch = self.observer.look
        self.before_exit: Callable[[Host], None] | None = None
        """Called with a host that has left, while its records can still be seen."""
        self._skew_s = skew_s
        self._sync = sync
        self._disks = 0
        self._longest_pause_s = 0.0
        self._members = self.observer.members

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.scheduler.close()

    # Nodes ----------------------------------------------------------------------------------------------------------

    def add(self, bootstrap: list[Host] | None = None, arcs_max: int = ARCS_MAX) -> Host:
        """Start a node at a new address. bootstrap: whom to join through, None: the first node and some members.

        arcs_max: how much it remembers of who owns what.
        """
        number = len(self.hosts) + 1
        host = Host(Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", PORT), self._new_disk(), arcs_max)
        self._start(host, self._usual_list(host) if bootstrap is None else bootstrap)
        self.hosts.append(host)
        return host

    def grow(self, nodes: int) -> list[Host]:
        """Add so many nodes, one after the other, and wait for each to join."""
        added = []
        for _ in range(nodes):
            added.append(self.add())
            self.wait_until_joined()
        return added

    def crash(self, *hosts: Host) -> None:
        """Stop nodes without a word, all at the same moment. Raises: SimulationFailed when that breaks the ring."""
        for host in hosts:
            self._note(host, "crash")
            self._stop(host)
        self.observer.stopped(*hosts)

    def restart(self, host: Host, bootstrap: list[Host] | None = None, *, reboot: bool = False) -> None:
        """Start a node again at the address of one that has gone; it knows what is on its disk, if it has one.

        reboot: the machine starts again too, and all it has to tell the time is its wall clock.
        """
        assert not host.live
        host.boots += reboot
        self.reboots += reboot or (host.disk is not None and host.disk.has_failed)
        self._start(host, self._usual_list(host) if bootstrap is None else bootstrap)

    def wipe(self, host: Host) -> None:
        """Give a node that has gone an empty disk."""
        assert not host.live
        host.disk = self._new_disk()

    def leave(self, host: Host) -> None:
        """Begin to take a node out in good order; its process ends when it is done."""
        self._note(host, "leave")
        host.leaving = True
        self.observer.leaving(host)
        process = host.process

        def run() -> None:
            host.node.leave(LEAVE_DEADLINE_S)
            self.scheduler.soon(lambda _: self._exit(host) if process.alive else None, None, None)

        process.spawn(run, "leave")

    def pause(self, host: Host) -> None:
        """Let a node stand still; what is sent to it waits."""
        self._note(host, "pause")
        host.process.pause()

    def unpause(self, host: Host) -> None:
        """Let a node go on: first the timers that came due meanwhile, then what was sent to it."""
        self._note(host, "unpause")
        host.process.unpause()

    def pause_for(self, host: Host, seconds: float) -> None:
        """Let a node stand still for a while, unless it ends before."""
        process = host.process
        self._longest_pause_s = max(self._longest_pause_s, seconds)
        self.pause(host)
        self.scheduler.after(seconds, lambda _: self.unpause(host) if process.alive else None, None, None)

    def slow_down(self, host: Host, service_s: float) -> None:
        """Let whatever a node does take so many seconds more, one thing after the other; 0: as fast as the others."""
        self._note(host, "slow", f"{service_s:g}")
        host.process.slow_down(service_s)

    def set_clock(self, host: Host, skew_s: float) -> None:
        """Set a node's wall clock so many seconds ahead of the true time, or behind it."""
        self._note(host, "clock", f"{skew_s:g}")
        host.runtime.skew_s = skew_s

    @property
    def longest_way_s(self) -> float:
        """The longest that a message, a disk or a node standing still has held anything up."""
        syncs_s = [host.disk.longest_s for host in self.hosts if host.disk]
        return max(self.network.longest_s, self._longest_pause_s, *syncs_s)

    # Who is there ---------------------------------------------------------------------------------------------------

    def live(self) -> list[Host]:
        """The hosts whose process runs, in order of their addition."""
        return [host for host in self.hosts if host.live]

    def members(self) -> list[Host]:
        """The live hosts that are in the ring."""
        return [host for host in self.hosts if host.peer.ident in self._members]

    def views(self) -> dict[int, Member]:
        """The pointers of every member, by identifier."""
        return dict(self._members)

    def can_go(self, *hosts: Host, leaving: bool = False) -> bool:
        """Whether the ring must survive it if these nodes fail or begin to leave now, together with who is leaving.

        Before the ring has grown into what the proof speaks of, only when it is ideal.
        """
        self.observer.note_growth()
        if not self.observer.grown and self.violations():
            return False
        return self.observer.may_go({host.peer.ident for host in hosts}, leaving=leaving)

    def stranded(self) -> list[Host]:
        """Who never got into the ring, and has a list of which nobody is there any more, or only others like itself."""
        waiting = [host for host in self.live() if host.node.state in (State.STARTING, State.JOINING)]
        waiting = [host for host in waiting if host.bootstrap and host.disk is None]  # on its disk it may know others
        found = [host for host in self.live() if host not in waiting]
        while reached := [host for host in waiting if any(other in found for other in host.bootstrap)]:
            found += reached
            waiting = [host for host in waiting if host not in reached]
        return waiting

    def is_broken(self) -> bool:
        """Whether some member has no living successor, or nobody is left: more failed than the ring survives."""
        lost = (best_successor(self._members, ident) is None for ident in self._members)
        return not self._members or any(lost)

    def violations(self) -> list[Violation]:
        """What keeps the ring from being ideal."""
        live = [host.peer.ident for host in self.live()]
        return check_ideal(self._members, live, self.config.successor_list_length)

    def misplacements(self) -> list[Violation]:
        """The records that are not where they belong."""
        copies: dict[int, dict[bytes, Version]] = {}
        replication: dict[bytes, int] = {}
        for host in self.live():
            kept = host.node.store.scan(b"", LAST_KEY, RECORDS_MAX)
            records = [record for record in kept if record.kept_until_s > host.lives_s]
            copies[host.peer.ident] = {record.key: record.version for record in records}
            replication.update((record.key, record.replication) for record in records)
        return check_replicas(copies, replication)

    # Time -----------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.scheduler.now

    def run_for(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.scheduler.run_for(seconds)

    def wait_until_joined(self, timeout_s: float = JOIN_TIMEOUT_S) -> None:
        """Run until every live node is a member. Raises: SimulationFailed."""
        joined = self.scheduler.run_until(lambda: len(self._members) == len(self.live()), timeout_s, LOOK_EVERY_S)
        if not joined:
            waiting = [host for host in self.live() if host.peer.ident not in self._members]
            raise self.failure(f"not joined after {timeout_s:g} s: {waiting}")

    def wait_until_left(self, timeout_s: float = LEAVE_TIMEOUT_S) -> None:
        """Run until everybody who is leaving has left. Raises: SimulationFailed."""
        if not self.scheduler.run_until(lambda: not self._leaving(), timeout_s, LOOK_EVERY_S):
            raise self.failure(f"not gone after {timeout_s:g} s: {self._leaving()}")

    def wait_until_ideal(self, bound_s: float) -> float:
        """Run until the ring is ideal; the virtual seconds it took. Raises: SimulationFailed after the bound."""
        start = self.now
        if not self.scheduler.run_until(lambda: not self.violations(), bound_s, LOOK_EVERY_S):
            raise self.failure(f"not ideal after {bound_s:g} s: {InvariantViolated(self.violations())}")
        return self.now - start

    def unsure(self) -> list[Host]:
        """The members that may not have the newest of all that they own."""
        return [host for host in self.members() if host.node.receiving]

    def wait_until_sure(self, bound_s: float, *, at_once: bool = True) -> None:
        """Run until every member has the newest of all that it owns. Raises: SimulationFailed after the bound.

        at_once: all of them at one moment. Where messages take long now and then, somebody is always in doubt.
        """
        waiting = self.members()

        def all_are() -> bool:
            unsure = self.unsure()
            waiting[:] = unsure if at_once else [host for host in waiting if host in unsure]
            return not waiting

        if not self.scheduler.run_until(all_are, bound_s, LOOK_EVERY_S):
            raise self.failure(f"not sure of their records after {bound_s:g} s: {waiting}")

    def wait_until_replicated(self, bound_s: float) -> float:
        """Run until every record is where it belongs; the virtual seconds it took. Raises: SimulationFailed."""
        start = self.now
        if not self.scheduler.run_until(lambda: not self.misplacements(), bound_s, LOOK_AT_RECORDS_EVERY_S):
            raise self.failure(f"not replicated after {bound_s:g} s: {InvariantViolated(self.misplacements())}")
        return self.now - start

    def failure(self, what: str) -> GdhtError:
        """The error for something that went wrong in this run, with all that is needed to repeat it."""
        return SimulationFailed(f"at {self.now:.6f} s: {what} [{self.scheduler.context}]")

    # Clients --------------------------------------------------------------------------------------------------------

    def put(self, host: Host, key: bytes, value: bytes, ttl_s: int = 0, replication: int = 0) -> PutOutcome | None:
        """Put through a node and wait; None when the node died over it."""
        return self.visit(host, lambda: host.node.put(key, value, ttl_s, replication))

    def get(self, host: Host, key: bytes) -> GetOutcome | None:
        """Get through a node and wait; None when the node died over it."""
        return self.visit(host, lambda: host.node.get(key))

    def visit(self, host: Host, run: Callable[[], T]) -> T | None:
        """Run something as a task of a node and wait for it."""
        return self.scheduler.run_task(host.process, run, CLIENT_TIMEOUT_S)

    # Within -----------------------------------------------------------------------------------------------------------

    def _leaving(self) -> list[Host]:
        return [host for host in self.live() if host.leaving]

    def _usual_list(self, host: Host) -> list[Host]:
        """The bootstrap list of a sensible operator: the first node of all, even if it is away; then some members."""
        others = [other for other in self.members() or self.live() if other is not host]
        some = self.rng.sample(others, min(len(others), BOOTSTRAP_MEMBERS))
        return list(dict.fromkeys([*self.hosts[:1], *some]))

    def _start(self, host: Host, bootstrap: list[Host]) -> None:
        host.runs += 1
        host.leaving = False
        host.bootstrap = bootstrap
        config = replace(
            self.config,
            p2p_address=host.dialled,
            bootstrap=tuple(other.dialled for other in bootstrap),
        )
        host.process = self.scheduler.process(f"{host}")
        endpoint = Endpoint(self.network, host.process, host.peer, config.ring)
        rng = Random(f"{self.seed}/{host.address}/{host.runs}")
        skew_s = rng.uniform(-self._skew_s, self._skew_s)
        host.runtime = SimRuntime(host.process, endpoint, rng, skew_s, f"{host.address}/{host.boots}")
        host.node = Node(host.runtime, host.peer, config, self._store(host), arcs_max=host.arcs_max)
        endpoint.serve(express.serving(host.node), host.node.stats)
        self.observer.started(host)
        self._note(host, "start")
        host.node.start()

    def _store(self, host: Host) -> Store:
        if host.disk is None:
            return MemoryStore(self.config.max_store_bytes)
        return DurableStore(host.disk, self.config.max_store_bytes, aside(host.disk, host.process))

    def _new_disk(self) -> SimDisk | None:
        if self._sync is None:
            return None
        self._disks += 1
        return SimDisk(self._disks, self._sync, Random(f"{self.seed}/disk {self._disks}"))

    def _exit(self, host: Host) -> None:
        self._note(host, "exit")
        if self.before_exit is not None:
            self.before_exit(host)
        host.node.store.close()
        self._stop(host)
        self.observer.stopped(host)

    def _stop(self, host: Host) -> None:
        host.gone_at_s = self.now
        host.process.kill()

    def _note(self, host: Host, kind: str, text: str = "") -> None:
        self.trace.note(self.now, kind, host.address, text)
