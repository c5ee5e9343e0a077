"""Reconciling what two nodes hold of one arc, at a cost that follows what differs and not what they hold.

Both sum up their records arc by arc (`gdht.core.digests`). An arc that looks the same is done with; any other is cut
into parts, which are compared in turn, until few records are left on one side: those are named one by one, and each
side gets what it lacks. Compare Merkle trees in Dynamo (DeCandia et al. 2007, section 4.7); sums in place of hashes of
hashes let two nodes compare arcs of any bounds, and a tree need never be built anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gdht.core.arcs import LEAF_WIDTH, Arc, split
from gdht.core.ident import key_ident
from gdht.core.messages import (
    RECORDS_PER_MESSAGE_MAX,
    ArcDigest,
    Entry,
    P2pCompare,
    P2pReconcile,
    P2pReplyCompare,
    P2pReplyReconcile,
    Request,
)
from gdht.core.peer import Peer
from gdht.errors import GdhtError, RemoteProtocolError
from gdht.node.ask import ask
from gdht.node.pace import Pace, pace, paced
from gdht.node.replication.copies import lacks
from gdht.node.replication.holdings import entries_in, held
from gdht.node.replication.transfer import fetch, send
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState

ARCS_AT_ONCE = 64
"""How many arcs are compared with one message: summing them up keeps the other side busy for about a millisecond."""

PAGE_ENTRIES_MAX = 200
"""How many of our records one message names: the other side looks each of them up at once."""

PIECE_RECORDS, PIECES_MAX = 32, 1024
"""An arc whose records are to be named is cut into pieces of about so many, and into so many pieces at the most: of the
records in a piece the other side may have to look for few among very many others."""

NAMED_AT_ONCE = 16
"""How many arcs have their records named at once, in a message each."""

FEW = 8
"""An arc in which one side holds no more records than this is cut no further: its records are named."""

PART_RECORDS = 4
"""An arc is cut into so many parts that about as many records lie in each; that costs least when one differs."""

PARTS_MAX = 16

LEAF_RECORDS_MAX = 1000
"""Within one leaf of the tree, records are read to sum them up; where they are more than this, they are named."""


@dataclass
class Reconciled:
    """What became of it. ended: it was not broken off. complete: the peer had surely all that was ever stored there.

    sent, received: how many records. refused: how many we lack still, as our store did not take them. unconfirmed:
    replication by key of what the peer wants and has not taken.
    """

    ended: bool = False
    complete: bool = True
    sent: int = 0
    received: int = 0
    refused: int = 0
    unconfirmed: dict[bytes, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What to reconcile with one peer: of all records with a replication of `least` or more.

    sends: it is given those with at least so much, None: with `least`. fetches: whether we take what it has.
    reason: the label of `gdht_handoff_keys_total`.
    """

    peer: Peer
    least: int
    sends: int | None = None
    fetches: bool = True
    reason: str = "repair"

    def is_for_peer(self, replication: int) -> bool:
        """Whether the peer should hold a record with so much replication."""
        return replication >= (self.least if self.sends is None else self.sends)


def always() -> bool:
    """Never break off."""
    return True


def reconcile(rt: Runtime, node: NodeState, arc: Arc, task: Task, go_on: Callable[[], bool] = always) -> Reconciled:
    """Give a peer what it lacks of an arc, and take what we lack. Switches: yes.

    go_on: asked now and then, False to break off. Raises: as `Runtime.call`; what was moved by then stays moved.
    """
    run = Reconciliation(node, task)
    arcs = [arc]
    while arcs:
        if not go_on():
            return run.result
        asked, arcs = arcs[-ARCS_AT_ONCE:], arcs[:-ARCS_AT_ONCE]
        named = []
        for part, parts, records in run.compare(rt, asked):
            if parts:
                arcs += split(part, parts)
            else:
                named += _pieces(part, records)
        if not run.name(rt, named, go_on):
            return run.result
    run.move(rt)
    run.result.ended = True
    return run.result


def count_at(rt: Runtime, node: NodeState, peer: Peer, arc: Arc, least: int) -> int:
    """How many records of an arc with so many copies or more a peer holds. Switches: yes. Raises: as `Runtime.call`."""
    digest = held(node.store, arc, least)
    question = P2pCompare(least, (ArcDigest(*arc, digest.records, digest.total_bytes),))
    reply = ask(rt, node, peer, question)
    assert isinstance(reply, P2pReplyCompare)
    return sum(reply.counts)


