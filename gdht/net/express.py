"""The express way of a client's request: one round trip to nodes that we know, without a greenlet or a lookup.

A GET is one call to the node that we take for the owner; a PUT is one call to the owner and to each replica, all at
once. Only what goes as it should ends here: the owner says that it is the owner and what it has; all replicas say that
they have stored just this. Whatever else happens (a refusal, silence, an older copy that must be outbid), the request
goes on the long way, `gdht.node.replication`, with what it has learned. Nothing is decided here that is not decided the
same way there. docs/express.md explains the whole way from socket to socket.
"""

import logging
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from gevent.event import Event

from gdht.core.messages import METHODS, DhtGet, DhtPut, ErrorReason, P2pGet, P2pPut, P2pSuccess, Reply, Request
from gdht.core.peer import Peer
from gdht.errors import CallTimeout, RemoteError, RemoteProtocolError
from gdht.net.admission import Admission
from gdht.net.calls import Call
from gdht.net.pool import Pool
from gdht.node.express import Intake, OwnRecords, PutPlan
from gdht.node.later import Answer, Later
from gdht.node.replication.get import Asked, GetOutcome
from gdht.node.replication.put import Begun, PutOutcome
from gdht.node.runtime import Outcome
from gdht.node.stats import Stats
from gdht.wire.express import owner_get_frame, put_frame

if TYPE_CHECKING:
    from gdht.net.api_connection import ApiConnection, Pending

log = logging.getLogger(__name__)

TIMED_EVERY = 8
"""Of so many GETs, the time of one is taken for that of all: what tells a late owner from one as usual."""

TEND_S = 0.02
"""How often calls that wait are looked at: their timeouts, and what is done about late owners, are late by that."""


class ExpressNode(Protocol):
    """What says where requests go, and what came of them: a Node. Only `finish_get` and `finish_put` switch."""

    @property
    def me(self) -> Peer: ...
    def own_records(self) -> OwnRecords | None: ...
    def intake(self) -> Intake | None: ...
    def note_answer(self, peer: Peer, seconds: float, reads: int) -> None: ...
    def is_late(self, owner: Peer, seconds: float) -> bool: ...
    def plan_get(self, key: bytes, /) -> Peer | None: ...
    def finish_get(self, key: bytes, asked: Asked) -> GetOutcome: ...
    def plan_put(self, key: bytes, value: bytes, ttl_s: int, replication: int, /) -> PutPlan | None: ...
    def judge_put(self, plan: PutPlan, outcomes: Sequence[Outcome], /) -> PutOutcome | None: ...
    def finish_put(self, begun: Begun) -> PutOutcome: ...
    def now_s(self) -> float: ...
    def handle(self, sender: Peer, request: Request) -> Answer: ...


