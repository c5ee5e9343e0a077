"""put and get: the node that took a client's request coordinates, the owner decides, the replicas follow.

A put goes to the owner and the `replication - 1` nodes after it at once and has succeeded when a write quorum stored
it. A get asks the owner, then everybody who may hold a replica, and returns the newest copy.
"""

from typing import NamedTuple

from gdht.core.ident import key_ident
from gdht.core.lookup import Found
from gdht.core.messages import (
    VALUE_BYTES_MAX,
    FailureReason,
    P2pFailure,
    P2pGet,
    P2pPut,
    P2pSuccess,
    RecordCopy,
    Request,
)
from gdht.core.peer import Peer
from gdht.core.placement import quorum
from gdht.core.records import Version, is_ahead
from gdht.errors import CallTimeout, LookupFailed, StoreError
from gdht.node.ask import ask_each
from gdht.node.copies import accept_copy
from gdht.node.runtime import Outcome, Runtime
from gdht.node.search import Search
from gdht.node.state import NodeState
from gdht.node.status import State


class PutOutcome(NamedTuple):
    """result: success, quorum, timeout, invalid or error. acknowledged of wanted: how many replicas stored it."""

    result: str
    acknowledged: int
    wanted: int


class GetOutcome(NamedTuple):
    """result: success, not_found, timeout or error. value: None unless success."""

    result: str
    value: bytes | None


NOT_SERVING_PUT = PutOutcome("error", 0, 0)
NOT_SERVING_GET = GetOutcome("error", None)
NOT_FOUND = GetOutcome("not_found", None)


# Put ------------------------------------------------------------------------------------------------------------------


def put(rt: Runtime, node: NodeState, key: bytes, value: bytes, ttl_s: int, replication: int) -> PutOutcome:
    """Store a value at its owner and replicas. ttl_s, replication: 0 means the configured default. Switches: yes."""
    if not node.is_member:
        return NOT_SERVING_PUT
    if len(value) > VALUE_BYTES_MAX:
        return PutOutcome("invalid", 0, 0)
    copy = _new_copy(node, key, value, ttl_s, replication, rt.wall())
    outcome = _put_copy(rt, node, copy)
    node.stats.put_acknowledged_replicas.observe(outcome.acknowledged)
    return outcome


def try_put(
    node: NodeState, key: bytes, value: bytes, ttl_s: int, replication: int, wall_s: float
) -> PutOutcome | None:
    """The same without a switch, when all replicas are this node; None when others are needed."""
    ring = node.ring
    if node.state is not State.ACTIVE or len(value) > VALUE_BYTES_MAX:
        return None
    if ring.successors and (_replication(node, replication) > 1 or not ring.predecessors):
        return None
    if not ring.owns(key_ident(key)):
        return None
    held = node.store.get(key, wall_s)
    if ring.successors and held is not None and held.replication > 1:
        return None  # the replicas of the older copy must hear of this one
    try:
        accept_copy(node, _new_copy(node, key, value, ttl_s, replication, wall_s), wall_s)
    except StoreError:
        return PutOutcome("quorum", 0, 1)
    node.stats.replica_writes["ok"] += 1
    node.stats.put_acknowledged_replicas.observe(1)
    return PutOutcome("success", 1, 1)


def _replication(node: NodeState, replication: int) -> int:
    return min(replication or node.config.replication, node.config.max_replication)


def _new_copy(node: NodeState, key: bytes, value: bytes, ttl_s: int, replication: int, wall_s: float) -> RecordCopy:
    ttl_ms = min(ttl_s or node.config.default_ttl, node.config.max_ttl) * 1000
    return RecordCopy(key, ttl_ms, _replication(node, replication), node.stamp(wall_s), value)


class Round(NamedTuple):
    """One attempt at a put.

    newest: a later version held in its stead, None when it won. replication: how many nodes hold an older copy, if
    those are more than were written to. again: worth another attempt.
    """

    outcome: PutOutcome
    newest: Version | None
    replication: int
    again: bool


