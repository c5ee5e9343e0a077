"""What one node remembers between its steps.

`NodeState` is the only mutable thing in `gdht.node`. Only the maintenance task assigns the ring's pointers; a dead
finger may be dropped by anybody. Each assignment replaces a whole immutable value, so nobody ever sees half a change.
"""

from gdht.config import DhtConfig
from gdht.core.peer import Peer
from gdht.core.records import Version, is_ahead, next_stamp
from gdht.core.ring import Ring
from gdht.node.journal import Cause, Journal
from gdht.node.runtime import Runtime, Signal
from gdht.node.stats import Stats
from gdht.node.status import KeyCounts, State
from gdht.node.storage import Store


class NodeState:
    """One node: its pointers, its records, its counters, and what its tasks tell each other.

    founder: alone by right, since it started the ring or since all others left in good order. receiving: its share of
    the records has not arrived yet. unplaced: misplaced records that had to stay in the last repair round.
    draining: it wants no more clients, also after it had to join anew. sealed: it takes no more records, as it is about
    to leave. gone: it has left. contacts: nodes that may still know the ring after we lost it.

    What handlers leave to the maintenance task, which `wake` wakes: nodes to rectify with (notified), nodes to forget
    (departed), a predecessor to check (doubted).
    """

    def __init__(self, rt: Runtime, me: Peer, config: DhtConfig, store: Store) -> None:
        self.me = me
        self.config = config
        self.store = store
        self.stats = Stats()
        self.journal = Journal()
        self.api_address = ""
        self.admin_address = ""

        self._wall = rt.wall
        self._state = State.STARTING
        self.ring = Ring(me, config.successor_list_length)
        self.founder = False
        self.join_error = ""
        self.stabilized_at_s: float | None = None
        self.next_finger = 0
        self.contacts: tuple[Peer, ...] = ()
        self.lost: dict[int, Peer] = {}
        self.second_ring: dict[int, Peer] = {}
        self.consistent: bool | None = None

        self.notified: dict[int, Peer] = {}
        self.departed: dict[int, Peer] = {}
        self.doubted = False
        self.wake: Signal = rt.signal()
        self.repair_wanted: Signal = rt.signal()

        self.joins = 0
        self.receiving = False
        self.draining = False
        self.sealed = False
        self.gone = False
        self.unplaced = 0
        self.keys = KeyCounts()
        self._last_stamp = 0

    @property
    def state(self) -> State:
        """Where the node is in its life."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        if state is not self._state:
            self._state = state
            self.journal.state_changed(self._wall(), state.value)

    @property
    def is_member(self) -> bool:
        """Whether this node is in the ring, from its join until it has left or lost its way."""
        return self.state in (State.ACTIVE, State.DRAINING, State.LEAVING) and not self.gone

    def doubt_predecessor(self) -> None:
        """Have the predecessor checked soon: somebody took us for the owner of what should be its. Switches: no."""
        if self.ring.predecessors and not self.doubted:
            self.doubted = True
            self.wake.set()

    def stamp(self, wall_s: float) -> Version:
        """A version newer than every one this node has given or seen. wall_s: seconds since the epoch."""
        if is_ahead(Version(self._last_stamp, 0), wall_s):
            self._last_stamp = 0  # our own clock was wrong and has been set back
        self._last_stamp = next_stamp(self._last_stamp, wall_s)
        return Version(self._last_stamp, self.me.ident)

    def observe(self, version: Version, wall_s: float) -> None:
        """Remember a version somebody else gave, so that ours will be newer; not one from far in the future."""
        if not is_ahead(version, wall_s):
            self._last_stamp = max(self._last_stamp, version.stamp)

    def enter(self) -> None:
        """Be a member of the ring from now on. Switches: no."""
        self.state = State.DRAINING if self.draining else State.ACTIVE
        self.joins += 1
        self.join_error = ""

    def set_ring(self, ring: Ring, cause: Cause) -> None:
        """Assign new pointers, count and write down what changed, and have the records follow. Switches: no."""
        if ring == self.ring:
            return
        old, self.ring = self.ring, ring
        self.journal.ring_changed(self._wall(), old, ring, cause)
        if old.first_successor != ring.first_successor:
            self.stats.ring_pointer_changes["successor"] += 1
        if old.predecessor != ring.predecessor:
            self.stats.ring_pointer_changes["predecessor"] += 1
        if old.fingers != ring.fingers:
            self.stats.ring_pointer_changes["finger"] += 1
        replicas = self.config.max_replication - 1
        before = old.predecessors[:replicas], old.successors[:replicas]
        if before != (ring.predecessors[:replicas], ring.successors[:replicas]):
            self.repair_wanted.set()
