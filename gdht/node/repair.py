"""Keeping every record where it belongs: on its owner and the `replication - 1` nodes after it, and nowhere else.

A round offers keys and versions, transfers what is lacking, and drops a copy that is nobody's business here only after
every node that should hold it has confirmed that it does. Rounds follow changes of neighbours, and come now and then.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from gdht.core.ident import in_open_closed, key_ident
from gdht.core.messages import (
    RECORDS_PER_MESSAGE_MAX,
    P2pGetArc,
    P2pOffer,
    P2pReplyArc,
    P2pReplyOffer,
    P2pReplyTransfer,
    P2pTransfer,
    RecordCopy,
)
from gdht.core.peer import Peer
from gdht.core.placement import Role, position, role
from gdht.core.records import Record
from gdht.errors import GdhtError, LookupFailed, StoreError
from gdht.node.ask import ask
from gdht.node.copies import accept_copy, batches, scan_all, to_copy
from gdht.node.lookup import find_successor
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState
from gdht.node.status import KeyCounts

log = logging.getLogger(__name__)

ROUND_RECORDS = RECORDS_PER_MESSAGE_MAX
"""How many records are placed, offered and transferred before the next ones are looked at."""

EXPIRE_RECORDS = 500
"""How many expired records are dropped before others may run."""


# A newcomer's share ---------------------------------------------------------------------------------------------------


def pull_share(rt: Runtime, node: NodeState) -> None:
    """Fetch what a new member should hold from the nodes after it, until one of them had all of its own share.

    When none of them has, what they had is all there is. Switches: yes.
    """
    pulled, answered, joins = 0, False, node.joins
    for peer in node.ring.successors:
        try:
            complete, count = _pull_from(rt, node, peer)
        except GdhtError as error:
            log.info("pull failed peer=%s error=%s", peer, error)
            continue
        pulled, answered = pulled + count, True
        if complete:
            break
    if node.joins != joins:
        return  # lost the ring and found it again meanwhile: that share is another one
    node.receiving = not answered
    log.info("share %s keys=%d", "received" if answered else "not received yet", pulled)


def _pull_from(rt: Runtime, node: NodeState, peer: Peer) -> tuple[bool, int]:
    """Fetch everything a successor holds that does not lie between us and it; we hold all that it holds of that."""
    cursor, pulled = b"", 0
    while True:
        reply = ask(rt, node, peer, P2pGetArc(peer.ident, node.me.ident, cursor))
        assert isinstance(reply, P2pReplyArc)
        for copy in reply.records:
            try:
                accept_copy(node, copy, rt.wall())
            except StoreError as error:
                log.warning("copy refused from=%s error=%s", peer, error)
        pulled += len(reply.records)
        node.stats.handoff_keys["received", "join"] += len(reply.records)
        if not reply.more or not _comes_closer(peer, node.me, cursor, reply.records):
            return reply.complete, pulled
        cursor = reply.records[-1].key


def _comes_closer(start: Peer, end: Peer, cursor: bytes, records: tuple[RecordCopy, ...]) -> bool:
    """Whether a batch ends further along the arc than the one before it, so that the next one can't be the same."""
    if not records:
        return False
    last = key_ident(records[-1].key)
    after = key_ident(cursor) if cursor else start.ident
    return last != after and in_open_closed(last, after, end.ident)


# Offers and transfers -------------------------------------------------------------------------------------------------


def hand_on(rt: Runtime, node: NodeState, peer: Peer, records: list[Record], reason: str) -> set[bytes]:
    """See to it that a peer holds these records; returns the keys for which it has confirmed that. Switches: yes.

    reason: the label of `gdht_handoff_keys_total`. Raises: what `Runtime.call` raises.
    """
    reply = ask(rt, node, peer, P2pOffer(tuple((record.key, record.version) for record in records)))
    assert isinstance(reply, P2pReplyOffer)
    wanted = [record for record, wants in zip(records, reply.wanted, strict=False) if wants]
    confirmed = {record.key for record, wants in zip(records, reply.wanted, strict=False) if not wants}
    living = [copy for copy in (to_copy(record, rt.wall()) for record in wanted) if copy.ttl_ms > 0]
    for batch in batches(living):
        answer = ask(rt, node, peer, P2pTransfer(batch))
        assert isinstance(answer, P2pReplyTransfer)
        held = [copy.key for copy, holds in zip(batch, answer.held, strict=False) if holds]
        confirmed.update(held)
        node.stats.handoff_keys["sent", reason] += len(held)
    return confirmed


@dataclass
class Plan:
    """What one slice of records asks for: per peer the records it should hold, and those to drop when all have them."""

    offers: dict[Peer, list[Record]] = field(default_factory=dict)
    owned: dict[bytes, int] = field(default_factory=dict)  # key: how many replicas it should have beside us
    misplaced: dict[bytes, tuple[Record, int]] = field(default_factory=dict)  # how many nodes must confirm
    unclear: int = 0  # misplaced records whose holders are not known for sure: pointers elsewhere still change

    def offer(self, record: Record, peers: tuple[Peer, ...]) -> int:
        """Have these peers hold a record; returns how many they are."""
        for peer in peers:
            self.offers.setdefault(peer, []).append(record)
        return len(peers)


