"""put: the node that took a client's request coordinates, the owner decides, the replicas follow.

A put goes to the owner and the `replication - 1` nodes after it at once. It has succeeded when the owner, which is whom
gets ask, and a write quorum have stored it durably, and know for how long older copies of it might come back.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gdht.core.ident import key_ident
from gdht.core.lookup import Found
from gdht.core.messages import VALUE_BYTES_MAX, FailureReason, P2pFailure, P2pPut, P2pSuccess, RecordCopy, Request
from gdht.core.peer import Peer
from gdht.core.placement import copies_in, quorum, view_of
from gdht.core.records import TTL_S_MAX, Version
from gdht.core.values import make
from gdht.errors import CallTimeout, LookupFailed, StoreError
from gdht.node.ask import ask_each
from gdht.node.replication.copies import accept_copy
from gdht.node.replication.search import Search
from gdht.node.runtime import Outcome, Runtime
from gdht.node.state import NodeState
from gdht.node.status import State

RESERVE_POLL_S = 0.002
"""How often a put looks whether its stamp is reserved yet; that takes one commit, every few seconds."""

TOMBSTONE_SLACK_MS = 1000
"""Two nodes that measure how long the same older copy may live agree to within this."""


class PutOutcome(NamedTuple):
    """result: success, quorum, timeout, invalid or error. acknowledged of wanted: how many replicas stored it durably.

    detail: for people, why it is no success.
    """

    result: str
    acknowledged: int
    wanted: int
    detail: str = ""


def put(rt: Runtime, node: NodeState, key: bytes, value: bytes, ttl_s: int, replication: int) -> PutOutcome:
    """Store a value at its owner and replicas. ttl_s, replication: 0 means the configured default. Switches: yes."""
    return _noted(rt, node, key, rt.now(), _put(rt, node, key, value, ttl_s, replication))


def _noted(rt: Runtime, node: NodeState, key: bytes, since_s: float, outcome: PutOutcome) -> PutOutcome:
    """The same, counted, and written down when it is none to be glad of."""
    node.stats.put_acknowledged_replicas.observe(outcome.acknowledged)
    if outcome.result != "success":
        result, acknowledged, wanted, detail = outcome
        wall_s, seconds = node.clock.wall_s(), rt.now() - since_s
        node.failures.note(wall_s, "put", key, result, detail, seconds, acknowledged, wanted)
    return outcome


def _put(rt: Runtime, node: NodeState, key: bytes, value: bytes, ttl_s: int, replication: int) -> PutOutcome:
    since_s = rt.now()
    if not node.is_member:
        return PutOutcome("error", 0, 0, f"this node is {node.state.value}")
    if len(value) > VALUE_BYTES_MAX:
        return PutOutcome("invalid", 0, 0, f"{len(value)} bytes are more than {VALUE_BYTES_MAX}")
    if not _reserve_stamps(rt, node):
        return _no_stamp(node)
    return _put_copy(rt, node, new_copy(node, key, value, ttl_s, replication), since_s)


def _reserve_stamps(rt: Runtime, node: NodeState) -> bool:
    """Have the stamps that are given next written down first, lest older ones be given after a restart.

    Whether that was possible: a node whose disk takes nothing takes no puts. Switches: yes.
    """
    deadline_s = rt.now() + node.config.call_timeout
    while not node.clock.reserve():
        if node.clock.error or rt.now() >= deadline_s:
            return False
        rt.sleep(RESERVE_POLL_S)
    return True


def _no_stamp(node: NodeState) -> PutOutcome:
    """No version can be given that would surely be the newest after a restart, too."""
    error = node.clock.error or StoreError("disk", "the disk is too slow")
    node.stats.store_rejected_writes[error.reason] += 1
    return PutOutcome("error", 0, 0, f"this node takes no puts: {error}")


def try_put(node: NodeState, key: bytes, value: bytes, ttl_s: int, replication: int, now_s: float) -> PutOutcome | None:
    """The same without a switch, when all replicas are this node and it has no disk; None when others are needed."""
    ring = node.ring
    if ring.successors and (replication_of(node, replication) > 1 or not ring.predecessors):
        return None
    if node.state is not State.ACTIVE or len(value) > VALUE_BYTES_MAX or node.store.is_durable:
        return None
    if not node.clock.reserve():
        return None
    if not ring.owns(key_ident(key)) or not node.arc.is_ours(key_ident(key)):
        return None
    held = node.store.held(key)
    if held is not None and (ring.successors or held.is_tombstone):
        return None  # the replicas of the older copy must hear of this one
    try:
        accept_copy(node, new_copy(node, key, value, ttl_s, replication), now_s)
    except StoreError as error:
        node.failures.note(node.clock.wall_s(), "put", key, "quorum", str(error), 0.0, 0, 1)
        return PutOutcome("quorum", 0, 1, str(error))
    node.stats.replica_writes["ok"] += 1
    node.stats.put_acknowledged_replicas.observe(1)
    return PutOutcome("success", 1, 1)


def replication_of(node: NodeState, replication: int) -> int:
    """How many copies a client's word comes to."""
    return min(replication or node.config.replication, node.config.max_replication)


