"""The frames of the express way from bytes to bytes: the same as the codec makes and takes."""

from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdht.core import messages as m
from gdht.core.ident import IDENTS
from gdht.core.records import STAMP_MAX, Record, Version
from gdht.errors import LocalProtocolError
from gdht.wire.codec import BrokenStream, P2pDecoder, encode_p2p
from gdht.wire.express import EncodedPut, owner_get_frame, owner_gets_in_front, success_frame, value_frame

keys = st.binary(min_size=32, max_size=32)
request_ids = st.integers(0, 2**32 - 1)
u32, u8 = request_ids, st.integers(0, 255)
values = st.binary(max_size=300)
versions = st.builds(Version, st.integers(0, STAMP_MAX), st.integers(0, IDENTS - 1))
NOW_S = 1000.0
lives_s = st.floats(NOW_S + 0.001, NOW_S + 100_000)
records = st.builds(Record, keys, values, versions, lives_s, st.integers(1, 255), st.just(0.0) | lives_s)
gets = st.builds(m.P2pGet, keys, st.booleans())
others = st.just(m.P2pPing()) | st.builds(m.P2pStat, keys)


@given(request_ids, keys)
def test_a_question_to_the_owner_is_written_as_by_the_codec(request_id: int, key: bytes) -> None:
    assert owner_get_frame(request_id, key) == encode_p2p(m.P2pGet(key, True), request_id)


@given(request_ids, records)
def test_a_value_is_written_as_by_the_codec(request_id: int, record: Record) -> None:
    ttl_ms, tombstone_ms = record.ttl_ms(NOW_S), max(record.tombstone_ms(NOW_S), 0)
    message = m.P2pSuccess(record.key, ttl_ms, record.replication, record.version, record.value, tombstone_ms)
    assert value_frame(request_id, record, NOW_S) == encode_p2p(message, request_id)


@given(request_ids, st.builds(m.P2pSuccess, keys, u32, u8, versions, values, u32, u32))
def test_a_receipt_is_written_as_by_the_codec(request_id: int, message: m.P2pSuccess) -> None:
    assert success_frame(request_id, message) == encode_p2p(message, request_id)


@given(request_ids, request_ids, st.builds(m.P2pPut, keys, u32, u8, versions, st.booleans(), values, u32))
def test_a_write_to_several_is_written_to_each_as_by_the_codec(one: int, other: int, message: m.P2pPut) -> None:
    encoded = EncodedPut(message)
    assert [encoded.frame(one), encoded.frame(other)] == [encode_p2p(message, one), encode_p2p(message, other)]


def test_a_write_of_more_than_a_value_may_be_is_our_own_error() -> None:
    message = m.P2pPut(bytes(32), 1, 1, Version(1, 1), True, bytes(m.VALUE_BYTES_MAX))
    assert len(EncodedPut(message).frame(1)) == 94 + m.VALUE_BYTES_MAX
    with pytest.raises(LocalProtocolError, match="65496 bytes"):
        EncodedPut(message._replace(value=bytes(m.VALUE_BYTES_MAX + 1)))


@given(st.lists(st.tuples(gets | others, request_ids), max_size=6), st.integers(0, 60))
def test_the_questions_in_front_are_those_that_the_codec_reads(messages, cut: int) -> None:
    data = b"".join(encode_p2p(message, request_id) for message, request_id in messages)
    data = data[: max(len(data) - cut, 0)]
    assert owner_gets_in_front(data) == questions(P2pDecoder(greeted=True).feed(data))


@given(st.lists(st.tuples(gets, request_ids), min_size=1, max_size=4), st.data())
def test_in_damaged_bytes_nothing_is_read_that_the_codec_would_not(messages, data: st.DataObject) -> None:
    stream = bytearray(b"".join(encode_p2p(message, request_id) for message, request_id in messages))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] = data.draw(st.integers(0, 255))
    try:
        read = P2pDecoder(greeted=True).feed(bytes(stream))
    except BrokenStream as error:
        read = error.before
    found = owner_gets_in_front(bytes(stream))
    assert found == questions(read)[: len(found)]


def questions(read) -> list[tuple[int, bytes]]:
    """The GETs to the owner in front of what a decoder has read."""
    in_front = takewhile(lambda each: isinstance(each[1], m.P2pGet) and each[1].as_owner, read)
    return [(request_id, message.key) for request_id, message in in_front]
