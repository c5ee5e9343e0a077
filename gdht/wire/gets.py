"""The frames of a GET between peers, to and from bytes in one step: most of what nodes tell each other.

Each makes the same bytes as `encode_p2p`, and takes the same as `P2pDecoder`; a differential test holds them to it.
"""

from struct import Struct

from gdht.core.ident import IDENT_BYTES
from gdht.core.messages import MESSAGE_TYPES, P2pGet, P2pSuccess
from gdht.core.records import Record
from gdht.wire.framing import P2P_HEADER, PROTOCOL_VERSION

_GET = Struct(">8sI32sB")
"""The header up to the request id, that, and the body."""

OWNER_GET_BYTES = _GET.size
"""The whole frame."""

_GET_BODY_BYTES = IDENT_BYTES + 1
_GET_HEAD = P2P_HEADER.pack(_GET_BODY_BYTES, MESSAGE_TYPES[P2pGet], PROTOCOL_VERSION, 0, 0)[:8]
_AS_OWNER = 1

_VALUE = Struct(">IHBBI32sIIBQ32sI")
_VALUE_BODY_BYTES = _VALUE.size - P2P_HEADER.size
_SUCCESS_TYPE = MESSAGE_TYPES[P2pSuccess]


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
    key, value, (stamp, by), _, replication, _, _ = record
    ttl_ms, tombstone_ms = record.ttl_ms(now_s), max(record.tombstone_ms(now_s), 0)
    size, coordinator = _VALUE_BODY_BYTES + len(value), by.to_bytes(IDENT_BYTES)
    head = (size, _SUCCESS_TYPE, PROTOCOL_VERSION, 0, request_id)
    return _VALUE.pack(*head, key, ttl_ms, tombstone_ms, replication, stamp, coordinator, 0) + value
