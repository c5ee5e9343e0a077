"""Joining the ring and keeping its pointers right: the corrected protocol, step by step.

Each step reads the pointers, asks, and assigns once. Only the maintenance task (`gdht.node.node`) runs steps, one at a
time, so what a step read before a call still holds after it; handlers answer with the old pointers meanwhile.
Source: Zave 2017, section 4, which corrects the 2003 paper, section IV-E.
"""

import logging

from gdht.core.fingers import index_after, next_index, with_finger
from gdht.core.ident import IDENT_BITS, distance, finger_start, in_open
from gdht.core.messages import P2pGetNeighbours, P2pLeave, P2pNotify, P2pPing, P2pReplyNeighbours
from gdht.core.peer import Peer
from gdht.core.ring import Ring
from gdht.errors import GdhtError, JoinFailed
from gdht.node.ask import ask_each, is_dead
from gdht.node.journal import Cause
from gdht.node.lookup import find_successor
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState
from gdht.node.status import State

log = logging.getLogger(__name__)

CLOSER_MAX = 64
"""How many ever closer successors one round of stabilize may go back through, after many nodes joined at once."""


# Join -----------------------------------------------------------------------------------------------------------------


def join(rt: Runtime, node: NodeState, contact: Peer) -> None:
    """Become a member through one that is: take the successor list of the node we come right after. Switches: yes.

    Raises: LookupFailed or JoinFailed; try another contact.
    """
    found = find_successor(rt, node, node.me.ident, purpose="join", strict=True, via=(contact,))
    predecessor = found.responder
    if predecessor.ident == node.me.ident:
        raise JoinFailed(f"{contact.address} knows only us")
    refuse_twin(node, found.peers)
    others = _from_first_living(rt, node, tuple(peer for peer in found.peers if peer.ident != node.me.ident))
    ring = node.ring.with_successors(*(others or (predecessor,))).with_predecessors(predecessor)
    if not node.ring.alone:
        raise JoinFailed("somebody joined us meanwhile")
    node.receiving = True
    node.founder = False
    node.enter()
    node.set_ring(ring, Cause.JOINED)
    log.info("joined ring=%s predecessor=%s successor=%s", node.config.ring, predecessor, ring.first_successor)


def _from_first_living(rt: Runtime, node: NodeState, peers: tuple[Peer, ...]) -> tuple[Peer, ...]:
    """A successor list without the dead at its head: to join with only those would be to lose the ring at once."""
    for index, peer in enumerate(peers):
        if _neighbours_of(rt, node, peer) is not None:
            return peers[index:]
    return ()


def refuse_twin(node: NodeState, peers: tuple[Peer, ...]) -> None:
    """Two nodes must not share an identifier (a copied host key). Raises: JoinFailed."""
    for peer in peers:
        if peer.ident == node.me.ident and peer.address != node.me.address:
            raise JoinFailed(f"our identifier is already in the ring, at {peer.address}")


def found_ring(node: NodeState) -> None:
    """Be the first member of a new ring. Switches: no."""
    node.founder = True
    node.receiving = False
    node.enter()
    log.info("started ring=%s node=%s", node.config.ring, node.me)


# Stabilize ------------------------------------------------------------------------------------------------------------


def stabilize(rt: Runtime, node: NodeState) -> None:
    """Check the first successor, adopt a closer one, and tell it of us. Switches: yes."""
    had_successors = bool(node.ring.successors)
    newcomer = None if had_successors else node.ring.predecessor  # the second node of a ring has only notified us yet
    while successor := node.ring.successors[0] if node.ring.successors else newcomer:
        neighbours = _neighbours_of(rt, node, successor)
        if neighbours is not None:
            _stabilize_with(rt, node, successor, neighbours)
            break
        node.set_ring(node.ring.without(successor), Cause.SUCCESSOR_LOST)
        newcomer = None
        log.warning("successor lost peer=%s remaining=%d", successor, len(node.ring.successors))
    if had_successors and not node.ring.successors:
        isolate(node)
    else:
        node.stabilized_at_s = rt.now()


def _stabilize_with(rt: Runtime, node: NodeState, successor: Peer, neighbours: P2pReplyNeighbours) -> None:
    """Parts 1 and 2 of stabilize, for a first successor that lives; part 2 is repeated while it finds a closer one."""
    node.set_ring(node.ring.with_successors(successor, *neighbours.successors), Cause.PULLED)
    for _ in range(CLOSER_MAX):
        candidate = neighbours.predecessors[0] if neighbours.predecessors else None
        if candidate is None or not in_open(candidate.ident, node.me.ident, successor.ident):
            break
        try:
            of_candidate = _neighbours_of(rt, node, candidate)
        except GdhtError as error:
            log.debug("candidate refuses peer=%s error=%s", candidate, error)
            break
        if of_candidate is None:
            break
        successor, neighbours = candidate, of_candidate
        node.set_ring(node.ring.with_successors(successor, *neighbours.successors), Cause.CLOSER_SUCCESSOR)
    notify(rt, node, node.ring.first_successor)


