"""Properties of the codecs: round trips, both forms of a codec alike, any bytes, any split."""

import struct
from itertools import pairwise
from typing import Any

import pytest
from construct import ConstructError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gdht.core import messages as m
from gdht.core.ident import IDENTS
from gdht.core.messages import MESSAGE_TYPES
from gdht.core.peer import Peer
from gdht.core.records import STAMP_MAX, Version
from gdht.errors import LocalProtocolError, RemoteProtocolError
from gdht.wire.codec import (
    CODECS,
    BrokenStream,
    DhtDecoder,
    P2pDecoder,
    encode_dht,
    encode_p2p,
    interpreted,
)
from gdht.wire.framing import HELLO_FRAME_BYTES_MAX
from gdht.wire.packed import PACKED, Packed
from gdht.wire.schema import BODIES

API = (m.DhtPut, m.DhtGet, m.DhtSuccess, m.DhtFailure)
CLASSES = pytest.mark.parametrize("message_class", MESSAGE_TYPES, ids=lambda each: each.__name__)
PACKED_CLASSES = pytest.mark.parametrize("message_class", PACKED, ids=lambda each: each.__name__)

# What we send ---------------------------------------------------------------------------------------------------------


def uints(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


keys = st.binary(min_size=32, max_size=32)
idents = st.integers(0, IDENTS - 1)
values = st.binary(max_size=300)
versions = st.builds(Version, st.integers(0, STAMP_MAX), idents)
hosts = st.sampled_from(["127.0.0.1", "[::1]", "[2001:db8::5]", "node-1.example.net", "a_b"])
addresses = st.builds("{}:{}".format, hosts, st.integers(1, 65535))
peer_lists = st.lists(st.builds(Peer, idents, addresses), max_size=9).map(tuple)
letters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
names = st.text(letters, max_size=60)
copies = st.builds(m.RecordCopy, keys, uints(32), uints(8), versions, values)
copy_lists = st.lists(copies, max_size=5).map(tuple)
flags = st.lists(st.booleans(), max_size=40).map(tuple)
counts = uints(64)

MESSAGES: dict[type, st.SearchStrategy[Any]] = {
    m.DhtPut: st.builds(m.DhtPut, uints(16), uints(8), uints(8), keys, values),
    m.DhtGet: st.builds(m.DhtGet, keys),
    m.DhtSuccess: st.builds(m.DhtSuccess, keys, values),
    m.DhtFailure: st.builds(m.DhtFailure, keys),
    m.P2pPut: st.builds(m.P2pPut, keys, uints(32), uints(8), versions, st.booleans(), values),
    m.P2pGet: st.builds(m.P2pGet, keys, st.booleans()),
    m.P2pSuccess: st.builds(m.P2pSuccess, keys, uints(32), uints(8), versions, values),
    m.P2pFailure: st.builds(m.P2pFailure, keys, uints(8), names),
    m.P2pGetSuccessor: st.builds(m.P2pGetSuccessor, idents, st.booleans()),
    m.P2pReplySuccessor: st.builds(m.P2pReplySuccessor, idents, st.booleans(), peer_lists),
    m.P2pHello: st.builds(m.P2pHello, uints(8), uints(8), names, st.builds(Peer, idents, addresses)),
    m.P2pError: st.builds(m.P2pError, uints(16), names),
    m.P2pPing: st.builds(m.P2pPing),
    m.P2pAck: st.builds(m.P2pAck),
    m.P2pGetNeighbours: st.builds(m.P2pGetNeighbours),
    m.P2pReplyNeighbours: st.builds(m.P2pReplyNeighbours, peer_lists, peer_lists),
    m.P2pNotify: st.builds(m.P2pNotify),
    m.P2pLeave: st.builds(m.P2pLeave),
    m.P2pOffer: st.builds(m.P2pOffer, st.lists(st.tuples(keys, versions), max_size=5).map(tuple)),
    m.P2pReplyOffer: st.builds(m.P2pReplyOffer, flags),
    m.P2pTransfer: st.builds(m.P2pTransfer, copy_lists),
    m.P2pReplyTransfer: st.builds(m.P2pReplyTransfer, flags),
    m.P2pGetArc: st.builds(m.P2pGetArc, idents, idents, st.just(b"") | keys),
    m.P2pReplyArc: st.builds(m.P2pReplyArc, st.booleans(), st.booleans(), copy_lists),
    m.P2pGetStatus: st.builds(m.P2pGetStatus),
    m.P2pReplyStatus: st.builds(
        m.P2pReplyStatus,
        *(
            names,
            st.just("") | addresses,
            st.just("") | addresses,
            peer_lists,
            peer_lists,
            counts,
            counts,
            counts,
            counts,
        ),
        *(st.floats(0, 1), st.floats(0, 1e80)),
    ),
    m.P2pStat: st.builds(m.P2pStat, keys),
    m.P2pReplyStat: st.builds(
        m.P2pReplyStat,
        keys,
        st.booleans(),
        uints(32),
        uints(8),
        versions,
        uints(32),
        st.binary(min_size=32, max_size=32),
    ),
}
p2p_messages = st.one_of([strategy for message, strategy in MESSAGES.items() if message not in API])
api_messages = st.one_of([MESSAGES[message] for message in API])


@CLASSES
@settings(max_examples=40)
@given(st.data(), uints(32))
def test_what_is_written_is_read_again(message_class: type, data: st.DataObject, request_id: int) -> None:
    message = data.draw(MESSAGES[message_class])
    if message_class in API:
        (read,) = DhtDecoder((message_class,)).feed(encode_dht(message))
        assert (read, type(read)) == (message, message_class)
    else:
        (pair,) = P2pDecoder(greeted=True).feed(encode_p2p(message, request_id))
        assert (pair, type(pair[1])) == ((request_id, message), message_class)


@CLASSES
def test_the_least_size_is_the_fixed_part_of_the_declaration(message_class: type) -> None:
    body_min = CODECS[message_class].body_min
    body = (b"GDHT" if message_class is m.P2pHello else b"") + bytes(body_min)
    decode = interpreted(BODIES[message_class]).decode
    assert outcome(decode, body[:body_min]) != "size"
    if body_min:
        assert outcome(decode, body[: body_min - 1]) == "size"


# Both forms -----------------------------------------------------------------------------------------------------------


def outcome(decode: Any, body: bytes) -> Any:
    """What a decoder makes of a body that lies inside a longer buffer: the message with its words, or the reason."""
    try:
        message = decode(b"before" + body + b"after", 6, 6 + len(body))
    except RemoteProtocolError as error:
        return error.reason
    except ValueError:
        return "value"
    return message, repr(message)


def written(form: Packed, message: Any) -> bytes | None:
    """The body, or None when the message is refused."""
    try:
        return form.encode(message)
    except (ConstructError, struct.error, TypeError, ValueError, AttributeError, OverflowError):
        return None


def damaged(body: bytes) -> st.SearchStrategy[bytes]:
    """The body with a few bytes changed, cut short or made longer."""
    places = st.lists(st.tuples(st.integers(0, max(len(body) - 1, 0)), uints(8)), max_size=3)

    def apply(changes: list[tuple[int, int]], length: int, more: bytes) -> bytes:
        changed = bytearray(body)
        for place, byte in changes:
            changed[place : place + 1] = bytes([byte])
        return bytes(changed[:length]) + more

    lengths = st.sampled_from([len(body), max(len(body) - 1, 0)]) | st.integers(0, len(body))
    return st.builds(apply, places, lengths, st.just(b"") | st.binary(max_size=40))


@PACKED_CLASSES
@given(st.data())
def test_both_forms_read_any_bytes_alike(message_class: type, data: st.DataObject) -> None:
    codec = CODECS[message_class]
    near = MESSAGES[message_class].map(codec.encode).flatmap(damaged)
    body = data.draw(near | st.binary(min_size=codec.body_min, max_size=codec.body_min + 200))
    if message_class is m.P2pHello:
        body = b"GDHT" + body[4:]
    if codec.body_min <= len(body) <= codec.body_max:
        assert outcome(PACKED[message_class].decode, body) == outcome(interpreted(BODIES[message_class]).decode, body)


@pytest.mark.parametrize("message_class", [m.P2pTransfer, m.P2pReplyArc])
@pytest.mark.parametrize("value_bytes", [m.VALUE_BYTES_MAX, m.VALUE_BYTES_MAX + 1])
def test_both_forms_bound_the_values_inside(message_class: type, value_bytes: int) -> None:
    body = (
        bytes(CODECS[message_class].body_min - 1)
        + b"\1"
        + bytes(77)
        + struct.pack(">H", value_bytes)
        + bytes(value_bytes)
    )
    by_hand = outcome(PACKED[message_class].decode, body)
    assert by_hand == outcome(interpreted(BODIES[message_class]).decode, body)
    assert (by_hand == "value") == (value_bytes > m.VALUE_BYTES_MAX)


MANY = m.RECORDS_PER_MESSAGE_MAX
EMPTY_COPY = m.RecordCopy(bytes(32), 1, 1, Version(1, 1), b"")
COUNTED: dict[type, tuple[Any, Any]] = {
    m.P2pOffer: (m.P2pOffer, (bytes(32), Version(1, 1))),
    m.P2pReplyOffer: (m.P2pReplyOffer, True),
    m.P2pTransfer: (m.P2pTransfer, EMPTY_COPY),
    m.P2pReplyTransfer: (m.P2pReplyTransfer, True),
    m.P2pReplyArc: (lambda records: m.P2pReplyArc(False, True, records), EMPTY_COPY),
}


@pytest.mark.parametrize("message_class", COUNTED, ids=lambda each: each.__name__)
def test_both_forms_bound_how_many_one_message_holds(message_class: type) -> None:
    make, item = COUNTED[message_class]
    by_hand, declared = PACKED[message_class], interpreted(BODIES[message_class])
    body = by_hand.encode(make((item,) * MANY))
    assert outcome(by_hand.decode, body) == outcome(declared.decode, body) != "value"
    head = 2 if message_class is m.P2pReplyArc else 0
    one_more = body[:head] + struct.pack(">H", MANY + 1) + body[head + 2 :] + body[-79:]
    assert outcome(by_hand.decode, one_more) == outcome(declared.decode, one_more) == "value"
    assert written(by_hand, make((item,) * (MANY + 1))) is written(declared, make((item,) * (MANY + 1))) is None


wild_ints = st.sampled_from([-1, 0, 1, 255, 256, 65535, 65536, (1 << 32) - 1, 1 << 32, 1 << 64, IDENTS - 1, IDENTS])
wild_keys = st.sampled_from([b"", bytes(31), bytes(32), bytes(33)])
wild_texts = st.text(max_size=300) | addresses | st.sampled_from(["", "é" * 128, "x" * 255, "x" * 256, "\ud800", "a:0"])
wild_versions = st.builds(Version, wild_ints, wild_ints)
wild_peers = st.builds(Peer, wild_ints, wild_texts)
wild_flags = st.booleans() | wild_ints
wild_copies = st.builds(
    m.RecordCopy, wild_keys, wild_ints, wild_ints, wild_versions, st.sampled_from([b"", bytes(65496)])
)
wild_lists = {
    m.P2pReplySuccessor: st.lists(wild_peers, max_size=3).map(tuple) | st.just((Peer(1, "a:1"),) * 256),
    m.P2pReplyNeighbours: st.lists(wild_peers, max_size=3).map(tuple) | st.just((Peer(1, "a:1"),) * 255),
    m.P2pReplyStatus: st.lists(wild_peers, max_size=3).map(tuple),
    m.P2pOffer: st.lists(st.tuples(wild_keys, wild_versions), max_size=3).map(tuple),
    m.P2pTransfer: st.lists(wild_copies, max_size=3).map(tuple),
    m.P2pReplyArc: st.lists(wild_copies, max_size=3).map(tuple),
    m.P2pReplyOffer: flags | st.just((True,) * (MANY + 1)),
    m.P2pReplyTransfer: flags | st.just((True,) * MANY),
}


wild_fields = {
    int: wild_ints,
    bool: wild_flags,
    bytes: wild_keys,
    str: wild_texts,
    float: st.floats(),
    Version: wild_versions,
    Peer: wild_peers,
}


def wild(message_class: type) -> st.SearchStrategy[Any]:
    """Messages whose fields have the right types and any content."""
    fields = message_class.__annotations__.values()
    lists = wild_lists.get(message_class)
    return st.builds(message_class, *(wild_fields.get(field, lists) for field in fields))


@PACKED_CLASSES
@settings(max_examples=40)
@given(st.data())
def test_both_forms_write_any_message_alike(message_class: type, data: st.DataObject) -> None:
    message = data.draw(MESSAGES[message_class] | wild(message_class))
    assert written(PACKED[message_class], message) == written(interpreted(BODIES[message_class]), message)


# What others send -----------------------------------------------------------------------------------------------------

BOUND = 2000
some_bytes = st.binary(max_size=400)
some_frames = st.builds(encode_p2p, p2p_messages, uints(32))
headers = st.builds(
    lambda size, number, version, body: struct.pack(">IHBBI", size, number, version, 0, 1) + body,
    *(st.integers(0, BOUND + 10) | uints(32), st.integers(645, 690), st.integers(0, 2), some_bytes),
)
streams = st.lists(some_frames | headers | some_frames.flatmap(damaged) | some_bytes, max_size=5)


def result(decoder: Any, pieces: list[bytes], bytes_max: int) -> tuple[list[Any], str]:
    """Everything that was read, and the reason why it stopped; the decoder never holds `bytes_max` bytes."""
    read: list[Any] = []
    try:
        for piece in pieces:
            read += decoder.feed(piece)
            assert len(decoder._splitter._rest) < bytes_max
        decoder.eof()
    except BrokenStream as error:
        return read + error.before, error.reason
    return read, ""


@given(streams, st.booleans())
def test_any_bytes_are_read_or_refused_and_never_pile_up(pieces: list[bytes], greeted: bool) -> None:
    _, reason = result(P2pDecoder(BOUND, greeted=greeted), pieces, BOUND)
    assert reason in ("", "size", "too_large", "type", "value", "magic", "trailing", "truncated")


@given(st.lists(st.builds(encode_dht, api_messages).flatmap(damaged) | some_bytes, max_size=5))
def test_any_bytes_are_read_or_refused_by_the_client_api(pieces: list[bytes]) -> None:
    _, reason = result(DhtDecoder(API), pieces, 65536)
    assert reason in ("", "size", "type", "truncated")


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@given(MESSAGES[m.P2pHello], st.lists(p2p_messages, max_size=6), st.lists(uints(16), max_size=12))
def test_a_stream_between_peers_may_be_split_anywhere(hello: Any, rest: list[Any], places: list[int]) -> None:
    numbered = list(enumerate([hello, *rest]))
    decoder = P2pDecoder()
    stream = b"".join(encode_p2p(message, number) for number, message in numbered)
    assert [pair for piece in cut(stream, places) for pair in decoder.feed(piece)] == numbered


@given(st.lists(api_messages, max_size=6), st.lists(uints(16), max_size=12))
def test_a_stream_of_the_client_api_may_be_split_anywhere(messages: list[Any], places: list[int]) -> None:
    decoder = DhtDecoder(API)
    stream = b"".join(map(encode_dht, messages))
    assert [message for piece in cut(stream, places) for message in decoder.feed(piece)] == messages


@example([], [bytes.fromhex("00000028 029a 01 00 00000007 00")])  # a second HELLO, wrong from its first byte
@given(st.lists(some_frames, max_size=4), streams)
def test_split_or_whole_a_bad_stream_gives_the_same(good: list[bytes], bad: list[bytes]) -> None:
    stream = b"".join(good + bad)
    single = [stream[place : place + 1] for place in range(len(stream))]
    whole = result(P2pDecoder(BOUND, greeted=True), [stream], BOUND)
    assert result(P2pDecoder(BOUND, greeted=True), single, BOUND) == whole


@CLASSES
@settings(max_examples=40)
@given(st.data())
def test_what_does_not_fit_is_our_own_error(message_class: type, data: st.DataObject) -> None:
    message = data.draw(wild(message_class))
    encode = encode_dht if message_class in API else lambda each: encode_p2p(each, 1)
    try:
        frame = encode(message)
    except LocalProtocolError:
        return
    assert len(frame) >= CODECS[message_class].body_min + 4


def test_the_hello_bound_leaves_room_for_every_hello() -> None:
    assert CODECS[m.P2pHello].body_max + 12 <= HELLO_FRAME_BYTES_MAX
    assert CODECS[m.P2pError].body_max + 12 <= HELLO_FRAME_BYTES_MAX
