"""Which owned records have too few replicas, as of the last round of repair, and since when.

A replica that does not answer stands for all the records that it should hold: those are counted by digests, not listed.
"""

from collections.abc import Mapping
from typing import NamedTuple


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

    def update(self, now_s: float, lacking: Mapping[bytes, int], all_from: int | None = None, counted: int = 0) -> None:
        """Take in the outcome of a round.

        lacking: replication by key of the records that a replica lacks. all_from: so many copies and more have the
        records of which a replica did not answer, None: all did. counted: how many records those are.
        """
        if not counted:
            all_from = None
        before, since_s = self._listed, self._noticed_all_s(now_s, all_from)
        self._listed = {
            key: Listed(replication, self._noticed_s(before.get(key), replication, now_s))
            for key, replication in lacking.items()
            if all_from is None or replication < all_from
        }
        self._all_from, self._all_noticed_s = all_from, since_s
        self.count = len(self._listed) + counted

    def oldest_s(self, now_s: float) -> float:
        """How long the first of them has been so; 0 when there is none."""
        noticed_s = [listed.noticed_s for listed in self._listed.values()]
        if self._all_from is not None:
            noticed_s.append(self._all_noticed_s)
        return now_s - min(noticed_s, default=now_s)

    def _noticed_s(self, listed: Listed | None, replication: int, now_s: float) -> float:
        if listed:
            return listed.noticed_s
        was_among_all = self._all_from is not None and replication >= self._all_from
        return self._all_noticed_s if was_among_all else now_s

    def _noticed_all_s(self, now_s: float, all_from: int | None) -> float:
        if all_from is None:
            return now_s
        noticed_s = [listed.noticed_s for listed in self._listed.values() if listed.replication >= all_from]
        if self._all_from is not None:
            noticed_s.append(self._all_noticed_s)
        return min(noticed_s, default=now_s)
