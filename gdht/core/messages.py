"""Every message that crosses a wire, as immutable values; `gdht.wire` turns them into bytes and back.

Only declarations live here. Fields ending in `_s` are seconds, in `_ms` milliseconds; a `key` is 32 bytes, an `ident`
an integer on the ring. Times to live are durations: an instant of somebody's clock never crosses a wire.
"""

from enum import IntEnum
from typing import NamedTuple

from gdht.core.peer import Peer
from gdht.core.records import Version

VALUE_BYTES_MAX = 65495
"""The longest value of the client API: 65,535 bytes of message less header, fixed part and key."""

RECORDS_PER_MESSAGE_MAX = 500
"""The most records, entries or flags in one message between peers: nobody keeps a node busy for long with one frame."""


class FailureReason(IntEnum):
    """Why a P2P FAILURE: the peer is well, but does not have or will not take this record."""

    NOT_FOUND = 1
    NOT_HERE_YET = 2  # joined, but its share has not arrived: ask a replica
    NOT_RESPONSIBLE = 3  # asked as owner, but another node is: look the owner up again
    STORE_FULL = 4
    INVALID = 5  # too large, or nothing left of its life
    LEAVING = 6  # handing over: ask its successor


class ErrorReason(IntEnum):
    """Why an ERROR frame: the request as such, or the connection, is refused."""

    MAGIC = 1
    VERSION = 2
    RING = 3
    IDENT = 4  # the identifier in HELLO is the receiver's own, or not one
    MALFORMED = 5
    UNSUPPORTED = 6  # a message type of a newer minor version
    NOT_JOINED = 7  # up, but not a member of the ring
    OVERLOAD = 8
    INTERNAL = 9

    @property
    def retriable(self) -> bool:
        """Whether the same request may succeed later."""
        return self in (ErrorReason.NOT_JOINED, ErrorReason.OVERLOAD, ErrorReason.INTERNAL)


# The client API (VoidPhone DHT API) -----------------------------------------------------------------------------------


class DhtPut(NamedTuple):
    ttl_s: int
    replication: int
    reserved: int
    key: bytes
    value: bytes

    @property
    def wants_answer(self) -> bool:
        """Bit 0 of `reserved`: answer once the outcome is known."""
        return bool(self.reserved & 1)


class DhtGet(NamedTuple):
    key: bytes


class DhtSuccess(NamedTuple):
    key: bytes
    value: bytes


class DhtFailure(NamedTuple):
    key: bytes


# Peer to peer: the connection -----------------------------------------------------------------------------------------


class P2pHello(NamedTuple):
    """The first frame each way. The magic is the codec's affair."""

    version_min: int
    version_max: int
    ring: str
    peer: Peer


class P2pError(NamedTuple):
    reason: int  # an ErrorReason, or a number from a newer version
    detail: str


class P2pPing(NamedTuple):
    pass


class P2pAck(NamedTuple):
    """The answer to PING, NOTIFY and LEAVE."""


# Peer to peer: the ring -----------------------------------------------------------------------------------------------


class P2pGetSuccessor(NamedTuple):
    """One step of a lookup. strict: only the node whose first successor is the owner may answer `final`."""

    ident: int
    strict: bool


class P2pReplySuccessor(NamedTuple):
    """final: peers are the owner and its successors, nearest first. Else: peers to ask next, best first."""

    ident: int
    final: bool
    peers: tuple[Peer, ...]


class P2pGetNeighbours(NamedTuple):
    pass


class P2pReplyNeighbours(NamedTuple):
    """predecessors and successors, nearest first; empty when unknown or alone."""

    predecessors: tuple[Peer, ...]
    successors: tuple[Peer, ...]


class P2pNotify(NamedTuple):
    """The sender (known from its HELLO) believes that it is the receiver's predecessor."""


class P2pLeave(NamedTuple):
    """The sender (known from its HELLO) has handed over its records and leaves the ring."""


# Peer to peer: records ------------------------------------------------------------------------------------------------


class P2pPut(NamedTuple):
    """as_owner: refuse it (NOT_RESPONSIBLE) unless the receiver owns the key."""

    key: bytes
    ttl_ms: int
    replication: int
    version: Version
    as_owner: bool
    value: bytes


class P2pGet(NamedTuple):
    """as_owner: refuse it (NOT_RESPONSIBLE) unless the receiver owns the key."""

    key: bytes
    as_owner: bool


class P2pSuccess(NamedTuple):
    """To a GET: the record. To a PUT: what the receiver now holds under that key, without the value."""

    key: bytes
    ttl_ms: int
    replication: int
    version: Version
    value: bytes


class P2pFailure(NamedTuple):
    key: bytes
    reason: int  # a FailureReason, or a number from a newer version
    detail: str


class RecordCopy(NamedTuple):
    """A record as it travels in batches."""

    key: bytes
    ttl_ms: int
    replication: int
    version: Version
    value: bytes


