"""The first frame each way between two nodes: what we say of ourselves, and why we would not talk to somebody."""

from gdht.core.messages import ErrorReason, P2pError, P2pHello
from gdht.core.peer import Peer
from gdht.errors import RemoteError
from gdht.wire.codec import PROTOCOL_VERSION

VERSION_MIN = VERSION_MAX = PROTOCOL_VERSION

HELLO_ID = 0
"""The request id of HELLO, and of an ERROR that concerns the connection instead of a request."""
HELLO_TIMEOUT_S = 5.0


def our_hello(ring: str, me: Peer) -> P2pHello:
    """What this node says first on every connection."""
    return P2pHello(VERSION_MIN, VERSION_MAX, ring, me)


def refusal(ours: P2pHello, theirs: P2pHello) -> P2pError | None:
    """Why these two do not talk; None when they do.

    A HELLO with our own identifier is somebody with a copy of our key, unless it has our address as well: then it is
    this node, dialling itself.
    """
    if theirs.version_max < ours.version_min or theirs.version_min > ours.version_max:
        return P2pError(
            ErrorReason.VERSION,
            f"versions {theirs.version_min} to {theirs.version_max} offered, "
            f"{ours.version_min} to {ours.version_max} spoken here",
        )
    if theirs.ring != ours.ring:
        return P2pError(ErrorReason.RING, f"ring {theirs.ring!r} is not ring {ours.ring!r}")
    if theirs.peer.ident == ours.peer.ident and theirs.peer.address != ours.peer.address:
        return P2pError(ErrorReason.IDENT, f"{theirs.peer.address} has the identifier of {ours.peer.address}")
    return None


def remote_error(frame: P2pError) -> RemoteError:
    """The exception that an ERROR frame stands for; a reason of a newer version stays a number and is not retriable."""
    try:
        reason = ErrorReason(frame.reason)
    except ValueError:
        return RemoteError(frame.reason, frame.detail)
    return RemoteError(reason, frame.detail, retriable=reason.retriable)
