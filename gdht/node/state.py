"""What one node remembers between its steps.

`NodeState` is the only mutable thing in `gdht.node`. Only the maintenance task assigns the ring's pointers, but for two
changes that only take away: a node that says goodbye is forgotten at once, a dead finger is dropped by anybody. Each
assignment replaces a whole immutable value, so nobody ever sees half a change.
"""

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from gdht.config import DhtConfig
from gdht.core.known_arcs import ARCS_MAX, KnownArcs
from gdht.core.peer import Peer
from gdht.core.placement import view_of
from gdht.core.ring import Ring
from gdht.node.budget import Budget
from gdht.node.clock import Clock
from gdht.node.failures import Failures
from gdht.node.health import Health
from gdht.node.journal import Cause, Journal
from gdht.node.latency import Latency
from gdht.node.lost import LostPeers
from gdht.node.own_arc import OwnArc
from gdht.node.replication.progress import Progress
from gdht.node.replication.shortage import Shortage
from gdht.node.runtime import Runtime, Signal
from gdht.node.stats import Stats
from gdht.node.status import MEMBER_STATES, KeyCounts, State
from gdht.node.storage import Store

if TYPE_CHECKING:
    from gdht.node.express import OwnRecords

log = logging.getLogger(__name__)

CONTACTS_MAX = 64
"""How many nodes an isolated one remembers that may know the ring."""

LEFT_CALLS = 2
"""How long who said goodbye is no candidate for a successor, in timeouts: answers from before may be under way."""

LEFT_MAX = 64
"""How many of those are remembered."""

HEDGED_SHARE = 0.1
"""Of so many reads at the most, the replicas are asked while the owner is late: a ring that is slow because it has too
much to do must not be given twice as much."""

HEDGES_MAX = 5
"""So many of them at once, after a time in which none was needed."""

MEET_INTERVALS = 5
"""How soon it is found out again of the same peer whether it is in another ring, in stabilize intervals."""


