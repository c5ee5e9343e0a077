"""The frames of the express way from bytes to bytes: the same as the codec makes and takes."""

from itertools import accumulate, takewhile

from hypothesis import given
from hypothesis import strategies as st

from gdht.core import messages as m
from gdht.core.ident import IDENTS
from gdht.core.records import STAMP_MAX, Record, Version
from gdht.wire.codec import BrokenStream, P2pDecoder, encode_p2p
from gdht.wire.express import (
    PUT_BYTES,
    RECEIPT_BYTES,
    begins_with_put,
    owner_get_frame,
    owner_gets_in_front,
    put_frame,
    puts_in_front,
    receipts_in,
    success_frame,
    value_frame,
)

keys = st.binary(min_size=32, max_size=32)
request_ids = st.integers(0, 2**32 - 1)
u32, u8 = request_ids, st.integers(0, 255)
values = st.binary(max_size=300)
versions = st.builds(Version, st.integers(0, STAMP_MAX), st.integers(0, IDENTS - 1))
FLAGS_AT = 53
"""Where in the frame of a write they stand."""
places = st.integers(0, 11) | st.just(FLAGS_AT) | st.integers(0, 1500)
NOW_S = 1000.0
lives_s = st.floats(NOW_S + 0.001, NOW_S + 100_000)
records = st.builds(Record, keys, values, versions, lives_s, st.integers(1, 255), st.just(0.0) | lives_s)
gets = st.builds(m.P2pGet, keys, st.booleans())
copies = st.builds(m.RecordCopy, keys, u32, u8, versions, values, u32)
writes = st.builds(m.P2pPut, keys, u32, u8, versions, st.booleans(), values, u32)
receipts = st.builds(m.P2pSuccess, keys, u32, u8, versions, values, u32, u32)
others = st.just(m.P2pPing()) | st.builds(m.P2pStat, keys) | receipts


@given(request_ids, keys)
def test_a_question_to_the_owner_is_written_as_by_the_codec(request_id: int, key: bytes) -> None:
    assert owner_get_frame(request_id, key) == encode_p2p(m.P2pGet(key, True), request_id)


@given(request_ids, records)
def test_a_value_is_written_as_by_the_codec(request_id: int, record: Record) -> None:
    ttl_ms, tombstone_ms = record.ttl_ms(NOW_S), max(record.tombstone_ms(NOW_S), 0)
    message = m.P2pSuccess(record.key, ttl_ms, record.replication, record.version, record.value, tombstone_ms)
    assert value_frame(request_id, record, NOW_S) == encode_p2p(message, request_id)


@given(request_ids, receipts)
def test_a_receipt_is_written_as_by_the_codec(request_id: int, message: m.P2pSuccess) -> None:
    assert success_frame(request_id, message) == encode_p2p(message, request_id)


@given(st.lists(st.tuples(request_ids, receipts.map(lambda message: message._replace(value=b"")))))
def test_receipts_tell_what_they_are_for(numbered: list[tuple[int, m.P2pSuccess]]) -> None:
    data = b"".join(success_frame(request_id, message) for request_id, message in numbered)
    assert len(data) == len(numbered) * RECEIPT_BYTES
    assert list(receipts_in(data)) == [(request_id, message.key) for request_id, message in numbered]


@given(request_ids, copies, st.booleans())
def test_a_write_is_written_as_by_the_codec(request_id: int, copy: m.RecordCopy, as_owner: bool) -> None:
    assert put_frame(request_id, copy, as_owner) == encode_p2p(write(copy, as_owner), request_id)


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


@given(st.lists(st.tuples(writes | gets | others, request_ids), max_size=6), st.data())
def test_the_writes_in_front_are_those_that_the_codec_reads(messages, data: st.DataObject) -> None:
    stream = b"".join(encode_p2p(message, request_id) for message, request_id in messages)
    stream = stream[: len(stream) - data.draw(st.integers(0, len(stream)))]
    assert puts_in_front(stream) == written(P2pDecoder(greeted=True).feed(stream))


