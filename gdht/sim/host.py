"""One address of a simulated cluster: the node that runs there, and what checkers see of it."""

from gdht.config import Address, parse_address
from gdht.core.ident import hash_ident
from gdht.core.invariant import Member
from gdht.core.known_arcs import ARCS_MAX
from gdht.core.peer import Peer
from gdht.core.ring import Ring
from gdht.node.node import Node
from gdht.sim.disk import SimDisk
from gdht.sim.process import Process
from gdht.sim.runtime import SimRuntime


class Host:
    """One address of a cluster and the node that runs there, through crashes and restarts.

    disk: what survives them, None when nothing does. arcs_max: how much its node remembers of who owns what. bootstrap:
    its node's list.
    """

    def __init__(self, address: Address, disk: SimDisk | None = None, arcs_max: int = ARCS_MAX) -> None:
        self.address = str(address)
        self.peer = Peer(hash_ident(self.address.encode()), self.address)
        self.disk = disk
        self.arcs_max = arcs_max
        self.runs = 0
        self.boots = 0
        self.process: Process
        self.runtime: SimRuntime
        self.node: Node
        self.bootstrap: list[Host] = []
        self.leaving = False
        self.gone_at_s = 0.0
        self.seen: tuple[bool, Ring | None] = (False, None)
        """Whether it was a member, and its pointers, when the observer last looked."""
        self.events_seen = 0
        """The number of the last event of its journal that the observer has read."""

    @property
    def dialled(self) -> Address:
        """The address as configurations have it."""
        return parse_address(self.address)

    @property
    def live(self) -> bool:
        """Whether a process runs here, paused or not."""
        return self.process.alive

    @property
    def lives_s(self) -> float:
        """Its node's clock of lives."""
        return self.node.clock.lives_s()

    @property
    def memory(self) -> str:
        """A name for as long as a node here remembers what it did: its run, or all runs on the same disk."""
        return f"{self.address}/{self.runs}" if self.disk is None else f"{self.address}/disk {self.disk.number}"

    def __repr__(self) -> str:
        return str(self.peer)


def view(ring: Ring) -> Member:
    """What checkers see of a node's pointers."""
    predecessor = ring.predecessor
    return Member(predecessor.ident if predecessor else None, tuple(peer.ident for peer in ring.successors))


def describe(node: Node) -> str:
    """State and pointers in one line, for traces."""
    return f"{node.state.value} {node.ring.predecessor} < {' '.join(map(str, node.ring.successors))}"
