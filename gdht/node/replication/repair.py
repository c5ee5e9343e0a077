"""Rounds of repair: an owner and its replicas reconciled, so that each record is on as many nodes as it should be.

A round costs one small message for each replica as long as nothing differs. Rounds follow changes of neighbours, and
come now and then.
"""

import logging

from gdht.core.arcs import Arc, arcs_of
from gdht.core.ident import key_ident
from gdht.core.peer import Peer
from gdht.errors import GdhtError
from gdht.node.pace import pace
from gdht.node.replication.holdings import held
from gdht.node.replication.misplaced import hand_on_misplaced
from gdht.node.replication.reconcile import Task, reconcile
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState

log = logging.getLogger(__name__)


def repair(rt: Runtime, node: NodeState) -> None:
    """One round: replicas restored and asked for what we lack, misplaced copies handed on.

    `node.shortage` says how many owned records have too few replicas, unless pointers changed meanwhile: that asks for
    another round. `node.unplaced` says how many misplaced copies have to stay for now. Switches: yes.
    """
    if node.ring.successors and not node.ring.predecessors:
        return  # what is ours to replicate is not known; it will be in a moment
    restore_replicas(rt, node)
    hand_on_misplaced(rt, node)
    node.stats.keys_under_replicated = node.shortage.count
    node.stats.keys_under_replicated_oldest_s = node.shortage.oldest_s(rt.now())


def restore_replicas(rt: Runtime, node: NodeState) -> None:
    """Reconcile our own arc with each node that should hold copies of it. Switches: yes."""
    ring = node.ring
    arc = arcs_of(ring)[0]
    lacking: dict[bytes, int] = {}
    all_from: int | None = None
    before = _neighbours(node)

    def go_on() -> bool:
        return _neighbours(node) == before

    for replication, peer in enumerate(ring.successors[: node.config.max_replication - 1], start=2):
        try:
            outcome = reconcile(rt, node, arc, Task(peer, replication), go_on)
        except GdhtError as error:
            log.info("repair failed peer=%s error=%s", peer, error)
            all_from = all_from or replication
            continue
        if not outcome.ended:
            return
        node.stats.repaired_keys["repair"] += outcome.sent + outcome.received
        lacking.update(outcome.unconfirmed)
    if not ring.spans and len(ring.successors) < node.config.max_replication - 1:
        all_from = all_from or len(ring.successors) + 2  # there are more nodes, but we do not know them yet
    _note_shortage(rt, node, arc, lacking, all_from)


def _neighbours(node: NodeState) -> tuple[Peer | None, tuple[Peer, ...]]:
    """What says which arc is ours, and who should hold copies of it."""
    return node.ring.predecessor, node.ring.successors[: node.config.max_replication - 1]


def _note_shortage(rt: Runtime, node: NodeState, arc: Arc, lacking: dict[bytes, int], all_from: int | None) -> None:
    """Count the owned records with too few replicas, each once."""
    now_s, turns = node.clock.lives_s(), pace(rt)
    living = {
        key: replication
        for key, replication in turns.over(lacking.items())
        if arc.holds(key_ident(key)) and node.store.get(key, now_s) is not None
    }
    counted = 0
    if all_from is not None:
        digest = held(node.store, arc, all_from)
        counted = digest.records - digest.tombstones
    node.shortage.update(rt.now(), living, all_from, counted, turns)