@given(writes, writes, others)
def test_wherever_a_read_ends_just_the_whole_writes_are_read(one: m.P2pPut, two: m.P2pPut, other) -> None:
    ends = list(accumulate(len(encode_p2p(message, 1)) for message in (one, two, other)))
    stream = b"".join(encode_p2p(message, 1) for message in (one, two, other))
    for size in range(len(stream) + 1):
        whole = [(1, copy_of(put), put.as_owner) for put, end in zip((one, two), ends, strict=False) if end <= size]
        assert puts_in_front(stream[:size]) == whole, size


@given(writes | gets | others, request_ids, st.data())
def test_a_write_is_known_by_its_type_as_soon_as_that_is_there(message, request_id: int, data: st.DataObject) -> None:
    frame = encode_p2p(message, request_id)
    size = data.draw(st.integers(0, len(frame)))
    assert begins_with_put(frame[:size]) == (isinstance(message, m.P2pPut) and size >= 6)


@given(st.lists(st.tuples(writes | others, request_ids), min_size=1, max_size=4), places, st.integers(0, 255))
def test_in_damaged_bytes_nothing_is_taken_for_a_write_that_the_codec_would_not(messages, at: int, byte: int) -> None:
    stream = bytearray(b"".join(encode_p2p(message, request_id) for message, request_id in messages))
    stream[at % len(stream)] = byte
    try:
        read = P2pDecoder(greeted=True).feed(bytes(stream))
    except BrokenStream as error:
        read = error.before
    found = puts_in_front(bytes(stream))
    assert found == written(read)[: len(found)]


@given(copies, st.sampled_from(["type", "protocol version", "flags"]), st.integers(2, 255))
def test_what_a_codec_of_this_version_would_not_read_as_a_write_is_left_to_it(
    copy: m.RecordCopy, where: str, byte: int
) -> None:
    frame = bytearray(put_frame(1, copy, True))
    frame[{"type": 4, "protocol version": 6, "flags": FLAGS_AT}[where]] ^= byte & 0xFE
    assert puts_in_front(bytes(frame)) == []


@given(st.binary(max_size=PUT_BYTES - 13), copies)
def test_a_write_with_too_short_a_body_is_left_to_the_codec(body: bytes, copy: m.RecordCopy) -> None:
    frame = put_frame(1, copy, False)
    assert puts_in_front(len(body).to_bytes(4) + frame[4:12] + body + frame) == []


def test_the_longest_value_is_read_and_one_byte_more_is_left_to_the_codec() -> None:
    longest = put_frame(1, m.RecordCopy(bytes(32), 1, 1, Version(1, 1), bytes(m.VALUE_BYTES_MAX)), True)
    assert len(puts_in_front(longest)) == 1
    size = int.from_bytes(longest[:4]) + 1
    assert puts_in_front(size.to_bytes(4) + longest[4:] + b"x") == []


def write(copy: m.RecordCopy, as_owner: bool) -> m.P2pPut:
    return m.P2pPut(**copy._asdict(), as_owner=as_owner)


def written(read) -> list[tuple[int, m.RecordCopy, bool]]:
    """The PUTs in front of what a decoder has read: request id, copy, whether to the owner."""
    in_front = takewhile(lambda each: isinstance(each[1], m.P2pPut), read)
    return [(request_id, copy_of(put), put.as_owner) for request_id, put in in_front]


def copy_of(put: m.P2pPut) -> m.RecordCopy:
    return m.RecordCopy(put.key, put.ttl_ms, put.replication, put.version, put.value, put.tombstone_ms)


def questions(read) -> list[tuple[int, bytes]]:
    """The GETs to the owner in front of what a decoder has read."""
    in_front = takewhile(lambda each: isinstance(each[1], m.P2pGet) and each[1].as_owner, read)
    return [(request_id, message.key) for request_id, message in in_front]
