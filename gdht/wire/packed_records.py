"""The messages about records by hand; `packed` says what holds for all of them."""

from struct import Struct

from gdht.core import messages as m
from gdht.core.digests import TOTAL_BYTES
from gdht.core.records import Version
from gdht.core.values import make
from gdht.wire import fields
from gdht.wire.parts import (
    FLAGGED,
    BodyCodec,
    decode_count,
    decode_flags,
    decode_items,
    encode_count,
    encode_flags,
    encode_ident,
    finish,
    key_bytes,
    key_only,
    short,
    version_of,
)

_PUT = Struct(">32sIIBBQ32s")
_SUCCESS = Struct(">32sIIBQ32sI")
_FAILURE = Struct(">32sBI")
_COPY = Struct(">32sIIBQ32sH")
_ENTRY = Struct(">32sQ32sB")
_ARC = Struct(">32s32sI16s")
_RECONCILE = Struct(">B32s32s")
_REPLY_RECONCILE = Struct(">B32s")
_KEY = Struct(">32s")
_U32 = Struct(">I")


# One record -----------------------------------------------------------------------------------------------------------


def _encode_put(message: m.P2pPut) -> bytes:
    key, ttl_ms, replication, (stamp, by), as_owner, value, tombstone_ms = message
    fixed = (key_bytes(key), ttl_ms, tombstone_ms, replication, bool(as_owner), stamp, encode_ident(by))
    return _PUT.pack(*fixed) + value


def _decode_put(buffer: bytes, start: int, end: int) -> m.P2pPut:
    key, ttl_ms, tombstone_ms, replication, flags, stamp, by = _PUT.unpack_from(buffer, start)
    value, as_owner = buffer[start + _PUT.size : end], fields.parse_flag(flags)
    return make(m.P2pPut, (key, ttl_ms, replication, version_of(stamp, by), as_owner, value, tombstone_ms))


def _encode_get(message: m.P2pGet) -> bytes:
    return FLAGGED.pack(key_bytes(message.key), bool(message.as_owner))


def _decode_get(buffer: bytes, start: int, _end: int) -> m.P2pGet:
    key, flags = FLAGGED.unpack_from(buffer, start)
    return make(m.P2pGet, (key, fields.parse_flag(flags)))


def _encode_success(message: m.P2pSuccess) -> bytes:
    key, ttl_ms, replication, (stamp, by), value, tombstone_ms, view = message
    return _SUCCESS.pack(key_bytes(key), ttl_ms, tombstone_ms, replication, stamp, encode_ident(by), view) + value


def _decode_success(buffer: bytes, start: int, end: int) -> m.P2pSuccess:
    key, ttl_ms, tombstone_ms, replication, stamp, by, view = _SUCCESS.unpack_from(buffer, start)
    version, value = make(Version, (stamp, int.from_bytes(by))), buffer[start + _SUCCESS.size : end]
    return make(m.P2pSuccess, (key, ttl_ms, replication, version, value, tombstone_ms, view))


def _encode_failure(message: m.P2pFailure) -> bytes:
    key, reason, detail, view = message
    return _FAILURE.pack(key_bytes(key), reason, view) + fields.build_detail(detail)


def _decode_failure(buffer: bytes, start: int, end: int) -> m.P2pFailure:
    key, reason, view = _FAILURE.unpack_from(buffer, start)
    detail = fields.parse_text(buffer[start + _FAILURE.size : end])
    return m.P2pFailure(key, fields.parse_failure_reason(reason), detail, view)


# Records in batches ---------------------------------------------------------------------------------------------------


def _encode_copies(records: tuple[m.RecordCopy, ...]) -> bytes:
    parts = [encode_count(len(records))]
    for key, ttl_ms, replication, (stamp, by), value, tombstone_ms in records:
        if len(value) > m.VALUE_BYTES_MAX:
            raise ValueError(f"a value of {len(value)} bytes")
        fixed = (key_bytes(key), ttl_ms, tombstone_ms, replication, stamp, encode_ident(by), len(value))
        parts += (_COPY.pack(*fixed), value)
    return b"".join(parts)


def _decode_copies(buffer: bytes, start: int, end: int) -> tuple[m.RecordCopy, ...]:
    """The list of records that begins at `start` and is the last field."""
    count, position = decode_count(buffer, start, end)
    records = []
    for _ in range(count):
        value_at = position + _COPY.size
        if value_at > end:
            raise short()
        key, ttl_ms, tombstone_ms, replication, stamp, by, value_bytes = _COPY.unpack_from(buffer, position)
        position = value_at + value_bytes
        if position > end:
            raise short()
        if value_bytes > m.VALUE_BYTES_MAX:
            raise ValueError(f"a value of {value_bytes} bytes")
        value = buffer[value_at:position]
        records.append(m.RecordCopy(key, ttl_ms, replication, version_of(stamp, by), value, tombstone_ms))
    finish(position, end)
    return tuple(records)


def _encode_fetch(message: m.P2pFetch) -> bytes:
    return encode_count(len(message.keys)) + b"".join(map(key_bytes, message.keys))


def _decode_fetch(buffer: bytes, start: int, end: int) -> m.P2pFetch:
    keys, stop = decode_items(_KEY, buffer, start, end)
    finish(stop, end)
    return m.P2pFetch(tuple([key for (key,) in _KEY.iter_unpack(keys)]))


def _encode_reply_fetch(message: m.P2pReplyFetch) -> bytes:
    return encode_count(message.asked) + _encode_copies(message.records)


def _decode_reply_fetch(buffer: bytes, start: int, end: int) -> m.P2pReplyFetch:
    asked, position = decode_count(buffer, start, end)
    return m.P2pReplyFetch(asked, _decode_copies(buffer, position, end))


