"""Ring maintenance as published in 2001 and 2003, kept to show that the checkers find what is wrong with it.

Source: the 2003 paper, figure 6 and section IV-E. Same signatures and messages as `gdht.node.membership`, which differs
in this: a newcomer takes a whole list, not only its successor; a candidate is asked before it is adopted; a notifier
takes the place of a predecessor that is dead.
"""

from gdht.core.ident import in_open
from gdht.core.messages import P2pGetNeighbours, P2pNotify, P2pPing, P2pReplyNeighbours
from gdht.core.peer import Peer
from gdht.errors import CallError, GdhtError
from gdht.node.journal import Cause
from gdht.node.lookup import find_successor
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState
from gdht.sim.exhaustive.node import Steps


def join(rt: Runtime, node: NodeState, contact: Peer) -> None:
    """n.join(n'): predecessor = nil; successor = n'.find_successor(n)."""
    owner = find_successor(rt, node, node.me.ident, purpose="join", via=(contact,)).owner
    node.enter()
    node.set_ring(node.ring.with_successors(owner), Cause.JOINED)


def stabilize(rt: Runtime, node: NodeState) -> None:
    """x = successor.predecessor; if x in (n, successor): successor = x; successor.notify(n). And the list's upkeep."""
    successor = node.ring.first_successor
    candidate = node.ring.predecessor
    while successor != node.me:
        try:
            neighbours = rt.call(successor, P2pGetNeighbours(), node.config.call_timeout)
        except CallError:
            node.set_ring(node.ring.without(successor), Cause.SUCCESSOR_LOST)
            successor, candidate = node.ring.first_successor, None
            continue
        assert isinstance(neighbours, P2pReplyNeighbours)
        node.set_ring(node.ring.with_successors(successor, *neighbours.successors), Cause.PULLED)
        candidate = neighbours.predecessors[0] if neighbours.predecessors else None
        break
    if candidate and in_open(candidate.ident, node.me.ident, successor.ident):
        node.set_ring(node.ring.with_successors(candidate, *node.ring.successors), Cause.CLOSER_SUCCESSOR)
    notify(rt, node)


def notify(rt: Runtime, node: NodeState) -> None:
    """successor.notify(n)."""
    if node.ring.successors:
        try:
            rt.call(node.ring.first_successor, P2pNotify(), node.config.call_timeout)
        except GdhtError:
            return


def notified(rt: Runtime, node: NodeState, notifier: Peer) -> None:
    """n.notify(n'): if predecessor is nil or n' in (predecessor, n): predecessor = n'."""
    present = node.ring.predecessor
    if present is None or in_open(notifier.ident, present.ident, node.me.ident):
        node.set_ring(node.ring.with_predecessors(notifier), Cause.NOTIFIED)


def check_predecessor(rt: Runtime, node: NodeState) -> None:
    """if predecessor has failed: predecessor = nil."""
    if node.ring.predecessor:
        try:
            rt.call(node.ring.predecessor, P2pPing(), node.config.call_timeout)
        except CallError:
            node.set_ring(node.ring.with_predecessors(), Cause.PREDECESSOR_LOST)


ORIGINAL = Steps(join, stabilize, notified, check_predecessor)
