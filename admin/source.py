"""Where every answer of the admin port comes from: the node's snapshot and its three questions to the ring.

Only this file calls the node. A walk is shared: several open pages cost the ring no more than one.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gdht.errors import GdhtError
from gdht.node.status import KeyReport, NodeStatus, Trace, Walk

WALK_FRESH_S = 1.0
"""A walk this young is handed out again."""

WALK_STALE_S_MAX = 15.0
"""While a newer walk is under way, others get the last one if it is not older than this."""

logger = logging.getLogger(__name__)


class Queries(Protocol):
    """What the pages may ask of the ring; each may raise GdhtError. Switches: yes."""

    def walk(self) -> Walk:
        """Every node, clockwise from this one, bounded in nodes and time."""

    def where(self, key: bytes) -> KeyReport:
        """Who should hold a key (32 bytes) and who does."""

    def trace(self, ident: int) -> Trace:
        """A lookup of a place on the ring, step by step."""


class SnapshotFailed(GdhtError):
    """The node could not describe itself; the log says why."""

    retriable = True


@dataclass(frozen=True, slots=True)
class DatedWalk:
    """A walk and when it ended, in seconds of the monotonic clock."""

    walk: Walk
    ended_at_s: float

    def age_s(self) -> float:
        """How long ago it ended."""
        return time.monotonic() - self.ended_at_s


class Source:
    """The node as the admin port sees it."""

    def __init__(self, status: Callable[[], NodeStatus], queries: Queries) -> None:
        self._status = status
        self._queries = queries
        self._last: DatedWalk | None = None
        self._walks_under_way = 0

    def status(self) -> NodeStatus:
        """A fresh snapshot. Raises: SnapshotFailed (answer 503). Switches: no."""
        try:
            return self._status()
        except Exception as error:
            logger.exception("the node's snapshot failed")
            raise SnapshotFailed(f"the node cannot describe itself: {type(error).__name__}") from error

    def walk(self) -> Walk:
        """The ring as seen at most a second ago, or a little longer while a walk is under way. Switches: yes.

        No lock: requests may be greenlets of one thread, where a thread's lock would stop them all. Only those that
        come while the very first walk is under way start their own.
        """
        last = self._last
        if last is not None:
            age_s_max = WALK_STALE_S_MAX if self._walks_under_way else WALK_FRESH_S
            if last.age_s() < age_s_max:
                return last.walk
        self._walks_under_way += 1
        try:
            walk = self._queries.walk()
        finally:
            self._walks_under_way -= 1
        self._last = DatedWalk(walk, time.monotonic())
        return walk

    def where(self, key: bytes) -> KeyReport:
        """Who should hold a key and who does. Switches: yes."""
        return self._queries.where(key)

    def trace(self, ident: int) -> Trace:
        """A lookup step by step. Switches: yes."""
        return self._queries.trace(ident)
