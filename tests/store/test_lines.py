"""Records as lines of JSON: there and back, ageing meanwhile; and every line that is none of ours is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdht.core.records import STAMP_MAX, TTL_S_MAX, Record, Version
from gdht.store.lines import LINE_BYTES_MAX, BadLine, line_record, record_line

NOW_S = 1_700_000_000.0
lives = st.integers(0, TTL_S_MAX).map(float)
records = st.builds(
    Record,
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=100),
    st.builds(Version, st.integers(0, STAMP_MAX), st.integers(0, (1 << 256) - 1)),
    lives.map(lambda left_s: NOW_S + left_s),
    st.integers(1, 255),
    st.just(0.0) | st.integers(1, TTL_S_MAX).map(lambda left_s: NOW_S + left_s),
    is_tombstone=st.just(value=False),
)
ONE = Record(bytes(32), b"hello", Version(5, 7), NOW_S + 10, 3, NOW_S + 20)


@given(records, st.booleans(), st.integers(0, 1000))
def test_a_record_comes_back_with_the_end_that_it_had_however_late(record, is_tombstone, late_s):
    record = record.buried() if is_tombstone else record
    line = record_line(record, NOW_S)
    assert "\n" not in line
    assert line_record(line, NOW_S + late_s) == record


def test_a_clock_that_was_set_back_does_not_stretch_a_life():
    assert line_record(record_line(ONE, NOW_S), NOW_S - 100).expires_at_s == NOW_S - 90


def test_the_largest_value_fits_a_line():
    line = record_line(ONE._replace(value=bytes(65495)), NOW_S)
    assert len(line) < LINE_BYTES_MAX
    assert len(line_record(line, NOW_S).value) == 65495


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"key": "00"}, "key: expected 64 hex digits"),
        ({"key": "é" * 64}, "key: expected 64 hex digits"),
        ({"key": 5}, "key: expected 64 hex digits"),
        ({"key": None}, "key: expected 64 hex digits"),
        ({"value": "?"}, "value: expected up to 65495 bytes in base64"),
        ({"value": 5}, "value: expected up to 65495 bytes in base64"),
        ({"value": "AAAA" * 30000}, "value: expected up to 65495 bytes in base64"),
        ({"version": 5}, "version: expected a stamp and a coordinator"),
        ({"version": {"stamp": -1}}, "stamp: expected a whole number"),
        ({"version": {"stamp": 1}}, "coordinator: expected 64 hex digits"),
        ({"at_ms": "now"}, "at_ms: expected a whole number"),
        ({"ttl_ms": TTL_S_MAX * 1000 + 1}, "ttl_ms: expected a whole number from 0 to 65535000"),
        ({"ttl_ms": 1.5}, "ttl_ms: expected a whole number"),
        ({"ttl_ms": True}, "ttl_ms: expected a whole number"),
        ({"replication": 0}, "replication: expected a whole number from 1 to 255"),
        ({"tombstone_ms": -1}, "tombstone_ms: expected a whole number"),
        ({"is_tombstone": 1}, "is_tombstone: expected true or false"),
        ({"is_tombstone": True}, "a tombstone has no value and no life"),
    ],
)
def test_a_wrong_field_is_named(changes, why):
    fields = json.loads(record_line(ONE, NOW_S)) | changes
    with pytest.raises(BadLine, match=why):
        line_record(json.dumps(fields), NOW_S)


@pytest.mark.parametrize("name", json.loads(record_line(ONE, NOW_S)))
def test_a_missing_field_is_named(name):
    fields = json.loads(record_line(ONE, NOW_S))
    del fields[name]
    with pytest.raises(BadLine, match=f"{name}: is missing"):
        line_record(json.dumps(fields), NOW_S)


@pytest.mark.parametrize("line", ["", "x", "[1]", "5", "null", "{", "[" * 99_999, '{"key": 1' + "0" * 5000 + "}"])
def test_what_is_no_record_is_refused(line):
    with pytest.raises(BadLine):
        line_record(line, NOW_S)


@given(st.text(max_size=200) | st.recursive(st.integers() | st.text(), st.lists).map(json.dumps))
def test_nothing_that_is_written_there_raises_anything_else(line):
    with pytest.raises(BadLine):
        line_record(line, NOW_S)
