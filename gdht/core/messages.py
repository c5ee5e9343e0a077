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
    NOT_HERE_YET = 2  # it has none, but others may: ask them. To a PUT: it may not be the owner, try again
    NOT_RESPONSIBLE = 3  # asked as owner, but another node is: look the owner up again
    STORE_FULL = 4
    INVALID = 5  # too large, or nothing left of its life
    LEAVING = 6  # handing over: ask its successor
    STORE_FAILED = 7  # its disk does not take it


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
    """final: peers are the owner and its successors, nearest first. Else: peers to ask next, best first.

    start: of a final answer, where an arc begins that is all the owner's; 0 of others.
    """

    ident: int
    final: bool
    peers: tuple[Peer, ...]
    start: int = 0


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
    """as_owner: refuse it (NOT_RESPONSIBLE) unless the receiver owns the key. tombstone_ms: see RecordCopy."""

    key: bytes
    ttl_ms: int
    replication: int
    version: Version
    as_owner: bool
    value: bytes
    tombstone_ms: int = 0


class P2pGet(NamedTuple):
    """as_owner: refuse it (NOT_RESPONSIBLE) unless the receiver owns the key."""

    key: bytes
    as_owner: bool


class P2pSuccess(NamedTuple):
    """To a GET: the record. To a PUT: what the receiver now holds under that key, without the value, and durably.

    tombstone_ms: see RecordCopy. To a GET, ttl_ms 0 stands for a tombstone: the newest version is over, and older ones
    that others may hold do not count. view: a checksum of nodes in order (`gdht.core.placement.view_of`): to a PUT as
    owner, of the `replication - 1` nodes after the owner, replication being the request's; to a GET not as owner, of
    the node right before the receiver; else 0.
    """

    key: bytes
    ttl_ms: int
    replication: int
    version: Version
    value: bytes
    tombstone_ms: int = 0
    view: int = 0


class P2pFailure(NamedTuple):
    """reason: a FailureReason, or a number from a newer version. view: as that of SUCCESS to a GET not as owner."""

    key: bytes
    reason: int
    detail: str
    view: int = 0


class RecordCopy(NamedTuple):
    """A record as it travels in batches.

    tombstone_ms: for how long from now older versions may live somewhere; the record outlasts them, as a tombstone when
    its own life is over. One that is a tombstone already has ttl_ms 0 and an empty value.
    """

    key: bytes
    ttl_ms: int
    replication: int
    version: Version
    value: bytes
    tombstone_ms: int = 0


class Entry(NamedTuple):
    """A record without its value: enough to know which of two copies is the newer one."""

    key: bytes
    version: Version
    replication: int


class ArcDigest(NamedTuple):
    """What one node holds in (start, end], in short: equal sums stand for equal records. total: 16 bytes."""

    start: int
    end: int
    records: int
    total: bytes


class P2pOffer(NamedTuple):
    """What the sender could transfer."""

    entries: tuple[Entry, ...]


class P2pReplyOffer(NamedTuple):
    """One flag per offered entry, in order: whether the receiver lacks it and wants it."""

    wanted: tuple[bool, ...]


class P2pTransfer(NamedTuple):
    records: tuple[RecordCopy, ...]


class P2pReplyTransfer(NamedTuple):
    """One flag per record, in order: whether the receiver now holds that version or a newer one."""

    held: tuple[bool, ...]


class P2pFetch(NamedTuple):
    """Ask for records by their keys."""

    keys: tuple[bytes, ...]


class P2pReplyFetch(NamedTuple):
    """What the receiver holds of the first `asked` keys, in order; the others did not fit in: ask again for those."""

    asked: int
    records: tuple[RecordCopy, ...]


class P2pCompare(NamedTuple):
    """Compare what both hold in some arcs, of records with at least `replication` copies (1: of all)."""

    replication: int
    arcs: tuple[ArcDigest, ...]


class P2pReplyCompare(NamedTuple):
    """How many records the receiver holds in each arc, and whether its digest is the same.

    complete: the receiver has itself got all of its share of the records.
    """

    complete: bool
    same: tuple[bool, ...]
    counts: tuple[int, ...]


class P2pReconcile(NamedTuple):
    """What the sender holds in (start, end], clockwise, of records with at least `replication` copies."""

    replication: int
    start: int
    end: int
    entries: tuple[Entry, ...]


class P2pReplyReconcile(NamedTuple):
    """The outcome for (start, up_to]; the rest did not fit in: go on from there. Equal to the request's end: all.

    wanted: one flag per entry of the request, False for those beyond `up_to`: whether the receiver wants it.
    entries: what the receiver holds that the sender lacks, or has in an older version.
    """

    complete: bool
    up_to: int
    wanted: tuple[bool, ...]
    entries: tuple[Entry, ...]


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
    """digest: SHA-256 of the value. Not present: all other fields zero, but for the version of a tombstone."""

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
    | P2pFetch
    | P2pCompare
    | P2pReconcile
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
    | P2pReplyFetch
    | P2pReplyCompare
    | P2pReplyReconcile
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
    P2pFetch: 678,
    P2pReplyFetch: 679,
    P2pGetStatus: 680,
    P2pReplyStatus: 681,
    P2pStat: 682,
    P2pReplyStat: 683,
    P2pCompare: 684,
    P2pReplyCompare: 685,
    P2pReconcile: 686,
    P2pReplyReconcile: 687,
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
    P2pFetch: (P2pReplyFetch,),
    P2pCompare: (P2pReplyCompare,),
    P2pReconcile: (P2pReplyReconcile,),
    P2pGetStatus: (P2pReplyStatus,),
    P2pStat: (P2pReplyStat,),
}
"""The replies that fit each request; ERROR fits all. Anything else is the peer's protocol error."""


def fits(request: Request, reply: object) -> bool:
    """Whether a reply is of a kind that answers a request, about the same key or place, and about as many things."""
    about = "ident" if isinstance(request, P2pGetSuccessor) else "key"
    same = getattr(reply, about, None) == getattr(request, about, None)
    return same and type(reply) in REPLIES[type(request)] and _answers_all(request, reply)


def _answers_all(request: Request, reply: object) -> bool:
    if isinstance(request, P2pOffer | P2pReconcile) and isinstance(reply, P2pReplyOffer | P2pReplyReconcile):
        return len(reply.wanted) == len(request.entries)
    if isinstance(request, P2pTransfer) and isinstance(reply, P2pReplyTransfer):
        return len(reply.held) == len(request.records)
    if isinstance(request, P2pCompare) and isinstance(reply, P2pReplyCompare):
        return len(reply.same) == len(reply.counts) == len(request.arcs)
    if isinstance(request, P2pFetch) and isinstance(reply, P2pReplyFetch):
        return min(1, len(request.keys)) <= reply.asked <= len(request.keys)
    return True


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
    P2pFetch: "p2p_fetch",
    P2pCompare: "p2p_compare",
    P2pReconcile: "p2p_reconcile",
    P2pGetStatus: "p2p_get_status",
    P2pStat: "p2p_stat",
}
"""The name of each request in metrics and logs."""
