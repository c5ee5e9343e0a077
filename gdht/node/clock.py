"""What time it is for records: the clock that lives are measured by, and the stamps of versions.

Lives are measured by a clock that nobody sets: the wall clock as it was when the machine started, plus what has passed
since. Should the wall clock be wrong or jump, no record dies early or outlives its time for it, also over a restart.

Stamps come from a hybrid logical clock: the wall clock, but always later than every stamp given or seen before. So that
this holds over restarts too, the node writes down beforehand up to which stamp it may have given; it begins after that.
Source: Kulkarni et al., "Logical Physical Clocks", 2014.
"""

import json
import logging
from math import isfinite

from gdht.core.records import COUNTER_BITS, STAMP_MAX, Version, is_ahead, next_stamp
from gdht.core.values import make
from gdht.errors import StoreError
from gdht.node.runtime import Runtime
from gdht.node.storage import Store

log = logging.getLogger(__name__)

NOTE = "clock"
RESERVED_S = 10.0
"""How far ahead stamps are reserved. After a restart, those of this node are at most so far ahead of its wall clock (or
of the latest stamp of others that it had seen), and by AHEAD_RESERVED_S more for each restart just before."""

RESERVED_LEFT_S = 5.0
"""When less than this is left of the reservation, the next one is written."""

AHEAD_RESERVED_S = 0.2
"""The same, counted from the last stamp, while stamps are ahead of the wall clock, as after a restart: at first.
With each further restart before the wall clock has come up to them, they are ahead by so much more, and not by another
RESERVED_S. Twice as much is reserved whenever half of it is used up: beside a node whose clock is ahead."""

RESERVED, RESERVED_LEFT, AHEAD_RESERVED = (
    int(seconds * 1000) << COUNTER_BITS for seconds in (RESERVED_S, RESERVED_LEFT_S, AHEAD_RESERVED_S)
)
"""All of them in stamps."""


class Clock:
    """The clocks of one node. error: why the last reservation is not on the disk; None when it is, or under way.

    offset_s: of the clock of lives, from the Runtime's.
    """

    def __init__(self, rt: Runtime, ident: int, store: Store) -> None:
        self._now, self._wall = rt.now, rt.wall
        self._boot = rt.boot
        self._ident = ident
        self._store = store
        self.error: StoreError | None = None
        self._logged = ""
        self.offset_s = rt.wall() - rt.now()
        self._last_stamp = self._reserved = self._asked_for = 0
        self._ahead = AHEAD_RESERVED
        self._recall()
        self._write_down(self._last_stamp)  # the records of this run are kept by this clock, from the first on

    def wall_s(self) -> float:
        """The wall clock: seconds since the epoch, for people. Switches: no."""
        return self._wall()

    def lives_s(self) -> float:
        """The clock of lives: seconds since the epoch, more or less. Switches: no."""
        return self._now() + self.offset_s

    def is_ahead(self, version: Version) -> bool:
        """Whether a version was stamped by a clock that is absurdly far ahead of our wall clock."""
        return is_ahead(version.stamp, self._wall())

    def stamp(self) -> Version:
        """A version newer than every one this node has given or seen. Switches: no."""
        wall_s, last = self._wall(), self._last_stamp
        stamp = next_stamp(last, wall_s)
        if stamp <= last + 1 and is_ahead(last, wall_s):
            stamp = next_stamp(0, wall_s)  # our own clock was wrong and has been set back
        self._last_stamp = stamp
        return make(Version, (stamp, self._ident))

    def observe(self, version: Version) -> bool:
        """Remember a version somebody else gave, so that ours will be newer; False when it is from far in the future.

        Switches: no.
        """
        stamp = version.stamp
        if is_ahead(stamp, self._wall()):
            return False
        if stamp > self._last_stamp:
            self._last_stamp = stamp
        return True

    def reserve(self) -> bool:
        """See to it that stamps are reserved; whether the next one is, durably, by now. Switches: no."""
        wall_s = self._wall()
        due = next_stamp(self._last_stamp, wall_s)
        if due > self._asked_for - RESERVED_LEFT:
            self._reserve_more(due, next_stamp(0, wall_s))
        return due <= self._reserved

    def _reserve_more(self, due: int, wall: int) -> None:
        """Write down the next reservation, when it is time. due: the next stamp; wall: what it were by the clock."""
        is_used_up = self._asked_for < due + self._ahead // 2
        if is_used_up and self._asked_for:
            self._ahead = min(2 * self._ahead, RESERVED)
        if is_used_up or self._asked_for < wall + RESERVED_LEFT:
            self._asked_for = min(max(self._reserved, wall + RESERVED, due + self._ahead), STAMP_MAX)
            self._write_down(self._asked_for)

    def _write_down(self, stamp: int) -> None:
        self.error = None
        note = {"boot": self._boot, "offset_s": self.offset_s, "reserved": stamp}
        try:
            self._store.write_note(NOTE, json.dumps(note).encode())
        except StoreError as error:
            self._settle(stamp, error)
            return
        commit = self._store.pending
        if commit is None:
            self._settle(stamp, None)
        else:
            commit.when_ended(lambda error: self._settle(stamp, error))

    def _settle(self, stamp: int, error: StoreError | None) -> None:
        self.error = error
        if error is None:
            self._reserved = max(self._reserved, stamp)
        else:
            self._asked_for = 0
        if str(error or "") != self._logged:
            self._logged = str(error or "")
            log.warning("stamps of versions: %s", error or "reserved again")

    def _recall(self) -> None:
        """Go on from where the last run was, as far as it wrote that down and this run can tell."""
        try:
            note = json.loads(self._store.note(NOTE) or b"{}")
            boot, offset_s, reserved = note.get("boot"), float(note.get("offset_s", 0)), int(note.get("reserved", 0))
        except (ValueError, TypeError, AttributeError):
            log.warning("what the store says of the clock is no use: %r", self._store.note(NOTE)[:80])
            return
        if boot == self._boot and isfinite(offset_s):
            self.offset_s = offset_s  # `now` counts from the same moment as in that run
        if 0 < reserved <= STAMP_MAX and not is_ahead(reserved, self._wall()):
            self._last_stamp = reserved
