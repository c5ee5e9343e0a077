"""Questions about the ring and its keys: a walk round it, who holds a key, which ones are here, how a lookup goes."""

from collections.abc import Iterable, Mapping

from gdht.core.ident import IDENTS, ident_bytes, key_ident
from gdht.core.lookup import Hop
from gdht.core.messages import (
    P2pGetNeighbours,
    P2pGetSuccessor,
    P2pReplyNeighbours,
    P2pReplyStat,
    P2pReplySuccessor,
    P2pStat,
)
from gdht.core.peer import Peer
from gdht.core.placement import Role
from gdht.core.placement import role as placed
from gdht.core.records import NO_VERSION, Record
from gdht.errors import GdhtError, LookupFailed
from gdht.node.ask import ask, ask_each, is_dead
from gdht.node.crawl import CRAWL_S_MAX, crawl, is_alone
from gdht.node.keys import HeldKey, Holder, KeyPage, KeyReport
from gdht.node.lookup import find_successor, trail_of
from gdht.node.runtime import Outcome, Runtime
from gdht.node.state import NodeState
from gdht.node.status import State, Trace, TraceHop, Walk, WalkedNode


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
    """Who should hold a key and who does: its owner, the nodes that follow and precede it, this one. Switches: yes."""
    failures = node.failures.of(key)
    if not node.is_member:
        return KeyReport(key, (), _no_member(node), failures=failures)
    wanted = max(node.config.max_replication, node.config.successor_list_length + 1)
    try:
        found = find_successor(rt, node, key_ident(key), purpose="trace", replicas=wanted)
    except LookupFailed as error:
        return KeyReport(key, (), str(error), failures=failures)
    line = {peer.ident: peer for peer in (*found.peers[:wanted], node.me)}
    outcomes = _stats(rt, node, key, line.values())
    silent = isinstance(outcomes[found.owner.ident], GdhtError)
    preceding = () if silent else _before(rt, node, found.owner)
    before = {peer.ident: peer for peer in preceding if peer.ident not in line}
    outcomes |= _stats(rt, node, key, before.values())
    holders = _holders(node.config.replication, len(found.peers), line | before, outcomes)
    return KeyReport(key, holders, asked=len(outcomes), failures=failures)


def _no_member(node: NodeState) -> str:
    """Why a node outside the ring finds nobody."""
    doing = "joining the ring" if node.state is State.JOINING else node.state.value
    return f"this node is {doing} and cannot look keys up{' any more' if node.gone else ' yet'}"


def _stats(rt: Runtime, node: NodeState, key: bytes, peers: Iterable[Peer]) -> dict[int, Outcome]:
    """What each of these holds under a key, by identifier; no value is moved."""
    return {peer.ident: outcome for peer, outcome in ask_each(rt, node, [(peer, P2pStat(key)) for peer in peers])}


def _before(rt: Runtime, node: NodeState, owner: Peer) -> tuple[Peer, ...]:
    """The nodes that come before the owner, as it says; none when it says nothing."""
    try:
        reply = ask(rt, node, owner, P2pGetNeighbours())
    except GdhtError:
        return ()
    assert isinstance(reply, P2pReplyNeighbours)
    return reply.predecessors


def _holders(
    replication: int, followers: int, peers: Mapping[int, Peer], outcomes: Mapping[int, Outcome]
) -> tuple[Holder, ...]:
    """Those that should hold a record, whatever they said, and those others that keep something of it.

    replication: how many should when nobody knows better. followers: how many of the peers, which come in the order of
    the ring, are the owner and those after it.
    """
    told = {ident: outcome for ident, outcome in outcomes.items() if isinstance(outcome, P2pReplyStat)}
    known = [stat for stat in told.values() if stat.present]
    newest = max(known, key=lambda stat: stat.version, default=None)
    expected = min(newest.replication if newest else replication, followers)
    holders = []
    for index, (ident, peer) in enumerate(peers.items()):
        stat = told.get(ident)
        if index < expected:
            error = "" if stat else str(outcomes[ident])
            holders.append(Holder(peer, "replica" if index else "owner", stat, error))
        elif stat is not None and stat.version != NO_VERSION:
            holders.append(Holder(peer, "misplaced", stat))
    return tuple(holders)


SCAN_AT_ONCE = 100
"""How many records are read from the store at a time, with their values, before others get their turn."""

SCANNED_MAX = 5000
"""One page of keys ends, however few fit its role, when so many records have been looked at."""

LAST_KEY = ident_bytes(IDENTS - 1)


def keys(rt: Runtime, node: NodeState, role: Role | None, after: bytes, limit: int) -> KeyPage:
    """At most `limit` of the keys kept here, in order, after the key `after`. role: None for all. Switches: yes."""
    found: list[HeldKey] = []
    for _ in range(SCANNED_MAX // SCAN_AT_ONCE):
        records = node.store.scan(after, LAST_KEY, SCAN_AT_ONCE)
        for record in records:
            after = record.key
            held = _held_key(node, record)
            if held.ttl_s > 0 and role in (None, held.role):
                found.append(held)
            if len(found) == limit:
                return KeyPage(tuple(found), after)
        if len(records) < SCAN_AT_ONCE:
            return KeyPage(tuple(found), None)
        rt.sleep(0)
    return KeyPage(tuple(found), after)


def _held_key(node: NodeState, record: Record) -> HeldKey:
    ends_at_s = record.tombstone_until_s if record.is_tombstone else record.expires_at_s
    return HeldKey(
        record.key,
        placed(node.ring, key_ident(record.key), record.replication),
        record.version,
        ends_at_s - node.clock.lives_s(),
        len(record.value),
        record.replication,
        record.is_tombstone,
    )


def trace(rt: Runtime, node: NodeState, ident: int) -> Trace:
    """A lookup with everything it met on its way, and the owner's own word for it as the last hop. Switches: yes."""
    if not node.is_member:
        return Trace(ident, (), None, 0.0, _no_member(node))
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
