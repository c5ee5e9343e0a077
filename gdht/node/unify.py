"""Two rings become one: the end of a partition is noticed through the peers that were lost, and the rings merge.

Chord has no way to notice. So a node asks, slowly, those it lost and those on its bootstrap list; one that answers is
asked where our own place is by its lights. If it names us, it is in our ring. If not, it is in another one of the same
name; then the node takes its place there as `stabilize` would: a successor there that is closer than its own is asked
and adopted, else it is told of us. Both rings do so from many places at once. A node that is passed over in this way
notices it when it checks its predecessor, and asks in turn, so that the rings close like a zip.
Source: in the spirit of Shafaat, Ghodsi and Haridi 2007 (ring unification), with the steps of Zave 2017.
"""

import logging

from gdht.core.lookup import Found
from gdht.core.messages import P2pPing
from gdht.core.peer import Peer
from gdht.errors import GdhtError
from gdht.node.journal import Cause
from gdht.node.lookup import find_successor
from gdht.node.membership import adopt_closer, join, notify, rectify, refuse_twin
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState

log = logging.getLogger(__name__)

LISTED_EVERY = 6
"""The bootstrap list is asked in every so manieth round only, for each node of a ring asks the same few."""


def look_for_others(rt: Runtime, node: NodeState) -> None:
    """Ask one peer that we lost, or one on our list, whether it is a member of a ring, for `merge` to see of which.

    That nobody answers is no error. Not a step of maintenance: the dead must not hold that up. Switches: yes.
    Raises: JoinFailed when another node has our identifier.
    """
    contact = _next_contact(rt, node)
    if contact is None or contact == node.me:
        return
    refuse_twin(node, (contact,))
    try:
        rt.call(contact, P2pPing(), node.config.call_timeout)
    except GdhtError as error:
        node.lost.acquit(contact)
        log.debug("no member found contact=%s error=%s", contact, error)
    else:
        node.meet(contact)


def _next_contact(rt: Runtime, node: NodeState) -> Peer | None:
    """A lost peer, those longest not asked first; now and then somebody on the list instead."""
    node.looks += 1
    if node.looks % (2 if node.ring.alone else LISTED_EVERY):
        return node.lost.take_turn(rt.now()) or (_someone_listed(rt, node) if node.ring.alone else None)
    return _someone_listed(rt, node) or node.lost.take_turn(rt.now())


def _someone_listed(rt: Runtime, node: NodeState) -> Peer | None:
    """Who answers at an address of the bootstrap list, chosen by chance among those not in our pointers."""
    known = {peer.address for peer in (node.me, *node.ring.predecessors, *node.ring.successors)}
    known.add(str(node.config.p2p_address))
    addresses = [address for address in map(str, node.config.bootstrap) if address not in known]
    if not addresses:
        return None
    try:
        return rt.identify(rt.rng.choice(addresses), node.config.call_timeout)
    except GdhtError as error:
        log.debug("nobody found through the list: %s", error)
        return None


def merge(rt: Runtime, node: NodeState) -> None:
    """See whether the member that we met is in our ring, and merge the two rings when it is not. Switches: yes.

    Raises: LookupFailed when that can't be found out now; JoinFailed when another node has our identifier.
    """
    contact, node.met = node.met, None
    if contact is None:
        return
    if node.ring.alone:
        join(rt, node, contact)
        node.lost.forget(contact)
    else:
        _unify(rt, node, contact)


def _unify(rt: Runtime, node: NodeState, contact: Peer) -> None:
    """Find our place by a contact's lights, and take it. Switches: yes. Raises: LookupFailed, JoinFailed."""
    found = find_successor(rt, node, node.me.ident, purpose="unify", strict=True, via=(contact,), elsewhere=True)
    refuse_twin(node, found.peers)
    if found.owner in (node.me, node.ring.first_successor):
        node.lost.forget(contact)
        return
    suspected = found.owner not in node.ring.successors  # else it is our own ring, and a list is behind
    if suspected:
        if contact not in node.lost.second_ring:
            log.warning("second ring found contact=%s names=%s not=%s", contact, found.owner, node.ring.first_successor)
        node.lost.suspect(contact, rt.now())
    before = node.ring
    _take_place(rt, node, found)
    changed = (before.first_successor, before.predecessor) != (node.ring.first_successor, node.ring.predecessor)
    node.stats.ring_merges += suspected and changed


def _take_place(rt: Runtime, node: NodeState, found: Found) -> None:
    """Stand between the two nodes of the other ring that we belong between, where they are closer than our own."""
    successor, predecessor = found.owner, found.responder
    adopt_closer(rt, node, (successor,), Cause.MERGED)
    notify(rt, node, successor)
    if node.ring.first_successor != successor:
        notify(rt, node, node.ring.first_successor)
    rectify(rt, node, predecessor)
