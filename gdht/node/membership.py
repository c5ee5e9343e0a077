"""Joining the ring and keeping its pointers right: the corrected protocol, step by step.

Each step reads the pointers, and follows each question by one assignment. Only the maintenance task (`gdht.node.node`)
runs steps, one at a time; handlers answer with the old pointers meanwhile. So what a step read before a call still
holds after it, but for one thing: somebody may have said goodbye.
Source: Zave 2017, section 4, which corrects the 2003 paper, section IV-E.
"""

import logging

from gdht.core.fingers import fingers_before, index_after, next_index, with_finger
from gdht.core.ident import IDENT_BITS, distance, finger_start, in_open
from gdht.core.messages import P2pLeave, P2pNotify, P2pReplyNeighbours
from gdht.core.peer import Peer
from gdht.core.ring import Ring
from gdht.errors import GdhtError, JoinFailed
from gdht.node.acquaintances import known_peers
from gdht.node.ask import ask_each
from gdht.node.detector import lives, neighbours_of
from gdht.node.journal import Cause
from gdht.node.lookup import find_successor
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState
from gdht.node.status import State

log = logging.getLogger(__name__)

CLOSER_MAX = 64
"""How many ever closer successors one round of stabilize may go back through, after many nodes joined at once."""

CLOSER_CALLS = 4
"""How long that may take, in timeouts: peers that answer slowly must not hold maintenance up."""


# Join -----------------------------------------------------------------------------------------------------------------


def join(rt: Runtime, node: NodeState, contact: Peer) -> None:
    """Become a member through one that is: take the successor list of the node we come right after. Switches: yes.

    That list must be what its owner said last, when nothing else is asked any more: an older one may skip a node that
    joined meanwhile. And one of it must live, or we had lost the ring as soon as we were in it.
    Raises: LookupFailed or JoinFailed; try again, or another contact.
    """
    found = find_successor(rt, node, node.me.ident, purpose="join", strict=True, via=(contact,))
    predecessor = found.responder
    if predecessor.ident == node.me.ident:
        raise JoinFailed(f"{contact.address} knows only us")
    refuse_twin(node, found.peers)
    dead = _dead_at_head(rt, node, (*found.peers, predecessor))
    neighbours = neighbours_of(rt, node, predecessor, patience=1)
    if neighbours is None:
        raise JoinFailed(f"{predecessor.address} is gone, after which we were to come")
    others = tuple(peer for peer in neighbours.successors if peer.ident != node.me.ident) or (predecessor,)
    successors = tuple(peer for peer in others if peer.ident not in dead)
    if not successors or not in_open(node.me.ident, predecessor.ident, successors[0].ident):
        raise JoinFailed(f"another node has just joined after {predecessor.address}")
    if not node.ring.alone:
        raise JoinFailed("somebody joined us meanwhile")
    _enter(node, predecessor, successors)


def _dead_at_head(rt: Runtime, node: NodeState, peers: tuple[Peer, ...]) -> list[int]:
    """The identifiers of those before the first that lives. Switches: yes. Raises: JoinFailed when none does."""
    others = [peer for peer in peers if peer.ident != node.me.ident]
    for index, peer in enumerate(others):
        if lives(rt, node, peer, patience=1):
            return [dead.ident for dead in others[:index]]
    raise JoinFailed(f"nobody lives of the {len(others)} nodes that we were to join between")


def _enter(node: NodeState, predecessor: Peer, successors: tuple[Peer, ...]) -> None:
    node.arc.doubt()
    node.founder = False
    node.left.clear()  # whoever we were told has left: what we have just asked is newer
    node.enter()
    node.set_ring(node.ring.with_successors(*successors).with_predecessors(predecessor), Cause.JOINED)
    log.info("joined ring=%s predecessor=%s successor=%s", node.config.ring, predecessor, node.ring.first_successor)


def refuse_twin(node: NodeState, peers: tuple[Peer, ...]) -> None:
    """Two nodes must not share an identifier (a copied host key). Raises: JoinFailed."""
    for peer in peers:
        if peer.ident == node.me.ident and peer.address != node.me.address:
            raise JoinFailed(f"our identifier is already in the ring, at {peer.address}")


def found_ring(node: NodeState) -> None:
    """Be the first member of a new ring, or of one that comes back. Switches: no."""
    node.founder = True
    if node.awaits_others:
        node.arc.doubt()
    else:
        node.arc.make_sure(node.me.ident)
    node.enter()
    log.info("started ring=%s node=%s", node.config.ring, node.me)