def new_copy(node: NodeState, key: bytes, value: bytes, ttl_s: int, replication: int) -> RecordCopy:
    """A client's value as it is written to each replica, with a new stamp. Switches: no."""
    ttl_ms = min(ttl_s or node.config.default_ttl, node.config.max_ttl) * 1000
    return make(RecordCopy, (key, ttl_ms, replication_of(node, replication), node.clock.stamp(), value, 0))


class Round(NamedTuple):
    """One attempt at a put.

    newest: the latest version held by anybody asked. replication, tombstone_ms: how many nodes hold an older copy, and
    for how long it may live, where that is more than was written. again: worth another attempt.
    """

    outcome: PutOutcome
    newest: Version
    replication: int
    tombstone_ms: int
    again: bool


class Begun(NamedTuple):
    """A first attempt that was made elsewhere: a copy that was sent to its supposed owner and replicas.

    outcomes: what became of it at each of `peers`, the owner first. since_s: when it was sent, by `rt.now()`.
    """

    copy: RecordCopy
    peers: tuple[Peer, ...]
    outcomes: tuple[Outcome, ...]
    since_s: float


def finish_put(rt: Runtime, node: NodeState, begun: Begun) -> PutOutcome:
    """`put`, after a first attempt that did not settle it. Switches: yes."""
    return _noted(rt, node, begun.copy.key, begun.since_s, _put_copy(rt, node, begun.copy, begun.since_s, begun))


def _put_copy(rt: Runtime, node: NodeState, copy: RecordCopy, since_s: float, begun: Begun | None = None) -> PutOutcome:
    """Write until a quorum has it, in a version that is the newest and with all that is known of older copies.

    since_s: from when its life counts.
    """
    search = Search(rt, node, "put")
    outcome = PutOutcome("error", 0, copy.replication, "no attempt was made")
    aging = Aging(since_s, copy)
    for _ in search.attempts(rt):
        if begun is not None:
            found = search.begin(node, begun.peers)
            written = _judge(node, copy, found, zip(begun.peers, begun.outcomes, strict=True), search)
            begun = None
        else:
            try:
                found = _find_replicas(rt, node, copy, search)
            except LookupFailed as error:
                search.dead.clear()
                outcome = outcome._replace(detail=f"the owner was not found: {error}")
                continue
            copy = aging.at(rt.now(), copy)
            if copy.ttl_ms <= 0:
                outcome = outcome._replace(detail=f"its life was over before it was stored; {outcome.detail}")
                break
            written = _judge(node, copy, found, _write(rt, node, copy, found), search)
        outcome = written.outcome
        if written.newest > copy.version:
            outcome = outcome._replace(result="quorum", detail="a newer version is held")
            node.clock.observe(written.newest)
            if not _reserve_stamps(rt, node):
                return _no_stamp(node)
            copy = copy._replace(version=node.clock.stamp())
        elif written.replication > copy.replication:
            outcome = outcome._replace(result="quorum", detail=f"not all {written.replication} holders were told")
            copy = copy._replace(replication=min(written.replication, node.config.max_replication))
        elif written.tombstone_ms > copy.tombstone_ms + TOMBSTONE_SLACK_MS:
            outcome = outcome._replace(result="quorum", detail="not all holders know of an older copy")
            copy = aging.bury(rt.now(), copy, written.tombstone_ms)
        elif not written.again:
            break
    if outcome.result != "success" and search.timed_out:
        outcome = outcome._replace(result="timeout")
    return outcome


class Aging:
    """What is left of a copy's times as attempts go by, counted from when it was made."""

    def __init__(self, now_s: float, copy: RecordCopy) -> None:
        self._expires_at_s = now_s + copy.ttl_ms / 1000
        self._tombstone_until_s = now_s

    def at(self, now_s: float, copy: RecordCopy) -> RecordCopy:
        """The copy as it is to be sent now."""
        tombstone_ms = max(int((self._tombstone_until_s - now_s) * 1000), 0)
        return copy._replace(ttl_ms=int((self._expires_at_s - now_s) * 1000), tombstone_ms=tombstone_ms)

    def bury(self, now_s: float, copy: RecordCopy, tombstone_ms: int) -> RecordCopy:
        """The copy that keeps older ones from coming back for so long from now."""
        self._tombstone_until_s = now_s + min(tombstone_ms / 1000, TTL_S_MAX)
        return self.at(now_s, copy)


