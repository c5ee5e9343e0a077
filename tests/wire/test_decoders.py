"""What the decoders promise to the connections that feed them."""

import struct

import pytest

from gdht.core.messages import (
    ArcDigest,
    DhtFailure,
    DhtGet,
    DhtPut,
    DhtSuccess,
    Entry,
    ErrorReason,
    FailureReason,
    P2pCompare,
    P2pError,
    P2pFailure,
    P2pGet,
    P2pHello,
    P2pOffer,
    P2pPing,
    P2pPut,
    P2pReplyFetch,
    P2pReplyStat,
    P2pReplySuccessor,
    P2pTransfer,
    RecordCopy,
)
from gdht.core.peer import Peer
from gdht.core.records import NO_VERSION, STAMP_MAX, Version
from gdht.errors import LocalProtocolError, RemoteProtocolError
from gdht.wire.codec import BrokenStream, DhtDecoder, P2pDecoder, UnknownMessage, encode_dht, encode_p2p
from gdht.wire.framing import FRAME_BYTES_MAX, HELLO_FRAME_BYTES_MAX

KEY = bytes(range(32))
HELLO = P2pHello(1, 1, "default", Peer(5, "127.0.0.1:6001"))


def frame(type_number: int, body: bytes = b"", version: int = 1) -> bytes:
    return struct.pack(">IHBBI", len(body), type_number, version, 0, 7) + body


def test_a_thousand_pipelined_messages_come_out_of_one_feed() -> None:
    messages = [DhtPut(3600, 2, 0, KEY, bytes([n % 256]) * n) if n % 2 else DhtGet(KEY) for n in range(1000)]
    assert DhtDecoder().feed(b"".join(map(encode_dht, messages))) == messages


def test_the_longest_value_arrives_byte_by_byte() -> None:
    decoder, put = DhtDecoder(), DhtPut(1, 1, 0, KEY, bytes(65495))
    *first, last = (bytes([byte]) for byte in encode_dht(put))
    assert not any(map(decoder.feed, first))
    assert decoder.feed(last) == [put]


@pytest.mark.parametrize("chunk", [bytes, bytearray, memoryview])
def test_any_kind_of_buffer_may_be_fed(chunk: type) -> None:
    (message,) = DhtDecoder().feed(chunk(encode_dht(DhtPut(1, 1, 0, KEY, b"value"))))
    assert message == DhtPut(1, 1, 0, KEY, b"value")
    assert type(message.key) is type(message.value) is bytes


def test_messages_before_the_bad_bytes_are_not_lost() -> None:
    with pytest.raises(BrokenStream) as caught:
        DhtDecoder().feed(encode_dht(DhtGet(KEY)) * 3 + b"\0\0\2\x8b" + encode_dht(DhtGet(KEY)))
    assert (caught.value.reason, caught.value.before) == ("size", [DhtGet(KEY)] * 3)


def test_messages_before_a_bad_body_are_not_lost() -> None:
    stream = encode_p2p(HELLO, 1) + encode_p2p(P2pPing(), 2) + frame(675, b"\0\1\7") + encode_p2p(P2pPing(), 3)
    with pytest.raises(BrokenStream) as caught:
        P2pDecoder().feed(stream)
    assert (caught.value.reason, caught.value.before) == ("value", [(1, HELLO), (2, P2pPing())])


def test_a_broken_stream_stays_broken() -> None:
    decoder = DhtDecoder()
    for data in (encode_dht(DhtGet(KEY)) + b"\0\0\2\x8b", encode_dht(DhtGet(KEY))):
        with pytest.raises(RemoteProtocolError, match="size"):
            decoder.feed(data)


def test_the_server_reads_requests_and_the_client_answers() -> None:
    with pytest.raises(BrokenStream, match="type"):
        DhtDecoder().feed(encode_dht(DhtFailure(KEY)))
    answers = [DhtSuccess(KEY, b"value"), DhtFailure(KEY)]
    assert DhtDecoder((DhtSuccess, DhtFailure)).feed(b"".join(map(encode_dht, answers))) == answers


def test_a_declared_4_gib_is_refused_with_its_fourth_byte() -> None:
    decoder = P2pDecoder(greeted=True)
    assert decoder.feed(b"\xff\xff\xff") == []
    with pytest.raises(BrokenStream, match="too_large"):
        decoder.feed(b"\xff")


def test_a_stranger_may_not_send_more_than_a_hello() -> None:
    with pytest.raises(BrokenStream, match="too_large"):
        P2pDecoder().feed(struct.pack(">I", HELLO_FRAME_BYTES_MAX))


def test_hello_lifts_the_bound_within_the_same_feed() -> None:
    put = P2pPut(KEY, 1, 1, NO_VERSION, False, bytes(65495))
    assert P2pDecoder().feed(encode_p2p(HELLO, 1) + encode_p2p(put, 2)) == [(1, HELLO), (2, put)]


def test_the_bound_may_be_assigned() -> None:
    decoder = P2pDecoder(greeted=True)
    assert decoder.frame_bytes_max == FRAME_BYTES_MAX
    decoder.frame_bytes_max = 12
    assert decoder.feed(encode_p2p(P2pPing(), 1)) == [(1, P2pPing())]
    with pytest.raises(BrokenStream, match="too_large"):
        decoder.feed(encode_p2p(P2pGet(KEY, True), 2))


