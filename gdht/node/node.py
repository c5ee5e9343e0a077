"""A node as the outside drives it: the doors for clients and peers, its life, and its status; `tasks` has the rest."""

from collections.abc import Callable, Sequence
from functools import partial

from gdht.config import DhtConfig
from gdht.core.ident import finger_start
from gdht.core.known_arcs import ARCS_MAX
from gdht.core.lookup import Found
from gdht.core.messages import ErrorReason, P2pError, P2pPut, P2pTransfer, Request
from gdht.core.peer import Peer
from gdht.core.placement import Role
from gdht.core.ring import Ring
from gdht.node import inspect
from gdht.node.acquaintances import remember_at_once, write_memory
from gdht.node.check import check
from gdht.node.clock import Clock
from gdht.node.express import Intake, OwnRecords, PutPlan, intake, judge_put, own_records, plan_get, plan_put
from gdht.node.failures import FailedRequest
from gdht.node.handlers import handle
from gdht.node.journal import Event
from gdht.node.keys import KeyPage, KeyReport
from gdht.node.later import Answer
from gdht.node.lookup import find_successor
from gdht.node.membership import say_goodbye
from gdht.node.replication.get import Asked, GetOutcome, finish_get, get, try_get
from gdht.node.replication.handover import hand_over_all, keep_all, plan_leave
from gdht.node.replication.hedge import is_late
from gdht.node.replication.put import Begun, PutOutcome, finish_put, put, try_put
from gdht.node.replication.upkeep import Census
from gdht.node.runtime import Outcome, Runtime
from gdht.node.state import NodeState
from gdht.node.stats import Stats
from gdht.node.status import Check, FingerStatus, NodeStatus, RingCheck, Share, State, Trace, Walk
from gdht.node.storage import Store
from gdht.node.tasks import Tasks

STALE_IF_LATE = (P2pPut, P2pTransfer)
"""What tells how much of a life was left when it was sent."""

READY_INTERVALS = 5
"""A node is ready only if it was stabilized within this many intervals."""


