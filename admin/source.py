"""Where every answer of the admin port comes from: the node's snapshot, its journal, its questions to the ring.

Only this file calls the node. Walks and checks are shared: several open pages cost the ring no more than one. Who makes
a long answer of them does so in turns, and lets the node work in between.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from gdht.core.placement import Role
from gdht.errors import GdhtError
from gdht.node.failures import FailedRequest
from gdht.node.journal import Event
from gdht.node.keys import KeyPage, KeyReport
from gdht.node.pace import Pace
from gdht.node.status import NodeStatus, RingCheck, Trace, Walk

FRESH_S = 1.0
"""An answer of the ring this young is handed out again."""

STALE_S_MAX = 15.0
"""While a newer answer is under way, others get the last one if it is not older than this."""

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


class Queries(Protocol):
    """What the pages may ask of the ring; each may raise GdhtError. Switches: yes."""

    def walk(self) -> Walk:
        """Every node, clockwise from this one, bounded in nodes and time."""

    def check(self) -> RingCheck:
        """What is wrong with the ring, bounded in nodes and time."""

    def events(self, since: int) -> tuple[Event, ...]:
        """What happened to the pointers after event number `since`, oldest first. Switches: no."""

    def where(self, key: bytes) -> KeyReport:
        """Who should hold a key (32 bytes) and who does."""

    def keys(self, role: Role | None, after: bytes, limit: int) -> KeyPage:
        """At most `limit` of the keys this node keeps, in order, after the key `after` (empty: from the first)."""

    def failures(self) -> tuple[FailedRequest, ...]:
        """Recent requests of clients of this node that did not succeed, newest last. Switches: no."""

    def trace(self, ident: int) -> Trace:
        """A lookup of a place on the ring, step by step."""


class SnapshotFailed(GdhtError):
    """The node could not describe itself; the log says why."""

    retriable = True


@dataclass(frozen=True, slots=True)
class Dated(Generic[Answer]):
    """An answer and when it was there, in seconds of the monotonic clock."""

    answer: Answer
    ended_at_s: float

    def age_s(self) -> float:
        """How long ago that was."""
        return time.monotonic() - self.ended_at_s


class Shared(Generic[Answer]):
    """A question to the ring whose answer is good for all who ask at about the same time.

    No lock: requests may be greenlets of one thread, where a thread's lock would stop them all. Only those that come
    while the very first question is under way ask for themselves.
    """

    def __init__(self, ask: Callable[[], Answer]) -> None:
        self._ask = ask
        self._last: Dated[Answer] | None = None
        self._under_way = 0

    def __call__(self) -> Answer:
        """An answer at most FRESH_S old, or up to STALE_S_MAX while the next one is under way. Switches: yes."""
        last = self._last
        if last is not None and last.age_s() < (STALE_S_MAX if self._under_way else FRESH_S):
            return last.answer
        self._under_way += 1
        try:
            answer = self._ask()
        finally:
            self._under_way -= 1
        self._last = Dated(answer, time.monotonic())
        return answer


class Source:
    """The node as the admin port sees it. walk, check: the ring as it was a moment ago. Switches: those two do.

    give_way: lets others run.
    """

    def __init__(self, status: Callable[[], NodeStatus], queries: Queries, give_way: Callable[[], None]) -> None:
        self._status = status
        self._queries = queries
        self._give_way = give_way
        self.walk: Shared[Walk] = Shared(queries.walk)
        self.check: Shared[RingCheck] = Shared(queries.check)

    def turns(self) -> Pace:
        """For one who begins to make an answer. Switches: no, but its methods do."""
        return Pace(time.perf_counter, self._give_way)

    def status(self) -> NodeStatus:
        """A fresh snapshot. Raises: SnapshotFailed (answer 503). Switches: no."""
        try:
            return self._status()
        except Exception as error:
            logger.exception("the node's snapshot failed")
            raise SnapshotFailed(f"the node cannot describe itself: {type(error).__name__}") from error

    def events(self, since: int) -> tuple[Event, ...]:
        """The events after that number, as far as they are remembered, oldest first. Switches: no."""
        return self._queries.events(since)

    def where(self, key: bytes) -> KeyReport:
        """Who should hold a key and who does. Switches: yes."""
        return self._queries.where(key)

    def keys(self, role: Role | None, after: bytes, limit: int) -> KeyPage:
        """Some of the keys this node keeps, of one role or all, in order. Switches: yes."""
        return self._queries.keys(role, after, limit)

    def failures(self, key: bytes | None = None) -> tuple[FailedRequest, ...]:
        """Recent requests that did not succeed, of one key or all, newest first. Switches: no."""
        return tuple(one for one in reversed(self._queries.failures()) if key in (None, one.key))

    def trace(self, ident: int) -> Trace:
        """A lookup step by step. Switches: yes."""
        return self._queries.trace(ident)
