"""What a node fetches before it is sure of its arc: when it has joined or come back, or its predecessor died.

Until then its own copies may be older than those of others, so it answers "not here yet" to who asks it as the owner.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from gdht.config import DhtConfig
from gdht.core.arcs import Arc, arcs_of
from gdht.core.messages import P2pGetNeighbours, P2pReplyNeighbours
from gdht.core.peer import Peer
from gdht.core.placement import quorum
from gdht.errors import GdhtError
from gdht.node.ask import ask
from gdht.node.later import made_durable
from gdht.node.replication.progress import Progress
from gdht.node.replication.reconcile import Task, count_at, reconcile
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState

log = logging.getLogger(__name__)

FURTHER_LISTS = 2
"""How many successor lists beyond our own are looked through for the owner from before we joined."""


def catch_up(rt: Runtime, node: NodeState) -> None:
    """Reconcile our own arc with those who may hold newer copies of it, and be sure of it when they all were asked.

    Then reconcile the arcs of which we hold copies with their owners. When those next to us do not know us yet,
    somebody who should be asked does not answer, or our arc changes meanwhile, it is for the next time. Switches: yes.
    """
    if node.ring.alone and not node.awaits_others:
        node.arc.make_sure(node.me.ident)
    if not node.ring.predecessors or not node.ring.successors:
        return  # what our arc is, or who else is there, will be known in a moment
    if not _is_acknowledged(rt, node):
        return
    arc, go_on = arcs_of(node.ring)[0], _unchanged(node)
    progress = _begin(rt, node, arc)
    if Inquiry(node, arc, go_on).run(rt) and made_durable(rt, node.store, node.config.call_timeout) and go_on():
        node.arc.make_sure(arc.start)
        log.info("caught up keys=%d bytes=%d", *_received(node))
        _receive_replicas(rt, node)
    progress.end(rt.now())


def _is_acknowledged(rt: Runtime, node: NodeState) -> bool:
    """Whether our arc is ours in the eyes of the nodes before and after it.

    Another one may have joined before or after us in the same gap, and not be known to us yet. And as long as the node
    after us takes the arc for its own, it may take new records that we would not hear of.
    """
    before, after = node.ring.predecessors[0], node.ring.successors[0]
    asked_at_s = rt.now()
    try:
        first = ask(rt, node, before, P2pGetNeighbours())
        second = ask(rt, node, after, P2pGetNeighbours())
    except GdhtError as error:
        log.debug("neighbours not asked: %s", error)
        return False
    assert isinstance(first, P2pReplyNeighbours)
    assert isinstance(second, P2pReplyNeighbours)
    acknowledged = first.successors[:1] == second.predecessors[:1] == (node.me,)
    unchanged = node.ring.predecessors[:1] == (before,) and node.ring.successors[:1] == (after,)
    if acknowledged and unchanged:
        node.arc.accepted = True
        node.confirm_arc(before, asked_at_s)
    return acknowledged and unchanged


def _unchanged(node: NodeState) -> Callable[[], bool]:
    """A question: whether our arc is still the same, and was all the time since now, and no record was taken back."""

    def state() -> tuple[int, int, int, int]:
        return node.joins, node.arc.doubts, node.stats.ring_pointer_changes["predecessor"], node.store.failures

    before = state()
    return lambda: state() == before


def _begin(rt: Runtime, node: NodeState, arc: Arc) -> Progress:
    """Start the account for pages with how much more there is to get, as far as our successor knows."""
    keys_total = 0
    try:
        keys_total = count_at(rt, node, node.ring.successors[0], arc, 1) - node.store.digest(*arc, 1).records
    except GdhtError as error:
        log.debug("share not counted: %s", error)
    progress = Progress("join", rt.now(), max(keys_total, 0))
    if node.handover is None or node.handover.ended:
        node.handover = progress
    return progress


# Our own arc ----------------------------------------------------------------------------------------------------------


class Inquiry:
    """Reconciling our own arc with whoever may hold something of it, until we know enough.

    asked: who has been. complete: one of them was once the owner of all of it, and sure of it.
    """

    def __init__(self, node: NodeState, arc: Arc, go_on: Callable[[], bool]) -> None:
        self.asked: set[Peer] = set()
        self.complete = False
        self._node, self._arc, self._go_on = node, arc, go_on

    def run(self, rt: Runtime) -> bool:
        """Ask one node after the other; whether we know enough. Switches: yes.

        The node at `index` held what has more than `index` copies, while it was the owner that is next to us now; and
        it is to hold what has one copy more at least.
        """
        node = self._node
        for index, peer in enumerate(self._nearest()):
            self._ask(rt, Task(peer, least=index + 1, sends=index + 2, reason="join"))
            if self.complete and is_quorum(node.config, [peer in self.asked for peer in node.ring.successors]):
                return self._go_on()
        if not self.complete and not node.ring.spans:
            self._ask_further(rt)
        return self._go_on() and not node.awaits_others and self.asked.issuperset(self._nearest())

    def _nearest(self) -> tuple[Peer, ...]:
        return self._node.ring.successors[: self._node.config.max_replication]

    def _ask(self, rt: Runtime, task: Task) -> None:
        """Reconcile with one node; about all that it has when it turns out to have been the owner. Switches: yes."""
        try:
            outcome = reconcile(rt, self._node, self._arc, task, self._go_on)
            if outcome.complete and task.least > 1:
                outcome = reconcile(rt, self._node, self._arc, replace(task, least=1), self._go_on)
        except GdhtError as error:
            log.info("share not received peer=%s error=%s", task.peer, error)
            return
        if outcome.ended and not outcome.refused:
            self.asked.add(task.peer)
            self.complete |= outcome.complete

    def _ask_further(self, rt: Runtime) -> None:
        """Ask those after the ones we know, who need hold nothing of our arc. Switches: yes.

        Where many joined at once, those right after us have got nothing yet, and the former owner comes after them.
        """
        known = [self._node.me, *self._node.ring.successors]
        for _ in range(FURTHER_LISTS):
            further = [peer for peer in _successors_of(rt, self._node, known[-1]) if peer not in known]
            for peer in further:
                if self.complete or not self._go_on():
                    return
                self._ask(rt, Task(peer, least=1, sends=self._node.config.max_replication + 1, reason="join"))
            known += further


def _successors_of(rt: Runtime, node: NodeState, peer: Peer) -> tuple[Peer, ...]:
    try:
        reply = ask(rt, node, peer, P2pGetNeighbours())
    except GdhtError:
        return ()
    assert isinstance(reply, P2pReplyNeighbours)
    return reply.successors


def is_quorum(config: DhtConfig, asked: Sequence[bool]) -> bool:
    """Whether no acknowledged write can be on those alone that we have not asked. asked: by successor, nearest first.

    A put was acknowledged when its owner and a write quorum had stored it. If the owner was a node that is no more, or
    we ourselves before we lost our records, so many of the `replication - 1` nodes after us hold it that any
    `replication - quorum + 1` of those include one. This assumes that these are the nodes that were there then, or have
    been repaired since, and that no more of them lost their records since than the quorum allows for.
    """
    return all(
        sum(asked[: copies - 1]) >= min(copies - quorum(config.write_quorum, copies) + 1, len(asked[: copies - 1]))
        for copies in range(2, config.max_replication + 1)
    )


def _received(node: NodeState) -> tuple[int, int]:
    stats = node.stats
    return stats.handoff_keys["received", "join"], stats.handoff_bytes["received", "join"]


# The arcs of which we hold copies -------------------------------------------------------------------------------------


def _receive_replicas(rt: Runtime, node: NodeState) -> None:
    """Get copies of what the nodes before us own; what they do not give now, they give in their own rounds."""
    ring = node.ring
    owners = zip(ring.predecessors, arcs_of(ring)[1:], strict=True)
    for replication, (peer, arc) in enumerate(owners, start=2):
        if replication > node.config.max_replication or node.ring.predecessors != ring.predecessors:
            return
        try:
            reconcile(rt, node, arc, Task(peer, replication, reason="join"))
        except GdhtError as error:
            log.info("copies not received peer=%s error=%s", peer, error)