class Node:
    """One member of the ring, or one on its way there."""

    def __init__(
        self,
        rt: Runtime,
        me: Peer,
        config: DhtConfig,
        store: Store,
        *,
        api_address: str = "",
        admin_address: str = "",
        arcs_max: int = ARCS_MAX,
    ) -> None:
        self._rt = rt
        self._node = NodeState(rt, me, config, store, arcs_max=arcs_max)
        self._node.when_alone_or_not = partial(remember_at_once, self._node)
        self._census = Census(self._node)
        self._node.api_address = api_address
        self._node.admin_address = admin_address
        self._started_at_s = rt.now()
        self._tasks = Tasks(rt, self._node, self._census)

        # What nearly every request needs, without a step in between; see `gdht.node.express`. Nothing of it switches.
        self.own_records: Callable[[], OwnRecords | None] = partial(own_records, self._node)
        """What is answered from local state, until the next switch; None: nothing."""
        self.plan_get: Callable[[bytes], Peer | None] = partial(plan_get, self._node)
        """The node that we take for the owner of a key; None when it takes more to know."""
        self.plan_put: Callable[[bytes, bytes, int, int], PutPlan | None] = partial(plan_put, self._node)
        """To whom to write what (key, value, ttl_s, replicas); None when it takes more to know."""
        self.judge_put: Callable[[PutPlan, Sequence[Outcome]], PutOutcome | None] = partial(judge_put, self._node)
        """The success that these outcomes come to, None when they do not."""

    # Life ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look for the ring and to keep our place in it. Switches: no."""
        self._tasks.start()

    def stop(self) -> None:
        """Cancel all tasks; nothing is handed over. Switches: no."""
        self._tasks.stop()

    def drain(self) -> None:
        """Be a member as before, but no longer ready for clients. Switches: no."""
        self._node.draining = True
        if self._node.state is State.ACTIVE:
            self._node.state = State.DRAINING

    def leave(self, deadline_s: float) -> None:
        """Hand all records over within so many seconds, say goodbye and be a member no more. Switches: yes."""
        node, rt = self._node, self._rt
        ends_at_s = rt.now() + deadline_s
        before = node.ring.predecessors
        if node.is_member:
            node.state = State.LEAVING
            self._tasks.run("remember", lambda: write_memory(node))
            hand_over_all(rt, node, ends_at_s)
        else:
            keep_all(rt, node)
        self.stop()
        if node.is_member and node.ring.successors:
            say_goodbye(rt, node, before)
        node.go()

    # Clients and peers -----------------------------------------------------------------------------------------------

    def handle(self, sender: Peer, request: Request) -> Answer:
        """Answer another node's request from local state, or once that is on the disk. Switches: no.

        No copies after we stood still: what waited for us tells what was left of its life when it was sent.
        """
        if type(request) in STALE_IF_LATE and self._tasks.stood_still():
            return P2pError(ErrorReason.OVERLOAD, "this node stood still; what was sent meanwhile may be over")
        return handle(self._node, sender, request, self._node.clock.lives_s())

    def put(self, key: bytes, value: bytes, ttl_s: int, replicas: int) -> PutOutcome:
        """Store a value for `ttl_s` seconds on `replicas` nodes; 0 means the configured default. Switches: yes."""
        return put(self._rt, self._node, key, value, ttl_s, replicas)

    def get(self, key: bytes) -> GetOutcome:
        """Find the newest value under a key. Switches: yes."""
        return get(self._rt, self._node, key)

    def try_put(self, key: bytes, value: bytes, ttl_s: int, replicas: int) -> PutOutcome | None:
        """`put` when it concerns this node alone, else None. Switches: no."""
        return try_put(self._node, key, value, ttl_s, replicas, self._node.clock.lives_s())

    def try_get(self, key: bytes) -> GetOutcome | None:
        """`get` when this node owns the key and has it, else None. Switches: no."""
        return try_get(self._node, key, self._node.clock.lives_s())

    # What goes the express way; see `gdht.node.express`.

    def intake(self) -> Intake | None:
        """What of others' writes is taken in at once, until the next switch; None: nothing. Switches: no."""
        return None if self._tasks.stood_still() else intake(self._node)

    def note_answer(self, peer: Peer, seconds: float, reads: int) -> None:
        """The owner of a GET took so long to answer it, which stands for so many of them. Switches: no."""
        self._node.latency.note(peer, seconds)
        self._node.hedges.earn(reads)

    def is_late(self, owner: Peer, seconds: float) -> bool:
        """Whether the owner of a GET that was asked so long ago is late, and others may be asked. Switches: no."""
        return is_late(self._node, owner, seconds)

    def finish_get(self, key: bytes, asked: Asked) -> GetOutcome:
        """`get`, when its supposed owner gave no value, or is late with it. Switches: yes."""
        return finish_get(self._rt, self._node, key, asked)

    def finish_put(self, begun: Begun) -> PutOutcome:
        """`put`, after a first attempt that did not settle it. Switches: yes."""
        return finish_put(self._rt, self._node, begun)

    def now_s(self) -> float:
        """When a request begins, by the Runtime's clock. Switches: no."""
        return self._rt.now()

    def note_overload(self, operation: str, key: bytes, detail: str) -> None:
        """A client's request was refused, as too many are under way: all in all, or for one peer. Switches: no."""
        self._node.failures.note(self._node.clock.wall_s(), operation, key, "overload", detail, 0.0)

    def find_successor(self, ident: int) -> Found:
        """The owner of an identifier by its own word, and how it was found. Switches: yes. Raises: LookupFailed."""
        return find_successor(self._rt, self._node, ident, purpose="trace", confirmed=True)

    # Questions -------------------------------------------------------------------------------------------------------

    def walk(self, nodes_max: int = 1024) -> Walk:
        """Every node's status, clockwise from this one. Switches: yes."""
        return inspect.walk(self._rt, self._node, nodes_max)

    def check(self, nodes_max: int = 1024) -> RingCheck:
        """What is wrong with the ring. Switches: yes."""
        return check(self._rt, self._node, nodes_max)

    def events(self, since: int) -> tuple[Event, ...]:
        """What happened to the pointers after event number `since`, oldest first. Switches: no."""
        return self._node.journal.since(since)

    def where(self, key: bytes) -> KeyReport:
        """Who should hold a key and who does. Switches: yes."""
        return inspect.where(self._rt, self._node, key)

    def keys(self, role: Role | None, after: bytes, limit: int) -> KeyPage:
        """At most `limit` of the keys kept here, after the key `after`, in order. role: None for all. Switches: yes."""
        return inspect.keys(self._rt, self._node, role, after, limit)

    def failures(self) -> tuple[FailedRequest, ...]:
        """The last requests of clients of this node that did not succeed, newest last. Switches: no."""
        return self._node.failures.all()

    def plan_leave(self) -> tuple[Share, ...]:
        """What each node would get if this one left now; nothing is moved. Switches: yes."""
        return plan_leave(self._rt, self._node)

    def trace(self, ident: int) -> Trace:
        """A lookup step by step. Switches: yes."""
        return inspect.trace(self._rt, self._node, ident)

    @property
    def me(self) -> Peer:
        """This node as others know it."""
        return self._node.me

    @property
    def ring(self) -> Ring:
        """The pointers as they are now."""
        return self._node.ring

    @property
    def state(self) -> State:
        """Where the node is in its life."""
        return self._node.state

    @property
    def draining(self) -> bool:
        """Whether it wants no more clients."""
        return self._node.draining

    @property
    def is_member(self) -> bool:
        """Whether the node is in the ring."""
        return self._node.is_member

    @property
    def receiving(self) -> bool:
        """Whether its share of the records has not arrived yet."""
        return self._node.arc.receiving

    @property
    def stats(self) -> Stats:
        """The counters."""
        return self._node.stats

    @property
    def clock(self) -> Clock:
        """What time it is for records."""
        return self._node.clock

    @property
    def store(self) -> Store:
        """The records of this node."""
        return self._node.store

    def status(self) -> NodeStatus:
        """A snapshot for pages and metrics, without the checks of the process itself. Switches: no."""
        node, ring = self._node, self._node.ring
        self._census.take()
        return NodeStatus(
            me=node.me,
            api_address=node.api_address,
            admin_address=node.admin_address,
            ring_name=node.config.ring,
            state=node.state,
            uptime_s=self._rt.now() - self._started_at_s,
            predecessors=ring.predecessors,
            successors=ring.successors,
            successor_list_length=ring.length,
            fingers=tuple(FingerStatus(f.number, finger_start(node.me.ident, f.number), f.peer) for f in ring.fingers),
            keys=node.keys,
            store_bytes=node.store.size_bytes,
            store_bytes_max=node.store.size_bytes_max,
            owned_ratio=ring.owned_ratio if node.is_member else 0.0,
            estimated_nodes=ring.estimated_nodes,
            live_checks=(),
            ready_checks=self._ready_checks(),
            health_score=node.health.score,
            lost=tuple(peer for peer in node.lost.peers if peer not in (*ring.successors, *ring.predecessors)),
            second_ring=node.lost.second_ring,
            consistent=node.consistent if node.is_member else None,
            stats=node.stats,
            store_error=node.store.error,
            handover=node.handover.status(self._rt.now()) if node.handover else None,
        )

    def _ready_checks(self) -> tuple[Check, ...]:
        node = self._node
        why_not = ": ".join(filter(None, (node.state.value, node.join_error)))
        joined = "in the ring" if node.is_member else why_not
        successor = str(node.ring.successors[0]) if node.ring.successors else "alone"
        age_s = None if node.stabilized_at_s is None else self._rt.now() - node.stabilized_at_s
        in_time = age_s is not None and age_s <= READY_INTERVALS * node.config.stabilize_interval
        draining = node.draining or node.state is State.LEAVING
        used = f"{node.store.size_bytes} of {node.store.size_bytes_max} bytes"
        return (
            Check("joined", node.is_member, joined),
            Check("successor", node.is_member and (bool(node.ring.successors) or node.founder), successor),
            Check("stabilize", in_time, "never" if age_s is None else f"{age_s:.1f} s ago"),
            Check("store_writable", not node.store.error, node.store.error or "takes writes"),
            Check("store_capacity", node.store.size_bytes < node.store.size_bytes_max, used),
            Check("not_draining", not draining, "takes no clients any more" if draining else "takes clients"),
        )