def _put_copy(rt: Runtime, node: NodeState, copy: RecordCopy) -> PutOutcome:
    search = Search(rt, node, "put")
    outcome = PutOutcome("error", 0, copy.replication)
    expires_at_s = rt.now() + copy.ttl_ms / 1000
    for _ in search.attempts(rt):
        copy = copy._replace(ttl_ms=int((expires_at_s - rt.now()) * 1000))
        if copy.ttl_ms <= 0:
            break
        try:
            found = search.find(rt, node, copy.key, copy.replication)
        except LookupFailed:
            search.dead.clear()
            continue
        outcome, newest, replication, again = _write(rt, node, copy, found.peers[: copy.replication], search)
        if newest:
            outcome = outcome._replace(result="quorum")
            node.observe(newest, rt.wall())
            copy = copy._replace(version=node.stamp(rt.wall()))
        elif replication > copy.replication:
            copy = copy._replace(replication=min(replication, node.config.max_replication))
        elif not again:
            break
    if outcome.result != "success" and search.timed_out:
        outcome = outcome._replace(result="timeout")
    return outcome


def _write(rt: Runtime, node: NodeState, copy: RecordCopy, targets: tuple[Peer, ...], search: Search) -> Round:
    """Send a copy to every target at once and wait for all: the promise is about all replicas, not the fastest."""
    owner = targets[0]
    requests: list[tuple[Peer, Request]] = [
        (peer, P2pPut(*copy[:4], as_owner=peer is owner, value=copy.value)) for peer in targets
    ]
    acknowledged = 0
    displaced = refused = unreached = False
    newest, replication = copy.version, copy.replication
    for peer, outcome in ask_each(rt, node, requests):
        node.stats.replica_writes[_write_result(outcome)] += 1
        if isinstance(outcome, P2pSuccess):
            if is_ahead(outcome.version, rt.wall()):
                continue  # it holds, or claims to hold, what nobody can outbid; so it did not store ours
            acknowledged += 1
            newest = max(newest, outcome.version)
            replication = max(replication, min(outcome.replication, node.config.max_replication))
        else:
            search.note(peer, outcome)
            unreached |= not isinstance(outcome, P2pFailure)
            displaced |= peer is owner and _is_displaced(outcome)
            refused |= peer is owner and isinstance(outcome, P2pFailure)
    wanted = min(copy.replication, len(node.ring.successors) + 1) if node.ring.spans else copy.replication
    enough = acknowledged >= quorum(node.config.write_quorum, wanted) and not refused  # reads ask the owner first
    result = PutOutcome("success" if enough else "quorum", acknowledged, wanted)
    again = not enough and (displaced or unreached or len(targets) < wanted)
    return Round(result, newest if newest > copy.version else None, replication, again)


def _is_displaced(outcome: Outcome) -> bool:
    """Whether a node asked as owner said that it is not, or not for much longer: somebody else must decide."""
    return isinstance(outcome, P2pFailure) and outcome.reason in (
        FailureReason.NOT_RESPONSIBLE,
        FailureReason.LEAVING,
    )


def _write_result(outcome: Outcome) -> str:
    if isinstance(outcome, P2pSuccess):
        return "ok"
    if isinstance(outcome, CallTimeout):
        return "timeout"
    return "refused" if isinstance(outcome, P2pFailure) else "error"


# Get ------------------------------------------------------------------------------------------------------------------


def get(rt: Runtime, node: NodeState, key: bytes) -> GetOutcome:
    """Find the newest value under a key. Switches: yes."""
    if not node.is_member:
        return NOT_SERVING_GET
    search = Search(rt, node, "get")
    for _ in search.attempts(rt):
        try:
            found = search.find(rt, node, key, node.config.replication)
            outcome = _read(rt, node, key, found, search)
        except LookupFailed:
            search.dead.clear()
            continue
        if outcome is not None:
            return outcome
    return GetOutcome("timeout" if search.timed_out or search.dead else "error", None)


