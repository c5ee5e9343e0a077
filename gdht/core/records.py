"""Records and their versions: what a node stores, and which of two copies is the newer one."""

from typing import NamedTuple

COUNTER_BITS = 16
"""The low bits of a stamp count events within one millisecond."""


TTL_S_MAX = 65535
TTL_MS_MAX = TTL_S_MAX * 1000
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
    expires_at_s: seconds since the epoch, by the holder's own clock of lives (`gdht.node.clock`).
    tombstone_until_s: by the same clock, how long a copy of an older version may live somewhere. When its own life ends
    before that, it stays until then as a tombstone, without its value, so that no older one comes back. 0: none does.
    is_tombstone: it has come to that.
    """

    key: bytes
    value: bytes
    version: Version
    expires_at_s: float
    replication: int
    tombstone_until_s: float = 0.0
    is_tombstone: bool = False

    @property
    def kept_until_s(self) -> float:
        """When nothing of it is needed any more."""
        return max(self.expires_at_s, self.tombstone_until_s)

    def lives(self, now_s: float) -> bool:
        """Whether it may be served; a tombstone may not."""
        return self.expires_at_s > now_s and not self.is_tombstone

    def buried(self) -> "Record":
        """What stays of it as a tombstone."""
        return self._replace(value=b"", expires_at_s=0.0, is_tombstone=True)

    def ttl_ms(self, now_s: float) -> int:
        """What is left of its life in milliseconds, 0 or less when it is over; bounded, should a clock be set back."""
        return _left_ms(self.expires_at_s, now_s)

    def tombstone_ms(self, now_s: float) -> int:
        """How long it must be kept from being replaced by older versions, in milliseconds, 0 or less: not at all."""
        return _left_ms(self.tombstone_until_s, now_s)


def _left_ms(until_s: float, now_s: float) -> int:
    return min(int((until_s - now_s) * 1000), TTL_MS_MAX)


def left_ms(until_s: float, now_s: float) -> int:
    """What is left until some time, in milliseconds; 0 when it is over; bounded as lives are."""
    return max(_left_ms(until_s, now_s), 0)


CLOCK_AHEAD_S_MAX = 3600.0
"""A version stamped further ahead of our clock is refused: one wrong clock must not decide all writes to come."""

STAMP_MAX = (1 << 64) - 1


def is_ahead(stamp: int, wall_s: float) -> bool:
    """Whether a stamp is of a clock that is absurdly far ahead of ours (seconds since the epoch)."""
    return (stamp >> COUNTER_BITS) / 1000 > wall_s + CLOCK_AHEAD_S_MAX


def next_stamp(last: int, wall_s: float) -> int:
    """The stamp that follows `last` at wall clock `wall_s` (seconds since the epoch): always greater than `last`.

    >>> next_stamp(0, 1.0) >> COUNTER_BITS
    1000
    >>> next_stamp(next_stamp(0, 1.0), 0.5) - next_stamp(0, 1.0)
    1
    """
    stamp = int(wall_s * 1000) << COUNTER_BITS
    if stamp <= last:
        stamp = last + 1
    return stamp if stamp < STAMP_MAX else STAMP_MAX
