"""Crowded leaves against a plain sum over their records, however alike the keys are and in any order of changes."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdht.core import crowds
from gdht.core.crowds import PART_MAX, WHOLE, Crowd
from gdht.core.digests import LEAF_SHIFT, packed_of
from gdht.core.ident import ident_bytes, key_ident
from gdht.core.records import Record, Version

LEAF = 0xABCD
FIRST, LAST = LEAF << LEAF_SHIFT, (LEAF + 1 << LEAF_SHIFT) - 1

tails = st.builds(lambda head, low: (head << 232 | low) & (1 << LEAF_SHIFT) - 1, st.integers(0, 3), st.integers(0, 3))
keys = st.one_of(tails, st.integers(0, (1 << LEAF_SHIFT) - 1)).map(lambda low: ident_bytes(FIRST | low))
records = st.builds(
    Record, keys, st.just(b""), st.builds(Version, st.integers(0, 3), st.just(7)), st.just(0.0), st.integers(1, 3)
)
sets = st.lists(records, max_size=12, unique_by=lambda record: record.key).map(sorted)


def counted(record: Record) -> int:
    return packed_of(record, 100)


def crowd_of(kept: list[Record]) -> Crowd:
    crowd = Crowd(LEAF)
    crowd.divide(WHOLE, kept, counted)
    return crowd


def sum_of(kept: list[Record], first: int, last: int, replication: int) -> int:
    inside = [record for record in kept if first <= key_ident(record.key) <= last]
    return sum(counted(record) for record in inside if record.replication >= replication)


def require_right(crowd: Crowd, kept: list[Record], first: int, last: int, replication: int) -> None:
    edges: list[tuple[int, int]] = []
    packed = crowd.cover(first, last, replication, edges)
    left = sum(sum_of(kept, *edge, replication) for edge in edges)
    assert packed + left == sum_of(kept, first, last, replication)
    for edge in edges:
        assert first <= edge[0] <= edge[1] <= last


@pytest.fixture
def tiny(monkeypatch):
    """Parts of more than one record are divided."""
    monkeypatch.setattr(crowds, "PART_MAX", 1)


@given(sets, keys, keys, st.integers(1, 4))
def test_any_range_is_the_sum_over_its_records(kept, one, other, replication):
    first, last = sorted(map(key_ident, (one, other)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crowds, "PART_MAX", 1)
        crowd = crowd_of(kept)
        require_right(crowd, kept, first, last, replication)
        require_right(crowd, kept, FIRST, LAST, replication)


@given(sets, sets, keys, keys)
def test_changes_in_any_order_keep_the_sums_right(before, after, one, other):
    first, last = sorted(map(key_ident, (one, other)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crowds, "PART_MAX", 2)
        crowd = crowd_of(before)
        changes = [(record, -1) for record in before] + [(record, 1) for record in after]
        Random(len(before)).shuffle(changes)
        for record, sign in changes:
            crowd.add(record.key, record.replication, sign * counted(record))
        require_right(crowd, after, first, last, 1)
        require_right(crowd, after, first, last, 2)
        assert crowd.records == len(after)


@pytest.mark.parametrize("shared", [2, 5, 29])
def test_what_is_left_at_the_ends_is_little_whatever_the_keys_share(shared):
    rng = Random(1)
    head = ident_bytes(FIRST)[:2] + bytes(shared - 2)
    kept = sorted({Record(head + rng.randbytes(32 - shared), b"", Version(1, 1), 0.0, 3) for _ in range(3000)})
    crowd = crowd_of(kept)
    for _ in range(100):
        first, last = sorted(key_ident(record.key) for record in rng.sample(kept, 2))
        edges: list[tuple[int, int]] = []
        crowd.cover(first, last, 1, edges)
        assert (
            sum(sum(one <= key_ident(record.key) <= other for record in kept) for one, other in edges) <= 2 * PART_MAX
        )


def test_the_last_part_says_that_it_is_too_large_and_one_that_became_small_is_no_longer_divided(tiny):
    kept = [Record(ident_bytes(FIRST | low), b"", Version(1, 1), 0.0, 3) for low in range(3)]
    crowd = crowd_of(kept[:1])
    assert crowd.smallest(kept[0].key) == WHOLE
    assert crowd.add(kept[1].key, 3, counted(kept[1]))
    crowd = crowd_of(kept)
    assert crowd.bounds(crowd.smallest(kept[1].key)) == (FIRST | 1, FIRST | 1)
    for record in kept:
        crowd.add(record.key, 3, -counted(record))
    assert crowd.smallest(kept[0].key) == WHOLE
    assert (crowd.sums(WHOLE), crowd._sums) == ({}, {})


def test_a_part_that_is_divided_anew_counts_what_is_there():
    kept = [Record(ident_bytes(FIRST | low), b"", Version(1, 1), 0.0, 3) for low in range(100)]
    crowd = crowd_of(kept)
    part = crowd.smallest(kept[0].key)
    for _ in range(2):
        crowd.divide(part, [record for record in kept if crowd.smallest(record.key) == part], counted)
    require_right(crowd, kept, FIRST, FIRST | 57, 1)