def try_get(node: NodeState, key: bytes, wall_s: float) -> GetOutcome | None:
    """The same without a switch, when this node is the owner and has the record; None when others are needed."""
    ring = node.ring
    if node.state is not State.ACTIVE or not ring.owns(key_ident(key)):
        return None
    if (ring.successors and not ring.predecessors) or (node.receiving and not ring.alone):
        return None
    record = node.store.get(key, wall_s)
    if record is not None:
        return GetOutcome("success", record.value)
    return NOT_FOUND if ring.alone and not node.receiving else None


def _read(rt: Runtime, node: NodeState, key: bytes, found: Found, search: Search) -> GetOutcome | None:
    """Ask the owner, then its replicas; None when it is worth another attempt. Raises: LookupFailed."""
    owner = found.owner
    _, reply = next(ask_each(rt, node, [(owner, P2pGet(key, as_owner=True))]))
    if isinstance(reply, P2pSuccess):
        return GetOutcome("success", reply.value)
    search.note(owner, reply)
    if isinstance(reply, P2pFailure) and reply.reason == FailureReason.NOT_RESPONSIBLE:
        return _read_replicas(rt, node, key, found.peers, None, search) if search.dead else None
    if len(found.peers) < node.config.max_replication and not node.ring.spans:
        search.via = (owner,) if isinstance(reply, P2pFailure) else ()
        found = search.find(rt, node, key, node.config.max_replication)
    others = tuple(peer for peer in found.peers if peer.ident != owner.ident)
    return _read_replicas(rt, node, key, (owner, *others), reply, search)


def _read_replicas(
    rt: Runtime,
    node: NodeState,
    key: bytes,
    peers: tuple[Peer, ...],
    owner_reply: Outcome | None,
    search: Search,
) -> GetOutcome | None:
    """Ask everybody who may hold a replica; the newest copy wins and is given to those who lacked it.

    peers: the owner first; one that has not got its share yet is asked again, for whatever copy it has. owner_reply:
    None when the true owner is dead and its heir, the first of the peers, has not noticed yet: then a copy will do, but
    that there is none is no answer.
    """
    peers = peers[: node.config.max_replication]
    unsure = isinstance(owner_reply, P2pFailure) and owner_reply.reason == FailureReason.NOT_HERE_YET
    asked = peers if owner_reply is None or unsure else peers[1:]
    everybody_answered, somebody_is_sure = isinstance(owner_reply, P2pFailure), _says_not_found(owner_reply)
    lacking = [peers[0]] if isinstance(owner_reply, P2pFailure) else []
    newest: P2pSuccess | None = None
    for peer, outcome in ask_each(rt, node, [(peer, P2pGet(key, as_owner=False)) for peer in asked]):
        if isinstance(outcome, P2pSuccess):
            newest = outcome if newest is None else max(newest, outcome, key=lambda copy: copy.version)
            continue
        search.note(peer, outcome)
        everybody_answered &= isinstance(outcome, P2pFailure)
        somebody_is_sure |= _says_not_found(outcome)
        if isinstance(outcome, P2pFailure):
            lacking.append(peer)
    if newest is None:
        return NOT_FOUND if everybody_answered and somebody_is_sure else None
    holders = peers[: newest.replication]
    _repair_after_read(rt, node, newest, tuple(peer for peer in lacking if peer in holders))
    return GetOutcome("success", newest.value)


def _says_not_found(outcome: Outcome | None) -> bool:
    """Whether a node is sure that it does not hold a record; "not here yet" is not."""
    return isinstance(outcome, P2pFailure) and outcome.reason == FailureReason.NOT_FOUND


def _repair_after_read(rt: Runtime, node: NodeState, newest: P2pSuccess, lacking: tuple[Peer, ...]) -> None:
    """Give a record to the replicas that lacked it, beside the answer to the client. Switches: no."""
    if not lacking:
        return
    request = P2pPut(newest.key, newest.ttl_ms, newest.replication, newest.version, False, newest.value)

    def write_back() -> None:
        for _peer, outcome in ask_each(rt, node, [(peer, request) for peer in lacking]):
            node.stats.repaired_keys["read"] += isinstance(outcome, P2pSuccess)

    rt.spawn(write_back, "read_repair")
