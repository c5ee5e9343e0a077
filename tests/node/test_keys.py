"""What the answers of several nodes about one key come to."""

import pytest

from gdht.core.messages import P2pReplyStat
from gdht.core.peer import Peer
from gdht.core.records import NO_VERSION, Version
from gdht.node.keys import Holder, KeyReport

KEY = bytes(32)
OLD, NEW = Version(1, 9), Version(2, 3)
ONE, OTHER = bytes([1] * 32), bytes([2] * 32)


def holder(ident, version=NEW, digest=ONE, role="replica"):
    """A node's answer. version None: it holds nothing; digest None: it remembers the version of a dead record."""
    held = version is not None and digest is not None
    stat = P2pReplyStat(
        KEY, held, 1000 * held, 3 * held, version or NO_VERSION, 5 * held, digest if held else bytes(32)
    )
    return Holder(Peer(ident, f"10.0.0.{ident}:1"), role, stat)


SILENT = Holder(Peer(7, "10.0.0.7:1"), "replica", None, "timed out")


def conditions(*holders):
    report = KeyReport(KEY, holders)
    return [report.condition(one) for one in holders]


@pytest.mark.parametrize(
    ("holders", "expected"),
    [
        ((holder(1), holder(2)), ["holds", "holds"]),
        ((holder(1), holder(2, OLD)), ["holds", "stale"]),
        ((holder(1, OLD), holder(2)), ["stale", "holds"]),
        ((holder(1), holder(2, None), SILENT), ["holds", "lacks", "silent"]),
        ((holder(1), holder(2, OLD, None)), ["holds", "tombstone"]),
        ((holder(1, NEW, None), holder(2, OLD)), ["tombstone", "stale"]),
        ((holder(1), holder(2, digest=OTHER), holder(3)), ["holds", "differs", "holds"]),
        ((holder(1, digest=OTHER), holder(2), holder(3)), ["differs", "holds", "holds"]),
        ((holder(1, digest=OTHER), holder(2)), ["holds", "differs"]),
        ((holder(1, OLD, OTHER), holder(2)), ["stale", "holds"]),
    ],
)
def test_each_node_is_told_what_it_has(holders, expected):
    assert conditions(*holders) == expected


@pytest.mark.parametrize(
    ("holders", "agree"),
    [
        ((holder(1), holder(2)), True),
        ((holder(1), holder(2, digest=OTHER)), False),
        ((holder(1), holder(2, OLD, OTHER)), True),  # another version may have another value
        ((holder(1), holder(2, None), SILENT), True),
        ((holder(1, None), SILENT), None),
        ((holder(1, NEW, None), holder(2, OLD)), None),
    ],
)
def test_checksums_agree_when_all_copies_of_the_newest_version_are_the_same(holders, agree):
    assert KeyReport(KEY, holders).checksums_agree is agree


def test_the_newest_version_may_be_known_from_a_tombstone_alone():
    assert KeyReport(KEY, (holder(1, NEW, None), holder(2, OLD))).newest == NEW
    assert KeyReport(KEY, ()).newest == NO_VERSION
