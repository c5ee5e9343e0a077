"""The answers to other nodes' requests: from local state, at once, never calling out.

A handler may schedule work for a task (`node.notified`, `node.stabilize_now`) but never switches. While a maintenance
step waits for an answer, handlers answer with the pointers from before it.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from gdht.core.ident import key_ident
from gdht.core.messages import (
    ErrorReason,
    FailureReason,
    P2pAck,
    P2pError,
    P2pFailure,
    P2pGet,
    P2pGetArc,
    P2pGetNeighbours,
    P2pGetStatus,
    P2pGetSuccessor,
    P2pLeave,
    P2pNotify,
    P2pOffer,
    P2pPing,
    P2pPut,
    P2pReplyArc,
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
    Reply,
    Request,
)
from gdht.core.peer import Peer
from gdht.core.records import NO_VERSION
from gdht.errors import StoreError
from gdht.node.copies import accept_copy, arc_batch
from gdht.node.state import NodeState

NOTIFIED_MAX = 64
"""How many nodes may wait to be rectified with; the others notify again at their next stabilization."""


def handle(node: NodeState, sender: Peer, request: Request, wall_s: float) -> Reply:
    """Answer one request. wall_s: seconds since the epoch. Switches: no."""
    if not node.is_member and not isinstance(request, OPEN_TO_STRANGERS):
        node.hear_of(sender)
        return P2pError(ErrorReason.NOT_JOINED, f"this node is {node.state.value}")
    handler = HANDLERS.get(type(request))
    if handler is None:
        return P2pError(ErrorReason.UNSUPPORTED, f"{type(request).__name__} is not a request")
    return handler(node, sender, request, wall_s)


# The ring -------------------------------------------------------------------------------------------------------------


def handle_ping(_node: NodeState, _sender: Peer, _request: P2pPing, _wall_s: float) -> Reply:
    return P2pAck()


def handle_get_successor(node: NodeState, _sender: Peer, request: P2pGetSuccessor, _wall_s: float) -> Reply:
    step = node.ring.find_successor_step(request.ident, request.strict)
    return P2pReplySuccessor(request.ident, step.final, step.peers)


def handle_get_neighbours(node: NodeState, _sender: Peer, _request: P2pGetNeighbours, _wall_s: float) -> Reply:
    return P2pReplyNeighbours(node.ring.predecessors, node.ring.successors)


def handle_notify(node: NodeState, sender: Peer, _request: P2pNotify, _wall_s: float) -> Reply:
    if len(node.notified) < NOTIFIED_MAX and sender != node.ring.predecessor and sender.ident != node.me.ident:
        node.left.pop(sender, None)
        node.notified[sender.ident] = sender
        node.wake.set()
    return P2pAck()


def handle_leave(node: NodeState, sender: Peer, _request: P2pLeave, _wall_s: float) -> Reply:
    node.notified.pop(sender.ident, None)
    if node.forget(sender):
        node.stabilize_now = True
        node.wake.set()
    return P2pAck()


# Records --------------------------------------------------------------------------------------------------------------


def handle_put(node: NodeState, _sender: Peer, request: P2pPut, wall_s: float) -> Reply:
    key = request.key
    if request.as_owner and not node.ring.owns(key_ident(key)):
        node.doubt_predecessor()
        return P2pFailure(key, FailureReason.NOT_RESPONSIBLE, "")
    if node.sealed:
        return P2pFailure(key, FailureReason.LEAVING, "")
    copy = RecordCopy(key, request.ttl_ms, request.replication, request.version, request.value)
    try:
        held = accept_copy(node, copy, wall_s)
    except StoreError as error:
        reason = FailureReason.STORE_FULL if error.reason == "full" else FailureReason.INVALID
        return P2pFailure(key, reason, str(error))
    return P2pSuccess(key, max(held.ttl_ms(wall_s), 0), held.replication, held.version, b"")


def handle_get(node: NodeState, _sender: Peer, request: P2pGet, wall_s: float) -> Reply:
    if request.as_owner and not node.ring.owns(key_ident(request.key)):
        node.doubt_predecessor()
        return P2pFailure(request.key, FailureReason.NOT_RESPONSIBLE, "")
    if request.as_owner and node.receiving:  # what we have may be older than what has not arrived yet
        return P2pFailure(request.key, FailureReason.NOT_HERE_YET, "")
    record = node.store.get(request.key, wall_s)
    ttl_ms = record.ttl_ms(wall_s) if record else 0
    if record is None or ttl_ms <= 0:
        reason = FailureReason.NOT_HERE_YET if node.receiving else FailureReason.NOT_FOUND
        return P2pFailure(request.key, reason, "")
    return P2pSuccess(request.key, ttl_ms, record.replication, record.version, record.value)


def handle_offer(node: NodeState, _sender: Peer, request: P2pOffer, wall_s: float) -> Reply:
    if node.sealed:
        return P2pError(ErrorReason.NOT_JOINED, "this node is about to leave")
    wanted = []
    for key, version in request.entries:
        held = node.store.get(key, wall_s)
        wanted.append(held is None or held.version < version)
    return P2pReplyOffer(tuple(wanted))


def handle_transfer(node: NodeState, _sender: Peer, request: P2pTransfer, wall_s: float) -> Reply:
    if node.sealed:
        return P2pError(ErrorReason.NOT_JOINED, "this node is about to leave")
    held = []
    for copy in request.records:
        try:
            held.append(accept_copy(node, copy, wall_s).version >= copy.version)
        except StoreError:
            held.append(False)
    node.stats.handoff_keys["received", "transfer"] += sum(held)
    return P2pReplyTransfer(tuple(held))


def handle_get_arc(node: NodeState, _sender: Peer, request: P2pGetArc, wall_s: float) -> Reply:
    batch, more = arc_batch(node.store, request.start, request.end, request.cursor, wall_s)
    return P2pReplyArc(more, not node.receiving, tuple(batch))


def handle_stat(node: NodeState, _sender: Peer, request: P2pStat, wall_s: float) -> Reply:
    record = node.store.get(request.key, wall_s)
    if record is None:
        return P2pReplyStat(request.key, False, 0, 0, NO_VERSION, 0, bytes(32))
    digest = sha256(record.value).digest()
    ttl_ms = max(record.ttl_ms(wall_s), 0)
    return P2pReplyStat(request.key, True, ttl_ms, record.replication, record.version, len(record.value), digest)


def handle_get_status(node: NodeState, _sender: Peer, _request: P2pGetStatus, _wall_s: float) -> Reply:
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
        ring.owned_ratio,
        ring.estimated_nodes,
    )


OPEN_TO_STRANGERS = (P2pGetStatus, P2pStat)
"""What a node answers while it is no member of the ring; not PING, which asks for a member."""

HANDLERS: dict[type, Callable[[NodeState, Peer, Any, float], Reply]] = {
    P2pPing: handle_ping,
    P2pGetSuccessor: handle_get_successor,
    P2pGetNeighbours: handle_get_neighbours,
    P2pNotify: handle_notify,
    P2pLeave: handle_leave,
    P2pPut: handle_put,
    P2pGet: handle_get,
    P2pOffer: handle_offer,
    P2pTransfer: handle_transfer,
    P2pGetArc: handle_get_arc,
    P2pGetStatus: handle_get_status,
    P2pStat: handle_stat,
}
