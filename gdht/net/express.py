"""The express way of a client's request: one round trip to nodes that we know, without a greenlet or a lookup.

A GET is one call to the node that we take for the owner; a PUT is one call to the owner and to each replica, all at
once. Only what goes as it should ends here: the owner says that it is the owner and what it has; all replicas say that
they have stored just this. Whatever else happens (a refusal, silence, an older copy that must be outbid), the request
goes on the long way, `gdht.node.replication`, with what it has learned. Nothing is decided here that is not decided the
same way there. docs/express.md explains the whole way from socket to socket.
"""

from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from gdht.core.messages import DhtGet, DhtPut, P2pGet, P2pSuccess, Reply, Request
from gdht.core.peer import Peer
from gdht.errors import CallTimeout
from gdht.net.calls import Call
from gdht.net.pool import Pool
from gdht.node.express import OwnValues, PutPlan
from gdht.node.later import Answer, Later
from gdht.node.replication.get import Asked, GetOutcome
from gdht.node.replication.put import Begun, PutOutcome
from gdht.node.runtime import Outcome
from gdht.node.stats import Stats

if TYPE_CHECKING:
    from gdht.net.api_connection import ApiConnection, Pending

TEND_S = 0.02
"""How often calls that wait are looked at: their timeouts, and what is done about late owners, are late by that."""


class ExpressNode(Protocol):
    """What says where requests go, and what came of them: a Node. Only `finish_get` and `finish_put` switch."""

    @property
    def me(self) -> Peer: ...
    def own_values(self) -> OwnValues | None: ...
    def note_answer(self, peer: Peer, seconds: float) -> None: ...
    def is_late(self, owner: Peer, seconds: float) -> bool: ...
    def plan_get(self, key: bytes) -> Peer | None: ...
    def finish_get(self, key: bytes, asked: Asked) -> GetOutcome: ...
    def plan_put(self, key: bytes, value: bytes, ttl_s: int, replication: int) -> PutPlan | None: ...
    def judge_put(self, plan: PutPlan, outcomes: Sequence[Outcome]) -> PutOutcome | None: ...
    def finish_put(self, begun: Begun) -> PutOutcome: ...
    def now_s(self) -> float: ...
    def handle(self, sender: Peer, request: Request) -> Answer: ...


class Express:
    """The express way of all clients of one node. timeout_s: of each call."""

    def __init__(self, node: ExpressNode, pool: Pool, stats: Stats, timeout_s: float) -> None:
        self.node = node
        self.stats = stats
        self.timeout_s = timeout_s
        self._pool = pool
        self._own_legs: dict[OwnLeg, None] = {}  # what our own disk has not taken yet, the oldest first

    def own_values(self) -> OwnValues | None:
        """What the node answers without anybody else, until the next switch. Switches: no."""
        return self.node.own_values()

    def send(self, pending: "Pending", client: "ApiConnection") -> bool:
        """Send a request on its way; False when this way does not lead there. Switches: no."""
        message = pending.message
        return (
            self._get(pending, message, client) if isinstance(message, DhtGet) else self._put(pending, message, client)
        )

    def _get(self, pending: "Pending", message: DhtGet, client: "ApiConnection") -> bool:
        owner = self.node.plan_get(message.key)
        if owner is None or not self._pool.is_ready(owner):
            return False
        pending.express = True
        self._pool.submit(GetCall(self, owner, pending, client))
        return True

    def _put(self, pending: "Pending", message: DhtPut, client: "ApiConnection") -> bool:
        plan = self.node.plan_put(message.key, message.value, message.ttl_s, message.replication)
        if plan is None or not all(peer == self.node.me or self._pool.is_ready(peer) for peer, _ in plan.requests):
            return False
        pending.express = True
        put = Put(self, plan, pending, client)
        for index, (peer, request) in enumerate(plan.requests):
            if peer != self.node.me:
                self._pool.submit(PutLeg(put, index, peer, request))
        for index, (peer, request) in enumerate(plan.requests):
            if peer == self.node.me:  # last: others need not wait for what it costs
                self._store_here(put, index, request)
        return True

    def _store_here(self, put: "Put", index: int, request: Request) -> None:
        answer = self.node.handle(self.node.me, request)
        if isinstance(answer, Later):
            leg = OwnLeg(put, index, monotonic() + self.timeout_s)
            self._own_legs[leg] = None
            answer.when_ready(partial(self._stored_here, leg))
        else:
            put.take(index, answer)

    def _stored_here(self, leg: "OwnLeg", reply: Reply) -> None:
        if self._own_legs.pop(leg, leg) is None:  # else it was too late
            leg.put.take(leg.index, reply)

    def tend(self) -> None:
        """Look at what waits: end it when that was too long, for others or our own disk; hedge reads. Switches: no."""
        self._pool.tend()
        now_s = monotonic()
        while self._own_legs and (leg := next(iter(self._own_legs))).due_s <= now_s:
            del self._own_legs[leg]
            leg.put.take(leg.index, CallTimeout(f"our own disk took longer than {self.timeout_s:g} s"))


