"""Every error that gdht raises on purpose, in one tree.

Each class says whose fault it is and whether the same request may be tried again (`retriable`). Errors are translated
once, where the outside world is met (`net`, `sim`, `config`, `store`), with `raise ... from`.
"""

from collections.abc import Sequence


class GdhtError(Exception):
    """The root: catching it catches everything that gdht raises on purpose."""

    retriable = False


class ConfigError(GdhtError):
    """The configuration is wrong; the message names file, section, key, value and the nearest valid key."""


class ProtocolError(GdhtError):
    """Somebody broke the rules of a protocol; see the two subclasses for who. Never raised itself."""


class LocalProtocolError(ProtocolError):
    """We tried to send what the protocol does not allow: a bug in this program."""


class RemoteProtocolError(ProtocolError):
    """The other side sent bytes that are not the protocol; close that connection.

    reason: one of the few words that metrics use as a label: size, type, truncated, too_large, trailing, magic, value.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class CallError(GdhtError):
    """A call to a peer brought no answer; it may or may not have been carried out."""

    retriable = True


class CallTimeout(CallError):
    """The peer did not answer before the call's deadline."""


class PeerUnreachable(CallError):
    """No connection to the peer: refused, reset, unresolved, or somebody else answers at its address."""


class PeerSilent(PeerUnreachable):
    """No connection came about, but nobody refused one either: silence, no route, unknown name. It may be alive."""


class CallNotSent(CallError):
    """We did not send it: too much is under way to that peer, or this node stops. It says nothing of the peer."""


class RemoteError(GdhtError):
    """The peer answered with an ERROR frame.

    reason: a `gdht.core.messages.ErrorReason`; detail: the peer's words, for people.
    """

    def __init__(self, reason: int, detail: str, *, retriable: bool = False) -> None:
        super().__init__(f"{getattr(reason, 'name', reason)}: {detail}".lower())
        self.reason = reason
        self.detail = detail
        self.retriable = retriable


class LookupFailed(GdhtError):
    """find_successor found no owner.

    result: `timeout` (out of time), `loop` (out of hops) or `no_route` (nobody left to ask). trail: the nodes asked, as
    `gdht.core.lookup.Hop`s, in order.
    """

    retriable = True

    def __init__(self, result: str, detail: str) -> None:
        super().__init__(detail)
        self.result = result
        self.trail: tuple[object, ...] = ()


class JoinFailed(GdhtError):
    """No listed member let us into the ring this time; try again later."""

    retriable = True


class StoreError(GdhtError):
    """The store refused a write.

    reason: full, read_only, disk, overload, too_large, ttl, version: the label of `gdht_store_rejected_writes_total`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class ListenError(GdhtError):
    """A port could not be opened; the message names which and why."""


class ClientError(GdhtError):
    """A request of a client in `gdht.client` did not succeed.

    keys: those of its requests that did not, in their order; there may be more than one in a batch.
    """

    def __init__(self, detail: str, keys: Sequence[bytes] = ()) -> None:
        super().__init__(detail)
        self.keys = tuple(keys)


class ClientTimeout(ClientError):
    """The node did not answer in time; a put may have been stored all the same."""

    retriable = True


class ClientDisconnected(ClientError):
    """The node closed the connection or could not be reached."""

    retriable = True


class PutFailed(ClientError):
    """The node answered that the write quorum did not store the value."""

    retriable = True
