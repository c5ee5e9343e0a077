"""What was written, what of it was acknowledged, and so what may be read: the judge of the durability tests.

Each key has one writer, which sends its next write of that key when the one before has ended, always through the same
node. So the writes of a key have an order, and what may be read follows from it; no clock of a node is asked.
Instants are seconds of `time.monotonic`.
"""

import math
from dataclasses import dataclass, field

VALUE_BYTES = 100

CALLS_S = 3.0
"""By how much copies outlive their record at most: each time they are handed on may add the time of the call."""


@dataclass(eq=False)
class Write:
    """One put. ended_at_s: when its answer came or its connection broke; infinite while it is under way."""

    value: bytes
    ttl_s: int
    sent_at_s: float
    ended_at_s: float = math.inf

    def surely_lives(self, now_s: float) -> bool:
        """Whether its life cannot be over yet."""
        return now_s < self.sent_at_s + self.ttl_s


@dataclass
class Account:
    """The writes of one key that still count, oldest first: the last acknowledged one and all later ones, in doubt.

    settled: whether the first of them was acknowledged.
    """

    writes: list[Write] = field(default_factory=list)
    settled: bool = False
    numbered: int = 0


class Ledger:
    """All writes of a test. calls_s: how long a call between nodes takes at most, where their processes are stopped."""

    def __init__(self, calls_s: float = CALLS_S) -> None:
        self._calls_s = calls_s
        self.accounts: dict[bytes, Account] = {}
        self.acknowledged = self.refused = self.broken = 0
        self._touched: dict[bytes, None] = {}

    def begin(self, key: bytes, ttl_s: int, now_s: float) -> Write:
        """A put is about to be sent; its value is unlike every other."""
        account = self.accounts.setdefault(key, Account())
        account.numbered += 1
        text = f"{key.hex()[:16]} write {account.numbered} for {ttl_s} s "
        write = Write(text.encode().ljust(VALUE_BYTES, b"."), ttl_s, now_s)
        account.writes.append(write)
        self._touched[key] = None
        return write

    def acknowledge(self, key: bytes, write: Write, now_s: float) -> None:
        """SUCCESS: from now on nothing older may be read."""
        account = self.accounts[key]
        assert account.writes[-1] is write, "the next write of a key is sent when the one before has ended"
        write.ended_at_s = now_s
        account.writes = [write]
        account.settled = True
        self.acknowledged += 1

    def refuse(self, write: Write, now_s: float) -> None:
        """FAILURE: it may be stored all the same."""
        write.ended_at_s = now_s
        self.refused += 1

    def lose(self, write: Write, now_s: float) -> None:
        """The connection broke before the answer: it may be stored."""
        write.ended_at_s = now_s
        self.broken += 1

    def take_touched(self) -> list[bytes]:
        """The keys written since this was last asked."""
        touched, self._touched = [*self._touched], {}
        return touched

    # Judgement -------------------------------------------------------------------------------------------------------

    def wrong(self, key: bytes, value: bytes | None, asked_at_s: float) -> str:
        """What is wrong with reading this value under a key, whatever has failed meanwhile; empty: nothing."""
        if value is None:
            return ""
        write = next((write for write in self.accounts[key].writes if write.value == value), None)
        if write is None:
            return f"{_told(value)} was read, {self._expected(key)}"
        if asked_at_s > write.ended_at_s + write.ttl_s + self._calls_s:
            return f"{_told(value)} was read {asked_at_s - write.ended_at_s:.1f} s after it was put"
        return ""

    def missing(self, key: bytes, value: bytes | None, answered_at_s: float) -> str:
        """What should have been read when nothing was; empty: nothing had to be. A later answer may still be right."""
        account = self.accounts[key]
        if value is not None or not account.settled:
            return ""
        if not all(write.surely_lives(answered_at_s) for write in account.writes):
            return ""  # also when one in doubt with a short life may have replaced the acknowledged one
        return f"nothing was read, {self._expected(key)}"

    def _expected(self, key: bytes) -> str:
        account = self.accounts[key]
        first, *later = [_told(write.value) for write in account.writes]
        known = f"{first} is {'acknowledged' if account.settled else 'in doubt'}"
        return f"{known}, in doubt: {', '.join(later)}" if later else known


def _told(value: bytes) -> str:
    return repr(value.rstrip(b".").decode(errors="replace"))