def repair(rt: Runtime, node: NodeState) -> int:
    """One round over all records: replicas restored, newcomers given their share, misplaced copies handed on.

    Returns how many owned records still have too few confirmed replicas; `node.unplaced` says how many misplaced ones
    have to stay for now. Switches: yes.
    """
    if node.ring.successors and not node.ring.predecessors:
        return node.stats.keys_under_replicated  # what is ours to replicate is not known; it will be in a moment
    under_replicated = node.unplaced = 0
    owner_of = OwnerFinder(node)
    records: list[Record] = []
    for record in scan_all(node.store):
        records.append(record)
        if len(records) == ROUND_RECORDS:
            under_replicated += _repair_slice(rt, node, records, owner_of)
            records = []
    under_replicated += _repair_slice(rt, node, records, owner_of)
    node.stats.keys_under_replicated = under_replicated
    return under_replicated


def _repair_slice(rt: Runtime, node: NodeState, records: list[Record], owner_of: "OwnerFinder") -> int:
    """Place some records; returns how many owned ones have too few confirmed replicas."""
    plan = _plan(rt, node, records, owner_of)
    confirmations: dict[bytes, int] = {}
    for peer, offered in plan.offers.items():
        try:
            confirmed = hand_on(rt, node, peer, offered, "repair")
        except GdhtError as error:
            log.info("hand-over failed peer=%s keys=%d error=%s", peer, len(offered), error)
            continue
        for key in confirmed:
            confirmations[key] = confirmations.get(key, 0) + 1
    node.unplaced += plan.unclear
    for key, (record, wanted) in plan.misplaced.items():
        if confirmations.get(key, 0) >= wanted and _is_misplaced(node, record):
            node.store.remove(key, record.version)
        else:
            node.unplaced += 1
    rt.sleep(0)
    return sum(confirmations.get(key, 0) < wanted for key, wanted in plan.owned.items())


def _plan(rt: Runtime, node: NodeState, records: list[Record], owner_of: "OwnerFinder") -> Plan:
    plan = Plan()
    for record in records:
        if record.ttl_ms(rt.wall()) <= 0:
            continue
        ring = node.ring
        index = position(ring, key_ident(record.key))
        if index == 0:
            plan.owned[record.key] = plan.offer(record, ring.successors[: record.replication - 1])
        elif index < record.replication:
            plan.offer(record, ring.predecessors[index - 1 : index])
        else:
            holders = owner_of(rt, key_ident(record.key))[: record.replication]
            if len(holders) == record.replication and all(peer.ident != node.me.ident for peer in holders):
                plan.misplaced[record.key] = record, plan.offer(record, holders)
            else:
                plan.unclear += 1
    return plan


def _is_misplaced(node: NodeState, record: Record) -> bool:
    return role(node.ring, key_ident(record.key), record.replication) is Role.MISPLACED


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


# Leaving --------------------------------------------------------------------------------------------------------------


def hand_over(rt: Runtime, node: NodeState, go_on: Callable[[], bool]) -> int:
    """Give all records to the nodes that hold them once this one is gone; returns how many had no taker.

    go_on: asked before each slice, False when the time is up. Switches: yes.
    """
    orphans = 0
    records: list[Record] = []
    for record in scan_all(node.store):
        records.append(record)
        if len(records) == ROUND_RECORDS:
            orphans += _hand_over_slice(rt, node, records) if go_on() else len(records)
            records = []
    return orphans + (_hand_over_slice(rt, node, records) if go_on() else len(records))


def _hand_over_slice(rt: Runtime, node: NodeState, records: list[Record]) -> int:
    """One successor after the other is offered what lacks a holder still; one that takes none is passed over.

    What none of them took is given to a node before us: it does not belong there, but that node will hand it on.
    """
    lacking = {
        record.key: max(record.replication - position(node.ring, key_ident(record.key)), 1) for record in records
    }
    untaken = set(lacking)
    for peer in node.ring.successors:
        confirmed = _offer_leaving(rt, node, peer, [record for record in records if lacking[record.key]])
        untaken -= confirmed
        for key in confirmed:
            lacking[key] -= 1
    for peer in node.ring.predecessors:
        untaken -= _offer_leaving(rt, node, peer, [record for record in records if record.key in untaken])
    return sum(record.key in untaken and record.ttl_ms(rt.wall()) > 0 for record in records)


def _offer_leaving(rt: Runtime, node: NodeState, peer: Peer, records: list[Record]) -> set[bytes]:
    """Hand records on as we leave; the keys of those that the peer now holds. Switches: yes."""
    living = [record for record in records if record.ttl_ms(rt.wall()) > 0]
    if not living:
        return set()
    try:
        return hand_on(rt, node, peer, living, "leave")
    except GdhtError as error:
        log.warning("hand-over failed peer=%s keys=%d error=%s", peer, len(living), error)
        return set()


# Expiry and counting --------------------------------------------------------------------------------------------------


def expire(rt: Runtime, node: NodeState) -> None:
    """Drop what is past its life, a bounded step at a time. Switches: yes."""
    while True:
        dropped = node.store.expire(rt.wall(), EXPIRE_RECORDS)
        node.stats.store_expired_keys += dropped
        if dropped < EXPIRE_RECORDS:
            return
        rt.sleep(0)


def count_keys(rt: Runtime, node: NodeState) -> int:
    """Count what this node holds by role; returns how many records it looked at. Switches: yes."""
    counts, sizes = [0, 0, 0], [0, 0, 0]
    looked_at = 0
    for record in scan_all(node.store):
        index = position(node.ring, key_ident(record.key))
        kind = 0 if index == 0 else 1 if index < record.replication else 2
        counts[kind] += 1
        sizes[kind] += node.store.record_bytes(record)
        looked_at += 1
        if looked_at % ROUND_RECORDS == 0:
            rt.sleep(0)
    node.keys = KeyCounts(*counts, *sizes)
    return looked_at
