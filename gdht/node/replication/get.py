"""get: ask the owner, then everybody who may hold a replica; the newest copy wins.

The owner's word is enough where it is sure of its arc. Who is found to lack the newest copy is given it.
"""

from typing import NamedTuple

from gdht.core.ident import key_ident
from gdht.core.lookup import Found
from gdht.core.messages import FailureReason, P2pFailure, P2pGet, P2pPut, P2pSuccess
from gdht.core.peer import Peer
from gdht.core.placement import copies_in, quorum
from gdht.errors import LookupFailed
from gdht.node.ask import ask_each
from gdht.node.replication.hedge import Copies, ask_owner
from gdht.node.replication.readings import Reading, Readings
from gdht.node.replication.search import Search
from gdht.node.runtime import Outcome, Runtime
from gdht.node.state import NodeState
from gdht.node.status import State


class GetOutcome(NamedTuple):
    """result: success, not_found, timeout or error. value: None unless success. detail: for people, why it is none.

    Also why it may not be the newest, where that is the best that could be had.
    """

    result: str
    value: bytes | None
    detail: str = ""


NOT_FOUND = GetOutcome("not_found", None)

LAST_RESORT = "others that may hold a newer one did not answer"


def get(rt: Runtime, node: NodeState, key: bytes) -> GetOutcome:
    """Find the newest value under a key. Switches: yes."""
    return _noted(rt, node, key, rt.now(), _get(rt, node, key))


class Asked(NamedTuple):
    """A first attempt that was made elsewhere: what the supposed owner answered; None: nothing yet, and it is late.

    since_s: when it was asked.
    """

    owner: Peer
    reply: Outcome | None
    since_s: float


def finish_get(rt: Runtime, node: NodeState, key: bytes, asked: Asked) -> GetOutcome:
    """`get`, after the supposed owner was asked and gave no value, or is late with it. Switches: yes."""
    return _noted(rt, node, key, asked.since_s, _get(rt, node, key, asked))


def _noted(rt: Runtime, node: NodeState, key: bytes, since_s: float, outcome: GetOutcome) -> GetOutcome:
    """The same, written down when it is none to be glad of."""
    if outcome.result != "success":
        wall_s, seconds = node.clock.wall_s(), rt.now() - since_s
        node.failures.note(wall_s, "get", key, outcome.result, outcome.detail, seconds)
    return outcome


def _get(rt: Runtime, node: NodeState, key: bytes, asked: Asked | None = None) -> GetOutcome:
    if not node.is_member:
        return GetOutcome("error", None, f"this node is {node.state.value}")
    search = Search(rt, node, "get")
    for _ in search.attempts(rt):
        try:
            reply: Outcome | Copies
            if asked is not None and asked.reply is not None:
                found, reply = search.begin(node, (asked.owner,)), asked.reply
            else:
                replicas = node.config.replication
                found = search.guess(node, key, replicas, needed=1) or search.find(rt, node, key, replicas)
                reply = ask_owner(rt, node, key, found, is_late=asked is not None and asked.owner == found.owner)
            asked = None
            outcome = _read(rt, node, key, found, reply, search)
        except LookupFailed as error:
            search.dead.clear()
            search.why = f"the owner was not found: {error}"
            continue
        if outcome is not None:
            return outcome
    if search.newest is not None:
        return _outcome(search.newest.at(rt.now()))._replace(detail=LAST_RESORT)  # better than nothing
    return GetOutcome("timeout" if search.timed_out or search.dead else "error", None, search.why)


def try_get(node: NodeState, key: bytes, now_s: float) -> GetOutcome | None:
    """The same without a switch, when this node is the owner and has the record; None when others are needed."""
    ring = node.ring
    ident = key_ident(key)
    if node.state is not State.ACTIVE or not ring.owns(ident):
        return None
    if (ring.successors and not ring.predecessors) or not (node.arc.is_sure_of(ident) or ring.alone):
        return None
    value = node.store.value(key, now_s)
    if value is not None:
        return GetOutcome("success", value)
    if not ring.alone or node.arc.receiving:
        return None
    node.failures.note(node.clock.wall_s(), "get", key, NOT_FOUND.result, "", 0.0)
    return NOT_FOUND


