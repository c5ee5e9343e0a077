"""Records and versions: stamps only grow, later wins, a life is measured by the holder's own clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdht.core.records import COUNTER_BITS, NO_VERSION, STAMP_MAX, Record, Version, next_stamp

clocks = st.floats(-1e9, 1e11, allow_nan=False)
stamps = st.integers(0, STAMP_MAX - 1)


@given(stamps, clocks)
def test_a_stamp_is_greater_than_the_last_whatever_the_clock_does(last, wall_s):
    assert last < next_stamp(last, wall_s) <= STAMP_MAX


@given(st.lists(clocks, min_size=2, max_size=50))
def test_a_row_of_stamps_increases_under_a_clock_that_jumps(walls):
    last, given_out = 0, []
    for wall_s in walls:
        last = next_stamp(last, wall_s)
        given_out.append(last)
    assert given_out == sorted(set(given_out))


@given(st.floats(0, 4e9), st.integers(0, 1000))
def test_a_stamp_tells_the_millisecond_when_the_clock_is_ahead(wall_s, counter):
    assert next_stamp(counter, wall_s) >> COUNTER_BITS in (int(wall_s * 1000), counter + 1 >> COUNTER_BITS)


def test_many_events_in_one_millisecond_are_told_apart():
    last = first = next_stamp(0, 1000.0)
    for _ in range(1 << COUNTER_BITS):
        last = next_stamp(last, 1000.0)
    assert last == first + (1 << COUNTER_BITS)


def test_the_last_stamp_of_all_fits_into_64_bits():
    assert next_stamp(STAMP_MAX, 0.0) == STAMP_MAX
    assert next_stamp(0, 1e18) == STAMP_MAX


@given(st.builds(Version, stamps, stamps), st.builds(Version, stamps, stamps))
def test_versions_are_ordered_by_stamp_and_then_by_coordinator(one, other):
    assert (one < other) == ((one.stamp, one.coordinator) < (other.stamp, other.coordinator))


@given(st.integers(1, STAMP_MAX), st.integers(0, 9))
def test_no_version_is_older_than_every_real_one(stamp, coordinator):
    assert Version(stamp, coordinator) > NO_VERSION


@pytest.mark.parametrize(("now_s", "left_ms"), [(100.0, 1500), (101.0, 500), (101.5, 0), (102.0, -500)])
def test_what_is_left_of_a_life_is_told_in_milliseconds(now_s, left_ms):
    assert Record(bytes(32), b"", Version(1, 1), 101.5, 1).ttl_ms(now_s) == left_ms


@given(st.integers(1, 65535000), st.floats(0, 4e9))
def test_a_life_passed_on_at_once_is_not_stretched(ttl_ms, now_s):
    record = Record(bytes(32), b"", Version(1, 1), now_s + ttl_ms / 1000, 1)
    assert ttl_ms - 1 <= record.ttl_ms(now_s) <= ttl_ms