class Reconciliation:
    """One run of `reconcile`: what was found to differ and not moved yet, and what has come of it."""

    def __init__(self, node: NodeState, task: Task) -> None:
        self.result = Reconciled()
        self._node = node
        self._task = task
        self._wanted: dict[bytes, int] = {}
        self._lacking: list[bytes] = []

    # Comparing --------------------------------------------------------------------------------------------------------

    def compare(self, rt: Runtime, arcs: Sequence[Arc]) -> list[tuple[Arc, int, int]]:
        """The arcs that differ, each with the number of parts to cut it into, and how many records are there at most.

        0 parts: its records are to be named. An arc is the same when the peer holds all that we do, or just what it
        should hold of that. Switches: yes.
        """
        digests = [digest for arc in paced(rt, arcs) for digest in self._digests(arc)]
        reply = ask(rt, self._node, self._task.peer, P2pCompare(self._task.least, tuple(digests)))
        assert isinstance(reply, P2pReplyCompare)
        if not len(reply.same) == len(reply.counts) == len(digests):
            raise RemoteProtocolError("value", f"{len(reply.same)} answers about {len(digests)} arcs")
        self.result.complete &= reply.complete
        differing: dict[Arc, tuple[int, int]] = {}
        same: set[Arc] = set()
        for digest, is_same, theirs in zip(digests, reply.same, reply.counts, strict=True):
            arc = Arc(digest.start, digest.end)
            if is_same:
                same.add(arc)
            differing.setdefault(arc, (_parts(arc, digest.records, theirs), max(digest.records, theirs)))
        return [(arc, *how) for arc, how in differing.items() if arc not in same]

    def _digests(self, arc: Arc) -> list[ArcDigest]:
        """Our records of an arc in short: all that count, and those alone that the peer should hold."""
        levels = (self._task.least, self._task.sends or self._task.least)
        digests = dict.fromkeys(held(self._node.store, arc, level) for level in levels)
        return [ArcDigest(*arc, digest.records, digest.total_bytes) for digest in digests]

    # Naming -----------------------------------------------------------------------------------------------------------

    def name(self, rt: Runtime, arcs: Sequence[Arc], go_on: Callable[[], bool]) -> bool:
        """Tell what we hold in some arcs, hear what the peer does, and move what there is to move. Switches: yes.

        Returns False when it was broken off.
        """
        rest = list(arcs)
        while rest:
            if not go_on():
                return False
            asked, rest = rest[:NAMED_AT_ONCE], rest[NAMED_AT_ONCE:]
            turns = pace(rt)
            pages = [self._page(arc, turns) for arc in asked]
            requests: list[tuple[Peer, Request]] = [(self._task.peer, page) for page in pages]
            for index, outcome in turns.over(rt.calls(requests, self._node.config.call_timeout)):
                if isinstance(outcome, GdhtError):
                    raise outcome
                assert isinstance(outcome, P2pReplyReconcile)
                up_to = self._note(pages[index], outcome)
                if up_to != asked[index].end:
                    rest.append(Arc(up_to, asked[index].end))
            if max(len(self._wanted), len(self._lacking)) >= RECORDS_PER_MESSAGE_MAX:
                self.move(rt)
        return True

    def _page(self, arc: Arc, turns: Pace) -> P2pReconcile:
        """The first of our records in an arc, and how far they reach. Switches: maybe."""
        entries: list[Entry] = []
        end = arc.end
        for entry in turns.over(entries_in(self._node.store, arc, self._task.least, step=turns.step)):
            if len(entries) == PAGE_ENTRIES_MAX:
                end = key_ident(entries[-1].key)
                break
            entries.append(entry)
        return P2pReconcile(self._task.least, arc.start, end, tuple(entries))

    def _note(self, page: P2pReconcile, reply: P2pReplyReconcile) -> int:
        """Take in what is to be moved; returns up to where the peer has looked."""
        if reply.up_to != page.end and len(reply.entries) < RECORDS_PER_MESSAGE_MAX:
            raise RemoteProtocolError("value", "it looked at part of an arc only, and had room for more")
        seen = Arc(page.start, reply.up_to)
        if not Arc(page.start, page.end).covers(seen):
            raise RemoteProtocolError("value", "it looked further than it was asked to")
        self.result.complete &= reply.complete
        for entry, wanted in zip(page.entries, reply.wanted, strict=False):
            if wanted and self._task.is_for_peer(entry.replication) and seen.holds(key_ident(entry.key)):
                self._wanted[entry.key] = entry.replication
        for entry in reply.entries:
            if seen.holds(key_ident(entry.key)):
                self._note_theirs(entry)
        return reply.up_to

    def _note_theirs(self, entry: Entry) -> None:
        """What the peer holds that we lack is to be fetched; where ours is newer, it is given it.

        It may have more copies than ours, and so not be named among those that the peer should hold; but what it holds
        is older, and must not outlast ours.
        """
        if self._task.fetches and lacks(self._node.store, entry):
            self._lacking.append(entry.key)
            return
        held = self._node.store.held(entry.key)
        if held is not None and held.version > entry.version and self._task.is_for_peer(entry.replication):
            self._wanted[entry.key] = held.replication

    # Moving -----------------------------------------------------------------------------------------------------------

    def move(self, rt: Runtime) -> None:
        """Send what the peer wants, and fetch what we lack. Switches: yes."""
        node, task = self._node, self._task
        wanted, self._wanted = self._wanted, {}
        lacking, self._lacking = self._lacking, []
        confirmed = send(rt, node, task.peer, list(wanted), task.reason)
        self.result.sent += len(confirmed)
        self.result.unconfirmed.update((key, copies) for key, copies in wanted.items() if key not in confirmed)
        fetched = fetch(rt, node, task.peer, lacking, task.reason)
        self.result.received += fetched.taken
        self.result.refused += fetched.refused


def _parts(arc: Arc, ours: int, theirs: int) -> int:
    """Into how many parts to cut an arc that differs; 0: name its records."""
    most = max(ours, theirs)
    if min(ours, theirs) <= FEW or (arc.width <= LEAF_WIDTH and most > LEAF_RECORDS_MAX):
        return 0
    return min(-(-most // PART_RECORDS), PARTS_MAX)


def _pieces(arc: Arc, records: int) -> list[Arc]:
    """An arc whose records are to be named, cut so that each message about it is short work."""
    pieces = min(-(-records // PIECE_RECORDS), PIECES_MAX)
    return split(arc, pieces) if pieces > 1 and arc.width > LEAF_WIDTH else [arc]
