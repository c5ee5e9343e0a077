"""Calling nodes of which one may be ourselves, and telling a dead peer from one that only said no."""

from collections.abc import Iterator, Sequence

from gdht.core.messages import ErrorReason, P2pError, Reply, Request
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


def ask(rt: Runtime, node: NodeState, peer: Peer, request: Request) -> Reply:
    """Ask one peer, or ourselves without a call, within `call_timeout`. Switches: yes. Raises: as `Runtime.call`."""
    if peer.ident != node.me.ident:
        return rt.call(peer, request, node.config.call_timeout)
    ((_, outcome),) = ask_each(rt, node, [(peer, request)])
    if isinstance(outcome, GdhtError):
        raise outcome
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
    calls = rt.calls(remote, node.config.call_timeout) if remote else iter(())
    waiting = [(peer, own) for peer, own in here if own.reply is None]
    yield from ((peer, _outcome(own.reply)) for peer, own in here if own.reply is not None)
    for index, outcome in calls:
        yield remote[index][0], outcome
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
