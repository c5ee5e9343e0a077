"""Leaving in good order: every record is given to the nodes that hold it once this one is gone.

What is moved stays here as well: should we crash in the middle, nothing is lost, and when we come back we hand on what
is no longer ours.
"""

import logging
from collections.abc import Callable, Iterable

from gdht.core.arcs import Arc, arcs_of
from gdht.core.ident import key_ident
from gdht.core.messages import Entry
from gdht.core.peer import Peer
from gdht.core.placement import position
from gdht.errors import GdhtError
from gdht.node.pace import pace, paced
from gdht.node.replication.holdings import entries_in, held
from gdht.node.replication.progress import Progress
from gdht.node.replication.reconcile import Task, count_at, reconcile
from gdht.node.replication.transfer import offer, slices
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState
from gdht.node.status import Share

log = logging.getLogger(__name__)

RETRY_S = 0.5
"""How long a leaver that found no taker for its records waits before it tries again."""


def hand_over_all(rt: Runtime, node: NodeState, ends_at_s: float) -> int:
    """Hand everything over, first while we still take new records, then what came meanwhile; returns how many records
    had no taker when the time was up. ends_at_s: by `rt.now()`. Switches: yes.
    """
    planned = plan_leave(rt, node)
    keys, size_bytes = sum(share.keys for share in planned), sum(share.size_bytes for share in planned)
    progress = node.handover = Progress("leave", rt.now(), keys, size_bytes)

    def go_on() -> bool:
        return rt.now() < ends_at_s

    hand_over(rt, node, go_on)
    node.sealed = True
    orphans = hand_over(rt, node, go_on)
    while orphans and go_on() and not (node.ring.alone and node.founder):
        rt.sleep(RETRY_S)  # those after us are dead: maintenance finds others
        orphans = hand_over(rt, node, go_on)
    progress.end(rt.now(), orphans)
    moved = progress.status(rt.now()).keys_done
    log.log(
        logging.WARNING if orphans else logging.INFO,
        "leaving with keys=%d handed_over=%d without_taker=%d",
        node.store.count,
        moved,
        orphans,
    )
    return orphans


def keep_all(rt: Runtime, node: NodeState) -> None:
    """Say of a node outside the ring, which nobody takes anything from, that its records had no taker. Switches: no."""
    everything = held(node.store, Arc(0, 0))
    keys = everything.records - everything.tombstones
    node.handover = Progress("leave", rt.now(), keys, everything.size_bytes)
    node.handover.end(rt.now(), keys)
    if keys:
        log.warning("leaving outside the ring keys=%d handed_over=0 without_taker=%d", keys, keys)


def hand_over(rt: Runtime, node: NodeState, go_on: Callable[[], bool]) -> int:
    """Give all records to the nodes that hold them once this one is gone; returns how many had no taker.

    go_on: asked now and then, False when the time is up. Switches: yes.
    """
    takers = list(node.ring.successors)
    orphans = 0
    for index, arc in enumerate(arcs_of(node.ring)):
        if not _reconcile_with(rt, node, index, arc, takers, go_on):
            orphans += _place_singly(rt, node, arc, go_on)
    return orphans


def _reconcile_with(
    rt: Runtime, node: NodeState, index: int, arc: Arc, takers: list[Peer], go_on: Callable[[], bool]
) -> bool:
    """Reconcile an arc, of whose owner we are `index` places away, with each node that is to hold records of it.

    takers: those that follow us; who fails is struck off. Returns whether each record found its holders.
    """
    store = node.store
    if not held(store, arc).records:
        return True
    done = bool(takers)
    copies_max = max(node.config.max_replication - index, 1)
    for least, peer in enumerate(takers[:copies_max], start=index + 1):
        if peer is takers[0] and held(store, arc, 1, index).records:
            least = 1  # the misplaced ones too: it will hand them on
        if not held(store, arc, least).records:
            break
        try:
            outcome = reconcile(rt, node, arc, Task(peer, least, fetches=False, reason="leave"), go_on)
        except GdhtError as error:
            log.warning("hand-over failed peer=%s error=%s", peer, error)
            done = False
            takers.remove(peer)
        else:
            done = done and outcome.ended and not outcome.unconfirmed
    return done


def _place_singly(rt: Runtime, node: NodeState, arc: Arc, go_on: Callable[[], bool]) -> int:
    """Find takers for each record of an arc; returns how many had none."""
    orphans = 0
    turns = pace(rt)
    for entries in slices(turns.over(entries_in(node.store, arc, step=turns.step))):
        taken = _place(rt, node, entries) if go_on() else set[bytes]()
        now_s = node.clock.lives_s()
        untaken = (entry.key for entry in turns.over(entries) if entry.key not in taken)
        orphans += sum(node.store.get(key, now_s) is not None for key in untaken)
    return orphans


def _place(rt: Runtime, node: NodeState, entries: list[Entry]) -> set[bytes]:
    """One successor after the other is offered what lacks a holder still; one that takes none is passed over.

    What none of them took is given to a node before us: it does not belong there, but that node will hand it on.
    Returns the keys of what was taken.
    """
    lacking = {entry.key: max(entry.replication - position(node.ring, key_ident(entry.key)), 1) for entry in entries}
    taken: set[bytes] = set()
    for peer in node.ring.successors:
        confirmed = _offer(rt, node, peer, (entry for entry in entries if lacking[entry.key]))
        taken |= confirmed
        for key in confirmed:
            lacking[key] -= 1
    for peer in node.ring.predecessors:
        taken |= _offer(rt, node, peer, (entry for entry in entries if entry.key not in taken))
    return taken


def _offer(rt: Runtime, node: NodeState, peer: Peer, entries: Iterable[Entry]) -> set[bytes]:
    """Hand records on as we leave; the keys of those that the peer now holds. Switches: yes."""
    offered = list(entries)
    if not offered:
        return set()
    try:
        return offer(rt, node, peer, offered, "leave")
    except GdhtError as error:
        log.warning("hand-over failed peer=%s keys=%d error=%s", peer, len(offered), error)
        return set()


# What it would come to ------------------------------------------------------------------------------------------------


def plan_leave(rt: Runtime, node: NodeState) -> tuple[Share, ...]:
    """How much each node after us would get, nearest first; nothing is moved. Switches: yes.

    Counted from digests: where a receiver holds other records than ours, its share may be larger by as many.
    """
    shares = {peer: Share(peer, 0, 0) for peer in node.ring.successors}
    for index, arc in enumerate(arcs_of(node.ring)):
        for replication in paced(rt, range(1, node.config.max_replication + 1)):
            rank = max(replication - index, 1) - 1  # who comes to hold what we drop out of
            if rank < len(node.ring.successors):
                peer = node.ring.successors[rank]
                keys, size_bytes = _lacks(rt, node, peer, arc, replication)
                share = shares.get(peer, Share(peer, 0, 0))
                shares[peer] = Share(peer, share.keys + keys, share.size_bytes + size_bytes)
    return tuple(share for share in shares.values() if share.keys)


def _lacks(rt: Runtime, node: NodeState, peer: Peer, arc: Arc, replication: int) -> tuple[int, int]:
    """How many of our records of an arc with so much replication a peer seems to lack, and their bytes."""
    ours = held(node.store, arc, replication, replication)
    if not ours.records:
        return 0, 0
    try:
        theirs = count_at(rt, node, peer, arc, replication) - count_at(rt, node, peer, arc, replication + 1)
    except GdhtError as error:
        log.info("not counted peer=%s error=%s", peer, error)
        theirs = 0
    keys = max(ours.records - theirs, 0)
    return keys, ours.size_bytes * keys // ours.records
