"""What an all-seeing observer knows of a simulated ring: who is a member, whether the ring is safe, who was wronged."""

from collections import Counter
from collections.abc import Callable

from gdht.core.invariant import Member, Violation, may_fail, principal_violations
from gdht.core.peer import Peer
from gdht.errors import GdhtError
from gdht.node.journal import Cause
from gdht.sim.checkers import InvariantViolated
from gdht.sim.host import Host, view
from gdht.sim.process import Process
from gdht.sim.watch import PrincipalCount, SafetyWatch

LOST = {Cause.SUCCESSOR_LOST.value, Cause.PREDECESSOR_LOST.value}


class Observer:
    """Looks at a node after each of its events.

    safe: whether to demand the ring's safety. settle_s: for how long the proof's premise must hold before the ring
    counts as grown; an answer from before it may be under way as long. now: virtual seconds. note: told of every change
    of a node's pointers. failure: makes the error to raise.

    suspicions: how often a neighbour was dropped as dead that was "dead" or no member, that was a "laggard", standing
    still or slow at some moment of the last `settle_s`, or that was "healthy".
    """

    def __init__(
        self,
        length: int,
        settle_s: float,
        now: Callable[[], float],
        note: Callable[[Host], None],
        failure: Callable[[str], GdhtError],
        *,
        safe: bool,
    ) -> None:
        self.members: dict[int, Member] = {}
        self.grown = False
        self.suspicions: Counter[str] = Counter(dead=0, laggard=0, healthy=0)
        self._length = length
        self._settle_s = settle_s
        self._now = now
        self._note = note
        self._failure = failure
        self._safe = safe
        self._grown_since_s: float | None = None
        self._hosts: dict[Process, Host] = {}
        self._watch = SafetyWatch(self.members, length)
        self._principals = PrincipalCount(length)

    # What happens to hosts --------------------------------------------------------------------------------------------

    def started(self, host: Host) -> None:
        """A node begins its life."""
        host.seen = (False, None)
        host.events_seen = 0
        self._hosts[host.process] = host

    def stopped(self, *hosts: Host) -> None:
        """These nodes are no more, all at the same moment. Raises: SimulationFailed."""
        gone = [(host.peer.ident, self.members.pop(host.peer.ident, None)) for host in hosts]
        for host in hosts:
            del self._hosts[host.process]
        if not self._safe:
            return
        for ident, _ in gone:
            self._principals.gone(ident)
        for ident, before in gone:
            if before is not None:
                self._check(self._watch.changed(ident, before, None))

    def leaving(self, host: Host) -> None:
        """The proof counts on it no longer: it says goodbye to some before others."""
        self._principals.leaves(host.peer.ident)

    def look(self, process: Process) -> None:
        """After every event of a node: have its pointers changed, and is the ring still safe?

        Raises: SimulationFailed.
        """
        host = self._hosts.get(process)
        if host is None:
            return
        node = host.node
        is_member, ring = node.is_member, node.ring
        if host.seen[1] is ring and host.seen[0] is is_member:
            return
        host.seen = (is_member, ring)
        ident = host.peer.ident
        before = self.members.get(ident)
        after = view(ring) if is_member else None
        if before == after:
            return
        if before is not None and _dropped(before, after):
            self._judge_suspicions(host)
        if after is None:
            del self.members[ident]
        else:
            self.members[ident] = after
        self._note(host)
        if self._safe:
            self._principals.update(ident, after)
            self._check(self._watch.changed(ident, before, after))

    def _judge_suspicions(self, host: Host) -> None:
        for event in host.node.events(host.events_seen):
            host.events_seen = event.number
            if event.cause in LOST and event.pointer in ("successor", "predecessor"):
                for peer in event.before[:1]:
                    self.suspicions[self._state_of(peer)] += 1

    def _state_of(self, peer: Peer) -> str:
        if peer.ident not in self.members:
            return "dead"
        (process,) = (process for process, host in self._hosts.items() if host.peer == peer)
        return "laggard" if process.held_until_s > self._now() - self._settle_s else "healthy"

    # What must hold ---------------------------------------------------------------------------------------------------

    def may_go(self, idents: set[int], *, leaving: bool = False) -> bool:
        """Whether the ring must survive it if these fail or begin to leave now, together with who is leaving."""
        leavers = self._principals.leaving | idents if leaving else self._principals.leaving
        gone = set() if leaving else idents
        return may_fail(self.members, gone, self._length, grown=self.grown, leaving=leavers)

    def _check(self, found: list[Violation]) -> None:
        self.note_growth()
        if self.grown and not self._principals.enough:
            found = found + principal_violations(self.members, self._length, self._principals.leaving)
        if found:
            raise self._failure(str(InvariantViolated(found)))

    def note_growth(self) -> None:
        """See whether the ring has been grown for long enough: time alone may tell, so also before a crash."""
        if self.grown:
            return
        if not self._principals.grown:
            self._grown_since_s = None
        elif self._grown_since_s is None:
            self._grown_since_s = self._now()
        else:
            self.grown = self._now() > self._grown_since_s + self._settle_s


def _dropped(before: Member, after: Member | None) -> bool:
    """Whether a first successor or a predecessor is no longer what it was."""
    return after is None or before.predecessor != after.predecessor or before.successors[:1] != after.successors[:1]
