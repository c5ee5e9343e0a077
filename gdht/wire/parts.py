"""What the hand-written codecs are put together from: the parts of a body that several messages have."""

from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple

from gdht.core.ident import IDENT_BYTES
from gdht.core.records import Version
from gdht.core.values import make
from gdht.errors import RemoteProtocolError
from gdht.wire import fields

Decode = Callable[[bytes, int, int], Any]
"""The message whose body is buffer[start:end]."""

Encode = Callable[[Any], bytes]
"""The body of a message."""


class BodyCodec(NamedTuple):
    """How the body of one kind of message is written and read."""

    encode: Encode
    decode: Decode


FLAGGED = Struct(">32sB")
"""A key or an identifier, and a byte."""

U16 = Struct(">H")


def key_bytes(key: bytes) -> bytes:
    """The key itself. Struct would pad a short one and cut a long one without a word."""
    if len(key) != IDENT_BYTES:
        raise ValueError(f"a key of {len(key)} bytes")
    return key


def encode_ident(ident: int) -> bytes:
    """An identifier, 32 bytes."""
    return ident.to_bytes(IDENT_BYTES)


def version_of(stamp: int, coordinator: bytes) -> Version:
    """A version from its two fields as they travel."""
    return make(Version, (stamp, int.from_bytes(coordinator)))


def short() -> RemoteProtocolError:
    """The error of a body that ends inside a field."""
    return RemoteProtocolError("size", "the body ends inside a field")


def finish(position: int, end: int) -> None:
    """Check that the last field ends where the body does."""
    if position != end:
        raise RemoteProtocolError("trailing", f"{end - position} bytes after the last field")


def encode_count(count: int) -> bytes:
    """How many of something follow."""
    return U16.pack(fields.check_count(count))


def decode_count(buffer: bytes, start: int, end: int) -> tuple[int, int]:
    """The count that begins at `start`, and where it ends."""
    position = start + U16.size
    if position > end:
        raise short()
    (count,) = U16.unpack_from(buffer, start)
    return fields.check_count(count), position


def decode_items(item: Struct, buffer: bytes, start: int, end: int) -> tuple[memoryview, int]:
    """The bytes of a counted list of items of one size, and where it ends."""
    count, position = decode_count(buffer, start, end)
    stop = position + count * item.size
    if stop > end:
        raise short()
    return memoryview(buffer)[position:stop], stop


def encode_flags(flags: tuple[bool, ...]) -> bytes:
    """A counted list of flags."""
    return encode_count(len(flags)) + fields.build_flags(flags)


def decode_flags(buffer: bytes, start: int, end: int) -> tuple[tuple[bool, ...], int]:
    """The list of flags that begins at `start`, and where it ends."""
    count, position = decode_count(buffer, start, end)
    stop = position + count
    if stop > end:
        raise short()
    return fields.parse_flags(buffer[position:stop]), stop


def empty(make: Callable[[], Any]) -> BodyCodec:
    """A message without a body: one value serves all."""
    message = make()
    return BodyCodec(lambda _: b"", lambda _buffer, _start, _end: message)


def key_only(make: Callable[[bytes], Any]) -> BodyCodec:
    """A message that is a key."""
    return BodyCodec(lambda message: key_bytes(message.key), lambda buffer, start, end: make(buffer[start:end]))
