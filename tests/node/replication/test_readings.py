"""When copies alone tell the newest version: against all the writes that could have been acknowledged."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdht.core.messages import FailureReason, P2pFailure, P2pSuccess
from gdht.core.peer import Peer
from gdht.core.placement import quorum
from gdht.core.records import Version
from gdht.errors import CallTimeout
from gdht.node.replication.readings import Readings, needed_without_owner

KEY = bytes(32)
SAID = ("copy", "older", "none", "silent")


def at(ident):
    return Peer(ident, f"10.0.0.1:{ident}")


def told(words, replication):
    readings = Readings()
    for ident, word in enumerate(words, start=1):
        outcome = {
            "copy": P2pSuccess(KEY, 1000, replication, Version(5, 1), b"new"),
            "older": P2pSuccess(KEY, 1000, replication, Version(4, 1), b"old"),
            "none": P2pFailure(KEY, FailureReason.NOT_FOUND, ""),
            "silent": CallTimeout("no answer"),
        }[word]
        readings.note(at(ident), outcome, 0.0)
    return readings


def writes(others, word, replication, replication_max):
    """Which of the others may have stored a write that was acknowledged, for every replication it may have."""
    for copies in range(replication, replication_max + 1):
        for stored in range(quorum(word, copies) - 1, copies):
            yield from combinations(others[: copies - 1], stored)


@given(
    st.lists(st.sampled_from(SAID), min_size=1, max_size=6),
    st.sampled_from(["one", "majority", "all"]),
    st.integers(1, 5),
    st.integers(0, 2),
)
def test_enough_means_that_every_acknowledged_write_was_heard_of(words, word, replication, more):
    others = range(1, len(words) + 1)
    readings = told(words, replication)
    enough = readings.enough_without_owner([at(ident) for ident in others], word, replication + more)
    heard = {ident for ident in others if words[ident - 1] != "silent"}
    if enough:
        assert "copy" in words or "older" in words
        known = [*others, *range(100, 110)]  # who is beyond the list was not asked
        assert all(heard & set(stored) for stored in writes(known, word, replication, replication + more))


@pytest.mark.parametrize(
    ("words", "word", "replication", "enough"),
    [
        (["copy", "copy"], "majority", 3, True),
        (["copy", "older"], "majority", 3, True),
        (["copy", "silent"], "majority", 3, False),
        (["copy", "none"], "majority", 3, False),  # it may never have been meant to have one
        (["copy"], "majority", 2, True),
        (["silent"], "majority", 2, False),
        (["copy", "silent"], "all", 3, True),
        (["copy", "copy"], "one", 3, False),  # only the owner may have it
        ([], "majority", 1, False),
        (["copy", "copy", "copy", "silent"], "majority", 5, True),
        (["copy", "copy", "silent", "silent"], "majority", 5, False),
        (["none", "none"], "majority", 3, False),
    ],
)
def test_how_many_copies_are_enough(words, word, replication, enough):
    others = [at(ident) for ident in range(1, len(words) + 1)]
    assert told(words, replication).enough_without_owner(others, word, replication) is enough


def test_a_newer_version_may_have_more_copies_and_those_must_have_been_heard_of():
    words = ["copy", "copy", "silent", "silent"]
    others = [at(ident) for ident in range(1, 5)]
    assert told(words, 3).enough_without_owner(others, "majority", 3)
    assert not told(words, 3).enough_without_owner(others, "majority", 5)
    assert told(["copy", "copy", "none", "silent"], 3).enough_without_owner(others, "majority", 5)


@pytest.mark.parametrize("word", ["majority", "all"])
@pytest.mark.parametrize("replication_max", range(2, 10))
def test_so_many_as_are_needed_at_the_most_are_enough_for_any_replication(word, replication_max):
    needed = needed_without_owner(word, replication_max)
    others = [at(ident) for ident in range(1, replication_max)]
    for replication in range(2, replication_max + 1):
        words = ["copy"] * min(replication - 1, needed) + ["none"] * (needed - replication + 1)
        assert told(words, replication).enough_without_owner(others, word, replication_max)


def test_no_number_is_enough_where_the_owner_alone_may_have_it():
    assert needed_without_owner("one", 8) == 8
    assert not told(["copy"] * 7, 8).enough_without_owner([at(ident) for ident in range(1, 8)], "one", 8)
