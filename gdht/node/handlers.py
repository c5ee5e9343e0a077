"""The answers to other nodes' requests: from local state, at once, never calling out.

Only what says that something is stored waits, until it is durable (`gdht.node.later`). A handler may schedule work for
a task (`node.notified`, `node.stabilize_now`) but never switches. While a maintenance step waits for an answer,
handlers answer with the pointers from before it.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from gdht.core.ident import key_ident
from gdht.core.messages import (
    ErrorReason,
    FailureReason,
    P2pAck,
    P2pCompare,
    P2pError,
    P2pFailure,
    P2pFetch,
    P2pGet,
    P2pGetNeighbours,
    P2pGetStatus,
    P2pGetSuccessor,
    P2pLeave,
    P2pNotify,
    P2pOffer,
    P2pPing,
    P2pPut,
    P2pReconcile,
    P2pReplyNeighbours,
    P2pReplyOffer,
    P2pReplyStat,
    P2pReplyStatus,
    P2pReplySuccessor,
    P2pReplyTransfer,
    P2pStat,
    P2pSuccess,
    P2pTransfer,
    RecordCopy,
    Request,
)
from gdht.core.peer import Peer
from gdht.core.placement import view_of
from gdht.core.records import NO_VERSION, Record, left_ms
from gdht.core.values import make
from gdht.errors import StoreError
from gdht.node.later import Answer, when_durable
from gdht.node.replication.copies import accept_copy, lacks, not_durable, refused
from gdht.node.replication.reconcile_handlers import SEALED, failed, handle_compare, handle_fetch, handle_reconcile
from gdht.node.state import NodeState
from gdht.node.status import State

NOTIFIED_MAX = 64
"""How many nodes may wait to be rectified with; the others notify again at their next stabilization."""


def handle(node: NodeState, sender: Peer, request: Request, now_s: float) -> Answer:
    """Answer one request. now_s: seconds by the node's clock of lives. Switches: no."""
    if not node.is_member and not isinstance(request, OPEN_TO_STRANGERS):
        node.hear_of(sender)
        return P2pError(ErrorReason.NOT_JOINED, f"this node is {node.state.value}")
    handler = HANDLERS.get(type(request))
    if handler is None:
        return P2pError(ErrorReason.UNSUPPORTED, f"{type(request).__name__} is not a request")
    return handler(node, sender, request, now_s)


# The ring -------------------------------------------------------------------------------------------------------------


def handle_ping(_node: NodeState, _sender: Peer, _request: P2pPing, _now_s: float) -> Answer:
    return P2pAck()


def handle_get_successor(node: NodeState, _sender: Peer, request: P2pGetSuccessor, _now_s: float) -> Answer:
    step = node.ring.find_successor_step(request.ident, request.strict)
    return P2pReplySuccessor(request.ident, step.final, step.peers, step.start)


def handle_get_neighbours(node: NodeState, _sender: Peer, _request: P2pGetNeighbours, _now_s: float) -> Answer:
    return P2pReplyNeighbours(node.ring.predecessors, node.ring.successors)


def handle_notify(node: NodeState, sender: Peer, _request: P2pNotify, _now_s: float) -> Answer:
    if len(node.notified) < NOTIFIED_MAX and sender != node.ring.predecessor and sender.ident != node.me.ident:
        node.left.pop(sender, None)
        node.notified[sender.ident] = sender
        node.wake.set()
    return P2pAck()


def handle_leave(node: NodeState, sender: Peer, _request: P2pLeave, _now_s: float) -> Answer:
    node.notified.pop(sender.ident, None)
    if node.forget(sender):
        node.stabilize_now = True
        node.wake.set()
    return P2pAck()


# Records --------------------------------------------------------------------------------------------------------------


def handle_put(node: NodeState, _sender: Peer, request: P2pPut, now_s: float) -> Answer:
    key, as_owner = request.key, request.as_owner
    ident = key_ident(key)
    if as_owner and not node.ring.owns(ident):
        node.doubt_predecessor()
        return P2pFailure(key, FailureReason.NOT_RESPONSIBLE, "")
    if node.sealed:
        return P2pFailure(key, FailureReason.LEAVING, "")
    if as_owner and not node.arc.is_ours(ident):
        return P2pFailure(key, FailureReason.NOT_HERE_YET, "another node may be the owner")
    _, ttl_ms, replication, version, _, value, tombstone_ms = request
    copy = make(RecordCopy, (key, ttl_ms, replication, version, value, tombstone_ms))
    try:
        held = accept_copy(node, copy, now_s)
    except StoreError as error:
        return refused(key, error)
    receipt = _receipt(held, now_s, node.view(replication) if as_owner else 0)
    if node.store.pending is None:
        return receipt
    return when_durable(node.store, receipt, lambda error: not_durable(node, key, error))


