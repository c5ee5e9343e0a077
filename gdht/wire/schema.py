"""Every message body, declared: the specification that all codecs are held to. Only `gdht.wire` knows construct.

A declaration parses bytes into the message (a NamedTuple of `gdht.core.messages`) and builds them from it. Whole-body
limits are not here: `gdht.wire.codec` lists them and `gdht.wire.framing` enforces them before any parser runs. Inner
lengths are checked here, by construct's interpreter; never `.compile()` these: compiled lengths go unchecked.
"""

from collections.abc import Callable
from typing import Any

from construct import (
    Adapter,
    Bytes,
    BytesInteger,
    Const,
    Construct,
    Float64b,
    GreedyBytes,
    Int8ub,
    Int16ub,
    Int32ub,
    Int64ub,
    Prefixed,
    PrefixedArray,
    Sequence,
    Struct,
    Terminated,
    ValidationError,
)

from gdht.core import messages as m
from gdht.core.digests import TOTAL_BYTES
from gdht.core.ident import IDENT_BYTES
from gdht.core.peer import Peer
from gdht.core.records import Version
from gdht.wire import fields

MAGIC = b"GDHT"
"""The first bytes of every HELLO body, and so of every connection between peers after the frame header."""


class Converted(Adapter):  # type: ignore[misc]  # construct has no types
    """A field whose parsed form is made, and checked, by one function and unmade by another."""

    def __init__(self, field: Construct, parsed: Callable[[Any], Any], built: Callable[[Any], Any]) -> None:
        super().__init__(field)
        self._unwire = parsed
        self._wire = built

    def _decode(self, value: Any, _context: Any, path: str) -> Any:
        try:
            return self._unwire(value)
        except ValueError as error:
            raise ValidationError(str(error), path=path) from error

    def _encode(self, value: Any, _context: Any, path: str) -> Any:
        try:
            return self._wire(value)
        except ValueError as error:
            raise ValidationError(str(error), path=path) from error


def _tuple(make: Callable[..., Any], **members: Construct) -> Construct:
    """A NamedTuple, field after field in the given order; a field called `magic` is on the wire only."""

    def parsed(values: Any) -> Any:
        return make(**{name: value for name, value in values.items() if name not in ("_io", "magic")})

    return Converted(Struct(**members), parsed, lambda message: message._asdict())


def _bounded(field: Construct, lengths: range) -> Construct:
    """Bytes of an allowed length."""

    def check(data: bytes) -> bytes:
        if len(data) not in lengths:
            raise ValueError(f"{len(data)} bytes; {lengths[-1]} are allowed")
        return data

    return Converted(field, check, check)


def _same(value: Any) -> Any:
    return value


Key = Bytes(IDENT_BYTES)
Ident = BytesInteger(IDENT_BYTES)
Flag = Converted(Int8ub, fields.parse_flag, bool)
Count = Converted(Int16ub, fields.check_count, fields.check_count)
Flags = Converted(Prefixed(Count, GreedyBytes), fields.parse_flags, fields.build_flags)
Text = Converted(Prefixed(Int8ub, GreedyBytes), fields.parse_text, fields.build_text)
Detail = Converted(GreedyBytes, fields.parse_text, fields.build_detail)
Address = Converted(Prefixed(Int8ub, GreedyBytes), fields.parse_address, fields.build_address)
OptionalAddress = Converted(Prefixed(Int8ub, GreedyBytes), fields.parse_optional_address, fields.build_optional_address)
Ratio = Converted(Float64b, fields.check_ratio, fields.check_ratio)
Estimate = Converted(Float64b, fields.check_estimate, fields.check_estimate)

Stamped = _tuple(Version, stamp=Int64ub, coordinator=Ident)
PeerEntry = _tuple(Peer, ident=Ident, address=Address)
Peers = Converted(PrefixedArray(Int8ub, PeerEntry), tuple, _same)
EntryField = _tuple(m.Entry, key=Key, version=Stamped, replication=Int8ub)
Entries = Converted(PrefixedArray(Count, EntryField), tuple, _same)
Copy = _tuple(
    m.RecordCopy,
    key=Key,
    ttl_ms=Int32ub,
    tombstone_ms=Int32ub,
    replication=Int8ub,
    version=Stamped,
    value=_bounded(Prefixed(Int16ub, GreedyBytes), range(m.VALUE_BYTES_MAX + 1)),
)
Copies = Converted(PrefixedArray(Count, Copy), tuple, _same)
Arc = _tuple(m.ArcDigest, start=Ident, end=Ident, records=Int32ub, total=Bytes(TOTAL_BYTES))
Arcs = Converted(PrefixedArray(Count, Arc), tuple, _same)
Keys = Converted(PrefixedArray(Count, Key), tuple, _same)
Numbers = Converted(PrefixedArray(Count, Int32ub), tuple, _same)


