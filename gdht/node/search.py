"""One client request on its way to the owner of its key: who was dead or refused, and how long to go on trying."""

from collections.abc import Iterator

from gdht.core.ident import in_open_closed, key_ident
from gdht.core.lookup import Found
from gdht.core.messages import FailureReason, P2pFailure, P2pGetNeighbours, P2pReplyNeighbours
from gdht.core.peer import Peer
from gdht.errors import CallTimeout, GdhtError
from gdht.node.ask import ask, is_dead
from gdht.node.lookup import find_successor
from gdht.node.runtime import Outcome, Runtime
from gdht.node.state import NodeState

ATTEMPTS_MAX = 20
RETRY_S = 0.05
"""A request whose owner is unclear is tried again at once, then after 50 ms, 100 ms, ...: 8.55 s in all, in which the
heir of an owner that fell silent notices it."""

BUDGET_CALLS = 5
"""How long one request may take, in units of `call_timeout`; what has begun by then is finished."""


class Search:
    """What several attempts at one request share: peers known to be dead, and whom to ask first next time."""

    def __init__(self, rt: Runtime, node: NodeState, purpose: str) -> None:
        self.purpose = purpose
        self.deadline_s = rt.now() + BUDGET_CALLS * node.config.call_timeout
        self.dead: set[int] = set()
        self.via: tuple[Peer, ...] = ()
        self.refused: set[Peer] = set()
        self.timed_out = False

    def find(self, rt: Runtime, node: NodeState, key: bytes, replicas: int) -> Found:
        """The owner and those that follow it, `replicas` in all if there are. Switches: yes. Raises: LookupFailed."""
        via, self.via = self.via, ()
        ident = key_ident(key)
        found = find_successor(
            rt,
            node,
            ident,
            purpose=self.purpose,
            replicas=replicas,
            via=via,
            dead=self.dead,
            deadline_s=self.deadline_s,
        )
        return self._step_back(rt, node, found, ident) if found.owner in self.refused else found

    def _step_back(self, rt: Runtime, node: NodeState, found: Found, ident: int) -> Found:
        """The same with the predecessor of an owner that is none in front, if that may be the owner. Switches: yes.

        Lookups pass over a node that its predecessor cannot reach; its successor still knows it.
        """
        try:
            reply = ask(rt, node, found.owner, P2pGetNeighbours())
        except GdhtError:
            return found
        assert isinstance(reply, P2pReplyNeighbours)
        before = tuple(peer for peer in reply.predecessors[:1] if peer.ident not in self.dead)
        if not before or in_open_closed(ident, before[0].ident, found.owner.ident):
            return found
        return found._replace(peers=(*before, *(peer for peer in found.peers if peer.ident != before[0].ident)))

    def attempts(self, rt: Runtime) -> Iterator[None]:
        """Once for each attempt, with pauses in between, until the budget is used up. Switches: yes."""
        for attempt in range(ATTEMPTS_MAX):
            if attempt > 1:
                rt.sleep(RETRY_S * (attempt - 1))
            if rt.now() >= self.deadline_s:
                return
            yield

    def note(self, peer: Peer, outcome: Outcome) -> None:
        """Learn from an outcome that was no success."""
        if isinstance(outcome, P2pFailure):
            if outcome.reason == FailureReason.NOT_RESPONSIBLE:
                self.via = (peer,)
                self.refused.add(peer)
            elif outcome.reason == FailureReason.LEAVING:
                self.dead.add(peer.ident)
        elif isinstance(outcome, GdhtError):
            self.timed_out |= isinstance(outcome, CallTimeout)
            if is_dead(outcome):
                self.dead.add(peer.ident)
