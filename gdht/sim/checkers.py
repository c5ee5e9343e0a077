"""What a simulation demands of a ring beyond its invariant (`gdht.core.invariant`): records where they belong."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from gdht.core.ident import key_ident
from gdht.core.invariant import Violation
from gdht.core.records import Version
from gdht.errors import GdhtError

Copies = Mapping[int, Mapping[bytes, Version]]
"""What each live node holds, by identifier: versions by key."""


class InvariantViolated(GdhtError):
    """A checker found something."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(map(str, self.violations)))


def check_replicas(copies: Copies, replication: Mapping[bytes, int]) -> list[Violation]:
    """Every record is on its owner and the nodes after it in its newest version, and nowhere else.

    replication: for each key on how many nodes its record should be.
    """
    order = sorted(copies)
    found = []
    for key, wanted in replication.items():
        held = {ident: versions[key] for ident, versions in copies.items() if key in versions}
        newest = max(held.values(), default=None)
        owner = bisect_left(order, key_ident(key))
        expected = [order[(owner + step) % len(order)] for step in range(min(wanted, len(order)))]
        lacking = tuple(ident for ident in expected if newest is None or held.get(ident) != newest)
        misplaced = tuple(sorted(set(held) - set(expected)))
        if lacking:
            found.append(Violation("replica_lacking", lacking, f"key {key.hex()[:8]}, {len(held)} copies in all"))
        if misplaced:
            found.append(Violation("replica_misplaced", misplaced, f"key {key.hex()[:8]}"))
    return found
