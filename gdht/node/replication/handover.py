"""Leaving in good order: every record is given to the nodes that hold it once this one is gone.

What is moved stays here as well: should we crash in the middle, nothing is lost, and when we come back we hand on what
is no longer ours.
"""

import logging
from collections.abc import Iterable

from gdht.core.arcs import Arc, arcs_of
from gdht.core.ident import key_ident
from gdht.core.messages import Entry, ErrorReason, P2pPing
from gdht.core.peer import Peer
from gdht.core.placement import position
from gdht.errors import CallTimeout, GdhtError, RemoteError
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

LOOK_SHARE = 0.125
"""Once somebody has answered, the others are waited for this share of the time that is left, or twice as long as for
the first."""


def hand_over_all(rt: Runtime, node: NodeState, ends_at_s: float) -> int:
    """Hand everything over, first while we still take new records, then what came meanwhile; returns how many records
    had no taker when the time was up. ends_at_s: by `rt.now()`. Switches: yes.
    """
    progress = node.handover = Progress("leave", rt.now(), 0)
    planning = rt.spawn(lambda: _expect(progress, plan_leave(rt, node)), "plan_leave")  # it may wait for silent peers
    told: set[Peer] = set()
    hand_over(rt, node, ends_at_s, told)
    node.sealed = True
    orphans = hand_over(rt, node, ends_at_s, told)
    while orphans and rt.now() < ends_at_s and not (node.ring.alone and node.founder):
        rt.sleep(RETRY_S)  # those after us are dead: maintenance finds others
        orphans = hand_over(rt, node, ends_at_s, told)
    planning.cancel()
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


def _expect(progress: Progress, planned: tuple[Share, ...]) -> None:
    progress.expect(sum(share.keys for share in planned), sum(share.size_bytes for share in planned))


def keep_all(rt: Runtime, node: NodeState) -> None:
    """Say of a node outside the ring, which nobody takes anything from, that its records had no taker. Switches: no."""
    everything = held(node.store, Arc(0, 0))
    keys = everything.records - everything.tombstones
    node.handover = Progress("leave", rt.now(), keys, everything.size_bytes)
    node.handover.end(rt.now(), keys)
    if keys:
        log.warning("leaving outside the ring keys=%d handed_over=0 without_taker=%d", keys, keys)


def hand_over(rt: Runtime, node: NodeState, ends_at_s: float, told: set[Peer]) -> int:
    """Give all records to the nodes that hold them once this one is gone; returns how many had no taker.

    ends_at_s: when to break off, by `rt.now()`. told: as `Takers` has it. Switches: yes.
    """
    takers = Takers(node, ends_at_s, told)
    takers.look(rt)
    orphans = 0
    for index, arc in enumerate(arcs_of(node.ring)):
        if not _reconcile_with(rt, node, index, arc, takers):
            orphans += _place_singly(rt, node, arc, takers)
    return orphans


class Takers:
    """Who may be given records in one pass: the nodes around us, without those that failed in it.

    ends_at_s: when the pass is over, by `rt.now()`. told: of whom it was logged that they failed; that is done once for
    each, however many passes there are.
    """

    def __init__(self, node: NodeState, ends_at_s: float, told: set[Peer]) -> None:
        self._node = node
        self._ends_at_s = ends_at_s
        self._told = told
        self._failed: set[Peer] = set()

    def go_on(self) -> bool:
        """Whether there is time left. Switches: no."""
        return self._node.now() < self._ends_at_s

    def look(self, rt: Runtime) -> None:
        """Ask those after us whether they are there, and pass over who is silent: the others do not wait for it.

        While nobody has answered we wait for longer, as it may be us who are slow. Switches: yes.
        """
        began_s, timeout_s = rt.now(), self._node.config.call_timeout
        left_s = self._ends_at_s - began_s
        if left_s <= 0 or not held(self._node.store, Arc(0, 0)).records:
            return
        asked = self.after()
        silent, wait_s = set(asked), min(timeout_s, left_s)
        calls = rt.calls([(peer, P2pPing()) for peer in asked], timeout_s)
        while silent and (answer := calls.within(max(began_s + wait_s - rt.now(), 0.0))):
            index, outcome = answer
            silent.remove(asked[index])
            if isinstance(outcome, GdhtError):
                self.strike(asked[index], outcome)
            else:
                wait_s = min(wait_s, max(left_s * LOOK_SHARE, 2 * (rt.now() - began_s)))
        for peer in silent:
            self.strike(peer, CallTimeout(f"{peer} did not answer within {wait_s:.1f} s"))

    def after(self) -> list[Peer]:
        """Those that follow us, nearest first. Switches: no."""
        return [peer for peer in self._node.ring.successors if peer not in self._failed]

    def before(self) -> list[Peer]:
        """Those before us that do not follow us as well, nearest first. Switches: no."""
        ring = self._node.ring
        return [peer for peer in ring.predecessors if peer not in self._failed and peer not in ring.successors]

    def strike(self, peer: Peer, error: GdhtError) -> None:
        """Give a node nothing more in this pass. Switches: no."""
        self._failed.add(peer)
        if peer not in self._told:
            self._told.add(peer)
            leaves = isinstance(error, RemoteError) and error.reason == ErrorReason.NOT_JOINED
            log.log(logging.INFO if leaves else logging.WARNING, "hand-over failed peer=%s error=%s", peer, error)


