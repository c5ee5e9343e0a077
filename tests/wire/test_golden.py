"""Frames as bytes in files, each with what must come of it: the contract with every other implementation.

A file says what it shows, which decoder reads it, what to expect, and then the bytes in hex. Valid: the message or,
between peers, a pair: request id, message; `written: never` when we read it but would write it otherwise.
Invalid: the reason of the refusal, and after how many bytes it is known (`at`; left out: with the last).
"""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gdht.core import messages, peer, records
from gdht.core.messages import MESSAGE_TYPES, DhtFailure, DhtMessage, DhtSuccess
from gdht.wire import codec
from gdht.wire.codec import BrokenStream, DhtDecoder, P2pDecoder, encode_dht, encode_p2p

GOLDEN = Path(__file__).parent / "golden"
DECODERS = {
    "server": DhtDecoder,
    "client": lambda: DhtDecoder((DhtSuccess, DhtFailure)),
    "p2p": lambda: P2pDecoder(greeted=True),
    "p2p-first": P2pDecoder,
    "p2p-dialling": lambda: P2pDecoder(dialling=True),
}
NAMES = {**vars(messages), **vars(peer), **vars(records), **vars(codec)}


class Golden(NamedTuple):
    decoder: str
    expect: str
    at: str
    written: bool
    frame: bytes


def read(path: Path) -> Golden:
    head, _, frame = path.read_text().partition("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines() if not line.startswith("#"))
    return Golden(
        fields["decoder"], fields["expect"], fields.get("at", ""), "written" not in fields, bytes.fromhex(frame)
    )


def files(folder: str) -> list[Any]:
    return [pytest.param(read(path), id=path.stem) for path in sorted((GOLDEN / folder).glob("*.hex"))]


VALID, INVALID = files("valid"), files("invalid")


def feed_all(decoder: Any, pieces: list[bytes]) -> list[Any]:
    return [message for piece in pieces for message in decoder.feed(piece)]


def exactly(value: Any) -> list[Any]:
    """Tuples of different classes are equal to each other: compare the words as well."""
    return [value, repr(value)]


@pytest.mark.parametrize("golden", VALID)
def test_a_valid_frame_is_read_whole(golden: Golden) -> None:
    decoder = DECODERS[golden.decoder]()
    assert exactly(decoder.feed(golden.frame)) == exactly([eval(golden.expect, NAMES)])
    decoder.eof()


@pytest.mark.parametrize("golden", VALID)
def test_a_valid_frame_is_read_byte_by_byte(golden: Golden) -> None:
    decoder = DECODERS[golden.decoder]()
    assert feed_all(decoder, [bytes([byte]) for byte in golden.frame[:-1]]) == []
    assert exactly(decoder.feed(golden.frame[-1:])) == exactly([eval(golden.expect, NAMES)])
    decoder.eof()


@pytest.mark.parametrize("golden", VALID)
def test_bytes_after_a_valid_frame_begin_the_next_one(golden: Golden) -> None:
    decoder, expected = DECODERS[golden.decoder](), [eval(golden.expect, NAMES)]
    cut = len(golden.frame) // 2
    assert exactly(decoder.feed(golden.frame + golden.frame[:cut])) == exactly(expected)
    with pytest.raises(BrokenStream, match="truncated"):
        decoder.eof()
    assert exactly(decoder.feed(golden.frame[cut:])) == exactly(expected)


@pytest.mark.parametrize("golden", [each for each in VALID if each.values[0].written])
def test_a_valid_message_is_written_as_the_same_frame(golden: Golden) -> None:
    expected = eval(golden.expect, NAMES)
    frame = encode_dht(expected) if isinstance(expected, DhtMessage) else encode_p2p(expected[1], expected[0])
    assert frame == golden.frame


def refusal(decoder: Any, pieces: list[bytes]) -> tuple[str, int | None]:
    """The reason, and after how many pieces; None: only the end of the stream brings it."""
    for count, piece in enumerate(pieces, start=1):
        try:
            assert decoder.feed(piece) == []
        except BrokenStream as error:
            return error.reason, count
    with pytest.raises(BrokenStream) as caught:
        decoder.eof()
    return caught.value.reason, None


@pytest.mark.parametrize("golden", INVALID)
def test_an_invalid_frame_is_refused_with_its_reason(golden: Golden) -> None:
    assert refusal(DECODERS[golden.decoder](), [golden.frame])[0] == golden.expect


@pytest.mark.parametrize("golden", INVALID)
def test_an_invalid_frame_is_refused_as_soon_as_it_shows(golden: Golden) -> None:
    at = None if golden.at == "end" else int(golden.at or len(golden.frame))
    assert refusal(DECODERS[golden.decoder](), [bytes([byte]) for byte in golden.frame]) == (golden.expect, at)


@pytest.mark.parametrize("folder", ["valid", "invalid"])
def test_every_message_type_has_a_frame(folder: str) -> None:
    shown = {path.stem.split("-")[0] for path in (GOLDEN / folder).glob("*.hex")}
    assert {message.__name__ for message in MESSAGE_TYPES} <= shown