# Stabilize ------------------------------------------------------------------------------------------------------------


def stabilize(rt: Runtime, node: NodeState) -> None:
    """Check the first successor, adopt a closer one, and tell it of us. Switches: yes."""
    had_successors = bool(node.ring.successors)
    newcomer = None if had_successors else node.ring.predecessor  # the second node of a ring has only notified us yet
    lost = False
    while successor := node.ring.successors[0] if node.ring.successors else newcomer:
        asked_at_s = rt.now()
        neighbours = neighbours_of(rt, node, successor)
        if node.has_left(successor):
            newcomer = None
        elif neighbours is None:
            newcomer, lost = None, True
            _lose_successor(rt, node, successor)
        elif newcomer and _taken_in(node, neighbours):
            newcomer = None
        else:
            _note_acceptance(node, successor, neighbours)
            if node.ring.predecessor is None and neighbours.predecessors[:1] == (node.me,):
                node.vouch_for_arc(asked_at_s)
            _stabilize_with(rt, node, successor, neighbours)
            break
    if lost and had_successors and not node.ring.successors:
        isolate(node)
    else:
        node.stabilized_at_s = rt.now()


def _taken_in(node: NodeState, neighbours: P2pReplyNeighbours) -> bool:
    """Alone, we were notified by a node of a ring of several: what follows us in its list are our successors.

    Our share of the records is there as well. False when the other node had been alone too.
    """
    others = [peer for peer in (*neighbours.predecessors, *neighbours.successors) if peer.ident != node.me.ident]
    if not others:
        return False
    node.arc.doubt()
    node.repair_wanted.set()
    if node.me not in neighbours.successors:
        return False
    after = neighbours.successors[neighbours.successors.index(node.me) + 1 :]
    node.set_ring(node.ring.with_successors(*after), Cause.PULLED)
    return bool(after)


def _lose_successor(rt: Runtime, node: NodeState, successor: Peer) -> None:
    node.lost.add(successor, rt.now())
    node.set_ring(node.ring.without(successor), Cause.SUCCESSOR_LOST)
    log.warning("successor lost peer=%s remaining=%d", successor, len(node.ring.successors))


def _stabilize_with(rt: Runtime, node: NodeState, successor: Peer, neighbours: P2pReplyNeighbours) -> None:
    """Parts 1 and 2 of stabilize, for a first successor that lives."""
    node.set_ring(_pulled(node, successor, neighbours), Cause.PULLED)
    adopt_closer(rt, node, neighbours.predecessors[:1], Cause.CLOSER_SUCCESSOR)
    notify(rt, node, node.ring.first_successor)


def _note_acceptance(node: NodeState, successor: Peer, neighbours: P2pReplyNeighbours) -> None:
    """Our successor may answer for our arc as long as its predecessor, as it says, lies before us."""
    for peer in neighbours.predecessors[:1]:
        accepted = peer == node.me or in_open(peer.ident, node.me.ident, successor.ident)
        if accepted != node.arc.accepted:
            node.repair_wanted.set()
        node.arc.accept(accepted)


def _pulled(node: NodeState, successor: Peer, neighbours: P2pReplyNeighbours) -> Ring:
    """The ring with a successor and its list, without those who said goodbye to us and not yet to it."""
    staying = (peer for peer in (successor, *neighbours.successors) if not node.has_left(peer))
    return node.ring.with_successors(*staying)


def adopt_closer(rt: Runtime, node: NodeState, candidates: tuple[Peer, ...], cause: Cause) -> None:
    """Part 2 of stabilize, repeated with the predecessor of each successor adopted. Switches: yes.

    candidates: a node that may lie between us and our first successor, or nobody. It is asked before it is adopted.
    """
    until_s = rt.now() + CLOSER_CALLS * node.health.timeout_s
    for _ in range(CLOSER_MAX):
        if not candidates or not _is_closer(node, candidates[0]) or rt.now() >= until_s:
            return
        try:
            neighbours = neighbours_of(rt, node, candidates[0], patience=1)  # not to adopt it would do no harm
        except GdhtError as error:
            log.debug("candidate refuses peer=%s error=%s", candidates[0], error)
            return
        if neighbours is None or not _is_closer(node, candidates[0]):
            return
        lists = _both_lists if cause is Cause.MERGED else _pulled
        node.set_ring(lists(node, candidates[0], neighbours), cause)
        _note_acceptance(node, candidates[0], neighbours)
        candidates = neighbours.predecessors[:1]


