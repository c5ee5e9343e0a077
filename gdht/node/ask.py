"""Calling nodes of which one may be ourselves, and telling a dead peer from one that only said no."""

from collections.abc import Iterator, Sequence

from gdht.core.messages import ErrorReason, P2pError, Reply, Request
from gdht.core.peer import Peer
from gdht.errors import CallError, CallNotSent, GdhtError, RemoteError, RemoteProtocolError
from gdht.node.handlers import handle
from gdht.node.runtime import Outcome, Runtime
from gdht.node.state import NodeState

NOT_IN_OUR_RING = (
    ErrorReason.NOT_JOINED,
    ErrorReason.MAGIC,
    ErrorReason.VERSION,
    ErrorReason.RING,
    ErrorReason.IDENT,
)
"""Refusals that say: whoever answers at this address is not the member we knew."""


def ask(rt: Runtime, node: NodeState, peer: Peer, request: Request) -> Reply:
    """Ask one peer, or ourselves without a call, within `call_timeout`. Switches: yes. Raises: as `Runtime.call`."""
    if peer.ident != node.me.ident:
        return rt.call(peer, request, node.config.call_timeout)
    reply = handle(node, node.me, request, rt.wall())
    if isinstance(reply, P2pError):
        raise RemoteError(ErrorReason(reply.reason), reply.detail)
    return reply


def ask_each(rt: Runtime, node: NodeState, requests: Sequence[tuple[Peer, Request]]) -> Iterator[tuple[Peer, Outcome]]:
    """Ask many at once; yields each peer with its outcome as it comes in, ourselves first. Switches: yes."""
    remote = [(peer, request) for peer, request in requests if peer.ident != node.me.ident]
    for peer, request in requests:
        if peer.ident == node.me.ident:
            yield peer, _outcome_here(node, request, rt.wall())
    for index, outcome in rt.calls(remote, node.config.call_timeout) if remote else ():
        yield remote[index][0], outcome


def is_dead(error: GdhtError) -> bool:
    """Whether a failed call means that the peer is no living member of the ring. A mere refusal does not."""
    if isinstance(error, RemoteError):
        return error.reason in NOT_IN_OUR_RING
    return isinstance(error, CallError | RemoteProtocolError) and not isinstance(error, CallNotSent)


def _outcome_here(node: NodeState, request: Request, wall_s: float) -> Outcome:
    reply = handle(node, node.me, request, wall_s)
    if isinstance(reply, P2pError):
        return RemoteError(ErrorReason(reply.reason), reply.detail)
    return reply