def test_a_full_batch_fits_into_a_frame() -> None:
    """A batch ends at 500 records or with the value that fills half a mebibyte, whichever comes first."""
    small = RecordCopy(KEY, 1, 1, NO_VERSION, bytes(512 * 1024 // 499))
    batch = P2pTransfer((small,) * 499 + (small._replace(value=bytes(65495)),))
    assert P2pDecoder(greeted=True).feed(encode_p2p(batch, 1)) == [(1, batch)]


@pytest.mark.parametrize("type_number", [0, 650, 651, 659, 688, 65535])
def test_an_unknown_type_is_passed_on_with_its_request_id(type_number: int) -> None:
    stream = frame(type_number, b"from the future") + encode_p2p(P2pPing(), 8)
    assert P2pDecoder(greeted=True).feed(stream) == [(7, UnknownMessage(type_number)), (8, P2pPing())]


def test_only_the_dialling_side_takes_an_error_for_a_hello() -> None:
    error = P2pError(ErrorReason.RING, "another ring")
    assert P2pDecoder(dialling=True).feed(encode_p2p(error, 0)) == [(0, error)]
    with pytest.raises(BrokenStream, match="type"):
        P2pDecoder().feed(encode_p2p(error, 0))


def test_the_refusal_says_which_field_was_wrong() -> None:
    with pytest.raises(BrokenStream) as caught:
        P2pDecoder(greeted=True).feed(frame(681, struct.pack(">32xd", 2.0) + bytes(13)))
    assert "owned_ratio" in caught.value.detail
    assert "\n" not in caught.value.detail


def test_reasons_are_named_when_they_are_known() -> None:
    failure, refusal = P2pFailure(KEY, 4, ""), P2pError(8, "")
    (_, read_failure), (_, read_refusal) = P2pDecoder(greeted=True).feed(
        encode_p2p(failure, 1) + encode_p2p(refusal, 2)
    )
    assert read_failure.reason is FailureReason.STORE_FULL
    assert read_refusal.reason is ErrorReason.OVERLOAD


@pytest.mark.parametrize("detail", ["x" * 1000, "é" * 1000, "two\nlines \ud800"])
def test_an_explanation_is_made_to_fit(detail: str) -> None:
    ((_, message),) = P2pDecoder(greeted=True).feed(encode_p2p(P2pError(ErrorReason.INTERNAL, detail), 1))
    assert message.detail[:3] == detail[:3]
    assert message.detail.isprintable()
    assert len(message.detail.encode()) <= 256


WRONG = {
    "short key": DhtGet(bytes(31)),
    "long value": DhtPut(1, 1, 0, KEY, bytes(65496)),
    "ttl": DhtPut(65536, 1, 0, KEY, b""),
    "stamp": P2pPut(KEY, 1, 1, Version(STAMP_MAX + 1, 0), False, b""),
    "negative stamp": P2pPut(KEY, 1, 1, Version(-1, 0), False, b""),
    "coordinator": P2pPut(KEY, 1, 1, Version(0, 1 << 256), False, b""),
    "negative ttl": P2pPut(KEY, -1, 1, NO_VERSION, False, b""),
    "ident": P2pReplySuccessor(1 << 256, True, ()),
    "negative ident": P2pReplySuccessor(-1, True, ()),
    "peers": P2pReplySuccessor(1, True, (Peer(1, "a:1"),) * 256),
    "address": P2pHello(1, 1, "default", Peer(1, "nowhere")),
    "ring": P2pHello(1, 1, "x" * 256, Peer(1, "a:1")),
    "tombstone": P2pPut(KEY, 1, 1, NO_VERSION, False, b"", -1),
    "late tombstone": P2pPut(KEY, 1, 1, NO_VERSION, False, b"", 1 << 32),
    "total": P2pCompare(1, (ArcDigest(1, 2, 3, bytes(15)),)),
    "copies": P2pOffer((Entry(KEY, NO_VERSION, 256),)),
    "asked": P2pReplyFetch(501, ()),
    "digest": P2pReplyStat(KEY, False, 0, 0, NO_VERSION, 0, b""),
    "frame": P2pTransfer((RecordCopy(KEY, 1, 1, NO_VERSION, bytes(65495)),) * 17),
    "entries": P2pOffer((Entry(KEY, NO_VERSION, 1),) * 501),
    "records": P2pTransfer((RecordCopy(KEY, 1, 1, NO_VERSION, b""),) * 501),
    "class": Peer(1, "a:1"),
}


@pytest.mark.parametrize("message", WRONG.values(), ids=WRONG)
def test_what_we_build_wrongly_is_our_own_error(message: object) -> None:
    with pytest.raises(LocalProtocolError):
        encode_dht(message) if type(message).__name__.startswith("Dht") else encode_p2p(message, 1)


@pytest.mark.parametrize("request_id", [-1, 1 << 32])
def test_a_request_id_has_32_bits(request_id: int) -> None:
    with pytest.raises(LocalProtocolError):
        encode_p2p(P2pPing(), request_id)
