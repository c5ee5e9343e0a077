"""What a node tells about itself: frozen values that pages, metrics and commands are made from."""

from dataclasses import dataclass
from enum import Enum

from gdht.core.invariant import Violation
from gdht.core.messages import P2pReplyStatus
from gdht.core.peer import Peer
from gdht.node.stats import Stats


class State(Enum):
    """Where a node is in its life."""

    STARTING = "starting"
    JOINING = "joining"
    ACTIVE = "active"
    DRAINING = "draining"  # takes no new clients
    LEAVING = "leaving"  # hands its records over
    ISOLATED = "isolated"  # lost every successor; looks for the ring through its bootstrap list


MEMBER_STATES = (State.ACTIVE, State.DRAINING, State.LEAVING)
"""In these a node is in the ring."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a probe. detail: what is measured, for people; filled in for good and bad alike."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """How many keys and bytes (keys, values and overhead as the store counts them) a node holds, by role.

    tombstones: how many records it keeps that are none any more; they are in none of the other numbers of keys.
    """

    owned: int = 0
    replica: int = 0
    misplaced: int = 0
    owned_bytes: int = 0
    replica_bytes: int = 0
    misplaced_bytes: int = 0
    tombstones: int = 0

    @property
    def bytes(self) -> int:
        """The bytes of all roles."""
        return self.owned_bytes + self.replica_bytes + self.misplaced_bytes


@dataclass(frozen=True, slots=True)
class FingerStatus:
    """One finger without repeats. start: the first place it covers."""

    index: int
    start: int
    peer: Peer


@dataclass(frozen=True, slots=True)
class Share:
    """What one node is to get of another's records. size_bytes: as the store counts them."""

    peer: Peer
    keys: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Handover:
    """How far a node is with moving its records: kind `leave` to others, or `join` from others.

    keys_total, bytes_total: as estimated when it began. seconds: since then. ended: nothing more is moved.
    without_taker: of a leave that has ended, how many records nobody took.
    """

    kind: str
    keys_total: int
    keys_done: int
    bytes_total: int
    bytes_done: int
    seconds: float
    ended: bool = False
    without_taker: int = 0


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A snapshot of one node. Making one never calls a peer.

    owned_ratio: the share of the circle it owns, 0 to 1. estimated_nodes: ring size from the spacing of successors.
    health_score: 0 when this node keeps up, more the slower it is itself; it stretches its failure timeouts. lost:
    peers that stopped answering and are probed now and then. second_ring: members of what looks like another ring of
    our name. consistent: whether the last look at the ring nearby found nothing wrong; None before the first.
    stats: live counters, to be read and not changed. handover: the one under way or the last one, None before the
    first. store_error: why writes cannot be made durable; empty when they can.
    """

    me: Peer
    api_address: str
    admin_address: str
    ring_name: str
    state: State
    uptime_s: float
    predecessors: tuple[Peer, ...]
    successors: tuple[Peer, ...]
    successor_list_length: int
    fingers: tuple[FingerStatus, ...]
    keys: KeyCounts
    store_bytes: int
    store_bytes_max: int
    owned_ratio: float
    estimated_nodes: float
    live_checks: tuple[Check, ...]  # event_loop, api_listener, p2p_listener
    ready_checks: tuple[Check, ...]  # joined, successor, stabilize, store_writable, store_capacity, not_draining
    health_score: int
    lost: tuple[Peer, ...]
    second_ring: tuple[Peer, ...]
    consistent: bool | None
    stats: Stats
    handover: Handover | None = None
    store_error: str = ""

    @property
    def predecessor(self) -> Peer | None:
        """The nearest node counter-clockwise, None when unknown."""
        return self.predecessors[0] if self.predecessors else None


@dataclass(frozen=True, slots=True)
class WalkedNode:
    """One node met on a walk. status None: it did not answer, and `error` says why."""

    peer: Peer
    status: P2pReplyStatus | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Walk:
    """The ring clockwise from the asking node. complete: the walk came back to where it began."""

    nodes: tuple[WalkedNode, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class RingCheck:
    """What is wrong with the ring, as far as it could be walked. nodes: how many were met.

    violations: the first violated invariant first. complete: the walk came back to where it began.
    """

    nodes: int
    complete: bool
    violations: tuple[Violation, ...]
    seconds: float

    @property
    def consistent(self) -> bool:
        """Whether the whole ring was seen, and nothing wrong with it."""
        return self.complete and not self.violations


@dataclass(frozen=True, slots=True)
class TraceHop:
    """One node asked during a lookup. finger: index of the finger it came from; None for successors and answers."""

    peer: Peer
    finger: int | None
    seconds: float
    dead: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """A lookup step by step. owner None: it failed, and `error` says why."""

    ident: int
    hops: tuple[TraceHop, ...]
    owner: Peer | None
    seconds: float
    error: str = ""