def _neighbours_of(rt: Runtime, node: NodeState, peer: Peer) -> P2pReplyNeighbours | None:
    """A living peer's pointers; None when it is dead or no member. Raises: RemoteError when it merely refuses."""
    try:
        reply = rt.call(peer, P2pGetNeighbours(), node.config.call_timeout)
    except GdhtError as error:
        if is_dead(error):
            return None
        raise
    assert isinstance(reply, P2pReplyNeighbours)
    return reply


def notify(rt: Runtime, node: NodeState, successor: Peer) -> None:
    """Tell a node that we believe to be its predecessor; it makes of that what `rectify` says. Switches: yes."""
    if successor.ident == node.me.ident:
        return
    try:
        rt.call(successor, P2pNotify(), node.config.call_timeout)
    except GdhtError as error:
        log.debug("notify failed peer=%s error=%s", successor, error)


# Rectify and check_predecessor ----------------------------------------------------------------------------------------


def rectify(rt: Runtime, node: NodeState, notifier: Peer) -> None:
    """Take the notifier for our predecessor when it is closer than the present one, or that one is dead.

    Switches: yes. Source: Zave 2017, section 4; in place of the 2003 paper's notify.
    """
    present = node.ring.predecessor
    if present is None or in_open(notifier.ident, present.ident, node.me.ident):
        node.set_ring(node.ring.with_predecessors(notifier, *node.ring.predecessors), Cause.NOTIFIED)
    elif present != notifier and not _lives(rt, node, present):
        node.set_ring(node.ring.with_predecessors(notifier), Cause.PREDECESSOR_LOST)


def check_predecessor(rt: Runtime, node: NodeState) -> None:
    """Forget a dead predecessor; learn from a living one who comes before it. Switches: yes."""
    predecessor = node.ring.predecessor
    if predecessor is None:
        return
    neighbours = _neighbours_of(rt, node, predecessor)
    if neighbours is None:
        log.warning("predecessor lost peer=%s", predecessor)
        node.set_ring(node.ring.with_predecessors(), Cause.PREDECESSOR_LOST)
    else:
        node.set_ring(node.ring.with_predecessors(predecessor, *neighbours.predecessors), Cause.PULLED_FROM_PREDECESSOR)


def _lives(rt: Runtime, node: NodeState, peer: Peer) -> bool:
    try:
        rt.call(peer, P2pPing(), node.config.call_timeout)
    except GdhtError as error:
        return not is_dead(error)
    return True


# Fingers --------------------------------------------------------------------------------------------------------------


def fix_fingers(rt: Runtime, node: NodeState) -> None:
    """Look up the next finger that the successor list does not already decide. Switches: yes.

    Source: the 2003 paper, section IV-E; one lookup serves all fingers up to the node found.
    """
    me = node.me.ident
    index = next_index(me, node.next_finger, node.ring.successors)
    if index == IDENT_BITS:
        node.next_finger = 0
        return
    start = finger_start(me, index)
    owner = find_successor(rt, node, start, purpose="fix_finger").owner
    wrapped = distance(me, owner.ident) < distance(me, start)
    node.next_finger = IDENT_BITS if wrapped else index_after(me, owner)
    if not wrapped:
        node.set_ring(node.ring.with_fingers(with_finger(node.ring.fingers, me, index, owner)), Cause.FINGER_FIXED)


# Leaving --------------------------------------------------------------------------------------------------------------


def forget(node: NodeState, peer: Peer) -> None:
    """Take a node that said goodbye out of our pointers. Switches: no."""
    node.set_ring(node.ring.without(peer), Cause.GOODBYE)
    if node.ring.alone and not node.founder:
        node.founder = True
        log.info("alone in the ring: the last other node left in good order")


def say_goodbye(rt: Runtime, node: NodeState) -> None:
    """Tell those who have us in their lists, and our successor, that we leave. Switches: yes."""
    others = {peer.ident: peer for peer in (*node.ring.predecessors, *node.ring.successors[:1])}
    for peer, outcome in ask_each(rt, node, [(peer, P2pLeave()) for peer in others.values()]):
        log.debug("said goodbye peer=%s outcome=%s", peer, type(outcome).__name__)


def isolate(node: NodeState) -> None:
    """Own up to having lost every successor: no member any more until we have joined again. Switches: no."""
    known = (*node.ring.predecessors, *(finger.peer for finger in node.ring.fingers))
    node.contacts = tuple({peer.ident: peer for peer in known}.values())
    node.state = State.ISOLATED
    node.set_ring(Ring(node.me, node.ring.length), Cause.ISOLATED)
    log.error("isolated: every successor is gone; looking for the ring again")
