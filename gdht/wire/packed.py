"""The frequent and the large messages by hand with `struct`, ten to thirty times faster than their declarations.

Each pair must behave as its declaration does: the same message or the same refusal for any bytes, the same bytes or the
same refusal for any message. A differential test holds them to it. Decoders may count on `framing` for the limits
of the whole body and raise RemoteProtocolError (size, trailing) or ValueError for what is wrong inside; encoders raise
whatever a wrong field raises.
"""

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct

from gdht.core import messages as m
from gdht.core.ident import IDENT_BYTES
from gdht.core.peer import Peer
from gdht.core.values import make
from gdht.wire import fields
from gdht.wire.framing import DHT_HEADER
from gdht.wire.packed_records import RECORDS
from gdht.wire.parts import FLAGGED, U16, BodyCodec, empty, encode_ident, finish, key_bytes, key_only, short
from gdht.wire.schema import MAGIC

_DHT_PUT = Struct(">HBB32s")
_HELLO = Struct(">4sBBB")
_REPLY_SUCCESSOR = Struct(">32sB32s")


# The client API -------------------------------------------------------------------------------------------------------


def _encode_dht_put(message: m.DhtPut) -> bytes:
    ttl_s, replication, reserved, key, value = message
    return _DHT_PUT.pack(ttl_s, replication, reserved, key_bytes(key)) + value


def _decode_dht_put(buffer: bytes, start: int, end: int) -> m.DhtPut:
    ttl_s, replication, reserved, key = _DHT_PUT.unpack_from(buffer, start)
    return make(m.DhtPut, (ttl_s, replication, reserved, key, buffer[start + _DHT_PUT.size : end]))


def _encode_dht_success(message: m.DhtSuccess) -> bytes:
    return key_bytes(message.key) + message.value


def _decode_dht_success(buffer: bytes, start: int, end: int) -> m.DhtSuccess:
    value_at = start + IDENT_BYTES
    return m.DhtSuccess(buffer[start:value_at], buffer[value_at:end])


GET_FRAME = Struct(f">4s{IDENT_BYTES}s")
GET_HEADER = DHT_HEADER.pack(GET_FRAME.size, m.MESSAGE_TYPES[m.DhtGet])


def gets_in_front(data: bytes | bytearray | memoryview) -> list[m.DhtMessage]:
    """The whole frames of a DhtGet that `data` begins with, up to one that is none."""
    gets: list[m.DhtMessage] = []
    whole = len(data) // GET_FRAME.size * GET_FRAME.size
    for header, key in GET_FRAME.iter_unpack(data if whole == len(data) else data[:whole]):
        if header != GET_HEADER:
            break
        gets.append(make(m.DhtGet, (key,)))
    return gets


_SUCCESS_TYPE = m.MESSAGE_TYPES[m.DhtSuccess]
_FAILURE_HEADER = DHT_HEADER.pack(DHT_HEADER.size + IDENT_BYTES, m.MESSAGE_TYPES[m.DhtFailure])


def dht_success_frame(key: bytes, value: bytes) -> bytes:
    """The whole frame of a DhtSuccess, as `encode_dht` makes it, of a key and a value that are known to fit."""
    return DHT_HEADER.pack(DHT_HEADER.size + IDENT_BYTES + len(value), _SUCCESS_TYPE) + key + value


def dht_failure_frame(key: bytes) -> bytes:
    """The whole frame of a DhtFailure, as `encode_dht` makes it, of a key that is known to fit."""
    return _FAILURE_HEADER + key


# The ring -------------------------------------------------------------------------------------------------------------


def _encode_get_successor(message: m.P2pGetSuccessor) -> bytes:
    return FLAGGED.pack(encode_ident(message.ident), bool(message.strict))


def _decode_get_successor(buffer: bytes, start: int, _end: int) -> m.P2pGetSuccessor:
    ident, flags = FLAGGED.unpack_from(buffer, start)
    return m.P2pGetSuccessor(int.from_bytes(ident), fields.parse_flag(flags))


@lru_cache(maxsize=8192)  # the same few peers stand in most messages
def _encode_peer(peer: Peer) -> bytes:
    address = fields.build_address(peer.address)
    return FLAGGED.pack(encode_ident(peer.ident), len(address)) + address


@lru_cache(maxsize=8192)
def _decode_peer(entry: bytes) -> Peer:
    return Peer(int.from_bytes(entry[:IDENT_BYTES]), fields.parse_address(entry[FLAGGED.size :]))


