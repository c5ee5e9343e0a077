"""Records and their versions: what a node stores, and which of two copies is the newer one."""

from typing import NamedTuple

COUNTER_BITS = 16
"""The low bits of a stamp count events within one millisecond."""


TTL_S_MAX = 65535
"""The longest life a record can have: what a client can ask for."""


class Version(NamedTuple):
    """A hybrid logical clock stamp and the coordinator that gave it; later wins, ties go to the larger coordinator.

    stamp: milliseconds since the epoch times 2^16, plus a counter; 64 bits. coordinator: a node's identifier.
    Source: Kulkarni et al., "Logical Physical Clocks", 2014.
    """

    stamp: int
    coordinator: int


NO_VERSION = Version(0, 0)
"""Older than every real version."""


class Record(NamedTuple):
    """A value as a node holds it.

    key: 32 bytes. value: 0 to 65,495 bytes. replication: how many nodes should hold it.
    expires_at_s: seconds since the epoch, by the holder's own clock.
    """

    key: bytes
    value: bytes
    version: Version
    expires_at_s: float
    replication: int

    def ttl_ms(self, now_s: float) -> int:
        """What is left of its life in milliseconds, 0 or less when it is over; bounded, should a clock be set back."""
        return min(int((self.expires_at_s - now_s) * 1000), TTL_S_MAX * 1000)


CLOCK_AHEAD_S_MAX = 3600.0
"""A version stamped further ahead of our clock is refused: one wrong clock must not decide all writes to come."""

STAMP_MAX = (1 << 64) - 1


def is_ahead(version: Version, wall_s: float) -> bool:
    """Whether a version was stamped by a clock that is absurdly far ahead of ours (seconds since the epoch)."""
    return (version.stamp >> COUNTER_BITS) / 1000 > wall_s + CLOCK_AHEAD_S_MAX


def next_stamp(last: int, wall_s: float) -> int:
    """The stamp that follows `last` at wall clock `wall_s` (seconds since the epoch): always greater than `last`.

    >>> next_stamp(0, 1.0) >> COUNTER_BITS
    1000
    >>> next_stamp(next_stamp(0, 1.0), 0.5) - next_stamp(0, 1.0)
    1
    """
    return min(max(last + 1, int(wall_s * 1000) << COUNTER_BITS), STAMP_MAX)
