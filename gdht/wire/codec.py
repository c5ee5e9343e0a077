"""Messages to frames and frames to messages, for both ports; one table says how each message travels.

What others send wrongly raises RemoteProtocolError, what we build wrongly LocalProtocolError; no other error leaves.
"""

import struct
from collections.abc import Collection
from typing import Any, Generic, NamedTuple, TypeVar

from construct import ConstError, Construct, ConstructError, StreamError, TerminatedError

from gdht.core import messages as m
from gdht.core.messages import MESSAGE_TYPES, DhtMessage, P2pMessage
from gdht.errors import LocalProtocolError, RemoteProtocolError
from gdht.wire.framing import (
    DHT_HEADER,
    FRAME_BYTES_MAX,
    P2P_HEADER,
    PROTOCOL_VERSION,
    BrokenStream,
    Chunk,
    DhtSplitter,
    Limits,
    P2pSplitter,
    Splitter,
)
from gdht.wire.packed import GET_FRAME, GET_HEADER, PACKED, gets_in_front
from gdht.wire.parts import BodyCodec, Decode, Encode
from gdht.wire.schema import BODIES

__all__ = [
    "PROTOCOL_VERSION",
    "BrokenStream",
    "DhtDecoder",
    "P2pDecoder",
    "UnknownMessage",
    "encode_dht",
    "encode_p2p",
]


class UnknownMessage(NamedTuple):
    """A frame in good order with a type that this version does not know: answer ERROR (UNSUPPORTED)."""

    type_number: int


class Codec(NamedTuple):
    """How one message travels. body_min, body_max: bytes."""

    type_number: int
    body_min: int
    body_max: int
    encode: Encode
    decode: Decode


def interpreted(schema: Construct) -> BodyCodec:
    """The encoder and the decoder that a declaration is by itself."""

    def decode(buffer: bytes, start: int, end: int) -> Any:
        try:
            return schema.parse(buffer[start:end])
        except ConstructError as error:
            raise RemoteProtocolError(_reason(error), " ".join(str(error).split())) from error

    return BodyCodec(schema.build, decode)


def _reason(error: ConstructError) -> str:
    """The label word for what construct says: bytes missing, bytes left over, another protocol, a wrong value."""
    if isinstance(error, StreamError):
        return "size"
    if isinstance(error, TerminatedError):
        return "trailing"
    return "magic" if isinstance(error, ConstError) else "value"


ANY = FRAME_BYTES_MAX - P2P_HEADER.size
"""The bound of bodies that have none of their own."""

MANY = m.RECORDS_PER_MESSAGE_MAX

_SIZES: dict[type, tuple[int, int]] = {
    m.DhtPut: (36, 36 + m.VALUE_BYTES_MAX),
    m.DhtGet: (32, 32),
    m.DhtSuccess: (32, 32 + m.VALUE_BYTES_MAX),
    m.DhtFailure: (32, 32),
    m.P2pPut: (82, 82 + m.VALUE_BYTES_MAX),
    m.P2pGet: (33, 33),
    m.P2pSuccess: (85, 85 + m.VALUE_BYTES_MAX),
    m.P2pFailure: (37, 37 + 256),
    m.P2pGetSuccessor: (33, 33),
    m.P2pReplySuccessor: (66, 66 + 255 * 288),
    m.P2pHello: (40, 40 + 255 + 255),
    m.P2pError: (2, 2 + 256),
    m.P2pPing: (0, 0),
    m.P2pAck: (0, 0),
    m.P2pGetNeighbours: (0, 0),
    m.P2pReplyNeighbours: (2, 2 + 2 * 255 * 288),
    m.P2pNotify: (0, 0),
    m.P2pLeave: (0, 0),
    m.P2pOffer: (2, 2 + MANY * 73),
    m.P2pReplyOffer: (2, 2 + MANY),
    m.P2pTransfer: (2, ANY),
    m.P2pReplyTransfer: (2, 2 + MANY),
    m.P2pFetch: (2, 2 + MANY * 32),
    m.P2pReplyFetch: (4, ANY),
    m.P2pCompare: (3, 3 + MANY * 84),
    m.P2pReplyCompare: (5, 5 + MANY * (1 + 4)),
    m.P2pReconcile: (67, 67 + MANY * 73),
    m.P2pReplyReconcile: (37, 37 + MANY * (1 + 73)),
    m.P2pGetStatus: (0, 0),
    m.P2pReplyStatus: (53, 53 + 3 * 255 + 2 * 255 * 288),
    m.P2pStat: (32, 32),
    m.P2pReplyStat: (114, 114),
}


