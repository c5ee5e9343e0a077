"""The frequent messages by hand with `struct`, ten to thirty times faster than their declarations in `schema`.

Each pair must behave as its declaration does: the same message or the same refusal for any bytes, the same bytes or the
same refusal for any message. A differential test holds them to it. Decoders may count on `framing` for the limits
of the whole body and raise RemoteProtocolError (size, trailing) or ValueError for what is wrong inside; encoders raise
whatever a wrong field raises.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, NamedTuple

from gdht.core import messages as m
from gdht.core.ident import IDENT_BYTES
from gdht.core.peer import Peer
from gdht.core.records import Version
from gdht.errors import RemoteProtocolError
from gdht.wire import fields
from gdht.wire.schema import MAGIC

Decode = Callable[[bytes, int, int], Any]
"""The message whose body is buffer[start:end]."""

Encode = Callable[[Any], bytes]
"""The body of a message."""


class Packed(NamedTuple):
    """One message by hand."""

    encode: Encode
    decode: Decode


_DHT_PUT = Struct(">HBB32s")
_P2P_PUT = Struct(">32sIBBQ32s")
_FLAGGED = Struct(">32sB")
_RECORD = Struct(">32sIBQ32s")
_COPY = Struct(">32sIBQ32sH")
_OFFERED = Struct(">32sQ32s")
_HELLO = Struct(">4sBBB")
_U16 = Struct(">H")


def _key(key: bytes) -> bytes:
    """Struct would pad a short key and cut a long one without a word."""
    if len(key) != IDENT_BYTES:
        raise ValueError(f"a key of {len(key)} bytes")
    return key


def _ident(ident: int) -> bytes:
    return ident.to_bytes(IDENT_BYTES)


def _version(stamp: int, coordinator: bytes) -> Version:
    return Version(stamp, int.from_bytes(coordinator))


def _short() -> RemoteProtocolError:
    return RemoteProtocolError("size", "the body ends inside a field")


def _encode_count(count: int) -> bytes:
    return _U16.pack(fields.check_count(count))


def _decode_count(buffer: bytes, start: int) -> tuple[int, int]:
    """The count that begins at `start`, and where it ends."""
    (count,) = _U16.unpack_from(buffer, start)
    return fields.check_count(count), start + _U16.size


def _finish(position: int, end: int) -> None:
    if position != end:
        raise RemoteProtocolError("trailing", f"{end - position} bytes after the last field")


def _empty(make: Callable[[], Any]) -> Packed:
    """A message without a body: one value serves all."""
    message = make()
    return Packed(lambda _: b"", lambda _buffer, _start, _end: message)


def _key_only(make: Callable[[bytes], Any]) -> Packed:
    return Packed(lambda message: _key(message.key), lambda buffer, start, end: make(buffer[start:end]))


# The client API -------------------------------------------------------------------------------------------------------


def _encode_dht_put(message: m.DhtPut) -> bytes:
    ttl_s, replication, reserved, key, value = message
    return _DHT_PUT.pack(ttl_s, replication, reserved, _key(key)) + value


def _decode_dht_put(buffer: bytes, start: int, end: int) -> m.DhtPut:
    ttl_s, replication, reserved, key = _DHT_PUT.unpack_from(buffer, start)
    return m.DhtPut(ttl_s, replication, reserved, key, buffer[start + _DHT_PUT.size : end])


def _encode_dht_success(message: m.DhtSuccess) -> bytes:
    return _key(message.key) + message.value


def _decode_dht_success(buffer: bytes, start: int, end: int) -> m.DhtSuccess:
    value_at = start + IDENT_BYTES
    return m.DhtSuccess(buffer[start:value_at], buffer[value_at:end])


# The ring -------------------------------------------------------------------------------------------------------------


def _encode_get_successor(message: m.P2pGetSuccessor) -> bytes:
    return _FLAGGED.pack(_ident(message.ident), bool(message.strict))


def _decode_get_successor(buffer: bytes, start: int, _end: int) -> m.P2pGetSuccessor:
    ident, flags = _FLAGGED.unpack_from(buffer, start)
    return m.P2pGetSuccessor(int.from_bytes(ident), fields.parse_flag(flags))


@lru_cache(maxsize=8192)  # the same few peers stand in most messages
def _encode_peer(peer: Peer) -> bytes:
    address = fields.build_address(peer.address)
    return _FLAGGED.pack(_ident(peer.ident), len(address)) + address


@lru_cache(maxsize=8192)
def _decode_peer(entry: bytes) -> Peer:
    return Peer(int.from_bytes(entry[:IDENT_BYTES]), fields.parse_address(entry[_FLAGGED.size :]))


def _decode_peer_at(buffer: bytes, position: int, end: int) -> tuple[Peer, int]:
    """The peer that begins at `position`, and where it ends."""
    address_at = position + _FLAGGED.size
    if address_at > end:
        raise _short()
    stop = address_at + buffer[address_at - 1]
    if stop > end:
        raise _short()
    return _decode_peer(buffer[position:stop]), stop


def _encode_peers(peers: Sequence[Peer]) -> bytes:
    return bytes((len(peers),)) + b"".join(map(_encode_peer, peers))


def _decode_peers(buffer: bytes, position: int, end: int) -> tuple[tuple[Peer, ...], int]:
    """The list that begins at `position`, and where it ends."""
    if position >= end:
        raise _short()
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
        raise _short()
    ring = fields.parse_text(buffer[ring_at:position])
    peer, position = _decode_peer_at(buffer, position, end)
    _finish(position, end)
    return m.P2pHello(version_min, version_max, ring, peer)


def _encode_error(message: m.P2pError) -> bytes:
    return _U16.pack(message.reason) + fields.build_detail(message.detail)


def _decode_error(buffer: bytes, start: int, end: int) -> m.P2pError:
    (reason,) = _U16.unpack_from(buffer, start)
    return m.P2pError(fields.parse_error_reason(reason), fields.parse_text(buffer[start + _U16.size : end]))


def _encode_reply_successor(message: m.P2pReplySuccessor) -> bytes:
    return _FLAGGED.pack(_ident(message.ident), bool(message.final)) + _encode_peers(message.peers)


def _decode_reply_successor(buffer: bytes, start: int, end: int) -> m.P2pReplySuccessor:
    ident, flags = _FLAGGED.unpack_from(buffer, start)
    peers, position = _decode_peers(buffer, start + _FLAGGED.size, end)
    _finish(position, end)
    return m.P2pReplySuccessor(int.from_bytes(ident), fields.parse_flag(flags), peers)


def _encode_reply_neighbours(message: m.P2pReplyNeighbours) -> bytes:
    return _encode_peers(message.predecessors) + _encode_peers(message.successors)


def _decode_reply_neighbours(buffer: bytes, start: int, end: int) -> m.P2pReplyNeighbours:
    predecessors, position = _decode_peers(buffer, start, end)
    successors, position = _decode_peers(buffer, position, end)
    _finish(position, end)
    return m.P2pReplyNeighbours(predecessors, successors)


# Records --------------------------------------------------------------------------------------------------------------


def _encode_put(message: m.P2pPut) -> bytes:
    key, ttl_ms, replication, (stamp, coordinator), as_owner, value = message
    return _P2P_PUT.pack(_key(key), ttl_ms, replication, bool(as_owner), stamp, _ident(coordinator)) + value


def _decode_put(buffer: bytes, start: int, end: int) -> m.P2pPut:
    key, ttl_ms, replication, flags, stamp, coordinator = _P2P_PUT.unpack_from(buffer, start)
    value = buffer[start + _P2P_PUT.size : end]
    return m.P2pPut(key, ttl_ms, replication, _version(stamp, coordinator), fields.parse_flag(flags), value)


def _encode_get(message: m.P2pGet) -> bytes:
    return _FLAGGED.pack(_key(message.key), bool(message.as_owner))


def _decode_get(buffer: bytes, start: int, _end: int) -> m.P2pGet:
    key, flags = _FLAGGED.unpack_from(buffer, start)
    return m.P2pGet(key, fields.parse_flag(flags))


def _encode_success(message: m.P2pSuccess) -> bytes:
    key, ttl_ms, replication, (stamp, coordinator), value = message
    return _RECORD.pack(_key(key), ttl_ms, replication, stamp, _ident(coordinator)) + value


def _decode_success(buffer: bytes, start: int, end: int) -> m.P2pSuccess:
    key, ttl_ms, replication, stamp, coordinator = _RECORD.unpack_from(buffer, start)
    return m.P2pSuccess(key, ttl_ms, replication, _version(stamp, coordinator), buffer[start + _RECORD.size : end])


def _encode_failure(message: m.P2pFailure) -> bytes:
    return _FLAGGED.pack(_key(message.key), message.reason) + fields.build_detail(message.detail)


def _decode_failure(buffer: bytes, start: int, end: int) -> m.P2pFailure:
    key, reason = _FLAGGED.unpack_from(buffer, start)
    detail = fields.parse_text(buffer[start + _FLAGGED.size : end])
    return m.P2pFailure(key, fields.parse_failure_reason(reason), detail)


def _encode_offer(message: m.P2pOffer) -> bytes:
    entries = (_OFFERED.pack(_key(key), stamp, _ident(by)) for key, (stamp, by) in message.entries)
    return _encode_count(len(message.entries)) + b"".join(entries)


def _decode_offer(buffer: bytes, start: int, end: int) -> m.P2pOffer:
    count, position = _decode_count(buffer, start)
    stop = position + count * _OFFERED.size
    if stop > end:
        raise _short()
    _finish(stop, end)
    entries = _OFFERED.iter_unpack(memoryview(buffer)[position:stop])
    return m.P2pOffer(tuple([(key, _version(stamp, by)) for key, stamp, by in entries]))


def _encode_flags(flags: tuple[bool, ...]) -> bytes:
    return _encode_count(len(flags)) + fields.build_flags(flags)


def _decode_flags(buffer: bytes, start: int, end: int) -> tuple[bool, ...]:
    count, position = _decode_count(buffer, start)
    if position + count > end:
        raise _short()
    flags = fields.parse_flags(buffer[position : position + count])
    _finish(position + count, end)
    return flags


def _encode_copies(records: tuple[m.RecordCopy, ...]) -> bytes:
    parts = [_encode_count(len(records))]
    for key, ttl_ms, replication, (stamp, coordinator), value in records:
        if len(value) > m.VALUE_BYTES_MAX:
            raise ValueError(f"a value of {len(value)} bytes")
        parts.append(_COPY.pack(_key(key), ttl_ms, replication, stamp, _ident(coordinator), len(value)))
        parts.append(value)
    return b"".join(parts)


def _decode_copies(buffer: bytes, start: int, end: int) -> tuple[m.RecordCopy, ...]:
    count, position = _decode_count(buffer, start)
    records = []
    for _ in range(count):
        value_at = position + _COPY.size
        if value_at > end:
            raise _short()
        key, ttl_ms, replication, stamp, coordinator, value_bytes = _COPY.unpack_from(buffer, position)
        position = value_at + value_bytes
        if position > end:
            raise _short()
        if value_bytes > m.VALUE_BYTES_MAX:
            raise ValueError(f"a value of {value_bytes} bytes")
        version = _version(stamp, coordinator)
        records.append(m.RecordCopy(key, ttl_ms, replication, version, buffer[value_at:position]))
    _finish(position, end)
    return tuple(records)


def _encode_reply_arc(message: m.P2pReplyArc) -> bytes:
    return bytes((bool(message.more), bool(message.complete))) + _encode_copies(message.records)


def _decode_reply_arc(buffer: bytes, start: int, end: int) -> m.P2pReplyArc:
    more, complete = fields.parse_flag(buffer[start]), fields.parse_flag(buffer[start + 1])
    return m.P2pReplyArc(more, complete, _decode_copies(buffer, start + 2, end))


PACKED: dict[type, Packed] = {
    m.DhtPut: Packed(_encode_dht_put, _decode_dht_put),
    m.DhtGet: _key_only(m.DhtGet),
    m.DhtSuccess: Packed(_encode_dht_success, _decode_dht_success),
    m.DhtFailure: _key_only(m.DhtFailure),
    m.P2pPut: Packed(_encode_put, _decode_put),
    m.P2pGet: Packed(_encode_get, _decode_get),
    m.P2pSuccess: Packed(_encode_success, _decode_success),
    m.P2pFailure: Packed(_encode_failure, _decode_failure),
    m.P2pGetSuccessor: Packed(_encode_get_successor, _decode_get_successor),
    m.P2pReplySuccessor: Packed(_encode_reply_successor, _decode_reply_successor),
    m.P2pHello: Packed(_encode_hello, _decode_hello),
    m.P2pError: Packed(_encode_error, _decode_error),
    m.P2pPing: _empty(m.P2pPing),
    m.P2pAck: _empty(m.P2pAck),
    m.P2pGetNeighbours: _empty(m.P2pGetNeighbours),
    m.P2pReplyNeighbours: Packed(_encode_reply_neighbours, _decode_reply_neighbours),
    m.P2pNotify: _empty(m.P2pNotify),
    m.P2pLeave: _empty(m.P2pLeave),
    m.P2pOffer: Packed(_encode_offer, _decode_offer),
    m.P2pReplyOffer: Packed(
        lambda message: _encode_flags(message.wanted),
        lambda buffer, start, end: m.P2pReplyOffer(_decode_flags(buffer, start, end)),
    ),
    m.P2pTransfer: Packed(
        lambda message: _encode_copies(message.records),
        lambda buffer, start, end: m.P2pTransfer(_decode_copies(buffer, start, end)),
    ),
    m.P2pReplyTransfer: Packed(
        lambda message: _encode_flags(message.held),
        lambda buffer, start, end: m.P2pReplyTransfer(_decode_flags(buffer, start, end)),
    ),
    m.P2pReplyArc: Packed(_encode_reply_arc, _decode_reply_arc),
    m.P2pGetStatus: _empty(m.P2pGetStatus),
}
"""Message class to its hand-written form."""