def _find_replicas(rt: Runtime, node: NodeState, copy: RecordCopy, search: Search) -> Found:
    replicas = copy.replication
    return search.guess(node, copy.key, replicas, replicas) or search.find(rt, node, copy.key, replicas)


def _write(rt: Runtime, node: NodeState, copy: RecordCopy, found: Found) -> Iterator[tuple[Peer, Outcome]]:
    """Send a copy to every target at once; each with its outcome as it comes in. Switches: when iterated."""
    fields = copy._asdict()
    targets = found.peers[: copy.replication]
    requests: list[tuple[Peer, Request]] = [(peer, P2pPut(**fields, as_owner=peer == found.owner)) for peer in targets]
    return ask_each(rt, node, requests)


def _judge(
    node: NodeState, copy: RecordCopy, found: Found, outcomes: Iterable[tuple[Peer, Outcome]], search: Search
) -> Round:
    """What the writes of one attempt come to, all of them: the promise is about all replicas, not the fastest."""
    targets = found.peers[: copy.replication]
    owner = targets[0]
    stored: list[P2pSuccess] = []
    owner_stored = displaced = unreached = False
    for peer, outcome in outcomes:
        node.stats.replica_writes[_write_result(outcome)] += 1
        if peer == owner and found.responder != owner:  # else these are the targets by its own word
            right = _confirms(outcome, targets) if found.guessed else not _names_others(outcome, targets)
            search.judge(node, found, right=right)
            if not right:
                return _misled(node, copy, owner, outcome, search)
        if isinstance(outcome, P2pSuccess):
            if not node.clock.is_ahead(outcome.version):  # else nobody can outbid what it holds, or claims to
                stored.append(outcome)
                owner_stored |= peer == owner
            continue
        search.note(node, peer, outcome)
        unreached |= not isinstance(outcome, P2pFailure)
        displaced |= peer == owner and _is_displaced(outcome)
    wanted = copies_in(node.ring, copy.replication)
    enough = owner_stored and len(stored) >= quorum(node.config.write_quorum, wanted)  # reads ask the owner first
    result = PutOutcome("success" if enough else "quorum", len(stored), wanted, "" if enough else search.detail)
    return Round(
        result,
        newest=max((held.version for held in stored), default=copy.version),
        replication=max((held.replication for held in stored), default=0),
        tombstone_ms=max((held.tombstone_ms for held in stored), default=0),
        again=not enough and (displaced or unreached or len(targets) < wanted),
    )


def _confirms(outcome: Outcome, targets: tuple[Peer, ...]) -> bool:
    """Whether a supposed owner is the owner, and what it stored belongs on just the other targets."""
    if isinstance(outcome, P2pSuccess):
        return outcome.view == view_of(targets[1:])
    return isinstance(outcome, P2pFailure) and not _is_displaced(outcome)


def _names_others(outcome: Outcome, targets: tuple[Peer, ...]) -> bool:
    """Whether an owner stored it, but knows other nodes after it than those that were told: a list was behind."""
    return isinstance(outcome, P2pSuccess) and outcome.view != view_of(targets[1:])


def _misled(node: NodeState, copy: RecordCopy, owner: Peer, outcome: Outcome, search: Search) -> Round:
    """What was heard of the owner and those after it was wrong: another attempt, by the owner's own word."""
    if isinstance(outcome, P2pSuccess | P2pFailure):
        search.via = (owner,)
    if not isinstance(outcome, P2pSuccess):
        search.note(node, owner, outcome)
    nothing = PutOutcome("quorum", 0, copy.replication, search.detail)
    return Round(nothing, newest=copy.version, replication=0, tombstone_ms=0, again=True)


def _is_displaced(outcome: Outcome) -> bool:
    """Whether a node asked as owner said that it is not, not for sure, or not for much longer."""
    return isinstance(outcome, P2pFailure) and outcome.reason in (
        FailureReason.NOT_RESPONSIBLE,
        FailureReason.NOT_HERE_YET,
        FailureReason.LEAVING,
    )


def _write_result(outcome: Outcome) -> str:
    if isinstance(outcome, P2pSuccess):
        return "ok"
    if isinstance(outcome, CallTimeout):
        return "timeout"
    return "refused" if isinstance(outcome, P2pFailure) else "error"