def _decode_peer_at(buffer: bytes, position: int, end: int) -> tuple[Peer, int]:
    """The peer that begins at `position`, and where it ends."""
    address_at = position + FLAGGED.size
    if address_at > end:
        raise short()
    stop = address_at + buffer[address_at - 1]
    if stop > end:
        raise short()
    return _decode_peer(buffer[position:stop]), stop


def _encode_peers(peers: Sequence[Peer]) -> bytes:
    return bytes((len(peers),)) + b"".join(map(_encode_peer, peers))


def _decode_peers(buffer: bytes, position: int, end: int) -> tuple[tuple[Peer, ...], int]:
    """The list that begins at `position`, and where it ends."""
    if position >= end:
        raise short()
    count = buffer[position]
    position += 1
    peers = []
    for _ in range(count):
        peer, position = _decode_peer_at(buffer, position, end)
        peers.append(peer)
    return tuple(peers), position


def _encode_hello(message: m.P2pHello) -> bytes:
    version_min, version_max, ring, peer = message
    ring_bytes = fields.build_text(ring)
    return _HELLO.pack(MAGIC, version_min, version_max, len(ring_bytes)) + ring_bytes + _encode_peer(peer)


def _decode_hello(buffer: bytes, start: int, end: int) -> m.P2pHello:
    _, version_min, version_max, ring_bytes = _HELLO.unpack_from(buffer, start)
    ring_at = start + _HELLO.size
    position = ring_at + ring_bytes
    if position > end:
        raise short()
    ring = fields.parse_text(buffer[ring_at:position])
    peer, position = _decode_peer_at(buffer, position, end)
    finish(position, end)
    return m.P2pHello(version_min, version_max, ring, peer)


def _encode_error(message: m.P2pError) -> bytes:
    return U16.pack(message.reason) + fields.build_detail(message.detail)


def _decode_error(buffer: bytes, start: int, end: int) -> m.P2pError:
    (reason,) = U16.unpack_from(buffer, start)
    return m.P2pError(fields.parse_error_reason(reason), fields.parse_text(buffer[start + U16.size : end]))


def _encode_reply_successor(message: m.P2pReplySuccessor) -> bytes:
    ident, final, peers, begin = message
    return _REPLY_SUCCESSOR.pack(encode_ident(ident), bool(final), encode_ident(begin)) + _encode_peers(peers)


def _decode_reply_successor(buffer: bytes, start: int, end: int) -> m.P2pReplySuccessor:
    ident, flags, begin = _REPLY_SUCCESSOR.unpack_from(buffer, start)
    peers, position = _decode_peers(buffer, start + _REPLY_SUCCESSOR.size, end)
    finish(position, end)
    return m.P2pReplySuccessor(int.from_bytes(ident), fields.parse_flag(flags), peers, int.from_bytes(begin))


def _encode_reply_neighbours(message: m.P2pReplyNeighbours) -> bytes:
    return _encode_peers(message.predecessors) + _encode_peers(message.successors)


def _decode_reply_neighbours(buffer: bytes, start: int, end: int) -> m.P2pReplyNeighbours:
    predecessors, position = _decode_peers(buffer, start, end)
    successors, position = _decode_peers(buffer, position, end)
    finish(position, end)
    return m.P2pReplyNeighbours(predecessors, successors)


PACKED: dict[type, BodyCodec] = {
    m.DhtPut: BodyCodec(_encode_dht_put, _decode_dht_put),
    m.DhtGet: key_only(m.DhtGet),
    m.DhtSuccess: BodyCodec(_encode_dht_success, _decode_dht_success),
    m.DhtFailure: key_only(m.DhtFailure),
    m.P2pHello: BodyCodec(_encode_hello, _decode_hello),
    m.P2pError: BodyCodec(_encode_error, _decode_error),
    m.P2pPing: empty(m.P2pPing),
    m.P2pAck: empty(m.P2pAck),
    m.P2pGetSuccessor: BodyCodec(_encode_get_successor, _decode_get_successor),
    m.P2pReplySuccessor: BodyCodec(_encode_reply_successor, _decode_reply_successor),
    m.P2pGetNeighbours: empty(m.P2pGetNeighbours),
    m.P2pReplyNeighbours: BodyCodec(_encode_reply_neighbours, _decode_reply_neighbours),
    m.P2pNotify: empty(m.P2pNotify),
    m.P2pLeave: empty(m.P2pLeave),
    m.P2pGetStatus: empty(m.P2pGetStatus),
    **RECORDS,
}
"""Message class to its hand-written form."""
