"""Copies that are nobody's business here: handed on to all who should hold them, then dropped.

They are left over when nodes join in between, and come back with a node that was away. A copy is dropped only when each
of its holders has confirmed that it has that version or a newer one on its disk.
"""

import logging

from gdht.core.arcs import arcs_of
from gdht.core.ident import in_open_closed, key_ident
from gdht.core.messages import Entry
from gdht.core.peer import Peer
from gdht.core.placement import Role, role
from gdht.errors import GdhtError, LookupFailed, StoreError
from gdht.node.lookup import find_successor
from gdht.node.pace import pace, paced
from gdht.node.replication.holdings import entries_in
from gdht.node.replication.transfer import offer, slices
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState

log = logging.getLogger(__name__)


def hand_on_misplaced(rt: Runtime, node: NodeState) -> None:
    """One round over the misplaced copies; `node.unplaced` says how many have to stay for now. Switches: yes."""
    unplaced = 0
    owner_of = OwnerFinder(node)
    for position, arc in enumerate(arcs_of(node.ring)):
        if position:  # what lies in our own arc is never misplaced
            turns = pace(rt)
            for entries in slices(turns.over(entries_in(node.store, arc, 1, position, turns.step))):
                unplaced += _hand_on(rt, node, entries, owner_of)
    node.unplaced = unplaced


def _hand_on(rt: Runtime, node: NodeState, entries: list[Entry], owner_of: "OwnerFinder") -> int:
    """Hand some copies on and drop those that all holders have; returns how many have to stay."""
    holders = {entry: _holders(rt, node, entry, owner_of) for entry in paced(rt, entries)}
    offers: dict[Peer, list[Entry]] = {}
    for entry, peers in holders.items():
        for peer in peers:
            offers.setdefault(peer, []).append(entry)
    confirmed = {peer: _offer(rt, node, peer, offered) for peer, offered in offers.items()}
    return sum(
        not (_is_done(node, entry, [entry.key in confirmed[peer] for peer in peers]))
        for entry, peers in paced(rt, holders.items())
        if _is_misplaced(node, entry)
    )


def _holders(rt: Runtime, node: NodeState, entry: Entry, owner_of: "OwnerFinder") -> tuple[Peer, ...]:
    """Who should hold a record; empty when that is not known for sure, as pointers elsewhere still change."""
    peers = owner_of(rt, key_ident(entry.key))[: entry.replication]
    return peers if len(peers) == entry.replication and node.me not in peers else ()


def _offer(rt: Runtime, node: NodeState, peer: Peer, entries: list[Entry]) -> set[bytes]:
    try:
        return offer(rt, node, peer, entries, "repair")
    except GdhtError as error:
        log.info("hand-over failed peer=%s keys=%d error=%s", peer, len(entries), error)
        return set()


def _is_done(node: NodeState, entry: Entry, confirmed: list[bool]) -> bool:
    """Drop a copy if all who should hold it confirmed that they do; whether it needs no other round."""
    if not confirmed or not all(confirmed):
        return False
    try:
        node.store.remove(entry.key, entry.version)
    except StoreError as error:
        log.warning("a copy that was handed on could not be dropped: %s", error)
        return False
    node.arc.dropped(key_ident(entry.key))
    return True


def _is_misplaced(node: NodeState, entry: Entry) -> bool:
    return role(node.ring, key_ident(entry.key), entry.replication) is Role.MISPLACED


class OwnerFinder:
    """The owners of identifiers that come in order: one lookup serves all that lie before the same owner."""

    def __init__(self, node: NodeState) -> None:
        self._node = node
        self._from = 0
        self._peers: tuple[Peer, ...] = ()

    def __call__(self, rt: Runtime, ident: int) -> tuple[Peer, ...]:
        """The owner and its successors; empty when it can't be found now. Switches: yes."""
        if self._peers and in_open_closed(ident, self._from - 1, self._peers[0].ident):
            return self._peers
        try:
            self._peers = find_successor(
                rt, self._node, ident, purpose="repair", replicas=self._node.config.max_replication
            ).peers
        except LookupFailed:
            self._peers = ()
        self._from = ident
        return self._peers