class GetCall(Call):
    """A client's GET on its way to the owner."""

    __slots__ = ("_client", "_express", "_is_hedged", "_pending", "_since_s")

    def __init__(self, express: Express, owner: Peer, pending: "Pending", client: "ApiConnection") -> None:
        super().__init__(owner, P2pGet(pending.message.key, True), express.timeout_s, express.stats)
        self._express = express
        self._since_s = express.node.now_s()
        self._pending = pending
        self._client = client
        self._is_hedged = False

    def tend(self, now_s: float) -> None:
        """Beside its timeout: when the owner is late, have the long way ask its replicas as well. Switches: no."""
        super().tend(now_s)
        node = self._express.node
        if self.connection is not None and not self._is_hedged and node.is_late(self.peer, now_s - self.started_s):
            self._is_hedged = True
            asked = Asked(self.peer, None, self._since_s)
            self._client.fall_back(self._pending, partial(node.finish_get, self._pending.message.key, asked))

    def take(self, outcome: Outcome) -> None:
        """Answer the client with the owner's value, or go on the long way. Switches: no."""
        node = self._express.node
        if type(outcome) is P2pSuccess and outcome.ttl_ms:
            node.note_answer(self.peer, monotonic() - self.started_s)
            self._stats.route_cache["hit"] += 1
            self._client.answer_get(self._pending, outcome.value)
        elif not self._is_hedged:
            asked = Asked(self.peer, outcome, self._since_s)
            self._client.fall_back(self._pending, partial(node.finish_get, self._pending.message.key, asked))


class Put:
    """A client's PUT on its way to all its replicas."""

    __slots__ = ("_client", "_left", "_outcomes", "_pending", "_plan", "_since_s", "express")

    def __init__(self, express: Express, plan: PutPlan, pending: "Pending", client: "ApiConnection") -> None:
        self.express = express
        self._plan = plan
        self._pending = pending
        self._client = client
        self._outcomes: list[Outcome | None] = [None] * len(plan.requests)
        self._left = len(plan.requests)
        self._since_s = express.node.now_s()

    def take(self, index: int, outcome: Outcome) -> None:
        """What became of one of its writes; after the last one, the client's answer, or the long way. Switches: no."""
        self._outcomes[index] = outcome
        self._left -= 1
        if self._left:
            return
        node, plan = self.express.node, self._plan
        outcomes = tuple(outcome for outcome in self._outcomes if outcome is not None)
        done = node.judge_put(plan, outcomes)
        if done is not None:
            self._client.answer_put(self._pending, done)
        else:
            begun = Begun(plan.copy, plan.peers, outcomes, self._since_s)
            self._client.fall_back(self._pending, partial(node.finish_put, begun))


class PutLeg(Call):
    """One write of a PUT to another node."""

    __slots__ = ("_index", "_put")

    def __init__(self, put: Put, index: int, peer: Peer, request: Request) -> None:
        super().__init__(peer, request, put.express.timeout_s, put.express.stats)
        self._put = put
        self._index = index

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