class Express:
    """The express way of all clients of one node.

    timeout_s: of each call. admission: what all clients ask. late: GETs whose owner was found late.
    """

    def __init__(self, node: ExpressNode, pool: Pool, stats: Stats, timeout_s: float, admission: Admission) -> None:
        self.node = node
        self.stats = stats
        self.timeout_s = timeout_s
        self._pool = pool
        self._admission = admission
        self.late: list[GetCall] = []
        self._own_legs: dict[OwnLeg, None] = {}  # what our own disk has not taken yet, the oldest first
        self._is_tended = False
        self._has_calls = Event()

    def send(self, pending: "Pending", client: "ApiConnection") -> bool:
        """True: sent, or refused as too much waits for whom it needs. False: the long way it is. Switches: no."""
        message = pending.message
        if type(message) is not DhtGet:
            return self._put(pending, message, client)  # type: ignore[arg-type]  # it is one or the other
        owner = self.node.plan_get(message.key)
        connection = self._pool.ready(owner) if owner is not None else None
        if owner is None or connection is None:
            return False
        if connection.under_way > self._admission.one_peer_max and connection.stands_still():
            client.refuse(pending)
            return True
        pending.express = True
        connection.send_at_once(GetCall(self, owner, pending, client))
        if not self._is_tended:
            self._ask_to_tend()
        return True

    def _put(self, pending: "Pending", message: DhtPut, client: "ApiConnection") -> bool:
        plan = self.node.plan_put(message.key, message.value, message.ttl_s, message.replication)
        if plan is None:
            return False
        me, own, ready = self.node.me, None, []
        for index, peer in enumerate(plan.peers):
            if peer == me:
                own = index
                continue
            connection = self._pool.ready(peer)
            if connection is None:
                return False
            if connection.under_way > self._admission.one_peer_max and connection.stands_still():
                client.refuse(pending)
                return True
            ready.append((index, connection))
        pending.express = True
        put = Put(self, plan, pending, client)
        for index, connection in ready:
            connection.send_at_once(PutLeg(put, index))
        if not self._is_tended:
            self._ask_to_tend()
        if own is not None:  # last: others need not wait for what it costs
            self._store_here(put, own)
        return True

    def _store_here(self, put: "Put", index: int) -> None:
        try:
            answer = self._own_answer(put.plan, index)
        except Exception:
            log.exception("our own copy of a put failed")  # a bug of ours, or a disk that cannot be read
            put.take(index, RemoteError(ErrorReason.INTERNAL, "the request failed here"))
            return
        if isinstance(answer, Later):
            leg = OwnLeg(put, index, monotonic() + self.timeout_s)
            self._own_legs[leg] = None
            answer.when_ready(partial(self._stored_here, leg))
        else:
            put.take(index, answer)

    def _own_answer(self, plan: PutPlan, index: int) -> Answer:
        intake = self.node.intake()
        answer = intake.answer(plan.copy, index == 0) if intake is not None else None
        return self.node.handle(self.node.me, plan.request(index)) if answer is None else answer

    def _stored_here(self, leg: "OwnLeg", reply: Reply) -> None:
        if self._own_legs.pop(leg, leg) is None:  # else it was too late
            leg.put.take(leg.index, reply)

    def since_s(self, started_s: float) -> float:
        """A moment by `monotonic()`, by the node's clock. Switches: no."""
        return self.node.now_s() - (monotonic() - started_s)

    def _ask_to_tend(self) -> None:
        self._is_tended = True
        self._has_calls.set()

    def wait_for_calls(self) -> None:
        """Wait until something is under way that is to be tended. Switches: maybe."""
        self._has_calls.wait()

    def tend(self) -> None:
        """Look at what waits: end it when that was too long, for others or our own disk; hedge reads. Switches: no."""
        self._is_tended = self._pool.tend() or bool(self._own_legs)
        if not self._is_tended:
            self._has_calls.clear()
        late, self.late = self.late, []
        is_one = len({call.peer for call in late}) == 1  # else it is us who are slow, or our cable
        if is_one and not self._admission.is_pressed:  # else to ask more would not help
            for call in late:
                call.hedge()
        now_s = monotonic()
        while self._own_legs and (leg := next(iter(self._own_legs))).due_s <= now_s:
            del self._own_legs[leg]
            leg.put.take(leg.index, CallTimeout(f"our own disk took longer than {self.timeout_s:g} s"))


class RecordCall(Call):
    """A call about one record. Its usual answer, SUCCESS in time, is counted in fewer steps than others.

    Each kind sets all that a call has in one step; what is left out is set when it is sent.
    """

    __slots__ = ("_express", "_key")
    _express: Express
    _key: bytes
    method = ""

    def reply(self, message: object) -> RemoteProtocolError | None:
        """As any call, at less cost. Switches: no."""
        now_s = monotonic()
        if type(message) is not P2pSuccess or message.key != self._key or now_s > self.due_s:
            return super().reply(message)
        self.connection = None
        stats, method = self._stats, self.method
        stats.rpc_sent_requests[method, "ok"] += 1
        stats.rpc_sent_duration[method].observe(now_s - self.started_s)
        self.take(message)
        return None


