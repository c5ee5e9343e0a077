"""The frames of the express way, to and from bytes in one step: nearly all that nodes tell each other.

Each function makes the same bytes as `encode_p2p`, or takes the same as `P2pDecoder`; tests hold them to it.
"""

from struct import Struct

from gdht.core.ident import IDENT_BYTES
from gdht.core.messages import MESSAGE_TYPES, VALUE_BYTES_MAX, P2pGet, P2pPut, P2pSuccess
from gdht.core.records import TTL_MS_MAX, Record, left_ms
from gdht.errors import LocalProtocolError
from gdht.wire.framing import P2P_HEADER, PROTOCOL_VERSION
from gdht.wire.packed import PACKED

_GET = Struct(">8sI32sB")
"""The header up to the request id, that, and the body."""

OWNER_GET_BYTES = _GET.size
"""The whole frame."""

_GET_HEAD = P2P_HEADER.pack(OWNER_GET_BYTES - P2P_HEADER.size, MESSAGE_TYPES[P2pGet], PROTOCOL_VERSION, 0, 0)[:8]
_AS_OWNER = 1

_SUCCESS = Struct(">IHBBI32sIIBQ32sI")
"""The header, and all of the body but the value."""

_SUCCESS_BODY_BYTES = _SUCCESS.size - P2P_HEADER.size
_SUCCESS_TYPE = MESSAGE_TYPES[P2pSuccess]
_PUT_TYPE = MESSAGE_TYPES[P2pPut]


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


class EncodedPut:
    """A P2pPut that goes to several nodes: its body is the same to each. Raises: LocalProtocolError."""

    __slots__ = ("_body", "request")

    def __init__(self, request: P2pPut) -> None:
        if len(request.value) > VALUE_BYTES_MAX:
            raise LocalProtocolError(f"P2pPut: a value of {len(request.value)} bytes; {VALUE_BYTES_MAX} are allowed")
        self.request = request
        self._body = PACKED[P2pPut].encode(request)

    def frame(self, request_id: int) -> bytes:
        """The whole frame under a request id."""
        body = self._body
        return P2P_HEADER.pack(len(body), _PUT_TYPE, PROTOCOL_VERSION, 0, request_id) + body
