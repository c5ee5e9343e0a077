"""Frames through the real decoder, each distinct one once: nodes say the same things to each other over and over.

Messages are immutable values and decoding is a pure function of the bytes, so whoever receives the same bytes may share
the same message.
"""

from functools import lru_cache

from gdht.core.messages import P2pHello, P2pMessage
from gdht.wire.codec import P2pDecoder, UnknownMessage

ID_START, ID_END = 8, 12
"""Where the request id stands in a frame: the one part that differs from message to message."""

DISTINCT_FRAMES_MAX = 1 << 17


def decode(frame: bytes) -> tuple[int, P2pMessage | UnknownMessage]:
    """Request id and message of one whole frame. Raises: BrokenStream."""
    return int.from_bytes(frame[ID_START:ID_END]), _decode(frame[:ID_START] + bytes(4) + frame[ID_END:])


@lru_cache(DISTINCT_FRAMES_MAX)
def decode_hello(frame: bytes) -> P2pHello:
    """The HELLO in a frame, from a decoder that waits for one. Raises: BrokenStream."""
    ((_, message),) = P2pDecoder().feed(frame)
    assert isinstance(message, P2pHello)
    return message


@lru_cache(DISTINCT_FRAMES_MAX)
def _decode(frame: bytes) -> P2pMessage | UnknownMessage:
    ((_, message),) = P2pDecoder(greeted=True).feed(frame)
    return message
