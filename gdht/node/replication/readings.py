"""What those said who were asked for a copy, and whether that is enough to know the newest version."""

from collections.abc import Sequence
from typing import NamedTuple

from gdht.core.messages import FailureReason, P2pFailure, P2pSuccess
from gdht.core.peer import Peer
from gdht.core.placement import quorum, view_of
from gdht.node.runtime import Outcome


class Reading(NamedTuple):
    """A copy, and when its holder's answer came, by `rt.now()`."""

    copy: P2pSuccess
    came_s: float

    def at(self, now_s: float) -> P2pSuccess:
        """The copy with what is left of its times now."""
        passed_ms = int((now_s - self.came_s) * 1000)
        ttl_ms, tombstone_ms = max(self.copy.ttl_ms - passed_ms, 0), max(self.copy.tombstone_ms - passed_ms, 0)
        return self.copy._replace(ttl_ms=ttl_ms, tombstone_ms=tombstone_ms, value=self.copy.value if ttl_ms else b"")


def needed_without_owner(word: str, replication_max: int) -> int:
    """How many of the nodes after the owner must be heard of at the most, for `Readings.enough_without_owner`.

    As many as there are copies where a write is acknowledged although only the owner has it: then no number is enough.

    >>> needed_without_owner("majority", 8), needed_without_owner("all", 8), needed_without_owner("one", 8)
    (4, 1, 8)
    """
    return max(copies - quorum(word, copies) + 1 for copies in range(1, replication_max + 1))


class Readings:
    """What those who may hold a replica said.

    lacking: who has none; stale: who has an older version than another. silent: who gave no answer. sure: somebody
    knows that it has none, as it has got all of its share. views: by ident, which node each says is right before it.
    """

    def __init__(self) -> None:
        self.copies: list[tuple[Peer, Reading]] = []
        self.lacking: list[Peer] = []
        self.silent: list[Peer] = []
        self.sure = False
        self.views: dict[int, int] = {}

    def note(self, peer: Peer, outcome: Outcome | None, now_s: float) -> None:
        """Take in one answer, or that there was none."""
        if isinstance(outcome, P2pSuccess | P2pFailure):
            self.views[peer.ident] = outcome.view
        if isinstance(outcome, P2pSuccess):
            self.copies.append((peer, Reading(outcome, now_s)))
        elif isinstance(outcome, P2pFailure):
            self.lacking.append(peer)
            self.sure |= outcome.reason == FailureReason.NOT_FOUND
        else:
            self.silent.append(peer)

    @property
    def newest(self) -> Reading | None:
        """The newest copy, None when nobody has any."""
        return max((reading for _, reading in self.copies), key=lambda reading: reading.copy.version, default=None)

    @property
    def behind(self) -> tuple[Peer, ...]:
        """Those that lack the newest copy."""
        newest = self.newest
        stale = (peer for peer, reading in self.copies if newest and reading.copy.version < newest.copy.version)
        return (*self.lacking, *stale)

    def linked(self, line: Sequence[Peer]) -> tuple[Peer, ...]:
        """The first of a line of nodes, with those after it that each say to come right after the one before."""
        linked = tuple(line[:1])
        for peer in line[1:]:
            if self.views.get(peer.ident) != view_of(linked[-1:]):
                break
            linked += (peer,)
        return linked

    def enough_without_owner(self, others: Sequence[Peer], word: str, replication_max: int) -> bool:
        """Whether no acknowledged write can be newer than the newest copy, although the owner has not answered.

        others: the nodes after the owner, nearest first. word: the write quorum. A write has succeeded when the owner
        and so many of the others have it that a quorum has; so among those heard of there must be one of these. Its
        replication may be anything between the newest copy's and replication_max. Of the newest copy's own holders,
        only those that have a copy count: others may never have been meant to have one.
        """
        newest = self.newest
        if newest is None:
            return False
        holding = {peer.ident for peer, _ in self.copies}
        heard = holding | {peer.ident for peer in self.lacking}
        least = newest.copy.replication
        for copies in range(least, max(least, replication_max) + 1):
            counted = holding if copies == least else heard
            needed = copies - quorum(word, copies) + 1
            if sum(peer.ident in counted for peer in others[: copies - 1]) < needed:
                return False
        return True
