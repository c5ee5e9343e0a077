"""A small world for single steps: nodes without tasks that call each other at once, and peers that follow a script.

For whole lives of whole rings there is `gdht.sim`; here a test says exactly who answers what, and sees every call.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import inf
from random import Random
from typing import Any

import pytest

from gdht.config import Address, DhtConfig
from gdht.core.ident import ident_bytes
from gdht.core.messages import ErrorReason, P2pError, P2pMessage, RecordCopy, Reply, Request
from gdht.core.peer import Peer
from gdht.core.records import COUNTER_BITS, Record, Version
from gdht.core.ring import Ring
from gdht.errors import CallTimeout, GdhtError, LocalProtocolError, PeerUnreachable, RemoteError
from gdht.node.handlers import handle
from gdht.node.journal import Cause
from gdht.node.later import Later
from gdht.node.state import NodeState
from gdht.node.status import State
from gdht.sim.cluster import Cluster
from gdht.store.memory import MemoryStore
from gdht.wire.codec import encode_p2p

EPOCH_S = 1_700_000_000.0
Answer = Reply | GdhtError | Callable[[Request], Any]


def peer_at(ident: int) -> Peer:
    return Peer(ident, f"10.0.0.1:{ident % 65521 + 1}")


class PlainSignal:
    """Tells whether it was set; nobody waits in this world."""

    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        self.is_set = True

    def wait(self, timeout_s: float) -> bool:
        was_set, self.is_set = self.is_set, False
        return was_set


class Spawned:
    """What an actor is to run beside itself, for those who may only stop it."""

    def __init__(self, actor: "Actor", run: Callable[[], None]) -> None:
        self.actor = actor
        self.run = run

    def cancel(self) -> None:
        if self.run in self.actor.spawned:
            self.actor.spawned.remove(self.run)


class Actor:
    """One node of the world, and its Runtime."""

    def __init__(self, world: "World", me: Peer, config: DhtConfig) -> None:
        self.world = world
        self.me = me
        self.rng = Random(me.ident)
        self.boot = "world"
        self.spawned: list[Callable[[], None]] = []
        self.node = NodeState(self, me, config, MemoryStore(config.max_store_bytes))

    # Runtime

    def now(self) -> float:
        return self.world.clock_s

    def wall(self) -> float:
        return EPOCH_S + self.world.clock_s + self.world.wall_ahead_s

    def sleep(self, seconds: float) -> None:
        self.world.clock_s += seconds
        self.world.on_sleep()

    def spawn(self, run: Callable[[], None], name: str) -> "Spawned":
        self.spawned.append(run)
        return Spawned(self, run)

    def signal(self) -> PlainSignal:
        return PlainSignal()

    def call(self, peer: Peer, request: Request, timeout_s: float) -> Reply:
        _, outcome = next(self.calls([(peer, request)], timeout_s))
        if isinstance(outcome, GdhtError):
            raise outcome
        return outcome

    def calls(self, requests: Sequence[tuple[Peer, Request]], timeout_s: float) -> "WorldCalls":
        calls = WorldCalls(self, timeout_s)
        calls.ask(requests)
        return calls

    def identify(self, address: str, timeout_s: float) -> Peer:
        peer = self.world.addresses.get(address)
        if peer is None:
            raise PeerUnreachable(f"{address}: connection refused")
        return peer

    # For tests

    def run_spawned(self) -> None:
        """Run what was to run beside the node."""
        while self.spawned:
            self.spawned.pop(0)()

    def holds(self, number: int) -> bytes | None:
        """The value here under a key."""
        record = self.node.store.get(ident_bytes(number), self.node.clock.lives_s())
        return record.value if record else None

    def keep(
        self, number: int, value: bytes = b"value", age_ms: int = 0, ttl_s: float = 3600, copies: int = 3
    ) -> Record:
        """Put a record straight into the store."""
        return self.node.store.put(
            Record(ident_bytes(number), value, version(self.world, age_ms), self.node.clock.lives_s() + ttl_s, copies)
        )


class WorldCalls:
    """Calls of one actor: those to slow peers end when these answer, those to silent ones at the deadline."""

    def __init__(self, actor: Actor, timeout_s: float) -> None:
        self.actor = actor
        self.timeout_s = timeout_s
        self.asked = 0
        self.due: list[tuple[float, int, Any]] = []

    def ask(self, requests: Sequence[tuple[Peer, Request]]) -> None:
        world = self.actor.world
        for peer, request in requests:
            outcome = world.ask(self.actor.me, peer, request)
            takes_s = self.timeout_s if isinstance(outcome, CallTimeout) else world.slow.get(peer.ident, 0.0)
            self.due.append((world.clock_s + takes_s, self.asked, outcome))
            self.asked += 1
        self.due.sort(key=lambda entry: entry[:2])

    def __iter__(self) -> "WorldCalls":
        return self

    def __next__(self) -> tuple[int, Any]:
        if not self.due:
            raise StopIteration
        due_s, index, outcome = self.due.pop(0)
        self.actor.world.clock_s = max(self.actor.world.clock_s, due_s)
        return index, outcome

    def within(self, seconds: float) -> tuple[int, Any] | None:
        world = self.actor.world
        if self.due and self.due[0][0] <= world.clock_s + seconds:
            return next(self)
        world.clock_s += seconds if self.due else 0.0
        return None


def version(world: "World", age_ms: int = 0, coordinator: int = 1) -> Version:
    """A version given so many milliseconds ago."""
    return Version(int((EPOCH_S + world.clock_s) * 1000 - age_ms) << COUNTER_BITS, coordinator)


class World:
    """Everybody, by identifier. calls: (caller, callee, request) of each call made, in order.

    slow: how many seconds a peer takes to answer.
    clock_s: what has passed. wall_ahead_s: how far everybody's wall clock is ahead of what it was set to at first.
    """

    def __init__(self) -> None:
        self.clock_s = 0.0
        self.wall_ahead_s = 0.0
        self.actors: dict[int, Actor] = {}
        self.dead: set[int] = set()
        self.slow: dict[int, float] = {}
        self.scripts: dict[int, Answer] = {}
        self.addresses: dict[str, Peer] = {}
        self.calls: list[tuple[int, int, Request]] = []
        self.on_sleep: Callable[[], None] = lambda: None

    def add(self, ident: int, bootstrap: Sequence[str] = (), **options: Any) -> Actor:
        """A node that is no member yet."""
        me = peer_at(ident)
        config = replace(
            DhtConfig(successor_list_length=3, max_replication=4),
            p2p_address=address_of(me.address),
            bootstrap=tuple(map(address_of, bootstrap)),
            **options,
        )
        actor = self.actors[ident] = Actor(self, me, config)
        self.addresses[me.address] = me
        return actor

    def ideal(self, *idents: int, bootstrap: Sequence[str] = (), **options: Any) -> list[Actor]:
        """An ideal ring of members, in clockwise order."""
        order = sorted(idents)
        for index, ident in enumerate(order):
            actor = self.add(ident, bootstrap, **options)
            onward = [peer_at(other) for other in order[index + 1 :] + order[:index]]
            length = actor.node.config.successor_list_length
            ring = Ring(actor.me, length).with_successors(*onward).with_predecessors(*reversed(onward))
            actor.node.state = State.ACTIVE
            actor.node.set_ring(ring, Cause.JOINED)
            actor.node.arc.accepted, actor.node.arc.lease_s = True, inf
            actor.node.confirm_arc(onward[-1] if onward else actor.me, self.clock_s)
            actor.node.arc.make_sure(onward[-1].ident if onward else ident)
            actor.node.doubted, actor.node.wake = False, PlainSignal()
            actor.node.repair_wanted = PlainSignal()
        return [self.actors[ident] for ident in order]

    def script(self, ident: int, answer: Answer) -> Peer:
        """A peer that answers every request as told, or as the function says."""
        self.scripts[ident] = answer
        return peer_at(ident)

    def kill(self, *idents: int) -> None:
        """From now on calls to these time out."""
        self.dead.update(idents)

    def ask(self, caller: Peer, callee: Peer, request: Request) -> Reply | GdhtError:
        """What becomes of one call."""
        assert caller.ident != callee.ident, "a node called itself over the network"
        fits_the_wire(request)
        self.calls.append((caller.ident, callee.ident, request))
        reply = self._reply(caller, callee, request)
        if isinstance(reply, P2pError):
            reason = ErrorReason(reply.reason)
            return RemoteError(reason, reply.detail, retriable=reason.retriable)
        if not isinstance(reply, GdhtError):
            fits_the_wire(reply)
        return reply

    def _reply(self, caller: Peer, callee: Peer, request: Request) -> Reply | GdhtError:
        answer = self.scripts.get(callee.ident)
        if answer is not None:
            return answer(request) if callable(answer) else answer
        actor = self.actors.get(callee.ident)
        if actor is None or callee.ident in self.dead:
            return CallTimeout(f"{callee} did not answer")
        answer = handle(actor.node, caller, request, actor.node.clock.lives_s())
        assert not isinstance(answer, Later), "no actor has a disk"
        return answer

    def asked(self, kind: type) -> list[int]:
        """Who was sent requests of this kind, in order."""
        return [callee for _, callee, request in self.calls if isinstance(request, kind)]

    def copy(
        self, number: int, value: bytes = b"value", age_ms: int = 0, ttl_ms: int = 60_000, copies: int = 3
    ) -> RecordCopy:
        """A record on its way."""
        return RecordCopy(ident_bytes(number), ttl_ms, copies, version(self, age_ms), value)


def fits_the_wire(message: P2pMessage) -> None:
    """Fail when a message cannot be sent at all; the code under test might take the error for a peer's."""
    try:
        encode_p2p(message, 1)
    except LocalProtocolError as error:
        raise AssertionError(f"{message} cannot be sent") from error


def address_of(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return Address(host, int(port))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def key() -> Callable[[int], bytes]:
    """`key(number)`: the key at that place of the ring."""
    return ident_bytes


@pytest.fixture
def at() -> Callable[[int], Peer]:
    """`at(ident)`: the peer at that place."""
    return peer_at


@pytest.fixture
def cluster() -> Iterator[Callable[..., Cluster]]:
    """`cluster(nodes, seed=1, safe=True, **options)`: a simulated ring, grown one by one and ideal.

    safe: whether the checkers watch; not where a test does what no ring is promised to survive.
    """
    clusters: list[Cluster] = []

    def make(nodes: int, seed: int = 1, network: Any = None, safe: bool = True, **options: Any) -> Cluster:
        clusters.append(Cluster(seed, replace(DhtConfig(), **options), network, safe=safe))
        clusters[-1].grow(nodes)
        clusters[-1].wait_until_ideal(60.0)
        return clusters[-1]

    yield make
    for one in clusters:
        one.scheduler.close()
