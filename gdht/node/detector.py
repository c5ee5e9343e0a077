"""Whether a peer lives: the calls on whose outcome a pointer is dropped.

Everybody else may take one failed call for what it is; who drops a successor or a predecessor must be sure. A refused
connection is sure: no process listens there. Silence is not, nor is a connection that does not come about: that may be
the network's fault, or our own. So a silent peer is asked again, with a timeout that grows with our own lag
(`gdht.node.health`), and silence that we slept through ourselves does not count.
"""

import logging

from gdht.core.messages import P2pGetNeighbours, P2pPing, P2pReplyNeighbours, Reply, Request
from gdht.core.peer import Peer
from gdht.errors import CallTimeout, GdhtError, PeerSilent, RemoteError
from gdht.node.ask import is_dead
from gdht.node.health import PATIENCE
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState

log = logging.getLogger(__name__)

CALLS_MAX = 4
"""The same with those that do not count, as we were late ourselves."""


def reach(rt: Runtime, node: NodeState, peer: Peer, request: Request, patience: int = PATIENCE) -> Reply | None:
    """A peer's answer; None when it is dead, or no member of our ring. Switches: yes.

    patience: how many calls in a row must time out. Raises: RemoteError or CallNotSent when the peer merely refuses, or
    was not asked; it may be alive.
    """
    silent = 0
    for attempt in range(CALLS_MAX):
        due_s = rt.now() + node.health.timeout_s
        try:
            reply = rt.call(peer, request, node.health.timeout_s)
        except (CallTimeout, PeerSilent) as error:
            if isinstance(error, PeerSilent):
                rt.sleep(max(due_s - rt.now(), 0))  # said at once, perhaps from memory: no silence yet
            silent += not node.health.woke(rt.now() - due_s)
            if silent == patience:
                break
        except GdhtError as error:
            if isinstance(error, RemoteError):  # no member, or not willing; but in time
                _note_answer(node, doubted=attempt > 0)
            if is_dead(error):
                log.debug("peer given up peer=%s error=%s", peer, error)
                return None
            raise
        else:
            _trust(node, peer, doubted=attempt > 0)
            return reply
    log.debug("peer given up peer=%s error=silence", peer)
    if attempt:
        node.stats.suspicions["confirmed"] += 1
    return None


def neighbours_of(rt: Runtime, node: NodeState, peer: Peer, patience: int = PATIENCE) -> P2pReplyNeighbours | None:
    """A living peer's pointers; None when it is dead or no member. Switches: yes. Raises: as `reach`."""
    reply = reach(rt, node, peer, P2pGetNeighbours(), patience)
    assert reply is None or isinstance(reply, P2pReplyNeighbours)
    return reply


def lives(rt: Runtime, node: NodeState, peer: Peer, patience: int = PATIENCE) -> bool:
    """Whether a peer is a living member; one that merely refuses is. Switches: yes."""
    try:
        return reach(rt, node, peer, P2pPing(), patience) is not None
    except GdhtError:
        return True


def _trust(node: NodeState, peer: Peer, *, doubted: bool) -> None:
    _note_answer(node, doubted=doubted)
    if doubted:
        log.info("peer slow, but alive peer=%s", peer)
        node.stats.suspicions["refuted"] += 1


def _note_answer(node: NodeState, *, doubted: bool) -> None:
    """An answer came: in time, so we keep up, or once we had begun to doubt that it would, so we do not."""
    if doubted:
        node.health.doubted_wrongly()
    else:
        node.health.answered()
