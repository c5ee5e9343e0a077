"""Digests of arcs against a plain sum over the records, and the tree against any order of changes."""

from bisect import bisect_left, bisect_right
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdht.core.digests import (
    LEAF_SHIFT,
    LEAVES,
    NOTHING,
    TOTALS,
    Digest,
    DigestTree,
    digest_of,
    entry_hash,
    leaf_of,
    plain_ranges,
)
from gdht.core.ident import IDENTS, ident_bytes, in_open_closed, key_ident
from gdht.core.records import Record, Version

edges = st.sampled_from([0, 1, LEAVES - 1, LEAVES >> 1, 16, 255, 256, 4095, 4096])
leaves = edges | st.integers(0, LEAVES - 1)
inner = st.sampled_from([0, 1, (1 << LEAF_SHIFT) - 1]) | st.integers(0, (1 << LEAF_SHIFT) - 1)
idents = st.builds(lambda leaf, low: leaf << LEAF_SHIFT | low, leaves, inner)
records = st.builds(
    Record,
    idents.map(ident_bytes),
    st.just(b""),
    st.builds(Version, st.integers(0, 3), st.integers(0, 3)),
    st.just(0.0),
    st.integers(1, 4),
    is_tombstone=st.booleans(),
)
sets = st.lists(records, max_size=30, unique_by=lambda record: record.key)


def digest(record: Record) -> Digest:
    return digest_of(record, 100 + record.replication)


def tree_of(kept: list[Record]) -> DigestTree:
    tree = DigestTree()
    for record in kept:
        tree.change(record.replication, leaf_of(record.key), NOTHING, digest(record))
    return tree


def sum_of(kept: list[Record]) -> Digest:
    total = NOTHING
    for record in kept:
        total = total.plus(digest(record))
    return total


@given(sets, idents, idents, st.integers(1, 5))
def test_the_digest_of_any_arc_is_the_sum_over_its_records(kept, start, end, replication):
    cover = tree_of(kept).cover(start, end, replication)
    enough = [record for record in kept if record.replication >= replication]
    left = [r for r in enough if any(first <= key_ident(r.key) <= last for first, last in cover.edges)]
    expected = sum_of([record for record in enough if in_open_closed(key_ident(record.key), start, end)])
    assert cover.digest.plus(sum_of(left)) == expected


@given(sets, idents, idents)
def test_what_is_left_at_the_ends_is_less_than_two_leaves_and_within_the_arc(kept, start, end):
    cover = tree_of(kept).cover(start, end)
    assert sum(last - first + 1 for first, last in cover.edges) < 2 << LEAF_SHIFT
    for first, last in cover.edges:
        assert first <= last
        assert in_open_closed(first, start, end)
        assert in_open_closed(last, start, end)


@given(sets, idents, idents)
def test_an_arc_is_so_many_ranges_that_each_place_is_in_at_most_one(kept, start, end):
    ranges = sorted(plain_ranges(start, end))
    assert sum(last - first + 1 for first, last in ranges) == ((end - start) % IDENTS or IDENTS)
    assert all(one[1] < other[0] for one, other in pairwise(ranges))
    for ident in [start, end, *(key_ident(record.key) for record in kept)]:
        assert any(first <= ident <= last for first, last in ranges) == in_open_closed(ident, start, end)


@given(sets, st.data())
def test_taking_records_out_in_any_order_leaves_the_tree_as_if_they_had_never_been(kept, data):
    tree = tree_of(kept)
    gone = data.draw(st.permutations(kept))[: len(kept) // 2]
    for record in gone:
        tree.change(record.replication, leaf_of(record.key), digest(record), NOTHING)
    left = tree_of([record for record in kept if record not in gone])
    assert sorted(tree.leaves()) == sorted(left.leaves())
    for replication in range(1, 6):
        assert tree.cover(0, 0, replication).digest == left.cover(0, 0, replication).digest


@given(sets)
def test_a_tree_made_of_saved_leaves_goes_on_as_the_first_one(kept):
    first = tree_of(kept)
    second = DigestTree()
    for replication, leaf, saved in first.leaves():
        assert first.leaf(replication, leaf) == saved
        second.change(replication, leaf, NOTHING, saved)
    for record in kept:
        assert second.cover(0, 0).digest == first.cover(0, 0).digest
        for tree in (first, second):
            tree.change(record.replication, leaf_of(record.key), digest(record), NOTHING)
    assert list(second.leaves()) == []
    assert second.cover(5, 5).digest == NOTHING


def test_sums_that_pass_their_modulus_disturb_no_other_field():
    tree = DigestTree()
    large = Digest(1, TOTALS - 1, 0, 7)
    for _ in range(5):
        tree.change(3, 9, NOTHING, large)
    assert tree.leaf(3, 9) == Digest(5, TOTALS - 5, 0, 35)
    tree.change(3, 9, Digest(4, TOTALS - 1, 0, 1), NOTHING)
    assert tree.leaf(3, 9) == Digest(1, TOTALS - 4, 0, 34)


def test_one_record_replaces_another_in_one_step():
    old = Record(ident_bytes(5), b"", Version(1, 1), 0.0, 3)
    new = old._replace(version=Version(2, 1), is_tombstone=True)
    tree = tree_of([old])
    tree.change(3, leaf_of(old.key), digest(old), digest(new))
    assert tree.cover(0, 0).digest == digest(new)
    assert digest(new).tombstones == 1


@pytest.mark.parametrize(
    "changed",
    [{"key": ident_bytes(6)}, {"version": Version(1, 2)}, {"version": Version(2, 1)}, {"replication": 4}],
)
def test_records_that_differ_in_key_version_or_replication_have_different_hashes(changed):
    record = Record(ident_bytes(5), b"", Version(1, 1), 0.0, 3)
    assert digest(record).total != digest(record._replace(**changed)).total


def test_what_two_nodes_may_differ_in_is_not_in_the_sum():
    record = Record(ident_bytes(5), b"abc", Version(1, 1), 10.0, 3)
    other = record.buried()._replace(expires_at_s=11.0, tombstone_until_s=12.0)
    assert digest(record).total == digest(other).total


def test_the_hash_of_an_entry_is_what_other_nodes_compute():
    assert (
        entry_hash(bytes(range(32)), Version(1 << 40, 7), 3).to_bytes(16, "big").hex()
        == "cacf2dc59b31b7f1e4bee93dbb466a54"
    )
    assert Digest(total=1).total_bytes == bytes(15) + b"\x01"


@given(sets, idents)
def test_the_whole_circle_leaves_nothing_at_its_ends(kept, place):
    assert tree_of(kept).cover(place, place) == (sum_of(kept), ())


def test_covers_of_a_full_tree_look_at_few_sums():
    kept = [Record(ident_bytes(leaf << LEAF_SHIFT | 1), b"", Version(1, 1), 0.0, 3) for leaf in range(0, LEAVES, 16)]
    tree = tree_of(kept)
    keys = [key_ident(record.key) for record in kept]
    looked_at: Counter[str] = Counter()

    class Watched(dict):
        def get(self, *arguments):
            looked_at["sums"] += 1
            return super().get(*arguments)

    tree._levels = {copies: tuple(map(Watched, levels)) for copies, levels in tree._levels.items()}
    for start, end in [(1, 1 << 255), (keys[7], keys[4000]), (keys[4000] + 1, keys[100]), (5, 5)]:
        looked_at.clear()
        cover = tree.cover(start, end)
        assert looked_at["sums"] <= 8 * 15
        if start < end:
            whole = bisect_left(keys, end) - bisect_right(keys, start)
            assert abs(cover.digest.records - whole) <= 2