def _read(
    rt: Runtime, node: NodeState, key: bytes, found: Found, reply: Outcome | Copies, search: Search
) -> GetOutcome | None:
    """The owner's reply, and what its replicas say if that is not enough; None when it is worth another attempt.

    Raises: LookupFailed.
    """
    owner = found.owner
    if isinstance(reply, Copies):
        search.judge(node, found, right=True)
        _repair_after_read(rt, node, reply.newest, reply.behind)
        return _outcome(reply.newest.at(rt.now()))
    refused = isinstance(reply, P2pFailure) and reply.reason == FailureReason.NOT_RESPONSIBLE
    search.judge(node, found, right=isinstance(reply, P2pSuccess | P2pFailure) and not refused)
    if isinstance(reply, P2pSuccess):
        return _outcome(reply)
    search.note(node, owner, reply)
    if refused:
        return _read_replicas(rt, node, key, found.peers, None, search) if search.dead else None
    guessed = found.guessed
    if guessed or (len(found.peers) < node.config.max_replication and not node.ring.spans):
        search.via = (owner,) if isinstance(reply, P2pFailure) else ()
        found = search.find(rt, node, key, node.config.max_replication)
        if guessed and found.owner != owner:
            return _read(rt, node, key, found, ask_owner(rt, node, key, found), search)
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

    peers: the owner first; one that is not sure of its arc is asked again, for whatever copy it has. owner_reply:
    None when the true owner is dead and its heir, the first of the peers, has not noticed yet: then a copy will do, but
    that there is none is no answer. Nor is a copy while so many are silent, unknown or not back yet that they may hold
    a newer one.
    """
    peers = peers[: node.config.max_replication]
    unsure = isinstance(owner_reply, P2pFailure) and owner_reply.reason == FailureReason.NOT_HERE_YET
    readings = Readings()
    asked = peers
    if owner_reply is not None and not unsure:
        asked = peers[1:]
        readings.note(peers[0], owner_reply, rt.now())
    for peer, outcome in ask_each(rt, node, [(peer, P2pGet(key, as_owner=False)) for peer in asked]):
        if not isinstance(outcome, P2pSuccess):
            search.note(node, peer, outcome)
        readings.note(peer, outcome, rt.now())
    newest = readings.newest
    if newest is None:
        search.why = f"no copy found; {len(readings.silent)} of {len(peers)} gave no answer"
        everybody_answered = owner_reply is not None and not readings.silent and readings.sure
        may_move = unsure and not search.found_nothing  # from one who has dropped it to one who had not got it yet
        search.found_nothing = everybody_answered
        return NOT_FOUND if everybody_answered and not may_move else None
    replication = newest.copy.replication
    holders = peers[:replication]
    _repair_after_read(rt, node, newest, tuple(peer for peer in readings.behind if peer in holders))
    unknown = max(copies_in(node.ring, replication) - len(holders), 0)
    missed = sum(peer in holders for peer in readings.silent) + unknown
    if unsure or owner_reply is None:  # those asked may not be those who were meant to hold a copy
        missed = max(missed, replication - len(readings.copies))
    if missed < quorum(node.config.write_quorum, replication):
        return _outcome(newest.at(rt.now()))
    if search.newest is None or search.newest.copy.version < newest.copy.version:
        search.newest = newest
    return None


def _outcome(newest: P2pSuccess) -> GetOutcome:
    """What the newest version comes to; of a tombstone, that there is nothing."""
    return GetOutcome("success", newest.value) if newest.ttl_ms else NOT_FOUND


def _repair_after_read(rt: Runtime, node: NodeState, newest: Reading, lacking: tuple[Peer, ...]) -> None:
    """Give a record to the replicas that lacked it, beside the answer to the client. Switches: no."""
    if not lacking:
        return

    def write_back() -> None:
        copy = newest.at(rt.now())
        request = P2pPut(copy.key, copy.ttl_ms, copy.replication, copy.version, False, copy.value, copy.tombstone_ms)
        for _peer, outcome in ask_each(rt, node, [(peer, request) for peer in lacking]):
            node.stats.repaired_keys["read"] += isinstance(outcome, P2pSuccess)

    rt.spawn(write_back, "read_repair")