def _body(message: type, **members: Construct) -> Construct:
    """A whole body: the fields and not a byte more."""
    return Converted(Sequence(_tuple(message, **members), Terminated), lambda pair: pair[0], lambda one: (one, None))


BODIES: dict[type, Construct] = {
    m.DhtPut: _body(m.DhtPut, ttl_s=Int16ub, replication=Int8ub, reserved=Int8ub, key=Key, value=GreedyBytes),
    m.DhtGet: _body(m.DhtGet, key=Key),
    m.DhtSuccess: _body(m.DhtSuccess, key=Key, value=GreedyBytes),
    m.DhtFailure: _body(m.DhtFailure, key=Key),
    m.P2pPut: _body(
        m.P2pPut,
        key=Key,
        ttl_ms=Int32ub,
        tombstone_ms=Int32ub,
        replication=Int8ub,
        as_owner=Flag,
        version=Stamped,
        value=GreedyBytes,
    ),
    m.P2pGet: _body(m.P2pGet, key=Key, as_owner=Flag),
    m.P2pSuccess: _body(
        m.P2pSuccess,
        key=Key,
        ttl_ms=Int32ub,
        tombstone_ms=Int32ub,
        replication=Int8ub,
        version=Stamped,
        view=Int32ub,
        value=GreedyBytes,
    ),
    m.P2pFailure: _body(
        m.P2pFailure, key=Key, reason=Converted(Int8ub, fields.parse_failure_reason, int), view=Int32ub, detail=Detail
    ),
    m.P2pGetSuccessor: _body(m.P2pGetSuccessor, ident=Ident, strict=Flag),
    m.P2pReplySuccessor: _body(m.P2pReplySuccessor, ident=Ident, final=Flag, start=Ident, peers=Peers),
    m.P2pHello: _body(
        m.P2pHello, magic=Const(MAGIC), version_min=Int8ub, version_max=Int8ub, ring=Text, peer=PeerEntry
    ),
    m.P2pError: _body(m.P2pError, reason=Converted(Int16ub, fields.parse_error_reason, int), detail=Detail),
    m.P2pPing: _body(m.P2pPing),
    m.P2pAck: _body(m.P2pAck),
    m.P2pGetNeighbours: _body(m.P2pGetNeighbours),
    m.P2pReplyNeighbours: _body(m.P2pReplyNeighbours, predecessors=Peers, successors=Peers),
    m.P2pNotify: _body(m.P2pNotify),
    m.P2pLeave: _body(m.P2pLeave),
    m.P2pOffer: _body(m.P2pOffer, entries=Entries),
    m.P2pReplyOffer: _body(m.P2pReplyOffer, wanted=Flags),
    m.P2pTransfer: _body(m.P2pTransfer, records=Copies),
    m.P2pReplyTransfer: _body(m.P2pReplyTransfer, held=Flags),
    m.P2pFetch: _body(m.P2pFetch, keys=Keys),
    m.P2pReplyFetch: _body(m.P2pReplyFetch, asked=Count, records=Copies),
    m.P2pCompare: _body(m.P2pCompare, replication=Int8ub, arcs=Arcs),
    m.P2pReplyCompare: _body(m.P2pReplyCompare, complete=Flag, same=Flags, counts=Numbers),
    m.P2pReconcile: _body(m.P2pReconcile, replication=Int8ub, start=Ident, end=Ident, entries=Entries),
    m.P2pReplyReconcile: _body(m.P2pReplyReconcile, complete=Flag, up_to=Ident, wanted=Flags, entries=Entries),
    m.P2pGetStatus: _body(m.P2pGetStatus),
    m.P2pReplyStatus: _body(
        m.P2pReplyStatus,
        keys_owned=Int64ub,
        keys_replica=Int64ub,
        keys_misplaced=Int64ub,
        keys_bytes=Int64ub,
        owned_ratio=Ratio,
        estimated_nodes=Estimate,
        state=Text,
        api_address=OptionalAddress,
        admin_address=OptionalAddress,
        predecessors=Peers,
        successors=Peers,
    ),
    m.P2pStat: _body(m.P2pStat, key=Key),
    m.P2pReplyStat: _body(
        m.P2pReplyStat,
        key=Key,
        present=Flag,
        ttl_ms=Int32ub,
        replication=Int8ub,
        version=Stamped,
        value_bytes=Int32ub,
        digest=Bytes(32),
    ),
}
"""Message class to the declaration of its body."""
