"""Calling nodes of which one may be ourselves, and telling a dead peer from one that only said no."""

from collections.abc import Iterator, Sequence

from gdht.core.messages import (
    ErrorReason,
    P2pError,
    P2pGet,
    P2pGetNeighbours,
    P2pGetSuccessor,
    P2pPing,
    P2pStat,
    Reply,
    Request,
)
from gdht.core.peer import Peer
from gdht.errors import CallError, CallNotSent, CallTimeout, GdhtError, RemoteError, RemoteProtocolError
from gdht.node.handlers import handle
from gdht.node.later import Answer, Later
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


QUICK = (P2pGet, P2pGetNeighbours, P2pGetSuccessor, P2pPing, P2pStat)
"""What is answered at once: how long that takes says something of the peer, and not of its disk."""


def note_time(rt: Runtime, node: NodeState, peer: Peer, outcome: Outcome | GdhtError, started_s: float) -> None:
    """Remember how long a peer took, or was waited for in vain. started_s: when it was asked. Switches: no."""
    if not isinstance(outcome, GdhtError) or isinstance(outcome, CallTimeout):
        node.latency.note(peer, rt.now() - started_s)


def ask(rt: Runtime, node: NodeState, peer: Peer, request: Request) -> Reply:
    """Ask one peer, or ourselves without a call, within `call_timeout`. Switches: yes. Raises: as `Runtime.call`."""
    ((_, outcome),) = ask_each(rt, node, [(peer, request)])
    if isinstance(outcome, GdhtError):
        raise outcome.with_traceback(None)  # the same error may end many calls
    return outcome


def ask_each(rt: Runtime, node: NodeState, requests: Sequence[tuple[Peer, Request]]) -> Iterator[tuple[Peer, Outcome]]:
    """Ask many at once; yields each peer with its outcome as it comes in. Switches: yes.

    Ourselves first, but last when what we answer has to be on our disk before.
    """
    remote = [(peer, request) for peer, request in requests if peer.ident != node.me.ident]
    now_s = node.clock.lives_s()
    here = [
        (peer, Own(rt, handle(node, node.me, request, now_s)))
        for peer, request in requests
        if peer.ident == node.me.ident
    ]
    started_s = rt.now()
    calls = rt.calls(remote, node.config.call_timeout) if remote else iter(())
    waiting = [(peer, own) for peer, own in here if own.reply is None]
    yield from ((peer, _outcome(own.reply)) for peer, own in here if own.reply is not None)
    for index, outcome in calls:
        peer, request = remote[index]
        if isinstance(request, QUICK):
            note_time(rt, node, peer, outcome, started_s)
        yield peer, outcome
    for peer, own in waiting:
        yield peer, own.wait(node.config.call_timeout)


class Own:
    """What we answer ourselves. reply: None until it holds."""

    def __init__(self, rt: Runtime, answer: Answer) -> None:
        self.reply: Reply | None = None
        self._ready = rt.signal()
        if isinstance(answer, Later):
            answer.when_ready(self._take)
        else:
            self.reply = answer

    def wait(self, timeout_s: float) -> Outcome:
        """The reply once it holds. Switches: yes."""
        if self.reply is None:
            self._ready.wait(timeout_s)
        return (
            CallTimeout(f"our own disk took longer than {timeout_s:g} s")
            if self.reply is None
            else _outcome(self.reply)
        )

    def _take(self, reply: Reply) -> None:
        self.reply = reply
        self._ready.set()


def _outcome(reply: Reply) -> Outcome:
    if isinstance(reply, P2pError):
        return RemoteError(ErrorReason(reply.reason), reply.detail)
    return reply


def is_dead(error: GdhtError) -> bool:
    """Whether a failed call means that the peer is no living member of the ring. A mere refusal does not."""
    if isinstance(error, RemoteError):
        return error.reason in NOT_IN_OUR_RING
    return isinstance(error, CallError | RemoteProtocolError) and not isinstance(error, CallNotSent)