class NodeState:
    """One node: its pointers, its records, its counters, and what its tasks tell each other.

    is_member: it is in the ring, from its join until it has left or lost its way. is_active: and ready for clients.
    founder: alone by right, since it started the ring or since all others left in good order. arc: what it may answer
    for. unplaced: misplaced records that had to stay in the last repair round. shortage: owned ones with too few
    replicas. handover: how far it is, or was at the end, with moving its records. draining: it wants no more clients,
    also after it had to join anew. sealed: it takes no more records, as it is about to leave. parting: it says goodbye,
    and notifies nobody any more. gone: it has left. contacts: nodes that may still know the ring after we lost it.
    awaited: those near us before we were started again, who may hold what nobody else does, until awaited_until_s at
    most. remembered_at_s: when whom we know was written down. lost: peers that stopped answering. looks: how often one
    was asked. consistent: whether the last look at the ring nearby found nothing wrong; None before the first. left:
    until when a node that said goodbye is no candidate, by `rt.now()`. known_arcs: who owns what elsewhere, as far as
    it was heard; at most arcs_max. latency: how long others take to answer. hedges: how many reads may yet ask replicas
    while the owner is late. own: what `gdht.node.express.own_records` said last.

    What handlers leave to the maintenance task, which `wake` wakes: nodes to rectify with (notified), a successor list
    to pull again (stabilize_now), a predecessor to check (doubted), a member that may be in another ring (met).
    """

    def __init__(self, rt: Runtime, me: Peer, config: DhtConfig, store: Store, *, arcs_max: int = ARCS_MAX) -> None:
        self.me = me
        self.config = config
        self.store = store
        self.stats = Stats()
        self.health = Health(config.call_timeout)
        self.journal = Journal()
        self.failures = Failures()
        self.api_address = ""
        self.admin_address = ""

        self.clock = Clock(rt, me.ident, store)
        self.now = rt.now
        self._state = State.STARTING
        self.is_member = self.is_active = False
        self.ring = Ring(me, config.successor_list_length)
        self.known_arcs = KnownArcs(me.ident, arcs_max)
        self.latency = Latency()
        self.hedges = Budget(HEDGED_SHARE, HEDGES_MAX)
        self.own: OwnRecords | None = None
        self._views: tuple[Ring, dict[int, int]] = self.ring, {}
        self.founder = False
        self.join_error = ""
        self.stabilized_at_s: float | None = None
        self.next_finger = 0
        self.contacts: tuple[Peer, ...] = ()
        self.awaited: tuple[Peer, ...] = ()
        self.awaited_until_s = -math.inf
        self.remembered_at_s = -math.inf
        self.when_alone_or_not: Callable[[], None] = lambda: None  # called when that changes
        self.lost = LostPeers()
        self.met: Peer | None = None
        self._last_met: tuple[Peer | None, float] = None, 0.0
        self.looks = 0
        self.consistent: bool | None = None

        self.notified: dict[int, Peer] = {}
        self.stabilize_now = False
        self.left: dict[Peer, float] = {}
        self.doubted = False
        self.wake: Signal = rt.signal()
        self.repair_wanted: Signal = rt.signal()

        self.joins = 0
        self.arc = OwnArc(me.ident, config, rt.now)
        self.shortage = Shortage()
        self.handover: Progress | None = None
        self.draining = False
        self.sealed = False
        self.parting = False
        self.gone = False
        self.unplaced = 0
        self.keys = KeyCounts()

    @property
    def state(self) -> State:
        """Where the node is in its life."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        if state is not self._state:
            self._state = state
            self.is_active = state is State.ACTIVE and not self.gone
            self.is_member = state in MEMBER_STATES and not self.gone
            self.journal.state_changed(self.clock.wall_s(), state.value)

    @property
    def awaits_others(self) -> bool:
        """Whether the ring is only coming back after all of it was down, and nodes that were near us are not in it yet.

        What nobody of those present holds may be there all the same.
        """
        if self.now() >= self.awaited_until_s:
            return False
        present = {peer.ident for peer in (*self.ring.successors, *self.ring.predecessors)}
        return any(peer.ident not in present for peer in self.awaited)

    def doubt_predecessor(self) -> None:
        """Have the predecessor checked soon: somebody took us for the owner of what should be its. Switches: no."""
        if self.ring.predecessors and not self.doubted:
            self.doubted = True
            self.wake.set()

    def meet(self, peer: Peer) -> None:
        """A member that may be in another ring than ours: have that found out soon. Switches: no.

        Not of the same one again and again: that takes a lookup, and holds maintenance up.
        """
        last, since_s = self._last_met
        if peer != last or self.now() >= since_s + MEET_INTERVALS * self.config.stabilize_interval:
            self._last_met = peer, self.now()
            self.met = peer
            self.wake.set()

    def hear_of(self, peer: Peer) -> None:
        """Somebody takes us for a member: while we look for the ring, it may know it. Switches: no."""
        if self.state in (State.ISOLATED, State.JOINING) and peer not in self.contacts and peer.ident != self.me.ident:
            self.contacts = (peer, *self.contacts[: CONTACTS_MAX - 1])

    def forget(self, peer: Peer) -> bool:
        """A node has said goodbye: it is no candidate any more; whether it was one of our neighbours. Switches: no."""
        self.left = {gone: until_s for gone, until_s in self.left.items() if until_s > self.now()}
        if len(self.left) < LEFT_MAX:
            self.left[peer] = self.now() + LEFT_CALLS * self.health.timeout_s
        self.lost.forget(peer)
        self.known_arcs.forget(peer)
        if peer not in self.ring.predecessors and peer not in self.ring.successors:
            return False
        ring = self.ring.without(peer)
        if not ring.successors:  # our whole list has left: whoever is furthest before us is the next we know
            ring = ring.with_successors(*reversed(ring.predecessors))
        self.set_ring(ring, Cause.GOODBYE)
        if self.ring.alone:
            self.lost.add(peer, self.now())  # it may come back and start a ring of its own
            if not self.founder:
                log.info("alone in the ring: the last other node left in good order")
            self.founder = True
            self.when_alone_or_not()
        return True

    def has_left(self, peer: Peer) -> bool:
        """Whether a node has just said goodbye and not come back since. Switches: no."""
        return self.left.get(peer, 0.0) > self.now()

    def confirm_arc(self, predecessor: Peer, asked_at_s: float) -> None:
        """Our predecessor, asked at that time, names us as its successor; after a gap, we catch up. Switches: no."""
        if not self.arc.confirm(predecessor.ident, asked_at_s):
            self.repair_wanted.set()

    def vouch_for_arc(self, asked_at_s: float) -> None:
        """Our successor, asked at that time, named us as its predecessor; we know none ourselves. Switches: no."""
        if not self.arc.vouch(asked_at_s):
            self.repair_wanted.set()

    def go(self) -> None:
        """Be in the ring no more, having said goodbye. Switches: no."""
        self.gone = True
        self.is_member = self.is_active = False

    def enter(self) -> None:
        """Be a member of the ring from now on. Switches: no."""
        self.state = State.DRAINING if self.draining else State.ACTIVE
        self.joins += 1
        self.join_error = ""
        self.arc.accepted = False

    def set_ring(self, ring: Ring, cause: Cause) -> None:
        """Assign new pointers, count and write down what changed, and have the records follow. Switches: no."""
        if ring == self.ring:
            return
        old, self.ring = self.ring, ring
        self.arc.follow(ring)
        if old.alone and not ring.alone:
            self.when_alone_or_not()  # before anything is stored as a member of this ring
        self._follow_neighbours(old)
        self.journal.ring_changed(self.clock.wall_s(), old, ring, cause)
        if old.first_successor != ring.first_successor:
            self.stats.ring_pointer_changes["successor"] += 1
        if old.predecessor != ring.predecessor:
            self.stats.ring_pointer_changes["predecessor"] += 1
            self.doubt_predecessor()  # whether it knows us, too
        if old.fingers != ring.fingers:
            self.stats.ring_pointer_changes["finger"] += 1
        replicas = self.config.max_replication - 1
        before = old.predecessors[:replicas], old.successors[:replicas]
        if before != (ring.predecessors[:replicas], ring.successors[:replicas]):
            self.repair_wanted.set()

    def _follow_neighbours(self, old: Ring) -> None:
        """What our own lists say of who owns what counts more than what was heard before. Switches: no."""
        ring = self.ring
        if ring.alone:
            self.known_arcs.clear()
        elif (old.predecessors, old.successors) != (ring.predecessors, ring.successors):
            line = (*reversed(ring.predecessors), self.me, *ring.successors)
            self.known_arcs.learn(line[0].ident, line[1:])

    def view(self, replication: int) -> int:
        """The checksum of the nodes that hold copies of what we own, `replication` with us. Switches: no."""
        ring, views = self._views
        if ring is not self.ring:
            views = {}
            self._views = self.ring, views
        if replication not in views:
            views[replication] = view_of(self.ring.successors[: max(replication - 1, 0)])
        return views[replication]
