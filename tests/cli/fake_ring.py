"""The answers of a ring of three as its first node gives them, made of plain values."""

from gdht.core.messages import P2pReplyStat, P2pReplyStatus
from gdht.core.peer import Peer
from gdht.core.placement import Role
from gdht.core.records import Version
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

ME, NEXT, FAR = Peer(1 << 254, "127.0.0.1:6001"), Peer(2 << 254, "127.0.0.1:6002"), Peer(3 << 254, "127.0.0.1:6003")


def status_of_me() -> NodeStatus:
    stats = Stats()
    stats.api_requests["get", "success"] = 41
    stats.lookup_duration["get"].observe(0.0125)
    return NodeStatus(
        me=ME,
        api_address="127.0.0.1:7001",
        admin_address="127.0.0.1:8001",
        ring_name="default",
        state=State.ACTIVE,
        uptime_s=3725.0,
        predecessors=(FAR,),
        successors=(NEXT, FAR),
        successor_list_length=8,
        fingers=(FingerStatus(255, 0, FAR),),
        keys=KeyCounts(owned=12, replica=7),
        store_bytes=1000,
        store_bytes_max=1 << 30,
        owned_ratio=0.5,
        estimated_nodes=3.2,
        live_checks=(Check("event_loop", True, "turned 0.1 s ago"),),
        ready_checks=(Check("stabilize", False, "9.0 s ago"),),
        health_score=0,
        lost=(),
        second_ring=(),
        consistent=True,
        stats=stats,
    )


def reply_of(peer: Peer, successor: Peer) -> P2pReplyStatus:
    return P2pReplyStatus("active", "127.0.0.1:7002", "127.0.0.1:8002", (peer,), (successor,), 5, 6, 0, 99, 0.25, 3.0)


def stat(present: bool) -> P2pReplyStat:
    version = Version(1_700_000_000_000 << 16, ME.ident) if present else Version(0, 0)
    return P2pReplyStat(bytes(32), present, 59_500 * present, 3 * present, version, 5 * present, bytes(32))


class Ring:
    """The answers of a ring, to be changed by a test."""

    def __init__(self) -> None:
        self.status = status_of_me()
        self.walked = Walk((WalkedNode(ME, reply_of(ME, NEXT)), WalkedNode(NEXT, None, "timed out")), complete=True)
        self.checked = RingCheck(3, True, (), 0.0123)
        self.journal: list[Event] = []
        self.holders: tuple[Holder, ...] = (
            Holder(NEXT, "owner", stat(True)),
            Holder(FAR, "replica", None, "timed out"),
        )
        self.key_error = ""
        self.hops: tuple[TraceHop, ...] = (
            TraceHop(FAR, 255, 0.002, True, "timed out"),
            TraceHop(NEXT, None, 0.001, False),
        )
        self.owner: Peer | None = NEXT
        self.asked: list[bytes] = []
        self.held: list[HeldKey] = []
        self.failed: list[FailedRequest] = []
        self.shares = (Share(NEXT, 12, 9000), Share(FAR, 7, 5000))
        self.done: list[object] = []

    def walk(self) -> Walk:
        return self.walked

    def check(self) -> RingCheck:
        return self.checked

    def events(self, since: int) -> tuple[Event, ...]:
        return tuple(event for event in self.journal if event.number > since)

    def where(self, key: bytes) -> KeyReport:
        self.asked.append(key)
        return KeyReport(key, self.holders, self.key_error, asked=3, failures=tuple(self.failed))

    def keys(self, role: Role | None, after: bytes, limit: int) -> KeyPage:
        fitting = [held for held in self.held if held.key > after and role in (None, held.role)]
        return KeyPage(tuple(fitting[:limit]), fitting[limit - 1].key if len(fitting) > limit else None)

    def failures(self) -> tuple[FailedRequest, ...]:
        return tuple(self.failed)

    def drain(self) -> None:
        self.done.append("drain")

    def leave(self, timeout_s: float) -> None:
        self.done.append(("leave", timeout_s))

    def plan_leave(self) -> tuple[Share, ...]:
        return self.shares

    def trace(self, ident: int) -> Trace:
        return Trace(ident, self.hops, self.owner, 0.0031, "" if self.owner else "nobody left to ask")
