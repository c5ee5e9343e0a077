"""find_successor: walk towards an identifier, one peer at a time, around those that are dead.

Source: the 2003 paper, section IV-C, in its iterative form: the asking node does the walking, so it knows every hop.
"""

import math

from gdht.core.fingers import without_peer
from gdht.core.ident import IDENTS, in_open_closed
from gdht.core.lookup import Found, Hop, Lookup
from gdht.core.messages import P2pGetNeighbours, P2pGetSuccessor, P2pReplyNeighbours, P2pReplySuccessor
from gdht.core.peer import Peer
from gdht.core.ring import Step
from gdht.core.successors import successor_list
from gdht.errors import GdhtError, LookupFailed
from gdht.node.ask import ask, is_dead, note_time
from gdht.node.journal import Cause
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState

HOPS_MAX = 64
"""How many nodes one lookup may ask, dead ones included; an ideal ring of 2^20 nodes needs about 10."""

BUDGET_CALLS = 16
"""How long one lookup may take, in units of `call_timeout`: after half of a ring died at once, it may meet 11 dead."""


def find_successor(
    rt: Runtime,
    node: NodeState,
    ident: int,
    *,
    purpose: str,
    strict: bool = False,
    replicas: int = 1,
    confirmed: bool = False,
    via: tuple[Peer, ...] = (),
    elsewhere: bool = False,
    dead: set[int] | None = None,
    deadline_s: float = math.inf,
) -> Found:
    """Find the owner of an identifier and the nodes that follow it. Switches: yes.

    purpose: the label it is counted under. strict: the answer must come from the owner's predecessor. replicas: how
    many nodes the answer should name, the owner included; it may be fewer. confirmed: ask the owner itself in any case.
    via: peers to ask first. elsewhere: ask only these and whom they name, nobody that we know ourselves. dead:
    identifiers of peers known to be dead; those that turn out so are added. deadline_s: when to give up, by `rt.now()`,
    should that be sooner than the lookup's own budget.
    Raises: LookupFailed; try again later.
    """
    lookup = Lookup(node.me, ident, HOPS_MAX, set() if dead is None else dead, node.latency.expected_s)
    started_s = rt.now()
    deadline_s = min(deadline_s, started_s + BUDGET_CALLS * node.config.call_timeout)
    try:
        found = None if elsewhere or via else _known_here(node, lookup, strict)
        if found is None:
            if node.is_member and not elsewhere:
                lookup.hear(node.ring.closest_preceding(ident, None))
            lookup.ask_first(tuple(peer for peer in via if peer.ident != node.me.ident))
            found = _ask_until_found(rt, node, lookup, strict, deadline_s)
        all_known = found.responder == node.me and node.ring.spans
        if confirmed or (len(found.peers) < replicas and not all_known):
            found = _name_replicas(rt, node, lookup, found, deadline_s)
    except LookupFailed as error:
        _count(rt, node, lookup, purpose, error.result, started_s)
        error.trail = tuple(lookup.trail)
        raise
    _count(rt, node, lookup, purpose, "ok", started_s)
    if not elsewhere:
        node.known_arcs.learn(found.start, found.peers)
    return found


def _known_here(node: NodeState, lookup: Lookup, strict: bool) -> Found | None:
    """The answer that our own pointers give; None when they give none."""
    if not node.is_member:
        return None
    step = node.ring.find_successor_step(lookup.ident, strict)
    living = lookup.living(step.peers)
    return Found(living, node.me, (), step.start) if step.final and living else None


def _ask_until_found(rt: Runtime, node: NodeState, lookup: Lookup, strict: bool, deadline_s: float) -> Found:
    while peer := lookup.next_peer():
        if rt.now() >= deadline_s:
            raise LookupFailed("timeout", f"no owner found within {len(lookup.trail)} hops and the time allowed")
        reply = _ask_hop(rt, node, lookup, peer, strict)
        if reply is None:
            continue
        living = lookup.living(reply.peers)
        if reply.final and living:
            return Found(living, peer, tuple(lookup.trail), reply.start)
        if not reply.final:
            lookup.hear_from(peer, reply.peers)
    if len(lookup.trail) >= HOPS_MAX:
        raise LookupFailed("loop", f"no owner found within {HOPS_MAX} hops")
    raise LookupFailed("no_route", f"nobody left to ask after {len(lookup.trail)} hops")


def _name_replicas(rt: Runtime, node: NodeState, lookup: Lookup, found: Found, deadline_s: float) -> Found:
    """The same answer with the nodes after the owner as the owner names them, or the first after it that lives.

    Where all that an answer names are dead, the list it came from ended soon after the owner: we go on to the owner's
    own predecessor, who knows more.
    """
    while True:
        peers, start = _from_first_living(rt, node, lookup, found, deadline_s)
        if peers or rt.now() >= deadline_s:
            return Found(peers or found.peers, found.responder, tuple(lookup.trail), start)
        _hear_closer(rt, node, lookup, found.responder)
        found = _ask_until_found(rt, node, lookup, False, deadline_s)


