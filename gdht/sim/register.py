"""What was put under one key, and what a get may therefore bring: the demands on a replicated register, in plain code.

Nothing here knows of nodes or networks: `gdht.sim.clients` fills registers in and asks them. Times are virtual seconds.
Every put has a value of its own, so a value tells which put it comes from.

A put that was not acknowledged may have been stored somewhere all the same: it may be read, now or later, or never. Of
two acknowledged ones the later must win, if the first had ended when the second began. Two nodes' clocks differ, so
of puts through different nodes that is demanded only when as much time lies between them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple


@dataclass
class Put:
    """One put. node: through which run of which node; no two puts through the same have stamps in the wrong order.

    ended_s: infinite while it is under way. acknowledged: how many nodes must hold it, as it succeeded; 0: it did not.
    taken_s: when its node took it up, from when its life counts; later than it was sent where the node is slow, or
    stands still. None: at once.
    """

    value: bytes
    node: str
    started_s: float
    ttl_s: float
    ended_s: float = inf
    acknowledged: int = 0
    taken_s: float | None = None

    @property
    def life_since_s(self) -> float:
        """From when its life counts."""
        return self.started_s if self.taken_s is None else self.taken_s


class Get(NamedTuple):
    """One get that brought an answer. value None: that there is nothing under the key."""

    node: str
    started_s: float
    ended_s: float
    value: bytes | None


class Margins(NamedTuple):
    """How exact the demands are, in seconds.

    stamps_s: how far the stamps of two nodes may be apart at one moment. early_s, late_s: how much sooner or later than
    its record's life that of a copy may end: by the calls that it came with.
    """

    stamps_s: float = 0.0
    early_s: float = 0.0
    late_s: float = 0.0


@dataclass
class Register:
    """All puts under one key, in the order in which they began.

    exposed: so many nodes crashed that nothing is promised, until something is put again or the nodes are back.
    exposed_at_s: when that happened, each time. lost_until_s: what had been put by then need not be there any more.
    """

    puts: list[Put] = field(default_factory=list)
    exposed: bool = False
    exposed_at_s: list[float] = field(default_factory=list)
    lost_until_s: float = -inf

    def expose(self, now_s: float) -> None:
        """Every copy of what must be read is out of reach."""
        if not self.exposed:
            self.exposed = True
            self.exposed_at_s.append(now_s)

    def put_again(self) -> None:
        """Something new is promised, but what was lost before stays lost."""
        if self.exposed:
            self.exposed, self.lost_until_s = False, self.exposed_at_s[-1]

    def is_back(self) -> None:
        """All who crashed are back, with all that they held."""
        self.exposed, self.lost_until_s = False, -inf

    def wrong(self, get: Get, margins: Margins, apart_since_s: float | None = None) -> str:
        """What is wrong with what a get brought; empty when nothing is.

        apart_since_s: what was put before may be missed, and what was put through other nodes than the get.
        """
        settled = [] if self.exposed else list(self._settled(get, apart_since_s))
        if get.value is None:
            put = self._owed(get, margins, settled)
            return f"there is nothing, but {put.value!r} was put at {put.started_s:.3f} s" if put else ""
        put = self._source(get.value)
        if put is None or put.started_s > get.ended_s:
            return f"{get.value!r}, which nobody put"
        over_s = self.overdue_s(get.value, get.started_s)
        if over_s > margins.late_s:
            return f"{get.value!r}, whose life had been over for {over_s:.3f} s"
        winner = self._replaced(put, get, margins, settled)
        return f"{get.value!r}, which {winner.value!r} had replaced at {winner.ended_s:.3f} s" if winner else ""

    def candidates(self, margins: Margins) -> list[Put]:
        """The puts that may be the newest one: those that no acknowledged one came after."""
        acknowledged = [put for put in self.puts if put.acknowledged]
        return [put for put in self.puts if not any(_came_before(put, later, margins) for later in acknowledged)]

    def overdue_s(self, value: bytes, now_s: float) -> float:
        """For how long the life of a value has been over; infinite when nobody put it, negative while it lives."""
        put = self._source(value)
        return now_s - put.life_since_s - put.ttl_s if put else inf

    def _source(self, value: bytes) -> Put | None:
        return next((put for put in self.puts if put.value == value), None)

    def _owed(self, get: Get, margins: Margins, settled: list[Put]) -> Put | None:
        """A put that a get should have brought, or a newer one; None when there may well be nothing."""
        for put in settled:
            if _ends_s(put, margins) > get.ended_s and not any(
                _ends_s(other, margins) <= get.ended_s and not _came_before(other, put, margins)
                for other in self.puts
                if other is not put
            ):
                return put
        return None

    def _replaced(self, put: Put, get: Get, margins: Margins, settled: list[Put]) -> Put | None:
        """What must have taken a put's place when a get began; None when nothing had to."""
        for later in settled:
            if _came_before(put, later, margins) and (
                _ends_s(later, margins) > get.ended_s or not self._was_hidden(put, later)
            ):
                return later
        return None

    def _settled(self, get: Get, apart_since_s: float | None) -> Iterator[Put]:
        """The acknowledged puts that had ended when a get began and that it must know of, the last first."""
        for put in reversed(self.puts):
            known = apart_since_s is None or (put.node == get.node and put.started_s >= apart_since_s)
            if known and put.acknowledged and self.lost_until_s < put.ended_s <= get.started_s:
                yield put

    def _was_hidden(self, put: Put, later: Put) -> bool:
        """Whether a later put may not have met any copy of an earlier one, and so does not outlast it."""
        return any(put.started_s <= exposed_s <= later.ended_s for exposed_s in self.exposed_at_s)


def _ends_s(put: Put, margins: Margins) -> float:
    """Until when a put is sure to live, if nothing replaces it."""
    return put.started_s + put.ttl_s - margins.early_s


def _came_before(put: Put, later: Put, margins: Margins) -> bool:
    """Whether of two puts the second has the newer version for sure; not if it began in the moment the first ended."""
    return put.ended_s + (0.0 if put.node == later.node else margins.stamps_s) < later.started_s and put is not later
