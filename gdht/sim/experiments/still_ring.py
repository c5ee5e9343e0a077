"""A ring that stands still: ideal tables put in place by hand, real lookups and handlers, messages, no maintenance.

Every node is sure of its arc, and stays so.
"""

from bisect import bisect_left
from collections.abc import Sequence
from math import inf
from random import Random
from types import TracebackType
from typing import Self

from gdht.config import DhtConfig
from gdht.core.fingers import Finger, Fingers, fingers_from_successors, index_after
from gdht.core.ident import IDENT_BITS, distance, finger_start, hash_ident
from gdht.core.peer import Peer
from gdht.core.ring import Ring
from gdht.node.handlers import handle
from gdht.node.journal import Cause
from gdht.node.state import NodeState
from gdht.sim.endpoint import Endpoint
from gdht.sim.experiments.lookups import Sample, find_confirmed, look_up
from gdht.sim.network import Network, NetworkOptions
from gdht.sim.runtime import SimRuntime
from gdht.sim.scheduler import Process, Scheduler
from gdht.sim.trace import Trace
from gdht.store.memory import MemoryStore

PORT = 6000
LOOKUP_S_MAX = 600.0
"""Far more virtual seconds than any lookup takes."""


def make_peers(nodes: int) -> list[Peer]:
    """So many peers in the order of the ring; their identifiers are hashes of their addresses, as real nodes' are."""
    addresses = (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:{PORT}" for number in range(1, nodes + 1))
    return sorted(Peer(hash_ident(address.encode()), address) for address in addresses)


def place_of(peers: Sequence[Peer], ident: int) -> int:
    """Where the owner of an identifier stands among all peers."""
    return bisect_left(peers, (ident, "")) % len(peers)


def ideal_ring(peers: Sequence[Peer], place: int, length: int) -> Ring:
    """The pointers that maintenance would arrive at. peers: all nodes in order; place: whose; length: r."""
    count = len(peers)
    me = peers[place]
    successors = tuple(peers[(place + step) % count] for step in range(1, min(length, count - 1) + 1))
    predecessors = tuple(peers[(place - step) % count] for step in range(1, min(length + 1, count - 1) + 1))
    return Ring(me, length, predecessors, successors, _ideal_fingers(peers, me, successors))


def _ideal_fingers(peers: Sequence[Peer], me: Peer, successors: tuple[Peer, ...]) -> Fingers:
    fingers = list(fingers_from_successors(me.ident, successors))
    index = index_after(me.ident, successors[-1]) if successors else IDENT_BITS
    while index < IDENT_BITS:
        start = finger_start(me.ident, index)
        peer = peers[place_of(peers, start)]
        if distance(me.ident, peer.ident) < distance(me.ident, start):
            break  # round to ourselves
        fingers.append(Finger(index, peer))
        index = index_after(me.ident, peer)
    return tuple(fingers)


class StillNode:
    """One node of such a ring."""

    def __init__(self, process: Process, endpoint: Endpoint, rt: SimRuntime, state: NodeState) -> None:
        self.process = process
        self.endpoint = endpoint
        self.rt = rt
        self.state = state


class StillRing:
    """A ring of `nodes` nodes with ideal tables. length: r; timeout_s: how long a silent node is waited for."""

    def __init__(self, seed: int, nodes: int, length: int, network: NetworkOptions, timeout_s: float) -> None:
        self.peers = make_peers(nodes)
        self.scheduler = Scheduler(f"seed {seed}")
        self._config = DhtConfig(successor_list_length=length, call_timeout=timeout_s)
        self._network = Network(self.scheduler, seed, network, Trace())
        self._rng = Random(f"{seed}/nodes")
        self.nodes = [self._settle(place) for place in range(nodes)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.scheduler.close()

    def look_up(self, node: StillNode, ident: int, *, forget: bool) -> Sample:
        """One lookup. forget: leave the tables as they were, whatever it has found out about the dead."""
        before = node.state.ring

        def run() -> Sample:
            return look_up(lambda dead: find_confirmed(node.rt, node.state, ident, dead), node.rt.now)

        sample = self.scheduler.run_task(node.process, run, LOOKUP_S_MAX)
        assert sample is not None, "no node of this ring dies over a lookup"
        if forget:
            node.state.ring = before
        return sample

    def _settle(self, place: int) -> StillNode:
        me = self.peers[place]
        process = self.scheduler.process(me.address)
        endpoint = Endpoint(self._network, process, me, self._config.ring)
        rt = SimRuntime(process, endpoint, Random(self._rng.random()))
        state = NodeState(rt, me, self._config, MemoryStore(self._config.max_store_bytes))
        state.enter()
        state.set_ring(ideal_ring(self.peers, place, self._config.successor_list_length), Cause.JOINED)
        before = self.peers[place - 1]
        state.arc.accepted, state.arc.lease_s = True, inf
        state.confirm_arc(before, rt.now())
        state.arc.make_sure(before.ident)
        endpoint.serve(lambda sender, request: handle(state, sender, request, rt.wall()), state.stats)
        return StillNode(process, endpoint, rt, state)
