"""Questions about the ring that take calls to other nodes: a walk round it, who holds a key, how a lookup goes."""

from collections.abc import Mapping

from gdht.core.ident import key_ident
from gdht.core.lookup import Hop
from gdht.core.messages import (
    P2pGetSuccessor,
    P2pReplyStat,
    P2pReplySuccessor,
    P2pStat,
)
from gdht.core.peer import Peer
from gdht.errors import GdhtError, LookupFailed
from gdht.node.ask import ask, ask_each, is_dead
from gdht.node.crawl import CRAWL_S_MAX, crawl, is_alone
from gdht.node.lookup import find_successor, trail_of
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState
from gdht.node.status import Holder, KeyReport, Trace, TraceHop, Walk, WalkedNode


def walk(rt: Runtime, node: NodeState, nodes_max: int) -> Walk:
    """Go round the ring along first successors, past dead ones, with every node's status. Switches: yes."""
    found = crawl(rt, node, nodes_max, rt.now() + CRAWL_S_MAX)
    return walk_through(node.me.ident, found.told, nodes_max)


def walk_through(start: int, told: Mapping[int, WalkedNode], nodes_max: int) -> Walk:
    """The way round the ring from a node through what all told, by identifier; it ends where nothing is known."""
    met = [told[start]]
    own = met[0].status
    assert own is not None
    seen = {start}
    ahead = list(own.successors)
    while ahead and len(met) < nodes_max:
        peer = ahead.pop(0)
        if peer.ident in seen or peer.ident not in told:
            return Walk(tuple(met), peer.ident == start)
        seen.add(peer.ident)
        met.append(told[peer.ident])
        status = met[-1].status
        if status is not None and status.successors:  # who is in no ring, or in one of its own, is passed by
            ahead = list(status.successors)
    return Walk(tuple(met), is_alone(own))


def where(rt: Runtime, node: NodeState, key: bytes) -> KeyReport:
    """Who should hold a key and who does, among its owner, the nodes that follow, and this one. Switches: yes."""
    try:
        found = find_successor(rt, node, key_ident(key), purpose="trace", replicas=node.config.max_replication)
    except LookupFailed as error:
        return KeyReport(key, (), str(error))
    peers = {peer.ident: peer for peer in (*found.peers[: node.config.max_replication], node.me)}
    outcomes = {
        peer.ident: outcome for peer, outcome in ask_each(rt, node, [(peer, P2pStat(key)) for peer in peers.values()])
    }
    stats = [outcome for outcome in outcomes.values() if isinstance(outcome, P2pReplyStat) and outcome.present]
    replication = max((stat.replication for stat in stats), default=node.config.replication)
    holders = []
    for index, peer in enumerate(peers.values()):
        outcome = outcomes[peer.ident]
        stat = outcome if isinstance(outcome, P2pReplyStat) else None
        expected = index < min(replication, len(found.peers))
        if expected or (stat is not None and stat.present):
            role = ("replica" if index else "owner") if expected else "misplaced"
            holders.append(Holder(peer, role, stat, "" if stat else str(outcome)))
    return KeyReport(key, tuple(holders))


def trace(rt: Runtime, node: NodeState, ident: int) -> Trace:
    """A lookup with everything it met on its way, and the owner's own word for it as the last hop. Switches: yes."""
    fingers = {finger.peer.ident: finger.number for finger in node.ring.fingers}
    started_s = rt.now()

    def hops(trail: tuple[Hop, ...]) -> tuple[TraceHop, ...]:
        return tuple(TraceHop(hop.peer, fingers.get(hop.peer.ident), *hop[1:]) for hop in trail)

    try:
        found = find_successor(rt, node, ident, purpose="trace")
    except LookupFailed as error:
        return Trace(ident, hops(trail_of(error)), None, rt.now() - started_s, str(error))
    trail = found.trail
    if found.owner not in (node.me, found.responder):
        trail = (*trail, _confirm(rt, node, ident, found.owner))
    return Trace(ident, hops(trail), found.owner, rt.now() - started_s)


def _confirm(rt: Runtime, node: NodeState, ident: int, owner: Peer) -> Hop:
    """Ask the supposed owner of an identifier whether it is."""
    asked_at_s = rt.now()
    try:
        reply = ask(rt, node, owner, P2pGetSuccessor(ident, strict=False))
    except GdhtError as error:
        return Hop(owner, rt.now() - asked_at_s, is_dead(error), str(error))
    assert isinstance(reply, P2pReplySuccessor)
    agrees = reply.final and reply.peers[:1] == (owner,)
    return Hop(owner, rt.now() - asked_at_s, False, "" if agrees else "says that it is not the owner")
