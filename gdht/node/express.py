"""What a request needs when all is as it should be: whom to ask, and whether their answers settle it.

Decisions only; `gdht.net.express` sends and waits. A plan comes from what this node knows without asking. Where it
knows too little, or the answers leave anything open, there is no plan or no verdict, and the long way goes on.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from gdht.core.ident import IDENTS, key_ident
from gdht.core.messages import VALUE_BYTES_MAX, P2pFailure, P2pPut, P2pSuccess, RecordCopy
from gdht.core.peer import Peer
from gdht.core.placement import view_of
from gdht.core.records import TTL_MS_MAX, Record
from gdht.core.values import make
from gdht.errors import StoreError
from gdht.node.later import Answer, Later
from gdht.node.replication.copies import not_durable
from gdht.node.replication.put import TOMBSTONE_SLACK_MS, PutOutcome, new_copy, replication_of
from gdht.node.runtime import Outcome
from gdht.node.state import NodeState
from gdht.node.storage import Commit, Store

A_MILLISECOND = 0.001
"""What is left of a life is told in these; a record with less is over."""


class OwnRecords:
    """What a node answers at once, as it is until the next switch: the records of what it surely owns.

    start, me: of (start, me]; the whole circle when they are the same: is_all. now_s: by the clock of lives. basis:
    what all this was worked out from.
    """

    __slots__ = ("_held", "_me", "_value", "_width", "basis", "is_all", "now_s")

    def __init__(self, start: int, me: int, store: Store, now_s: float, basis: tuple[object, ...] = ()) -> None:
        self.basis = basis
        self.is_all = start == me
        self._me = me
        self._width = (me - start - 1) % IDENTS  # from our own place back to the last one that is ours
        self._value = store.value
        self._held = store.held
        self.now_s = now_s

    def owns(self, key: bytes) -> bool:
        """Whether this node surely owns a key, and has the newest version of it. Switches: no."""
        return (self._me - int.from_bytes(key, "big")) % IDENTS <= self._width

    def value(self, key: bytes) -> bytes | None:
        """The value under a key; None when it takes more to know. Switches: no."""
        owned = (self._me - int.from_bytes(key, "big")) % IDENTS <= self._width
        return self._value(key, self.now_s) if owned else None

    def record(self, key: bytes) -> Record | None:
        """The record under a key with at least a millisecond to live; None when it takes more to know. Switches: no."""
        if (self._me - int.from_bytes(key, "big")) % IDENTS > self._width:
            return None
        record = self._held(key)
        if record is None or record.is_tombstone or record.expires_at_s < self.now_s + A_MILLISECOND:
            return None
        return record


def own_records(node: NodeState) -> OwnRecords | None:
    """What can be answered from local state, under the same conditions as `try_get`; None: nothing. Switches: no.

    Returns the same object as before, at another time, while nothing has changed.
    """
    arc, own, now_s = node.arc, node.own, node.now()
    basis = node.is_active, node.ring, arc.accepted, arc.leased_from, arc.sure_from
    if own is not None and own.basis == basis and (own.is_all or now_s < arc.leased_until_s):
        own.now_s = now_s + node.clock.offset_s  # `lives_s`, spelled out
        return own
    node.own = _worked_out(node, node.clock.lives_s(), basis)
    return node.own


def _worked_out(node: NodeState, now_s: float, basis: tuple[object, ...]) -> OwnRecords | None:
    ring, me = node.ring, node.me.ident
    if not node.is_active or (ring.successors and not ring.predecessors):
        return None
    if ring.alone:
        return OwnRecords(me, me, node.store, now_s, basis)
    start = node.arc.surely_ours()
    return OwnRecords(start, me, node.store, now_s, basis) if start is not None and start != me else None


class Intake:
    """What a node takes in at once of what others write to it, as it is until the next switch.

    own: for which it answers as the owner. Everything out of the ordinary is left to `gdht.node.handlers`.
    """

    __slots__ = ("_node", "_own", "_replication_max", "_store", "now_s")

    def __init__(self, node: NodeState, own: OwnRecords | None, now_s: float) -> None:
        self._node = node
        self._own = own
        self._store = node.store
        self._replication_max = node.config.max_replication
        self.now_s = now_s

    @property
    def commit(self) -> Commit | None:
        """What has to end well before anybody may be told that all that was taken is stored; None: nothing has to."""
        return self._store.pending

    def refused(self, key: bytes, error: StoreError) -> P2pFailure:
        """What is said instead of the receipt when the commit has failed. Switches: no."""
        return not_durable(self._node, key, error)

    def take(self, copy: RecordCopy, as_owner: bool) -> P2pSuccess | None:
        """Store a copy; the receipt, None when it takes more to know what to do. Switches: no.

        Raises: whatever the store does.
        """
        key, ttl_ms, replication, version, value, tombstone_ms = copy
        if as_owner and (self._own is None or not self._own.owns(key)):
            return None
        if tombstone_ms or not 0 < ttl_ms <= TTL_MS_MAX or not 0 < replication <= self._replication_max:
            return None
        node, held = self._node, self._store.held(key)
        if (held is not None and held.replication > replication) or not node.clock.observe(version):
            return None
        record = make(Record, (key, value, version, self.now_s + ttl_ms / 1000, replication, 0.0, False))
        if self._store.put_over(held, record) is not record:
            return None  # merged with what was held, or older than that: no more is changed when it is written again
        view = node.view(replication) if as_owner else 0
        return make(P2pSuccess, (key, ttl_ms, replication, version, b"", 0, view))

    def answer(self, copy: RecordCopy, as_owner: bool) -> Answer | None:
        """The same as an answer, which may wait for the disk; None also when the store refuses. Switches: no."""
        try:
            receipt = self.take(copy, as_owner)
        except StoreError:
            return None
        commit = self.commit
        if receipt is None or commit is None:
            return receipt
        return Later(commit, receipt, partial(self.refused, copy.key))


def intake(node: NodeState) -> Intake | None:
    """What is taken in at once, under the same conditions as by `handle`; None: nothing. Switches: no."""
    if not node.is_member or node.sealed:
        return None
    return Intake(node, own_records(node), node.clock.lives_s())


class PutPlan(NamedTuple):
    """A write to each replica: the owner first.

    copy: what is written. peers: to whom. view: of the replicas, as the owner must see them too.
    """

    copy: RecordCopy
    peers: tuple[Peer, ...]
    view: int

    def request(self, index: int) -> P2pPut:
        """What is asked of one of `peers`."""
        key, ttl_ms, replication, version, value, tombstone_ms = self.copy
        return make(P2pPut, (key, ttl_ms, replication, version, index == 0, value, tombstone_ms))


def plan_get(node: NodeState, key: bytes) -> Peer | None:
    """The node that we take for the owner of a key; None when that may be ourselves, or nobody we know."""
    if not node.is_member:
        return None
    arc = node.known_arcs.find(int.from_bytes(key, "big"))
    return arc.owner if arc is not None else None


def plan_put(node: NodeState, key: bytes, value: bytes, ttl_s: int, replication: int) -> PutPlan | None:
    """The writes of a PUT; None when it is not known who holds the replicas, or no stamp can be given at once."""
    if not node.is_active or len(value) > VALUE_BYTES_MAX or not node.clock.reserve():
        return None
    replicas = _replicas(node, key_ident(key), replication_of(node, replication))
    if not replicas:
        return None
    return make(PutPlan, (new_copy(node, key, value, ttl_s, replication), replicas, view_of(replicas[1:])))


def _replicas(node: NodeState, ident: int, copies: int) -> tuple[Peer, ...]:
    """The owner and those after it, `copies` in all or the whole ring; empty when not so many are known."""
    ring = node.ring
    if ring.alone or (ring.predecessors and ring.owns(ident)):
        line = (node.me, *ring.successors)
    else:
        arc = node.known_arcs.find(ident)
        line = (arc.owner, *arc.successors) if arc is not None else ()
    if len(line) >= copies:
        return line[:copies]
    return line if ring.spans and len(line) == len(ring.successors) + 1 else ()


def judge_put(node: NodeState, plan: PutPlan, outcomes: Sequence[Outcome]) -> PutOutcome | None:
    """The success of a PUT that all its replicas have stored, and that nothing speaks against; None for all else.

    outcomes: in the order of the plan's peers.
    """
    owner, copy = plan.peers[0], plan.copy
    _, _, replication, version, _, tombstone_ms = copy
    tombstone_ms += TOMBSTONE_SLACK_MS
    for outcome in outcomes:
        if type(outcome) is not P2pSuccess or outcome.version != version:
            return None
        if outcome.replication > replication or outcome.tombstone_ms > tombstone_ms:
            return None  # it knows of an older copy that must be buried, or lies on more nodes
    if owner != node.me:
        if outcomes[0].view != plan.view:  # type: ignore[union-attr]  # all are receipts
            return None  # others hold the replicas by now
        node.stats.route_cache["hit"] += 1
    stored = len(outcomes)
    node.stats.replica_writes["ok"] += stored
    node.stats.put_acknowledged_replicas.observe(stored)
    return PutOutcome("success", stored, stored)
