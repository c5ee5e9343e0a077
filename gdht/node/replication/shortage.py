"""Which owned records have too few replicas, as of the last round of repair, and since when.

A replica that does not answer stands for all the records that it should hold: those are counted by digests, not listed.
"""

from collections.abc import Mapping
from math import inf
from typing import NamedTuple

from gdht.node.pace import STEADY, Pace


class Listed(NamedTuple):
    """A record that some replica lacks. noticed_s: when that was found out, by the monotonic clock."""

    replication: int
    noticed_s: float


class Shortage:
    """What a node knows to be under-replicated. count: how many records, each once."""

    def __init__(self) -> None:
        self.count = 0
        self._listed: dict[bytes, Listed] = {}
        self._all_from: int | None = None
        self._all_noticed_s = 0.0
        self._oldest_s = inf

    def update(
        self,
        now_s: float,
        lacking: Mapping[bytes, int],
        all_from: int | None = None,
        counted: int = 0,
        turns: Pace = STEADY,
    ) -> None:
        """Take in the outcome of a round. Switches: as `turns` does, before anything is changed.

        lacking: replication by key of the records that a replica lacks. all_from: so many copies and more have the
        records of which a replica did not answer, None: all did. counted: how many records those are.
        """
        if not counted:
            all_from = None
        before, since_s = self._listed, self._noticed_all_s(now_s, all_from, turns)
        listed: dict[bytes, Listed] = {}
        oldest_s = inf if all_from is None else since_s
        for key, replication in turns.over(lacking.items()):
            if all_from is None or replication < all_from:
                noticed_s = self._noticed_s(before.get(key), replication, now_s)
                listed[key] = Listed(replication, noticed_s)
                oldest_s = min(oldest_s, noticed_s)
        self._listed, self._oldest_s = listed, oldest_s
        self._all_from, self._all_noticed_s = all_from, since_s
        self.count = len(listed) + counted

    def oldest_s(self, now_s: float) -> float:
        """How long the first of them has been so; 0 when there is none."""
        return 0.0 if self._oldest_s == inf else now_s - self._oldest_s

    def _noticed_s(self, listed: Listed | None, replication: int, now_s: float) -> float:
        if listed:
            return listed.noticed_s
        was_among_all = self._all_from is not None and replication >= self._all_from
        return self._all_noticed_s if was_among_all else now_s

    def _noticed_all_s(self, now_s: float, all_from: int | None, turns: Pace) -> float:
        if all_from is None:
            return now_s
        noticed_s = now_s if self._all_from is None else self._all_noticed_s
        for listed in turns.over(self._listed.values()):
            if listed.replication >= all_from:
                noticed_s = min(noticed_s, listed.noticed_s)
        return noticed_s
