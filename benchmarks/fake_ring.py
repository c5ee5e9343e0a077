"""A large ring for one real node: all its other members in this process, on ports of their own, without any records.

Usage: python benchmarks/fake_ring.py NODES REAL_P2P_ADDRESS

Every fake knows the whole ring and answers as a node does; what it is given it takes and forgets. The real node is a
member from its first notification on. Prints the address of one member once all of them listen.
"""

import sys
from bisect import bisect_left
from collections.abc import Sequence

from gevent.event import Event

from gdht.config import parse_address
from gdht.core.ident import hash_ident
from gdht.core.messages import (
    FailureReason,
    P2pAck,
    P2pCompare,
    P2pFailure,
    P2pFetch,
    P2pGet,
    P2pGetNeighbours,
    P2pGetStatus,
    P2pGetSuccessor,
    P2pLeave,
    P2pNotify,
    P2pOffer,
    P2pPut,
    P2pReconcile,
    P2pReplyCompare,
    P2pReplyFetch,
    P2pReplyNeighbours,
    P2pReplyOffer,
    P2pReplyReconcile,
    P2pReplyStat,
    P2pReplyStatus,
    P2pReplySuccessor,
    P2pReplyTransfer,
    P2pStat,
    P2pSuccess,
    P2pTransfer,
    Reply,
    Request,
)
from gdht.core.peer import Peer
from gdht.core.records import NO_VERSION
from gdht.net.hello import our_hello
from gdht.net.limits import allow_open_files
from gdht.net.listener import bound_address, open_socket
from gdht.net.peer_server import PeerServer
from gdht.node.stats import Stats

SUCCESSORS, PREDECESSORS = 8, 9
RING_NAME = "default"


class FakeRing:
    """The members in order, and what each of them answers."""

    def __init__(self, fakes: Sequence[Peer], real: Peer) -> None:
        self._real = real
        self._set_members(fakes)

    def _set_members(self, peers: Sequence[Peer]) -> None:
        self.members = sorted(peers)
        self._idents = [peer.ident for peer in self.members]

    def after(self, ident: int, count: int) -> tuple[Peer, ...]:
        """The owner of a place and those that follow it."""
        first = bisect_left(self._idents, ident)
        return tuple(self.members[(first + n) % len(self.members)] for n in range(count))

    def before(self, ident: int, count: int) -> tuple[Peer, ...]:
        """Those that come before a member, the nearest first."""
        place = bisect_left(self._idents, ident)
        return tuple(self.members[(place - n) % len(self.members)] for n in range(1, count + 1))

    def answer(self, me: Peer, sender: Peer, request: Request) -> Reply:
        """What one fake answers."""
        successors, predecessors = self.after(me.ident + 1, SUCCESSORS), self.before(me.ident, PREDECESSORS)
        match request:
            case P2pGetSuccessor():
                owners = self.after(request.ident, SUCCESSORS + 1)
                (predecessor,) = self.before(owners[0].ident, 1)
                if request.strict and me != predecessor:
                    return P2pReplySuccessor(request.ident, False, (predecessor,))
                return P2pReplySuccessor(request.ident, True, owners)
            case P2pGetNeighbours():
                return P2pReplyNeighbours(predecessors, successors)
            case P2pGetStatus():
                nodes = len(self.members)
                admin = me.address.replace(":2", ":3")
                return P2pReplyStatus(
                    "active", me.address, admin, predecessors, successors, 500, 1000, 0, 960_000, 1 / nodes, nodes
                )
            case P2pNotify() if sender == self._real and sender not in self.members:
                self._set_members([*self.members, sender])
            case P2pLeave():
                self._set_members([peer for peer in self.members if peer != sender])
        return answer_about_records(request)


def answer_about_records(request: Request) -> Reply:
    """Everything is taken, nothing is there, and no arc differs."""
    match request:
        case P2pPut():
            return P2pSuccess(request.key, request.ttl_ms, request.replication, request.version, b"")
        case P2pGet():
            return P2pFailure(request.key, FailureReason.NOT_FOUND, "")
        case P2pStat():
            return P2pReplyStat(request.key, False, 0, 0, NO_VERSION, 0, bytes(32))
        case P2pOffer():
            return P2pReplyOffer((False,) * len(request.entries))
        case P2pTransfer():
            return P2pReplyTransfer((True,) * len(request.records))
        case P2pFetch():
            return P2pReplyFetch(len(request.keys), ())
        case P2pCompare():
            same = (True,) * len(request.arcs)
            return P2pReplyCompare(True, same, tuple(arc.records for arc in request.arcs))
        case P2pReconcile():
            return P2pReplyReconcile(True, request.end, (False,) * len(request.entries), ())
    return P2pAck()


class Fake:
    """One of them, as its P2P port wants it."""

    def __init__(self, ring: FakeRing, me: Peer) -> None:
        self._ring = ring
        self._me = me

    def handle(self, sender: Peer, request: Request) -> Reply:
        """Answer a request."""
        return self._ring.answer(self._me, sender, request)

    def own_records(self) -> None:
        """It is sure of nothing."""

    def intake(self) -> None:
        """It takes nothing in at once."""


def main() -> None:
    """Serve until killed."""
    count, real_address = int(sys.argv[1]), sys.argv[2]
    allow_open_files(8 * count)
    sockets = [open_socket(parse_address("127.0.0.1:0"), "p2p") for _ in range(count)]
    fakes = [Peer(hash_ident(str(bound_address(sock)).encode()), str(bound_address(sock))) for sock in sockets]
    ring = FakeRing(fakes, Peer(hash_ident(real_address.encode()), real_address))
    for sock, me in zip(sockets, fakes, strict=True):
        PeerServer(sock, 64, Stats(), our_hello(RING_NAME, me), Fake(ring, me)).start()
    print(fakes[0].address, flush=True)
    Event().wait()


if __name__ == "__main__":
    main()