def _reconcile_with(rt: Runtime, node: NodeState, index: int, arc: Arc, takers: Takers) -> bool:
    """Reconcile an arc, of whose owner we are `index` places away, with each node that is to hold records of it.

    Returns whether each record found its holders.
    """
    store = node.store
    if not held(store, arc).records:
        return True
    peers = takers.after()
    done = bool(peers)
    copies_max = max(node.config.max_replication - index, 1)
    for least, peer in enumerate(peers[:copies_max], start=index + 1):
        if peer is peers[0] and held(store, arc, 1, index).records:
            least = 1  # the misplaced ones too: it will hand them on
        if not held(store, arc, least).records:
            break
        try:
            outcome = reconcile(rt, node, arc, Task(peer, least, fetches=False, reason="leave"), takers.go_on)
        except GdhtError as error:
            takers.strike(peer, error)
            done = False
        else:
            done = done and outcome.ended and not outcome.unconfirmed
    return done


def _place_singly(rt: Runtime, node: NodeState, arc: Arc, takers: Takers) -> int:
    """Find takers for each record of an arc; returns how many had none."""
    orphans = 0
    turns = pace(rt)
    for entries in slices(turns.over(entries_in(node.store, arc, step=turns.step))):
        taken = _place(rt, node, entries, takers) if takers.go_on() else set[bytes]()
        now_s = node.clock.lives_s()
        untaken = (entry.key for entry in turns.over(entries) if entry.key not in taken)
        orphans += sum(node.store.get(key, now_s) is not None for key in untaken)
    return orphans


def _place(rt: Runtime, node: NodeState, entries: list[Entry], takers: Takers) -> set[bytes]:
    """One successor after the other is offered what lacks a holder still; one that takes none is passed over.

    What none of them took is given to a node before us: it does not belong there, but that node will hand it on.
    Returns the keys of what was taken.
    """
    lacking = {entry.key: max(entry.replication - position(node.ring, key_ident(entry.key)), 1) for entry in entries}
    taken: set[bytes] = set()
    for peer in takers.after():
        confirmed = _offer(rt, node, peer, (entry for entry in entries if lacking[entry.key]), takers)
        taken |= confirmed
        for key in confirmed:
            lacking[key] -= 1
    for peer in takers.before():
        taken |= _offer(rt, node, peer, (entry for entry in entries if entry.key not in taken), takers)
    return taken


def _offer(rt: Runtime, node: NodeState, peer: Peer, entries: Iterable[Entry], takers: Takers) -> set[bytes]:
    """Hand records on as we leave; the keys of those that the peer now holds. Switches: yes."""
    offered = list(entries)
    if not offered:
        return set()
    try:
        return offer(rt, node, peer, offered, "leave")
    except GdhtError as error:
        takers.strike(peer, error)
        return set()


# What it would come to ------------------------------------------------------------------------------------------------


def plan_leave(rt: Runtime, node: NodeState) -> tuple[Share, ...]:
    """How much each node after us would get, nearest first; nothing is moved. Switches: yes.

    Counted from digests: where a receiver holds other records than ours, its share may be larger by as many.
    """
    shares = {peer: Share(peer, 0, 0) for peer in node.ring.successors}
    failed: set[Peer] = set()
    for index, arc in enumerate(arcs_of(node.ring)):
        for replication in paced(rt, range(1, node.config.max_replication + 1)):
            rank = max(replication - index, 1) - 1  # who comes to hold what we drop out of
            if rank < len(node.ring.successors):
                peer = node.ring.successors[rank]
                keys, size_bytes = _lacks(rt, node, peer, arc, replication, failed)
                share = shares.get(peer, Share(peer, 0, 0))
                shares[peer] = Share(peer, share.keys + keys, share.size_bytes + size_bytes)
    return tuple(share for share in shares.values() if share.keys)


def _lacks(rt: Runtime, node: NodeState, peer: Peer, arc: Arc, replication: int, failed: set[Peer]) -> tuple[int, int]:
    """How many of our records of an arc with so much replication a peer seems to lack, and their bytes.

    failed: who did not answer before, and is not asked again: it seems to lack all.
    """
    ours = held(node.store, arc, replication, replication)
    if not ours.records:
        return 0, 0
    theirs = 0
    if peer not in failed:
        try:
            theirs = count_at(rt, node, peer, arc, replication) - count_at(rt, node, peer, arc, replication + 1)
        except GdhtError as error:
            log.info("not counted peer=%s error=%s", peer, error)
            failed.add(peer)
    keys = max(ours.records - theirs, 0)
    return keys, ours.size_bytes * keys // ours.records
