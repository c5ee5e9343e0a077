"""The answers to a node that reconciles with us (`gdht.node.replication.reconcile`): from what we hold, at once."""

from itertools import islice

from gdht.core.arcs import Arc
from gdht.core.ident import distance, key_ident
from gdht.core.messages import (
    RECORDS_PER_MESSAGE_MAX,
    Entry,
    ErrorReason,
    P2pCompare,
    P2pError,
    P2pFetch,
    P2pReconcile,
    P2pReplyCompare,
    P2pReplyFetch,
    P2pReplyReconcile,
)
from gdht.core.peer import Peer
from gdht.errors import StoreError
from gdht.node.later import Answer, when_durable
from gdht.node.replication.copies import BATCH_BYTES_MAX, is_needed, lacks, to_copy
from gdht.node.replication.holdings import entries_in, held
from gdht.node.state import NodeState
from gdht.node.storage import Store


def handle_compare(node: NodeState, _sender: Peer, request: P2pCompare, _now_s: float) -> Answer:
    if node.sealed:
        return SEALED
    if len(request.arcs) > ARCS_MAX:
        return P2pError(ErrorReason.OVERLOAD, f"{len(request.arcs)} arcs at once; {ARCS_MAX} at the most")
    arcs = [Arc(arc.start, arc.end) for arc in request.arcs]
    digests = [held(node.store, arc, request.replication) for arc in arcs]
    same = [
        (digest.records, digest.total_bytes) == (arc.records, arc.total)
        for digest, arc in zip(digests, request.arcs, strict=True)
    ]
    complete = all(node.arc.has_all_of(arc) for arc in arcs)
    reply = P2pReplyCompare(complete, tuple(same), tuple(digest.records for digest in digests))
    return when_durable(node.store, reply, failed)


def handle_reconcile(node: NodeState, _sender: Peer, request: P2pReconcile, _now_s: float) -> Answer:
    if node.sealed:
        return SEALED
    arc = Arc(request.start, request.end)
    lacking, up_to = _lacking(node.store, arc, request)
    seen = Arc(arc.start, up_to)
    wanted = [seen.holds(key_ident(entry.key)) and lacks(node.store, entry) for entry in request.entries]
    reply = P2pReplyReconcile(node.arc.has_all_of(arc), up_to, tuple(wanted), tuple(lacking))
    return when_durable(node.store, reply, failed)


def _lacking(store: Store, arc: Arc, request: P2pReconcile) -> tuple[list[Entry], int]:
    """What we hold that the sender lacks or has an older version of; and up to where, when it does not all fit in."""
    theirs = {entry.key: entry for entry in request.entries}
    ours = (entry for entry in entries_in(store, arc, request.replication) if entry.key not in theirs)
    lacking = [*islice(ours, RECORDS_PER_MESSAGE_MAX + 1), *_newer(store, arc, request.entries)]
    lacking.sort(key=lambda entry: distance(arc.start, key_ident(entry.key)) or arc.width)
    if len(lacking) <= RECORDS_PER_MESSAGE_MAX:
        return lacking, arc.end
    lacking = lacking[:RECORDS_PER_MESSAGE_MAX]
    return lacking, key_ident(lacking[-1].key)


def _newer(store: Store, arc: Arc, entries: tuple[Entry, ...]) -> list[Entry]:
    """What we hold under the same keys in a later version or more widely, whatever its replication."""
    newer = []
    for entry in entries:
        record = store.held(entry.key)
        if record and arc.holds(key_ident(entry.key)):
            ours = Entry(entry.key, record.version, record.replication)
            if (ours.version, ours.replication) > (entry.version, entry.replication):
                newer.append(ours)
    return newer


def handle_fetch(node: NodeState, _sender: Peer, request: P2pFetch, now_s: float) -> Answer:
    copies, size_bytes, asked = [], 0, 0
    for key in request.keys:
        if size_bytes >= BATCH_BYTES_MAX:
            break
        asked += 1
        record = node.store.held(key)
        copy = to_copy(record, now_s) if record else None
        if copy and is_needed(copy):
            copies.append(copy)
            size_bytes += len(copy.value)
    return P2pReplyFetch(asked, tuple(copies))


def failed(error: StoreError) -> P2pError:
    """What we were to confirm is not on our disk."""
    return P2pError(ErrorReason.INTERNAL, f"the store failed: {error}")


ARCS_MAX = 128
"""How many arcs are compared for one request: where many records share a leaf, each takes a while."""

SEALED = P2pError(ErrorReason.NOT_JOINED, "this node is about to leave")