class GetCall(RecordCall):
    """A client's GET on its way to the owner."""

    __slots__ = ("_client", "_is_hedged", "_pending")
    method = METHODS[P2pGet]

    def __init__(self, express: Express, owner: Peer, pending: "Pending", client: "ApiConnection") -> None:
        self.peer, self._key = owner, pending.message.key
        self._express, self._stats = express, express.stats
        self.started_s = monotonic()
        self.due_s = self.started_s + express.timeout_s
        self._pending = pending
        self._client = client
        self._is_hedged = False

    @property
    def request(self) -> P2pGet:
        """What is asked."""
        return P2pGet(self._key, as_owner=True)

    def frame(self) -> bytes:
        """The request under its id. Switches: no."""
        return owner_get_frame(self.request_id, self._key)

    def tend(self, now_s: float) -> None:
        """Beside its timeout: say so when the owner is late. Switches: no."""
        super().tend(now_s)
        is_waiting = self.connection is not None and not self._is_hedged
        if is_waiting and self._express.node.is_late(self.peer, now_s - self.started_s):
            self._express.late.append(self)

    def hedge(self) -> None:
        """Have the long way ask the owner's replicas as well. Switches: no."""
        self._is_hedged = True
        asked = Asked(self.peer, None, self._express.since_s(self.started_s))
        node = self._express.node
        self._client.fall_back(self._pending, partial(node.finish_get, self._key, asked))

    def take(self, outcome: Outcome) -> None:
        """Answer the client with the owner's value, or go on the long way. Switches: no."""
        node = self._express.node
        if type(outcome) is P2pSuccess and outcome.ttl_ms:
            if not self.request_id % TIMED_EVERY:
                node.note_answer(self.peer, monotonic() - self.started_s, TIMED_EVERY)
            self._stats.route_cache["hit"] += 1
            self._client.answer_get(self._pending, outcome.value)
        elif not self._is_hedged:
            asked = Asked(self.peer, outcome, self._express.since_s(self.started_s))
            self._client.fall_back(self._pending, partial(node.finish_get, self._key, asked))


class Put:
    """A client's PUT on its way to all its replicas; the write to each is one leg of it."""

    __slots__ = ("_client", "_left", "_outcomes", "_pending", "due_s", "express", "plan", "started_s")

    def __init__(self, express: Express, plan: PutPlan, pending: "Pending", client: "ApiConnection") -> None:
        self.express = express
        self.plan = plan
        self._pending = pending
        self._client = client
        self._left = len(plan.peers)
        self._outcomes: list[Outcome | None] = [None] * self._left
        self.started_s = monotonic()
        self.due_s = self.started_s + express.timeout_s

    def take(self, index: int, outcome: Outcome) -> None:
        """What became of one of its writes; after the last one, the client's answer, or the long way. Switches: no."""
        self._outcomes[index] = outcome
        self._left -= 1
        if self._left:
            return
        express, plan = self.express, self.plan
        node = express.node
        outcomes = tuple(outcome for outcome in self._outcomes if outcome is not None)
        done = node.judge_put(plan, outcomes)
        if done is not None:
            self._client.answer_put(self._pending, done)
        else:
            begun = Begun(plan.copy, plan.peers, outcomes, express.since_s(self.started_s))
            self._client.fall_back(self._pending, partial(node.finish_put, begun))


class PutLeg(RecordCall):
    """One write of a PUT to another node."""

    __slots__ = ("_index", "_put")
    method = METHODS[P2pPut]

    def __init__(self, put: Put, index: int) -> None:
        plan, express = put.plan, put.express
        self.peer, self._key = plan.peers[index], plan.copy.key
        self._express, self._stats = express, express.stats
        self.started_s, self.due_s = put.started_s, put.due_s
        self._put = put
        self._index = index

    @property
    def request(self) -> P2pPut:
        """What is asked."""
        return self._put.plan.request(self._index)

    def frame(self) -> bytes:
        """The request under its id. Switches: no."""
        return put_frame(self.request_id, self._put.plan.copy, self._index == 0)

    def take(self, outcome: Outcome) -> None:
        """Tell the PUT. Switches: no."""
        self._put.take(self._index, outcome)


class OwnLeg:
    """One write of a PUT that waits for our own disk, until `due_s` by `monotonic()`."""

    __slots__ = ("due_s", "index", "put")

    def __init__(self, put: Put, index: int, due_s: float) -> None:
        self.put = put
        self.index = index
        self.due_s = due_s
