"""The frames of the express way, to and from bytes in one step: nearly all that nodes tell each other.

Each function makes the same bytes as `encode_p2p`, or takes the same as `P2pDecoder`; tests hold them to it.
"""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from gdht.core.ident import IDENT_BYTES
from gdht.core.messages import MESSAGE_TYPES, VALUE_BYTES_MAX, P2pGet, P2pPut, P2pSuccess, RecordCopy
from gdht.core.records import TTL_MS_MAX, Record, Version, left_ms
from gdht.core.values import make
from gdht.wire.framing import P2P_HEADER, PROTOCOL_VERSION

_GET = Struct(">8sI32sB")
"""The header up to the request id, that, and the body."""

OWNER_GET_BYTES = _GET.size
"""The whole frame."""

_GET_HEAD = P2P_HEADER.pack(OWNER_GET_BYTES - P2P_HEADER.size, MESSAGE_TYPES[P2pGet], PROTOCOL_VERSION, 0, 0)[:8]
_AS_OWNER = 1

_SUCCESS = Struct(">IHBBI32sIIBQ32sI")
"""The header, and all of the body but the value."""

RECEIPT_BYTES = _SUCCESS.size
"""The whole frame without a value."""

_SUCCESS_BODY_BYTES = _SUCCESS.size - P2P_HEADER.size
_SUCCESS_TYPE = MESSAGE_TYPES[P2pSuccess]

_PUT = Struct(">IHBBI32sIIBBQ32s")
"""The header, and all of the body but the value."""

PUT_BYTES = _PUT.size
"""The whole frame, but the value."""

_PUT_BODY_BYTES = PUT_BYTES - P2P_HEADER.size
_PUT_BODY_BYTES_MAX = _PUT_BODY_BYTES + VALUE_BYTES_MAX
_PUT_TYPE = MESSAGE_TYPES[P2pPut]
_PUT_TYPE_BYTES = _PUT_TYPE.to_bytes(2)
_TYPE_AT = slice(4, 6)


def owner_get_frame(request_id: int, key: bytes) -> bytes:
    """The whole frame of a P2pGet to the owner of a key that is known to fit."""
    return _GET.pack(_GET_HEAD, request_id, key, _AS_OWNER)


def owner_gets_in_front(data: bytes) -> list[tuple[int, bytes]]:
    """The request ids and keys of the whole frames of a P2pGet to the owner that `data` begins with."""
    gets: list[tuple[int, bytes]] = []
    whole = len(data) // _GET.size * _GET.size
    for head, request_id, key, flags in _GET.iter_unpack(data if whole == len(data) else data[:whole]):
        if head != _GET_HEAD or flags != _AS_OWNER:
            break
        gets.append((request_id, key))
    return gets


def value_frame(request_id: int, record: Record, now_s: float) -> bytes:
    """The whole frame of the P2pSuccess that a P2pGet of a living record is answered with. now_s: as for `Record`."""
    key, value, (stamp, coordinator), expires_at_s, replication, tombstone_until_s, _ = record
    ttl_ms = min(int((expires_at_s - now_s) * 1000), TTL_MS_MAX)
    tombstone_ms = left_ms(tombstone_until_s, now_s) if tombstone_until_s else 0
    size, by = _SUCCESS_BODY_BYTES + len(value), coordinator.to_bytes(IDENT_BYTES)
    head = _SUCCESS.pack(
        size, _SUCCESS_TYPE, PROTOCOL_VERSION, 0, request_id, key, ttl_ms, tombstone_ms, replication, stamp, by, 0
    )
    return head + value


def success_frame(request_id: int, message: P2pSuccess) -> bytes:
    """The whole frame of a P2pSuccess whose fields are known to fit."""
    key, ttl_ms, replication, (stamp, coordinator), value, tombstone_ms, view = message
    head = (_SUCCESS_BODY_BYTES + len(value), _SUCCESS_TYPE, PROTOCOL_VERSION, 0, request_id)
    by = coordinator.to_bytes(IDENT_BYTES)
    return _SUCCESS.pack(*head, key, ttl_ms, tombstone_ms, replication, stamp, by, view) + value


def receipts_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The request ids and keys of the P2pSuccess frames, all without a value, that `data` consists of."""
    return ((request_id, key) for _, _, _, _, request_id, key, *_ in _SUCCESS.iter_unpack(data))


def put_frame(request_id: int, copy: RecordCopy, as_owner: bool) -> bytes:
    """The whole frame of a P2pPut whose fields are known to fit."""
    key, ttl_ms, replication, (stamp, coordinator), value, tombstone_ms = copy
    head = (_PUT_BODY_BYTES + len(value), _PUT_TYPE, PROTOCOL_VERSION, 0, request_id)
    by = coordinator.to_bytes(IDENT_BYTES)
    return _PUT.pack(*head, key, ttl_ms, tombstone_ms, replication, as_owner, stamp, by) + value


def begins_with_put(data: bytes) -> bool:
    """Whether the first frame, which need not be whole, is a P2pPut by its type."""
    return data[_TYPE_AT] == _PUT_TYPE_BYTES


class PutFrame(NamedTuple):
    """A P2pPut: what is written, and whether to the owner."""

    request_id: int
    copy: RecordCopy
    as_owner: bool


def puts_in_front(data: bytes) -> list[PutFrame]:
    """The whole frames of a P2pPut that `data` begins with."""
    puts: list[PutFrame] = []
    start, available = 0, len(data)
    while available - start >= PUT_BYTES:
        size, kind, protocol, _, request_id, *fixed, by = _PUT.unpack_from(data, start)
        end = start + P2P_HEADER.size + size
        if kind != _PUT_TYPE or protocol != PROTOCOL_VERSION or end > available:
            break
        key, ttl_ms, tombstone_ms, replication, flags, stamp = fixed
        if flags > 1 or not _PUT_BODY_BYTES <= size <= _PUT_BODY_BYTES_MAX:
            break
        value, version = data[start + PUT_BYTES : end], make(Version, (stamp, int.from_bytes(by)))
        copy = make(RecordCopy, (key, ttl_ms, replication, version, value, tombstone_ms))
        puts.append(make(PutFrame, (request_id, copy, flags == 1)))
        start = end
    return puts
