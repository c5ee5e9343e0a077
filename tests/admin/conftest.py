"""A faked ring for the pages: what a node would tell, without a node."""

import hashlib
import random
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import WSGIRequestHandler, make_server

from gdht.admin import create_app
from gdht.core.ident import IDENTS, distance, finger_start, key_ident
from gdht.core.invariant import Violation
from gdht.core.messages import P2pReplyStat, P2pReplyStatus
from gdht.core.peer import Peer
from gdht.core.placement import Role
from gdht.core.records import NO_VERSION, Version
from gdht.node.failures import FailedRequest
from gdht.node.journal import Event
from gdht.node.keys import HeldKey, Holder, KeyPage, KeyReport
from gdht.node.stats import Stats
from gdht.node.status import (
    Check,
    FingerStatus,
    KeyCounts,
    NodeStatus,
    RingCheck,
    Share,
    State,
    Trace,
    TraceHop,
    Walk,
    WalkedNode,
)
from tests.admin.chromium import Browser, chromium

SUCCESSORS = 8
NAMES_READY = ("joined", "successor", "stabilize", "store_capacity", "not_draining")
NAMES_LIVE = ("event_loop", "api_listener", "p2p_listener")


class FakeRing:
    """A ring of some nodes as its first node sees it; tests change its fields and look again."""

    def __init__(self, nodes: int, seed: int = 2) -> None:
        rng = random.Random(seed)
        peers = [Peer(rng.randrange(IDENTS), f"127.0.0.1:{6000 + i}") for i in range(nodes)]
        self.peers = sorted(peers)
        self.me = peers[0]
        self.owned = {peer.ident: 40 + rng.randrange(2000) for peer in peers}
        self.silent: set[int] = set()
        self.complete = True
        self.error: Exception | None = None  # raised by the questions to the ring
        self.status_error: Exception | None = None
        self.ready = dict.fromkeys(NAMES_READY, True)
        self.live = dict.fromkeys(NAMES_LIVE, True)
        self.changes: dict[str, Any] = {}  # fields of the snapshot
        self.stats = Stats()
        self.walks = 0
        self.checks = 0
        self.violations: tuple[Violation, ...] = ()
        self.journal: list[Event] = []
        self.failed: list[FailedRequest] = []
        self.held: list[HeldKey] = []
        self.done: list[object] = []  # what the node was told to do
        self.shares = tuple(Share(peer, 100 * n, 70_000 * n) for n, peer in enumerate(self.peers[1:3], 1))

    def clockwise(self, first: Peer) -> list[Peer]:
        """All peers, clockwise from one of them."""
        place = self.peers.index(first)
        return self.peers[place:] + self.peers[:place]

    def owner(self, ident: int) -> Peer:
        """The successor of a place."""
        return self.peers[bisect_left(self.peers, (ident, "")) % len(self.peers)]

    def ratio(self, peer: Peer) -> float:
        """The share of the circle that a peer owns."""
        return (distance(self.clockwise(peer)[-1].ident, peer.ident) or IDENTS) / IDENTS

    def status(self) -> NodeStatus:
        """The snapshot of the first node."""
        if self.status_error:
            raise self.status_error
        others = self.clockwise(self.me)[1:]
        fingers: dict[Peer, FingerStatus] = {}
        for index in range(256):
            start = finger_start(self.me.ident, index)
            if (peer := self.owner(start)) != self.me:
                fingers.setdefault(peer, FingerStatus(index, start, peer))
        owned = self.owned[self.me.ident]
        made = NodeStatus(
            me=self.me,
            api_address="127.0.0.1:7001",
            admin_address="127.0.0.1:8001",
            ring_name="default",
            state=State.ACTIVE,
            uptime_s=3725.5,
            predecessors=tuple(reversed(others[-2:])),
            successors=tuple(others[:SUCCESSORS]),
            successor_list_length=SUCCESSORS,
            fingers=tuple(fingers.values()),
            keys=KeyCounts(owned, 2 * owned, 0, owned * 700, owned * 1400, 0),
            store_bytes=owned * 2100,
            store_bytes_max=1 << 30,
            owned_ratio=self.ratio(self.me),
            estimated_nodes=float(len(self.peers)),
            live_checks=tuple(Check(name, ok, f"{name} seen") for name, ok in self.live.items()),
            ready_checks=tuple(Check(name, ok, f"{name} seen") for name, ok in self.ready.items()),
            health_score=0,
            lost=(),
            second_ring=(),
            consistent=True,
            stats=self.stats,
        )
        return replace(made, **self.changes)

    def _reply(self, peer: Peer) -> P2pReplyStatus:
        around, owned = self.clockwise(peer)[1:], self.owned[peer.ident]
        port = int(peer.address.rpartition(":")[2])
        return P2pReplyStatus(
            state="active",
            api_address=f"127.0.0.1:{port + 1000}",
            admin_address=f"127.0.0.1:{port + 2000}",
            predecessors=tuple(reversed(around[-2:])),
            successors=tuple(around[:SUCCESSORS]),
            keys_owned=owned,
            keys_replica=2 * owned,
            keys_misplaced=0,
            keys_bytes=owned * 2100,
            owned_ratio=self.ratio(peer),
            estimated_nodes=float(len(self.peers)),
        )

    def walk(self) -> Walk:
        """Every node; half of them when the walk is not complete."""
        self.walks += 1
        if self.error:
            raise self.error
        nodes = [
            WalkedNode(peer, None, "timed out") if peer.ident in self.silent else WalkedNode(peer, self._reply(peer))
            for peer in self.clockwise(self.me)
        ]
        return Walk(tuple(nodes if self.complete else nodes[: (len(nodes) + 1) // 2]), self.complete)

    def check(self) -> RingCheck:
        """All nodes, or half of them, and what tests say is wrong."""
        self.checks += 1
        if self.error:
            raise self.error
        nodes = len(self.peers) if self.complete else (len(self.peers) + 1) // 2
        return RingCheck(nodes, self.complete, self.violations, 0.0123)

    def events(self, since: int) -> tuple[Event, ...]:
        """What tests say has happened."""
        return tuple(event for event in self.journal if event.number > since)

    def where(self, key: bytes) -> KeyReport:
        """Owner and two replicas; the first replica lacks the key, the second does not answer."""
        if self.error:
            raise self.error
        holders = self.clockwise(self.owner(key_ident(key)))[:3]
        stat = P2pReplyStat(
            key,
            True,
            90500,
            3,
            Version((1_700_000_000_123 << 16) + 7, self.me.ident),
            5,
            hashlib.sha256(b"hello").digest(),
        )
        lacks = P2pReplyStat(key, False, 0, 0, NO_VERSION, 0, bytes(32))
        told = [(stat, ""), (lacks, ""), (None, "timed out")]
        return KeyReport(
            key,
            tuple(Holder(peer, "replica" if i else "owner", *told[i]) for i, peer in enumerate(holders)),
            asked=len(self.peers),
            failures=tuple(request for request in self.failed if request.key == key),
        )

    def keys(self, role: Role | None, after: bytes, limit: int) -> KeyPage:
        """Those that tests say are here."""
        fitting = [held for held in self.held if held.key > after and role in (None, held.role)]
        return KeyPage(tuple(fitting[:limit]), fitting[limit - 1].key if len(fitting) > limit else None)

    def failures(self) -> tuple[FailedRequest, ...]:
        """Those that tests say there were."""
        return tuple(self.failed)

    def drain(self) -> None:
        """Remember that it was told so."""
        self.done.append("drain")
        self.changes["state"] = State.DRAINING

    def leave(self, timeout_s: float) -> None:
        """Remember that it was told so."""
        self.done.append(("leave", timeout_s))
        self.changes["state"] = State.LEAVING

    def plan_leave(self) -> tuple[Share, ...]:
        """Two that get something."""
        if self.error:
            raise self.error
        return self.shares

    def trace(self, ident: int) -> Trace:
        """A dead finger, a live finger, then the owner's predecessor."""
        if self.error:
            raise self.error
        others = self.clockwise(self.me)
        hops = (
            TraceHop(others[1 % len(others)], 251, 0.5, True, "timed out"),
            TraceHop(others[2 % len(others)], 249, 0.0012, False),
            TraceHop(others[3 % len(others)], None, 0.0034, False),
        )
        return Trace(ident, hops, self.owner(ident), 0.5051)


@pytest.fixture
def make_ring() -> Callable[..., FakeRing]:
    """`make_ring(nodes, seed)`: a faked ring."""
    return FakeRing


@pytest.fixture
def ring() -> FakeRing:
    """A faked ring of eight nodes."""
    return FakeRing(8)


@pytest.fixture
def app(ring: FakeRing) -> Flask:
    """The pages of that ring, without a token."""
    return create_app(ring.status, ring, ring)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Asks those pages."""
    return app.test_client()


@pytest.fixture
def serve() -> Iterator[Callable[[Flask], str]]:
    """`serve(app)`: its address, on a real port of this machine until the test ends."""
    running = []

    def start(app: Flask) -> str:
        server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


class QuietHandler(WSGIRequestHandler):
    """Logs nothing."""

    def log(self, *arguments: object, **more: object) -> None:
        pass


@pytest.fixture(scope="module")
def browser(require_tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium."""
    with chromium(require_tool("chromium"), require_tool("chromedriver"), tmp_path_factory.mktemp("chromium")) as one:
        yield one