def _both_lists(node: NodeState, successor: Peer, neighbours: P2pReplyNeighbours) -> Ring:
    """The ring with a successor out of another ring: its list and ours laid together, so that neither is forgotten."""
    me, ring = node.me.ident, _pulled(node, successor, neighbours)
    known = {peer.ident: peer for peer in (*node.ring.successors, *ring.successors)}
    onward = sorted(known.values(), key=lambda peer: distance(me, peer.ident))
    return ring.with_successors(*(peer for peer in onward if not in_open(peer.ident, me, successor.ident)))


def _is_closer(node: NodeState, peer: Peer) -> bool:
    """Whether a node would be our first successor, and has not just said goodbye."""
    return not node.has_left(peer) and in_open(peer.ident, node.me.ident, node.ring.first_successor.ident)


def notify(rt: Runtime, node: NodeState, successor: Peer) -> None:
    """Tell a node that we believe to be its predecessor; it makes of that what `rectify` says. Switches: yes.

    Not once we say goodbye: it would take us for a node that has come back.
    """
    if successor.ident == node.me.ident or node.parting:
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
    if node.has_left(notifier):
        return
    if present is None or in_open(notifier.ident, present.ident, node.me.ident):
        node.set_ring(node.ring.with_predecessors(notifier, *node.ring.predecessors), Cause.NOTIFIED)
    elif (
        present != notifier
        and not lives(rt, node, present)
        and not node.has_left(present)
        and not node.has_left(notifier)
    ):
        node.lost.add(present, rt.now())
        node.set_ring(node.ring.with_predecessors(notifier), Cause.PREDECESSOR_LOST)


def check_predecessor(rt: Runtime, node: NodeState) -> None:
    """Forget a dead predecessor; learn from a living one who comes before it. Switches: yes."""
    predecessor = node.ring.predecessor
    if predecessor is None:
        return
    asked_at_s = rt.now()
    neighbours = neighbours_of(rt, node, predecessor)
    if node.has_left(predecessor):
        return
    if neighbours is None:
        log.warning("predecessor lost peer=%s", predecessor)
        node.lost.add(predecessor, rt.now())
        node.set_ring(node.ring.with_predecessors(), Cause.PREDECESSOR_LOST)
        return
    known = node.ring.with_predecessors(predecessor, *neighbours.predecessors)
    node.set_ring(known, Cause.PULLED_FROM_PREDECESSOR)
    if neighbours.successors[:1] == (node.me,):
        node.confirm_arc(predecessor, asked_at_s)
    _notice_bypass(node, neighbours.successors)


def _notice_bypass(node: NodeState, successors: tuple[Peer, ...]) -> None:
    """Our predecessor passes us over for a node between: that may be in another ring, so have that found out.

    successors: our predecessor's.
    """
    predecessor = node.ring.predecessor
    if predecessor is None or not successors or node.me in successors:
        return
    if in_open(successors[0].ident, predecessor.ident, node.me.ident):
        node.meet(successors[0])


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
    fingers = node.ring.fingers
    fixed = fingers_before(fingers, index) if wrapped else with_finger(fingers, me, index, owner)
    node.set_ring(node.ring.with_fingers(fixed), Cause.FINGER_FIXED)


# Leaving --------------------------------------------------------------------------------------------------------------


def say_goodbye(rt: Runtime, node: NodeState, before: tuple[Peer, ...] = ()) -> None:
    """Tell those who have us in their successor lists, and our successor, that we leave. Switches: yes.

    before: who was before us when we began to leave. When our predecessor leaves too, we know nobody there any more.
    """
    node.parting = True
    node.arc.give_up()
    staying = (peer for peer in before if not node.has_left(peer))
    others = {peer.ident: peer for peer in (*staying, *node.ring.predecessors, *node.ring.successors[:1])}
    for peer, outcome in ask_each(rt, node, [(peer, P2pLeave()) for peer in others.values()]):
        log.debug("said goodbye peer=%s outcome=%s", peer, type(outcome).__name__)


def isolate(node: NodeState) -> None:
    """Own up to having lost every successor: no member any more until we have joined again. Switches: no."""
    node.contacts = known_peers(node)
    node.state = State.ISOLATED
    node.set_ring(Ring(node.me, node.ring.length), Cause.ISOLATED)
    log.error("isolated: every successor is gone; looking for the ring again")
