"""One client request on its way to the owner of its key: who was dead or refused, and how long to go on trying."""

from collections.abc import Iterator

from gdht.core.ident import in_open_closed, key_ident
from gdht.core.lookup import Found
from gdht.core.messages import FailureReason, P2pFailure, P2pGetNeighbours, P2pReplyNeighbours
from gdht.core.peer import Peer
from gdht.errors import CallTimeout, GdhtError
from gdht.node.ask import ask, is_dead
from gdht.node.lookup import find_successor
from gdht.node.replication.readings import Reading
from gdht.node.runtime import Outcome, Runtime
from gdht.node.state import NodeState

ATTEMPTS_MAX = 20
RETRY_S = 0.05
"""A request whose owner is unclear is tried again at once, then after 50 ms, 100 ms, ...: 8.55 s in all, in which the
heir of an owner that fell silent notices it."""

BUDGET_CALLS = 5
"""How long one request may take, in units of `call_timeout`; what has begun by then is finished."""


class Search:
    """What several attempts at one request share: peers known to be dead, and whom to ask first next time.

    The first attempt may go by what the node has heard before of who owns what (`guess`); the owner alone decides.
    newest: a copy that was found, while those who did not answer may hold a newer one. found_nothing: all answered last
    time that they have none. why: what went wrong last.
    reasons: by address, why somebody did not do as asked.
    """

    def __init__(self, rt: Runtime, node: NodeState, purpose: str) -> None:
        self.purpose = purpose
        self._guesses = 0
        self._may_guess = True
        self.deadline_s = rt.now() + BUDGET_CALLS * node.config.call_timeout
        self.dead: set[int] = set()
        self._me = node.me
        self._silent: set[Peer] = set()
        self.via: tuple[Peer, ...] = ()
        self.refused: set[Peer] = set()
        self.reasons: dict[str, str] = {}
        self.timed_out = False
        self.newest: Reading | None = None
        self.found_nothing = False
        self.why = ""

    def guess(self, node: NodeState, key: bytes, replicas: int, needed: int) -> Found | None:
        """Who owns a key by what was heard before; None after the first time, or when a lookup is better. Switches: no.

        replicas: how many nodes `find` would be asked for; it costs nothing where our own pointers name so many.
        needed: how many a guess must name.
        """
        may_guess, self._may_guess = self._may_guess, False
        ident = key_ident(key)
        if not may_guess or node.ring.knows(ident, replicas):
            return None
        arc = node.known_arcs.find(ident)
        if arc is not None and len(arc.successors) + 1 >= needed:
            self._guesses += 1
            return Found((arc.owner, *arc.successors), node.me, (), arc.start, guessed=True)
        if arc is not None:
            self.via = (arc.owner,)
        node.stats.route_cache["miss"] += 1
        return None

    def begin(self, node: NodeState, peers: tuple[Peer, ...]) -> Found:
        """The first attempt was made elsewhere, with these, by what was heard before. Switches: no."""
        self._may_guess = False
        guessed = peers[0] != node.me
        self._guesses += guessed
        return Found(peers, node.me, (), guessed=guessed)

    def judge(self, node: NodeState, found: Found, *, right: bool) -> None:
        """Whether a guess was right, if it was one; a wrong one is not made again. Switches: no."""
        if found.guessed:
            node.stats.route_cache["hit" if right else "stale"] += 1
            if not right:
                node.known_arcs.forget(found.owner)

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
        """Once for each attempt, with pauses in between, until the budget is used up. Switches: yes.

        An attempt that went by a guess is one more.
        """
        for attempt in range(ATTEMPTS_MAX):
            pauses = attempt - self._guesses - 1
            if pauses > 0:
                rt.sleep(RETRY_S * pauses)
            if rt.now() >= self.deadline_s:
                return
            yield

    def note(self, node: NodeState, peer: Peer, outcome: Outcome) -> None:
        """Learn from an outcome that was no success.

        Who was silent once may only be slow, as with a busy disk; twice, and we look for its heir.
        """
        self.reasons.setdefault(peer.address, why(outcome))
        if isinstance(outcome, P2pFailure):
            if outcome.reason == FailureReason.NOT_RESPONSIBLE:
                self.via = (peer,)
                self.refused.add(peer)
                node.known_arcs.forget(peer)
            elif outcome.reason == FailureReason.LEAVING:
                self.dead.add(peer.ident)
                node.known_arcs.forget(peer)
        elif isinstance(outcome, GdhtError):
            if is_dead(outcome):
                node.known_arcs.forget(peer)
            self.timed_out |= isinstance(outcome, CallTimeout)
            silent_once = isinstance(outcome, CallTimeout) and peer not in self._silent
            if silent_once:
                self._silent.add(peer)
            elif is_dead(outcome) and peer != self._me:
                self.dead.add(peer.ident)

    @property
    def detail(self) -> str:
        """For people: what kept each peer from doing as it was asked, the first time."""
        return "; ".join(f"{address}: {reason}" for address, reason in self.reasons.items())


def why(outcome: Outcome) -> str:
    """An outcome that was no success, in words."""
    if isinstance(outcome, P2pFailure):
        reason = getattr(outcome.reason, "name", f"reason {outcome.reason}").lower()
        return f"{reason} {outcome.detail}".strip()
    return str(outcome)