def _receipt(held: Record, now_s: float, view: int) -> P2pSuccess:
    """What is held now, without the value."""
    key, _, version, expires_at_s, replication, tombstone_until_s, _ = held
    ttl_ms = left_ms(expires_at_s, now_s)
    tombstone_ms = left_ms(tombstone_until_s, now_s) if tombstone_until_s else 0
    return make(P2pSuccess, (key, ttl_ms, replication, version, b"", tombstone_ms, view))


def handle_get(node: NodeState, _sender: Peer, request: P2pGet, now_s: float) -> Answer:
    key = request.key
    if request.as_owner and not node.ring.owns(key_ident(key)):
        node.doubt_predecessor()
        return P2pFailure(key, FailureReason.NOT_RESPONSIBLE, "")
    if request.as_owner and not node.arc.is_sure_of(key_ident(key)):  # others may have a newer one
        return P2pFailure(key, FailureReason.NOT_HERE_YET, "")
    view = 0 if request.as_owner else view_of(node.ring.predecessors[:1])
    record = node.store.held(key)
    if record is not None:
        ttl_ms, tombstone_ms = left_ms(record.expires_at_s, now_s), left_ms(record.tombstone_until_s, now_s)
        if ttl_ms or tombstone_ms:
            value = record.value if ttl_ms else b""
            return P2pSuccess(key, ttl_ms, record.replication, record.version, value, tombstone_ms, view)
    has_all = node.arc.has_all_at(key_ident(key))
    return P2pFailure(key, FailureReason.NOT_FOUND if has_all else FailureReason.NOT_HERE_YET, "", view)


def handle_offer(node: NodeState, _sender: Peer, request: P2pOffer, _now_s: float) -> Answer:
    if node.sealed or node.state is State.LEAVING:  # nobody may drop a copy because we still have one
        return SEALED
    wanted = [lacks(node.store, entry) for entry in request.entries]
    return when_durable(node.store, P2pReplyOffer(tuple(wanted)), failed)


def handle_transfer(node: NodeState, _sender: Peer, request: P2pTransfer, now_s: float) -> Answer:
    if node.sealed:
        return SEALED
    held = []
    for copy in request.records:
        try:
            held.append(accept_copy(node, copy, now_s).version >= copy.version)
        except StoreError:
            held.append(False)
    node.stats.handoff_keys["received", "transfer"] += sum(held)
    taken = (len(copy.value) for copy, holds in zip(request.records, held, strict=True) if holds)
    node.stats.handoff_bytes["received", "transfer"] += sum(taken)
    return when_durable(node.store, P2pReplyTransfer(tuple(held)), failed)


def handle_stat(node: NodeState, _sender: Peer, request: P2pStat, now_s: float) -> Answer:
    record = node.store.get(request.key, now_s)
    if record is None:
        held = node.store.held(request.key)
        version = held.version if held and held.is_tombstone else NO_VERSION
        return P2pReplyStat(request.key, False, 0, 0, version, 0, bytes(32))
    digest = sha256(record.value).digest()
    ttl_ms = left_ms(record.expires_at_s, now_s)
    return P2pReplyStat(request.key, True, ttl_ms, record.replication, record.version, len(record.value), digest)


def handle_get_status(node: NodeState, _sender: Peer, _request: P2pGetStatus, _now_s: float) -> Answer:
    return own_status(node)


def own_status(node: NodeState) -> P2pReplyStatus:
    """What this node tells others for their ring pages. Switches: no."""
    ring, keys = node.ring, node.keys
    return P2pReplyStatus(
        node.state.value,
        node.api_address,
        node.admin_address,
        ring.predecessors,
        ring.successors,
        keys.owned,
        keys.replica,
        keys.misplaced,
        keys.bytes,
        ring.owned_ratio if node.is_member else 0.0,
        ring.estimated_nodes,
    )


OPEN_TO_STRANGERS = (P2pGetStatus, P2pStat)
"""What a node answers while it is no member of the ring; not PING, which asks for a member."""

HANDLERS: dict[type, Callable[[NodeState, Peer, Any, float], Answer]] = {
    P2pPing: handle_ping,
    P2pGetSuccessor: handle_get_successor,
    P2pGetNeighbours: handle_get_neighbours,
    P2pNotify: handle_notify,
    P2pLeave: handle_leave,
    P2pPut: handle_put,
    P2pGet: handle_get,
    P2pOffer: handle_offer,
    P2pTransfer: handle_transfer,
    P2pFetch: handle_fetch,
    P2pCompare: handle_compare,
    P2pReconcile: handle_reconcile,
    P2pGetStatus: handle_get_status,
    P2pStat: handle_stat,
}