class P2pOffer(NamedTuple):
    """What the sender could transfer: keys with versions."""

    entries: tuple[tuple[bytes, Version], ...]


class P2pReplyOffer(NamedTuple):
    """One flag per offered entry, in order: whether the receiver lacks it and wants it."""

    wanted: tuple[bool, ...]


class P2pTransfer(NamedTuple):
    records: tuple[RecordCopy, ...]


class P2pReplyTransfer(NamedTuple):
    """One flag per record, in order: whether the receiver now holds that version or a newer one."""

    held: tuple[bool, ...]


class P2pGetArc(NamedTuple):
    """Ask for the records in (start, end], those after `cursor` only when one is given, oldest place first."""

    start: int
    end: int
    cursor: bytes  # the last key received, or empty to begin


class P2pReplyArc(NamedTuple):
    """more: ask again with the last key as cursor. complete: the sender has itself received all of its share."""

    more: bool
    complete: bool
    records: tuple[RecordCopy, ...]


# Peer to peer: inspection ---------------------------------------------------------------------------------------------


class P2pGetStatus(NamedTuple):
    pass


class P2pReplyStatus(NamedTuple):
    """What the ring page shows of another node. owned_ratio: 0 to 1."""

    state: str
    api_address: str
    admin_address: str
    predecessors: tuple[Peer, ...]
    successors: tuple[Peer, ...]
    keys_owned: int
    keys_replica: int
    keys_misplaced: int
    keys_bytes: int
    owned_ratio: float
    estimated_nodes: float


class P2pStat(NamedTuple):
    """Ask whether the receiver holds a key, without moving its value."""

    key: bytes


class P2pReplyStat(NamedTuple):
    """present False: the other fields are zero. digest: SHA-256 of the value."""

    key: bytes
    present: bool
    ttl_ms: int
    replication: int
    version: Version
    value_bytes: int
    digest: bytes


DhtMessage = DhtPut | DhtGet | DhtSuccess | DhtFailure
Request = (
    P2pPing
    | P2pGetSuccessor
    | P2pGetNeighbours
    | P2pNotify
    | P2pLeave
    | P2pPut
    | P2pGet
    | P2pOffer
    | P2pTransfer
    | P2pGetArc
    | P2pGetStatus
    | P2pStat
)
Reply = (
    P2pAck
    | P2pReplySuccessor
    | P2pReplyNeighbours
    | P2pSuccess
    | P2pFailure
    | P2pReplyOffer
    | P2pReplyTransfer
    | P2pReplyArc
    | P2pReplyStatus
    | P2pReplyStat
    | P2pError
)
P2pMessage = Request | Reply | P2pHello

MESSAGE_TYPES: dict[type, int] = {
    DhtPut: 650,
    DhtGet: 651,
    DhtSuccess: 652,
    DhtFailure: 653,
    P2pPut: 660,
    P2pGet: 661,
    P2pSuccess: 662,
    P2pFailure: 663,
    P2pGetSuccessor: 664,
    P2pReplySuccessor: 665,
    P2pHello: 666,
    P2pError: 667,
    P2pPing: 668,
    P2pAck: 669,
    P2pGetNeighbours: 670,
    P2pReplyNeighbours: 671,
    P2pNotify: 672,
    P2pLeave: 673,
    P2pOffer: 674,
    P2pReplyOffer: 675,
    P2pTransfer: 676,
    P2pReplyTransfer: 677,
    P2pGetArc: 678,
    P2pReplyArc: 679,
    P2pGetStatus: 680,
    P2pReplyStatus: 681,
    P2pStat: 682,
    P2pReplyStat: 683,
}

REPLIES: dict[type, tuple[type, ...]] = {
    P2pPing: (P2pAck,),
    P2pNotify: (P2pAck,),
    P2pLeave: (P2pAck,),
    P2pGetSuccessor: (P2pReplySuccessor,),
    P2pGetNeighbours: (P2pReplyNeighbours,),
    P2pPut: (P2pSuccess, P2pFailure),
    P2pGet: (P2pSuccess, P2pFailure),
    P2pOffer: (P2pReplyOffer,),
    P2pTransfer: (P2pReplyTransfer,),
    P2pGetArc: (P2pReplyArc,),
    P2pGetStatus: (P2pReplyStatus,),
    P2pStat: (P2pReplyStat,),
}
"""The replies that fit each request; ERROR fits all. Anything else is the peer's protocol error."""

METHODS: dict[type, str] = {
    P2pPut: "p2p_put",
    P2pGet: "p2p_get",
    P2pGetSuccessor: "p2p_get_successor",
    P2pPing: "p2p_ping",
    P2pGetNeighbours: "p2p_get_neighbours",
    P2pNotify: "p2p_notify",
    P2pLeave: "p2p_leave",
    P2pOffer: "p2p_offer",
    P2pTransfer: "p2p_transfer",
    P2pGetArc: "p2p_get_arc",
    P2pGetStatus: "p2p_get_status",
    P2pStat: "p2p_stat",
}
"""The name of each request in metrics and logs."""