# What is held, and what differs ---------------------------------------------------------------------------------------


def _encode_entries(entries: tuple[m.Entry, ...]) -> bytes:
    packed = [_ENTRY.pack(key_bytes(key), stamp, encode_ident(by), copies) for key, (stamp, by), copies in entries]
    return encode_count(len(packed)) + b"".join(packed)


def _decode_entries(buffer: bytes, start: int, end: int) -> tuple[m.Entry, ...]:
    """The list of entries that begins at `start` and is the last field."""
    entries, stop = decode_items(_ENTRY, buffer, start, end)
    finish(stop, end)
    return tuple(
        [m.Entry(key, version_of(stamp, by), copies) for key, stamp, by, copies in _ENTRY.iter_unpack(entries)]
    )


def _encode_compare(message: m.P2pCompare) -> bytes:
    parts = [bytes((message.replication,)), encode_count(len(message.arcs))]
    for first, last, count, total in message.arcs:
        if len(total) != TOTAL_BYTES:
            raise ValueError(f"a total of {len(total)} bytes")
        parts.append(_ARC.pack(encode_ident(first), encode_ident(last), count, total))
    return b"".join(parts)


def _decode_compare(buffer: bytes, start: int, end: int) -> m.P2pCompare:
    arcs, stop = decode_items(_ARC, buffer, start + 1, end)
    finish(stop, end)
    digests = [
        m.ArcDigest(int.from_bytes(first), int.from_bytes(last), count, total)
        for first, last, count, total in _ARC.iter_unpack(arcs)
    ]
    return m.P2pCompare(buffer[start], tuple(digests))


def _encode_reply_compare(message: m.P2pReplyCompare) -> bytes:
    counts = encode_count(len(message.counts)) + b"".join(map(_U32.pack, message.counts))
    return bytes((bool(message.complete),)) + encode_flags(message.same) + counts


def _decode_reply_compare(buffer: bytes, start: int, end: int) -> m.P2pReplyCompare:
    same, position = decode_flags(buffer, start + 1, end)
    counts, stop = decode_items(_U32, buffer, position, end)
    finish(stop, end)
    return m.P2pReplyCompare(
        fields.parse_flag(buffer[start]), same, tuple([count for (count,) in _U32.iter_unpack(counts)])
    )


def _encode_reconcile(message: m.P2pReconcile) -> bytes:
    fixed = _RECONCILE.pack(message.replication, encode_ident(message.start), encode_ident(message.end))
    return fixed + _encode_entries(message.entries)


def _decode_reconcile(buffer: bytes, start: int, end: int) -> m.P2pReconcile:
    replication, first, last = _RECONCILE.unpack_from(buffer, start)
    entries = _decode_entries(buffer, start + _RECONCILE.size, end)
    return m.P2pReconcile(replication, int.from_bytes(first), int.from_bytes(last), entries)


def _encode_reply_reconcile(message: m.P2pReplyReconcile) -> bytes:
    fixed = _REPLY_RECONCILE.pack(bool(message.complete), encode_ident(message.up_to))
    return fixed + encode_flags(message.wanted) + _encode_entries(message.entries)


def _decode_reply_reconcile(buffer: bytes, start: int, end: int) -> m.P2pReplyReconcile:
    flags, up_to = _REPLY_RECONCILE.unpack_from(buffer, start)
    wanted, position = decode_flags(buffer, start + _REPLY_RECONCILE.size, end)
    entries = _decode_entries(buffer, position, end)
    return m.P2pReplyReconcile(fields.parse_flag(flags), int.from_bytes(up_to), wanted, entries)


def _decode_only_flags(buffer: bytes, start: int, end: int) -> tuple[bool, ...]:
    flags, stop = decode_flags(buffer, start, end)
    finish(stop, end)
    return flags


RECORDS: dict[type, BodyCodec] = {
    m.P2pPut: BodyCodec(_encode_put, _decode_put),
    m.P2pGet: BodyCodec(_encode_get, _decode_get),
    m.P2pSuccess: BodyCodec(_encode_success, _decode_success),
    m.P2pFailure: BodyCodec(_encode_failure, _decode_failure),
    m.P2pOffer: BodyCodec(
        lambda message: _encode_entries(message.entries),
        lambda buffer, start, end: m.P2pOffer(_decode_entries(buffer, start, end)),
    ),
    m.P2pReplyOffer: BodyCodec(
        lambda message: encode_flags(message.wanted),
        lambda buffer, start, end: m.P2pReplyOffer(_decode_only_flags(buffer, start, end)),
    ),
    m.P2pTransfer: BodyCodec(
        lambda message: _encode_copies(message.records),
        lambda buffer, start, end: m.P2pTransfer(_decode_copies(buffer, start, end)),
    ),
    m.P2pReplyTransfer: BodyCodec(
        lambda message: encode_flags(message.held),
        lambda buffer, start, end: m.P2pReplyTransfer(_decode_only_flags(buffer, start, end)),
    ),
    m.P2pFetch: BodyCodec(_encode_fetch, _decode_fetch),
    m.P2pReplyFetch: BodyCodec(_encode_reply_fetch, _decode_reply_fetch),
    m.P2pCompare: BodyCodec(_encode_compare, _decode_compare),
    m.P2pReplyCompare: BodyCodec(_encode_reply_compare, _decode_reply_compare),
    m.P2pReconcile: BodyCodec(_encode_reconcile, _decode_reconcile),
    m.P2pReplyReconcile: BodyCodec(_encode_reply_reconcile, _decode_reply_reconcile),
    m.P2pStat: key_only(m.P2pStat),
}
"""Message class to its hand-written form."""
