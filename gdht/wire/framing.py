"""Where frames begin and end in a stream of bytes, for both ports; no IO, and no look inside a body but for the magic.

A splitter is fed what a socket gave and yields the whole frames in it. What a header says is checked as soon as its
bytes are there, so a wrong frame is refused before it is waited for, and a splitter holds less than one frame.
"""

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Any, NamedTuple

from gdht.core.messages import MESSAGE_TYPES, P2pError, P2pHello
from gdht.errors import RemoteProtocolError
from gdht.wire.schema import MAGIC

DHT_HEADER = Struct(">HH")
"""Client API: size of the whole message, type."""

P2P_HEADER = Struct(">IHBBI")
"""Between peers: size of the body, type, protocol version, flags (none yet: ignored), request id."""

SIZE_BYTES = 4
"""How much of a P2P header tells the size."""

PROTOCOL_VERSION = 1
"""The version that this program speaks, in every P2P header and in HELLO."""

FRAME_BYTES_MAX = 1024 * 1024
"""The longest P2P frame, header included."""

HELLO_FRAME_BYTES_MAX = 4096
"""The longest P2P frame from somebody who has not said HELLO yet."""

HELLO_TYPE = MESSAGE_TYPES[P2pHello]
ERROR_TYPE = MESSAGE_TYPES[P2pError]


Chunk = bytes | bytearray | memoryview


class Limits(NamedTuple):
    """How long the body of one message type is, in bytes."""

    body_min: int
    body_max: int


class BrokenStream(RemoteProtocolError):
    """A stream went wrong at some point; close the connection after dealing with what came before.

    before: the messages that the same feed completed ahead of that point, as `feed` would have returned them.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.before: list[Any] = []


class Splitter:
    """Keeps the bytes of an unfinished frame between feeds: `rest`."""

    def __init__(self) -> None:
        self.rest = bytearray()
        self._wanted = 0  # so many bytes of `rest` before it is worth looking again

    def _buffer(self, data: Chunk) -> bytes:
        """What is to be looked at now; empty when more must come first."""
        if not self.rest:
            return bytes(data)
        self.rest += data
        return bytes(self.rest) if len(self.rest) >= self._wanted else b""

    def _keep(self, buffer: bytes, start: int, wanted: int) -> None:
        self._wanted = wanted
        if self.rest or start < len(buffer):
            self.rest = bytearray(buffer[start:])

    def eof(self) -> None:
        """The stream has ended. Raises BrokenStream (truncated) when a frame was under way."""
        if self.rest:
            raise BrokenStream("truncated", f"the stream ended {len(self.rest)} bytes into a message")


class DhtSplitter(Splitter):
    """Frames of the client API. limits: the type numbers that this side accepts."""

    def __init__(self, limits: Mapping[int, Limits]) -> None:
        super().__init__()
        self._limits = limits

    def split(self, data: Chunk) -> Iterator[tuple[int, bytes, int, int]]:
        """What `data` completes: (type number, buffer, start, end), the body being buffer[start:end].

        Raises: BrokenStream (size, type).
        """
        buffer = self._buffer(data)
        if not buffer:
            return
        limits, unpack_header = self._limits, DHT_HEADER.unpack_from
        start, available, wanted = 0, len(buffer), DHT_HEADER.size
        while available - start >= DHT_HEADER.size:
            size, type_number = unpack_header(buffer, start)
            limit = limits.get(type_number)
            if limit is None:
                raise BrokenStream("type", f"type {type_number} is not expected here")
            if not limit.body_min <= size - DHT_HEADER.size <= limit.body_max:
                raise BrokenStream("size", f"{size} bytes cannot be a message of type {type_number}")
            if size > available - start:
                wanted = size
                break
            yield type_number, buffer, start + DHT_HEADER.size, start + size
            start += size
        self._keep(buffer, start, wanted)


class P2pSplitter(Splitter):
    """Frames between peers.

    limits: the known type numbers; unknown ones pass, for the server to answer. dialling: the other side accepted our
    connection, so its first frame may be an ERROR instead of a HELLO. greeted: whether HELLO came, and with it the
    right to longer frames and other types.
    """

    def __init__(self, limits: Mapping[int, Limits], frame_bytes_max: int, *, dialling: bool, greeted: bool) -> None:
        super().__init__()
        self.frame_bytes_max = frame_bytes_max
        self._limits = limits
        self._first_types = (HELLO_TYPE, ERROR_TYPE) if dialling else (HELLO_TYPE,)
        self.greeted = greeted

    def split(self, data: Chunk) -> Iterator[tuple[int, int, bytes, int, int]]:
        """What `data` completes: (type number, request id, buffer, start, end), the body being buffer[start:end].

        Raises: BrokenStream (too_large, type, size, value, magic).
        """
        buffer = self._buffer(data)
        if not buffer:
            return
        start, available = 0, len(buffer)
        while (wanted := self._check(buffer, start)) <= available - start:
            _, type_number, _, _, request_id = P2P_HEADER.unpack_from(buffer, start)
            self.greeted = self.greeted or type_number == HELLO_TYPE
            yield type_number, request_id, buffer, start + P2P_HEADER.size, start + wanted
            start += wanted
        # Every byte of what may be a HELLO is looked at as it comes; for longer frames that would be quadratic.
        self._keep(buffer, start, wanted if wanted > HELLO_FRAME_BYTES_MAX else 0)

    def _check(self, buffer: bytes, start: int) -> int:
        """Check what is there of the frame at `start`; so many bytes of it must be there to go on."""
        available = len(buffer) - start
        if available < P2P_HEADER.size:
            if available < SIZE_BYTES:
                return SIZE_BYTES
            self._check_size(int.from_bytes(buffer[start : start + SIZE_BYTES]))
            return P2P_HEADER.size
        size, type_number, version, _, _ = P2P_HEADER.unpack_from(buffer, start)
        self._check_size(size)
        if not self.greeted and type_number not in self._first_types:
            raise BrokenStream("type", f"type {type_number} before HELLO")
        limit = self._limits.get(type_number)
        if limit is not None and not limit.body_min <= size <= limit.body_max:
            reason = "size" if size < limit.body_min else "too_large"
            raise BrokenStream(reason, f"a body of {size} bytes cannot be a message of type {type_number}")
        body = start + P2P_HEADER.size
        if type_number == HELLO_TYPE and not MAGIC.startswith(buffer[body : body + len(MAGIC)]):
            raise BrokenStream("magic", f"HELLO begins with {buffer[body : body + len(MAGIC)]!r}")
        if version != PROTOCOL_VERSION and type_number not in (HELLO_TYPE, ERROR_TYPE):
            raise BrokenStream("value", f"a frame of protocol version {version}")
        whole: int = P2P_HEADER.size + size
        return whole

    def _check_size(self, size: int) -> None:
        bound = self.frame_bytes_max if self.greeted else min(self.frame_bytes_max, HELLO_FRAME_BYTES_MAX)
        if size > bound - P2P_HEADER.size:
            raise BrokenStream("too_large", f"a body of {size} bytes in a frame; {bound} bytes are allowed")
