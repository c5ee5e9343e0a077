"""Requests of simulated clients on the express way: the plans and verdicts of real nodes, over the simulated network.

`gdht.net.express` and `gdht.net.peer_connection` do the same with sockets; what they decide is in `gdht.node.express`,
and so is judged here under churn, crashes and partitions.
"""

from collections.abc import Callable
from itertools import count

from gdht.core.messages import P2pGet, P2pPut, P2pSuccess, RecordCopy, Request
from gdht.core.peer import Peer
from gdht.node.ask import Own
from gdht.node.express import PutPlan
from gdht.node.later import Answer
from gdht.node.node import Node
from gdht.node.replication.get import Asked, GetOutcome
from gdht.node.replication.put import Begun, PutOutcome
from gdht.node.runtime import Outcome, Runtime


def get(rt: Runtime, node: Node, key: bytes, timeout_s: float) -> GetOutcome:
    """Ask the supposed owner, and go on from its answer if that is no value. Switches: yes."""
    owner, since_s = node.plan_get(key), rt.now()
    if owner is None:
        return node.get(key)
    ((_, reply),) = rt.calls([(owner, P2pGet(key, True))], timeout_s)
    if isinstance(reply, P2pSuccess) and reply.ttl_ms:
        return GetOutcome("success", reply.value)
    return node.finish_get(key, Asked(owner, reply, since_s))


def put(
    rt: Runtime, node: Node, key: bytes, value: bytes, ttl_s: int, replication: int, timeout_s: float
) -> PutOutcome:
    """Write to the supposed replicas, and go on from their answers if these settle nothing. Switches: yes."""
    plan, since_s = node.plan_put(key, value, ttl_s, replication), rt.now()
    if plan is None:
        return node.put(key, value, ttl_s, replication)
    outcomes = _write(rt, node, plan, timeout_s)
    done = node.judge_put(plan, outcomes)
    return done or node.finish_put(Begun(plan.copy, plan.peers, outcomes, since_s))


def serving(node: Node) -> Callable[[Peer, Request], Answer]:
    """How a node answers others: every second write is taken in at once, if it can be, all else is handled."""
    numbers = count()

    def answer(sender: Peer, request: Request) -> Answer:
        if isinstance(request, P2pPut) and next(numbers) % 2:
            return _taken_in(node, request) or node.handle(sender, request)
        return node.handle(sender, request)

    return answer


def _taken_in(node: Node, request: P2pPut) -> Answer | None:
    key, ttl_ms, replication, version, as_owner, value, tombstone_ms = request
    intake = node.intake()
    copy = RecordCopy(key, ttl_ms, replication, version, value, tombstone_ms)
    return intake.answer(copy, as_owner) if intake is not None else None


def _write(rt: Runtime, node: Node, plan: PutPlan, timeout_s: float) -> tuple[Outcome, ...]:
    writes = [(peer, plan.request(index)) for index, peer in enumerate(plan.peers)]
    others = [(index, *write) for index, write in enumerate(writes) if write[0] != node.me]
    calls = rt.calls([(peer, request) for _, peer, request in others], timeout_s)
    own = {
        index: Own(rt, _taken_in(node, request) or node.handle(node.me, request))
        for index, (peer, request) in enumerate(writes)
        if peer == node.me
    }
    outcomes = {others[number][0]: outcome for number, outcome in calls}
    outcomes |= {index: one.wait(timeout_s) for index, one in own.items()}
    return tuple(outcomes[index] for index in range(len(plan.peers)))
