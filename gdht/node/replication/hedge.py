"""Asking the owner for a record without waiting for it too long: when it is late, its replicas are asked as well.

Whoever knows enough first wins: the owner by its word, or so many copies that no acknowledged write can be missing
(`Readings.enough_without_owner`). That counts only if the replicas are the right ones: the node before the owner says
that the owner comes after it, and each replica that it comes right after the one before it, all at that time. Lists of
nodes may be behind: they only say whom to ask. So a read that does not wait is as sure as one that waits.
Source: Dean and Barroso, The Tail at Scale (2013), hedged requests.
"""

from typing import NamedTuple

from gdht.core.ident import key_ident
from gdht.core.lookup import Found
from gdht.core.messages import P2pGet, P2pGetSuccessor, P2pReplySuccessor, Request
from gdht.core.peer import Peer
from gdht.core.placement import copies_in
from gdht.errors import GdhtError
from gdht.node.ask import ask_each, is_dead, note_time
from gdht.node.replication.readings import Reading, Readings, needed_without_owner
from gdht.node.runtime import Calls, Outcome, Runtime
from gdht.node.state import NodeState

HEDGE_S_MIN = 0.005
"""No owner is late sooner than this."""


class Copies(NamedTuple):
    """What replicas told, in place of the owner. behind: those of them that lack the newest version."""

    newest: Reading
    behind: tuple[Peer, ...]


def is_late(node: NodeState, owner: Peer, seconds: float) -> bool:
    """Whether an owner that was asked so long ago is late, and others may be asked as well. Switches: no."""
    may_hedge = node.hedges.is_left and not node.latency.are_most_late
    return may_hedge and seconds > max(node.latency.usual_s(owner), HEDGE_S_MIN)


def ask_owner(rt: Runtime, node: NodeState, key: bytes, found: Found, *, is_late: bool = False) -> Outcome | Copies:
    """What the owner says, or enough of its replicas when it is late. Switches: yes.

    is_late: it was asked before, elsewhere, and has not answered in time.
    """
    owner, request = found.owner, P2pGet(key, as_owner=True)
    if owner.ident == node.me.ident:
        return _own_word(rt, node, request)
    started_s, timeout_s = rt.now(), node.config.call_timeout
    node.hedges.earn()
    calls = rt.calls([(owner, request)], timeout_s)
    patience_s = 0.0 if is_late else max(node.latency.usual_s(owner), HEDGE_S_MIN)
    first = calls.within(patience_s) if patience_s < timeout_s else next(calls)
    if first is None:
        hedge = Hedge(rt, node, key, found, calls)
        copies = hedge.wait() if hedge.begin() else None
        if copies is not None:
            rt.spawn(lambda: _await_owner(rt, node, owner, calls, started_s), "late_owner")
            return copies
        first = hedge.from_owner or next(calls)
    note_time(rt, node, owner, first[1], started_s)
    return first[1]


class Hedge:
    """The replicas of one record, asked while the owner is late. calls: in which the owner was asked, as the first.

    from_owner: what came of that, once it is known.
    """

    def __init__(self, rt: Runtime, node: NodeState, key: bytes, found: Found, calls: Calls) -> None:
        self.from_owner: tuple[int, Outcome] | None = None
        self._rt = rt
        self._node = node
        self._found = found
        self._request = P2pGet(key, as_owner=False)
        self._calls = calls
        self._asked: list[tuple[Peer, float]] = [(found.owner, rt.now())]  # by index; and when
        self._copies_asked = {found.owner.ident}
        self._line: tuple[Peer, ...] = ()  # the owner and those after it, once it is sure that it is the owner
        self._replicas = copies_in(node.ring, node.config.max_replication)
        self._needed = needed_without_owner(node.config.write_quorum, self._replicas)
        self._readings = Readings()

    def begin(self) -> bool:
        """Ask; False when that would be of no use, or too much. Switches: no."""
        node, found = self._node, self._found
        before = self._before_owner()
        if before == node.me:
            self._line = node.ring.successors if node.ring.successors[:1] == (found.owner,) else ()
        if before == found.owner or not (self._line or before) or self._needed >= self._replicas:
            return False
        if node.latency.are_most_late or not node.hedges.spend():
            node.stats.hedged_reads["refused"] += 1
            return False
        if before and not self._line:
            self._ask(before, P2pGetSuccessor(key_ident(self._request.key), strict=True))
        self._ask_copies(found.peers)
        self._ask_copies(self._line)
        return True

    def wait(self) -> Copies | None:
        """Until the copies tell enough; None when the owner has answered before. Switches: yes."""
        while (copies := self._enough()) is None:
            index, outcome = next(self._calls)
            if index == 0:
                self.from_owner = index, outcome
                break
            self._take(*self._asked[index], outcome)
        self._node.stats.hedged_reads["copies" if copies else "owner"] += 1
        return copies

    def _before_owner(self) -> Peer | None:
        """The node before the owner, as far as we have heard."""
        start = self._found.start
        for peer in (self._node.me, self._found.responder):
            if peer.ident == start:
                return peer
        arc = self._node.known_arcs.find(start)
        return arc.owner if arc is not None and arc.owner.ident == start else None

    def _ask(self, peer: Peer, request: Request) -> None:
        self._asked.append((peer, self._rt.now()))
        self._calls.ask([(peer, request)])

    def _ask_copies(self, peers: tuple[Peer, ...]) -> None:
        """Ask those after the owner whom we have not asked yet for what they hold, as many as may be needed."""
        for peer in peers[1 : min(1 + self._needed, self._replicas)]:
            if peer.ident in self._copies_asked:
                continue
            self._copies_asked.add(peer.ident)
            if peer.ident == self._node.me.ident:
                outcome = _own_word(self._rt, self._node, self._request)
                self._readings.note(peer, outcome, self._rt.now())
            else:
                self._ask(peer, self._request)

    def _take(self, peer: Peer, asked_s: float, outcome: Outcome) -> None:
        note_time(self._rt, self._node, peer, outcome, asked_s)
        if isinstance(outcome, P2pReplySuccessor):
            if outcome.final and outcome.peers[:1] == (self._found.owner,):
                self._line = outcome.peers
                self._ask_copies(self._line)
        else:
            self._readings.note(peer, outcome, self._rt.now())

    def _enough(self) -> Copies | None:
        """What the copies tell, if that is enough."""
        readings, word = self._readings, self._node.config.write_quorum
        line, newest = readings.linked(self._line), readings.newest
        if newest is None or not readings.enough_without_owner(line[1:], word, self._replicas):
            return None
        holders = line[: newest.copy.replication]
        return Copies(newest, tuple(peer for peer in readings.behind if peer in holders))


def _own_word(rt: Runtime, node: NodeState, request: P2pGet) -> Outcome:
    """What we say ourselves."""
    ((_, outcome),) = ask_each(rt, node, [(node.me, request)])
    return outcome


def _await_owner(rt: Runtime, node: NodeState, owner: Peer, calls: Calls, started_s: float) -> None:
    """Learn how late the owner was, and whether it is dead. Switches: yes."""
    for index, outcome in calls:
        if index == 0:
            note_time(rt, node, owner, outcome, started_s)
            if isinstance(outcome, GdhtError) and is_dead(outcome):
                node.known_arcs.forget(owner)
            return