CODECS: dict[type, Codec] = {
    message: Codec(number, *_SIZES[message], *(PACKED.get(message) or interpreted(BODIES[message])))
    for message, number in MESSAGE_TYPES.items()
}
"""Message class to how it travels: by hand when it is frequent, by its declaration otherwise."""

_DECODERS = {codec.type_number: codec.decode for codec in CODECS.values()}
_P2P_DECODERS = {number: decode for number, decode in _DECODERS.items() if number >= MESSAGE_TYPES[m.P2pPut]}
_PLAIN = {
    codec.type_number: (codec.body_min, codec.body_max, codec.decode)
    for message, codec in CODECS.items()
    if codec.type_number in _P2P_DECODERS and message is not m.P2pHello
}
"""What nearly all frames between peers are; nothing about their headers needs a closer look."""

_LIMITS = {codec.type_number: Limits(codec.body_min, codec.body_max) for codec in CODECS.values()}
_P2P_LIMITS = {number: _LIMITS[number] for number in _P2P_DECODERS}


def _encode_body(message: Any) -> tuple[int, bytes]:
    """Type number and body. Raises: LocalProtocolError."""
    codec = CODECS.get(type(message))
    if codec is None:
        raise LocalProtocolError(f"{type(message).__name__} is not a message")
    try:
        body = codec.encode(message)
    except (ConstructError, struct.error, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise LocalProtocolError(f"{type(message).__name__}: {' '.join(str(error).split())}") from error
    if len(body) > codec.body_max:
        raise LocalProtocolError(f"{type(message).__name__}: {len(body)} bytes; {codec.body_max} are allowed")
    return codec.type_number, body


def encode_dht(message: DhtMessage) -> bytes:
    """The whole frame. Raises: LocalProtocolError when a field does not fit."""
    type_number, body = _encode_body(message)
    return DHT_HEADER.pack(DHT_HEADER.size + len(body), type_number) + body


def encode_p2p(message: P2pMessage, request_id: int) -> bytes:
    """The whole frame. request_id: 32 bits. Raises: LocalProtocolError when a field does not fit."""
    type_number, body = _encode_body(message)
    try:
        header = P2P_HEADER.pack(len(body), type_number, PROTOCOL_VERSION, 0, request_id)
    except struct.error as error:
        raise LocalProtocolError(f"request id {request_id}: {error}") from error
    return header + body


AnySplitter = TypeVar("AnySplitter", bound=Splitter)


class _Decoder(Generic[AnySplitter]):
    """What both decoders share: a stream that went wrong stays wrong."""

    def __init__(self, splitter: AnySplitter) -> None:
        self._splitter = splitter
        self._failure: tuple[str, str] | None = None

    def eof(self) -> None:
        """The other side has finished sending. Raises: BrokenStream (truncated) when that cuts a message short."""
        self._splitter.eof()

    def _fail(self, error: RemoteProtocolError | ValueError, before: list[Any]) -> BrokenStream:
        if isinstance(error, RemoteProtocolError):
            self._failure = error.reason, error.detail
        else:
            self._failure = "value", str(error)
        broken = BrokenStream(*self._failure)
        broken.before = before
        return broken


class DhtDecoder(_Decoder[DhtSplitter]):
    """Bytes of one client API connection to messages.

    accepted: what may arrive at this end of it: PUT and GET at the server, SUCCESS and FAILURE at a client.
    """

    def __init__(self, accepted: Collection[type] = (m.DhtPut, m.DhtGet)) -> None:
        self._takes_gets = m.DhtGet in accepted
        numbers = [MESSAGE_TYPES[message] for message in accepted]
        self._plain = {number: (*_LIMITS[number], _DECODERS[number]) for number in numbers}
        super().__init__(DhtSplitter({number: _LIMITS[number] for number in numbers}))

    def feed(self, data: Chunk) -> list[DhtMessage]:
        """The messages that `data` completes. Raises: BrokenStream, now and ever after; see its `before`."""
        if self._failure is not None:
            raise BrokenStream(*self._failure)
        messages: list[DhtMessage] = []
        is_between_frames = not self._splitter.rest
        if is_between_frames and self._takes_gets and data[: len(GET_HEADER)] == GET_HEADER:
            messages = gets_in_front(data)  # the most frequent of all
            data = data[len(messages) * GET_FRAME.size :]
            if not data:
                return messages
        try:
            if is_between_frames:
                data = bytes(data)
                end = self._read_plain(data, messages)
                if end == len(data):
                    return messages
                data = data[end:]
            for type_number, buffer, start, end in self._splitter.split(data):
                messages.append(_DECODERS[type_number](buffer, start, end))
        except (RemoteProtocolError, ValueError) as error:
            raise self._fail(error, messages) from error
        return messages

    def _read_plain(self, data: bytes, messages: list[DhtMessage]) -> int:
        """Read the whole messages in front, up to one that is looked at more closely; where that begins."""
        start, available, head = 0, len(data), DHT_HEADER.size
        unpack_header, plain = DHT_HEADER.unpack_from, self._plain
        while available - start >= head:
            size, type_number = unpack_header(data, start)
            codec = plain.get(type_number)
            end = start + size
            if codec is None or end > available or not codec[0] <= size - head <= codec[1]:
                break
            messages.append(codec[2](data, start + head, end))
            start = end
        return start


class P2pDecoder(_Decoder[P2pSplitter]):
    """Bytes of one connection between peers to (request id, message).

    Until HELLO was read, frames are short and must be HELLO (to the side that dialled, also ERROR). frame_bytes_max:
    the longest frame after that. greeted: there is no HELLO to wait for.
    """

    def __init__(
        self, frame_bytes_max: int = FRAME_BYTES_MAX, *, dialling: bool = False, greeted: bool = False
    ) -> None:
        super().__init__(P2pSplitter(_P2P_LIMITS, frame_bytes_max, dialling=dialling, greeted=greeted))

    @property
    def is_between_frames(self) -> bool:
        """Whether what comes next begins a frame, HELLO being over."""
        return not self._splitter.rest and self._splitter.greeted and self._failure is None

    @property
    def frame_bytes_max(self) -> int:
        """The longest frame, header included, in bytes; may be assigned at any time."""
        return self._splitter.frame_bytes_max

    @frame_bytes_max.setter
    def frame_bytes_max(self, frame_bytes_max: int) -> None:
        self._splitter.frame_bytes_max = frame_bytes_max

    def feed(self, data: Chunk) -> list[tuple[int, P2pMessage | UnknownMessage]]:
        """What `data` completes. Raises: BrokenStream, now and ever after; see its `before`."""
        if self._failure is not None:
            raise BrokenStream(*self._failure)
        messages: list[tuple[int, P2pMessage | UnknownMessage]] = []
        try:
            if self.is_between_frames:
                data = bytes(data)
                end = self._read_plain(data, messages)
                if end == len(data):
                    return messages
                data = data[end:]
            for type_number, request_id, buffer, start, end in self._splitter.split(data):
                decode = _P2P_DECODERS.get(type_number)
                message = UnknownMessage(type_number) if decode is None else decode(buffer, start, end)
                messages.append((request_id, message))
        except (RemoteProtocolError, ValueError) as error:
            raise self._fail(error, messages) from error
        return messages

    def _read_plain(self, data: bytes, messages: list[tuple[int, P2pMessage | UnknownMessage]]) -> int:
        """Read the whole frames in front, up to one that is looked at more closely; where that begins."""
        start, available, head, bytes_max = 0, len(data), P2P_HEADER.size, self.frame_bytes_max
        unpack_header, plain = P2P_HEADER.unpack_from, _PLAIN
        while available - start >= head:
            size, type_number, version, _, request_id = unpack_header(data, start)
            codec = plain.get(type_number)
            body, end = start + head, start + head + size
            if codec is None or version != PROTOCOL_VERSION or end > available or end - start > bytes_max:
                break
            body_min, body_max, decode = codec
            if not body_min <= size <= body_max:
                break
            messages.append((request_id, decode(data, body, end)))
            start = end
        return start
