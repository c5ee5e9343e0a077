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
from gdht.wire.packed import PACKED
from gdht.wire.parts import BodyCodec
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
copies = st.builds(m.RecordCopy, keys, uints(32), uints(8), versions, values, uints(32))
copy_lists = st.lists(copies, max_size=5).map(tuple)
entry_lists = st.lists(st.builds(m.Entry, keys, versions, uints(8)), max_size=5).map(tuple)
totals = st.binary(min_size=16, max_size=16)
arc_lists = st.lists(st.builds(m.ArcDigest, idents, idents, uints(32), totals), max_size=5).map(tuple)
flags = st.lists(st.booleans(), max_size=40).map(tuple)
counts = uints(64)

MESSAGES: dict[type, st.SearchStrategy[Any]] = {
    m.DhtPut: st.builds(m.DhtPut, uints(16), uints(8), uints(8), keys, values),
    m.DhtGet: st.builds(m.DhtGet, keys),
    m.DhtSuccess: st.builds(m.DhtSuccess, keys, values),
    m.DhtFailure: st.builds(m.DhtFailure, keys),
    m.P2pPut: st.builds(m.P2pPut, keys, uints(32), uints(8), versions, st.booleans(), values, uints(32)),
    m.P2pGet: st.builds(m.P2pGet, keys, st.booleans()),
    m.P2pSuccess: st.builds(m.P2pSuccess, keys, uints(32), uints(8), versions, values, uints(32), uints(32)),
    m.P2pFailure: st.builds(m.P2pFailure, keys, uints(8), names, uints(32)),
    m.P2pGetSuccessor: st.builds(m.P2pGetSuccessor, idents, st.booleans()),
    m.P2pReplySuccessor: st.builds(m.P2pReplySuccessor, idents, st.booleans(), peer_lists, idents),
    m.P2pHello: st.builds(m.P2pHello, uints(8), uints(8), names, st.builds(Peer, idents, addresses)),
    m.P2pError: st.builds(m.P2pError, uints(16), names),
    m.P2pPing: st.builds(m.P2pPing),
    m.P2pAck: st.builds(m.P2pAck),
    m.P2pGetNeighbours: st.builds(m.P2pGetNeighbours),
    m.P2pReplyNeighbours: st.builds(m.P2pReplyNeighbours, peer_lists, peer_lists),
    m.P2pNotify: st.builds(m.P2pNotify),
    m.P2pLeave: st.builds(m.P2pLeave),
    m.P2pOffer: st.builds(m.P2pOffer, entry_lists),
    m.P2pReplyOffer: st.builds(m.P2pReplyOffer, flags),
    m.P2pTransfer: st.builds(m.P2pTransfer, copy_lists),
    m.P2pReplyTransfer: st.builds(m.P2pReplyTransfer, flags),
    m.P2pFetch: st.builds(m.P2pFetch, st.lists(keys, max_size=9).map(tuple)),
    m.P2pReplyFetch: st.builds(m.P2pReplyFetch, st.integers(0, m.RECORDS_PER_MESSAGE_MAX), copy_lists),
    m.P2pCompare: st.builds(m.P2pCompare, uints(8), arc_lists),
    m.P2pReplyCompare: st.builds(m.P2pReplyCompare, st.booleans(), flags, st.lists(uints(32), max_size=9).map(tuple)),
    m.P2pReconcile: st.builds(m.P2pReconcile, uints(8), idents, idents, entry_lists),
    m.P2pReplyReconcile: st.builds(m.P2pReplyReconcile, st.booleans(), idents, flags, entry_lists),
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


def written(form: BodyCodec, message: Any) -> bytes | None:
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


@pytest.mark.parametrize("message_class", [m.P2pTransfer, m.P2pReplyFetch])
@pytest.mark.parametrize("value_bytes", [m.VALUE_BYTES_MAX, m.VALUE_BYTES_MAX + 1])
def test_both_forms_bound_the_values_inside(message_class: type, value_bytes: int) -> None:
    body = (
        bytes(CODECS[message_class].body_min - 1)
        + b"\1"
        + bytes(81)
        + struct.pack(">H", value_bytes)
        + bytes(value_bytes)
    )
    by_hand = outcome(PACKED[message_class].decode, body)
    assert by_hand == outcome(interpreted(BODIES[message_class]).decode, body)
    assert (by_hand == "value") == (value_bytes > m.VALUE_BYTES_MAX)


MANY = m.RECORDS_PER_MESSAGE_MAX
ENTRY = m.Entry(bytes(32), Version(1, 1), 1)
COPY = m.RecordCopy(bytes(32), 1, 1, Version(1, 1), b"")
ARC = m.ArcDigest(1, 2, 3, bytes(16))
COUNTED = [  # a message as a function of one list in it, what stands in that list, the bytes before its count
    pytest.param(m.P2pOffer, ENTRY, 0, id="P2pOffer"),
    pytest.param(m.P2pReplyOffer, True, 0, id="P2pReplyOffer"),
    pytest.param(m.P2pTransfer, COPY, 0, id="P2pTransfer"),
    pytest.param(m.P2pReplyTransfer, True, 0, id="P2pReplyTransfer"),
    pytest.param(m.P2pFetch, bytes(32), 0, id="P2pFetch"),
    pytest.param(lambda records: m.P2pReplyFetch(MANY, records), COPY, 2, id="P2pReplyFetch"),
    pytest.param(lambda records: m.P2pReplyFetch(len(records), ()), COPY, 0, id="P2pReplyFetch-asked"),
    pytest.param(lambda arcs: m.P2pCompare(1, arcs), ARC, 1, id="P2pCompare"),
    pytest.param(lambda same: m.P2pReplyCompare(True, same, ()), True, 1, id="P2pReplyCompare-same"),
    pytest.param(lambda counts: m.P2pReplyCompare(True, (), counts), 7, 3, id="P2pReplyCompare-counts"),
    pytest.param(lambda entries: m.P2pReconcile(1, 2, 3, entries), ENTRY, 65, id="P2pReconcile"),
    pytest.param(lambda wanted: m.P2pReplyReconcile(True, 2, wanted, ()), True, 33, id="P2pReplyReconcile-wanted"),
    pytest.param(lambda entries: m.P2pReplyReconcile(True, 2, (), entries), ENTRY, 35, id="P2pReplyReconcile-entries"),
]


@pytest.mark.parametrize(("make", "item", "count_at"), COUNTED)
def test_both_forms_bound_how_many_one_message_holds(make: Any, item: Any, count_at: int) -> None:
    message_class = type(make(()))
    by_hand, declared = PACKED[message_class], interpreted(BODIES[message_class])
    body = by_hand.encode(make((item,) * MANY))
    assert outcome(by_hand.decode, body) == outcome(declared.decode, body) != "value"
    one_more = body[:count_at] + struct.pack(">H", MANY + 1) + body[count_at + 2 :] + bytes(100)
    assert outcome(by_hand.decode, one_more) == outcome(declared.decode, one_more) == "value"
    assert written(by_hand, make((item,) * (MANY + 1))) is written(declared, make((item,) * (MANY + 1))) is None


@pytest.mark.parametrize(
    "message",
    [
        m.P2pOffer((ENTRY,) * MANY),
        m.P2pFetch((bytes(32),) * MANY),
        m.P2pCompare(1, (ARC,) * MANY),
        m.P2pReplyCompare(True, (True,) * MANY, (1,) * MANY),
        m.P2pReconcile(1, 2, 3, (ENTRY,) * MANY),
        m.P2pReplyReconcile(True, 2, (True,) * MANY, (ENTRY,) * MANY),
    ],
    ids=lambda message: type(message).__name__,
)
def test_the_greatest_size_is_that_of_full_lists(message: Any) -> None:
    assert len(encode_p2p(message, 1)) == 12 + CODECS[type(message)].body_max


wild_ints = st.sampled_from([-1, 0, 1, 255, 256, 65535, 65536, (1 << 32) - 1, 1 << 32, 1 << 64, IDENTS - 1, IDENTS])
wild_keys = st.sampled_from([b"", bytes(31), bytes(32), bytes(33)])
wild_texts = st.text(max_size=300) | addresses | st.sampled_from(["", "é" * 128, "x" * 255, "x" * 256, "\ud800", "a:0"])
wild_versions = st.builds(Version, wild_ints, wild_ints)
wild_peers = st.builds(Peer, wild_ints, wild_texts)
wild_flags = st.booleans() | wild_ints
wild_values = st.sampled_from([b"", bytes(65496)])
wild_copies = st.builds(m.RecordCopy, wild_keys, wild_ints, wild_ints, wild_versions, wild_values, wild_ints)
wild_entries = st.builds(m.Entry, wild_keys, wild_versions, wild_ints)
wild_totals = st.sampled_from([b"", bytes(15), bytes(16), bytes(17)])
wild_arcs = st.builds(m.ArcDigest, wild_ints, wild_ints, wild_ints, wild_totals)
wild_fields: dict[Any, st.SearchStrategy[Any]] = {
    int: wild_ints,
    bool: wild_flags,
    bytes: wild_keys,
    str: wild_texts,
    float: st.floats(),
    Version: wild_versions,
    Peer: wild_peers,
    tuple[Peer, ...]: st.lists(wild_peers, max_size=3).map(tuple)
    | st.sampled_from([255, 256]).map(lambda count: (Peer(1, "a:1"),) * count),
    tuple[bool, ...]: flags | st.sampled_from([MANY, MANY + 1]).map(lambda count: (True,) * count),
    tuple[int, ...]: st.lists(wild_ints, max_size=3).map(tuple),
    tuple[bytes, ...]: st.lists(wild_keys, max_size=3).map(tuple),
    tuple[m.Entry, ...]: st.lists(wild_entries, max_size=3).map(tuple),
    tuple[m.ArcDigest, ...]: st.lists(wild_arcs, max_size=3).map(tuple),
    tuple[m.RecordCopy, ...]: st.lists(wild_copies, max_size=3).map(tuple),
}


def wild(message_class: type) -> st.SearchStrategy[Any]:
    """Messages whose fields have the right types and any content."""
    return st.builds(message_class, *(wild_fields[field] for field in message_class.__annotations__.values()))


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
            assert len(decoder._splitter.rest) < bytes_max
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