def _hear_closer(rt: Runtime, node: NodeState, lookup: Lookup, responder: Peer) -> None:
    """Hear of the nodes that the one whose answer was of no use knows before the owner."""
    if responder == node.me:
        lookup.hear(node.ring.closest_preceding(lookup.ident, None))
    elif len(lookup.trail) < HOPS_MAX:
        reply = _ask_hop(rt, node, lookup, responder, strict=True)
        if reply is not None and not reply.final:
            lookup.hear_from(responder, reply.peers)


def _from_first_living(
    rt: Runtime, node: NodeState, lookup: Lookup, found: Found, deadline_s: float
) -> tuple[tuple[Peer, ...], int]:
    """The owner by its own word and those it names, and where its arc begins; nobody when all named are dead.

    Whoever is asked may name another one before it, which joined unnoticed; then that one's word is asked for.
    """
    peers, source, asked_ourselves = found.peers, found.responder, False
    start = found.start
    while peers and rt.now() < deadline_s:
        owner = peers[0]
        if owner == source or (asked_ourselves if owner == node.me else not lookup.may_ask(owner)):
            break
        asked_ourselves |= owner == node.me
        step = _owners_word(rt, node, lookup, owner)
        if step is None:
            peers = lookup.living(peers)
        elif step.final:
            living = lookup.living(step.peers)
            if not living:
                break  # the heir: it names only the dead before it, as it has not noticed yet
            peers, source, start = living, owner, step.start
        else:
            peers = lookup.living((*_predecessor_of(rt, node, owner), *peers))
            start = (lookup.ident - 1) % IDENTS
    return peers, start


def _owners_word(rt: Runtime, node: NodeState, lookup: Lookup, owner: Peer) -> Step | None:
    """What the supposed owner says; None when it has no usable answer."""
    if owner == node.me:
        return node.ring.find_successor_step(lookup.ident, strict=False)
    reply = _ask_hop(rt, node, lookup, owner, strict=False)
    return None if reply is None else Step(reply.final, reply.peers, reply.start)


def _predecessor_of(rt: Runtime, node: NodeState, peer: Peer) -> tuple[Peer, ...]:
    """The node before one that says that it is not the owner, nor knows it; empty when there is no telling."""
    try:
        reply = ask(rt, node, peer, P2pGetNeighbours())
    except GdhtError:
        return ()
    assert isinstance(reply, P2pReplyNeighbours)
    return reply.predecessors[:1]


def _ask_hop(rt: Runtime, node: NodeState, lookup: Lookup, peer: Peer, strict: bool) -> P2pReplySuccessor | None:
    """Ask one peer and write the outcome down; None when it had no usable answer."""
    asked_at_s = rt.now()
    try:
        reply = rt.call(peer, P2pGetSuccessor(lookup.ident, strict), node.config.call_timeout)
    except GdhtError as error:
        note_time(rt, node, peer, error, asked_at_s)
        dead = is_dead(error)
        lookup.asked(peer, rt.now() - asked_at_s, dead=dead, error=str(error))
        if dead:
            node.known_arcs.forget(peer)
            forget_finger(node, peer)
        return None
    assert isinstance(reply, P2pReplySuccessor)
    note_time(rt, node, peer, reply, asked_at_s)
    lookup.asked(peer, rt.now() - asked_at_s)
    if reply.ident != lookup.ident:
        return None
    if reply.final:  # an owner and its successors, in that order and no more of them than a list has
        owners = successor_list((lookup.ident - 1) % IDENTS, reply.peers, node.ring.length + 1)
        return reply._replace(peers=owners, start=_arc_start(lookup.ident, reply.start, owners))
    return reply


def _arc_start(ident: int, start: int, owners: tuple[Peer, ...]) -> int:
    """Where the arc of the owner of `ident` begins by a peer's word; just before `ident` when that can't be."""
    fits = owners and in_open_closed(ident, start, owners[0].ident)
    return start if fits else (ident - 1) % IDENTS


def forget_finger(node: NodeState, peer: Peer) -> None:
    """Drop a dead peer from the fingers; the protocol's own pointers are the maintenance task's. Switches: no."""
    fingers = without_peer(node.ring.fingers, peer)
    if fingers is not node.ring.fingers:
        node.set_ring(node.ring.with_fingers(fingers), Cause.FINGER_LOST)


def _count(rt: Runtime, node: NodeState, lookup: Lookup, purpose: str, result: str, started_s: float) -> None:
    stats = node.stats
    stats.lookups[purpose, result] += 1
    stats.lookup_duration[purpose].observe(rt.now() - started_s)
    stats.lookup_hops[purpose].observe(len(lookup.trail))
    stats.lookup_dead_hops += lookup.dead_hops


def trail_of(error: LookupFailed) -> tuple[Hop, ...]:
    """Everybody a failed lookup asked, in order."""
    return tuple(hop for hop in error.trail if isinstance(hop, Hop))
