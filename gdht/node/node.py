"""A node as the outside drives it: its tasks, the doors for clients and peers, and its status.

The tasks: maintenance (join, stabilize, rectify, check_predecessor, fix_fingers, merge; one step at a time),
replication (a newcomer's share, repair), upkeep (expiry, counting), inspection (is the ring right nearby, and is there
another one?), acquaintances (whom to remember over a restart), pulse (have we stood still?).
"""

import logging
from collections.abc import Callable, Sequence
from itertools import count
from math import inf

from gdht.config import DhtConfig
from gdht.core.ident import distance, finger_start
from gdht.core.known_arcs import ARCS_MAX
from gdht.core.lookup import Found
from gdht.core.messages import ErrorReason, P2pError, P2pPut, P2pTransfer, Request
from gdht.core.peer import Peer
from gdht.core.placement import Role
from gdht.core.ring import Ring
from gdht.errors import GdhtError
from gdht.node import inspect
from gdht.node.acquaintances import find_again, remember, write_memory
from gdht.node.bootstrap import enter_ring
from gdht.node.check import check, check_nearby
from gdht.node.clock import Clock
from gdht.node.express import OwnRecords, PutPlan, judge_put, own_records, plan_get, plan_put
from gdht.node.failures import FailedRequest
from gdht.node.handlers import handle
from gdht.node.journal import Event
from gdht.node.keys import KeyPage, KeyReport
from gdht.node.later import Answer
from gdht.node.lookup import find_successor
from gdht.node.membership import check_predecessor, fix_fingers, isolate, rectify, say_goodbye, stabilize
from gdht.node.replication.catch_up import catch_up
from gdht.node.replication.get import Asked, GetOutcome, finish_get, get, try_get
from gdht.node.replication.handover import hand_over_all, keep_all, plan_leave
from gdht.node.replication.hedge import is_late
from gdht.node.replication.put import Begun, PutOutcome, finish_put, put, try_put
from gdht.node.replication.repair import repair
from gdht.node.replication.upkeep import Census, expire
from gdht.node.runtime import Outcome, Runtime, Task
from gdht.node.state import NodeState
from gdht.node.stats import Stats
from gdht.node.status import Check, FingerStatus, NodeStatus, RingCheck, Share, State, Trace, Walk
from gdht.node.storage import Store
from gdht.node.unify import look_for_others, merge

log = logging.getLogger(__name__)

JITTER = (0.5, 1.5)
"""Each interval is multiplied by a number from this range, so that the nodes of a ring do not fall into step.

Source: the 2003 paper, section VI-D: uniform in [15, 45] for an interval of 30 s.
"""

STALE_IF_LATE = (P2pPut, P2pTransfer)
"""What tells how much of a life was left when it was sent."""

REPAIR_INTERVALS = 30
"""A repair round at least every this many stabilize intervals, also when no neighbour changed."""

REPAIR_RETRY_INTERVALS = 5
"""The same after a round that left records with too few replicas, or misplaced ones here."""

SETTLE_INTERVALS = 0.3
"""How long neighbours must have had to settle before a repair round, in stabilize intervals."""

LOOK_INTERVALS = 10
"""How often a node asks whether there is a ring without it, in stabilize intervals."""

CHECK_LOOKS = 3
"""Every so manieth time, it also checks that it and those nearby agree on the ring."""

DOUBT_INTERVALS = 0.3
"""A doubted predecessor is checked no sooner than this after the last check, in stabilize intervals."""

PULSE_CALLS, PULSE_INTERVALS = 0.25, 0.5
"""How often a node makes sure that it has not stood still: in `call_timeout`s, or if that is longer, in stabilize
intervals."""

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
        self._census = Census(self._node)
        self._node.api_address = api_address
        self._node.admin_address = admin_address
        self._started_at_s = rt.now()
        self._tasks: dict[str, Task] = {}
        self._due: dict[str, float] = {}
        self._checked_s = -inf
        self._pulse_every_s = max(PULSE_CALLS * config.call_timeout, PULSE_INTERVALS * config.stabilize_interval)
        self._pulse_s = rt.now()
        self._stale_until_s = -inf

    # Life ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look for the ring and to keep our place in it. Switches: no."""
        tasks = {
            "maintenance": self._maintain,
            "replication": self._replicate,
            "upkeep": self._upkeep,
            "inspection": self._inspect,
            "acquaintances": self._keep_acquaintances,
            "pulse": self._feel_pulse,
        }
        for name, run in tasks.items():
            self._tasks[name] = self._rt.spawn(run, name)

    def stop(self) -> None:
        """Cancel all tasks; nothing is handed over. Switches: no."""
        for task in self._tasks.values():
            task.cancel()

    def drain(self) -> None:
        """Be a member as before, but no longer ready for clients. Switches: no."""
        self._node.draining = True
        if self._node.state is State.ACTIVE:
            self._node.state = State.DRAINING

    def leave(self, deadline_s: float) -> None:
        """Hand all records over within so many seconds, say goodbye and be a member no more. Switches: yes."""
        node, rt = self._node, self._rt
        ends_at_s = rt.now() + deadline_s
        if node.is_member:
            node.state = State.LEAVING
            self._run("remember", lambda: write_memory(node))
            hand_over_all(rt, node, ends_at_s)
        else:
            keep_all(rt, node)
        self.stop()
        if node.is_member and node.ring.successors:
            say_goodbye(rt, node)
        node.gone = True

    # Clients and peers -----------------------------------------------------------------------------------------------

    def handle(self, sender: Peer, request: Request) -> Answer:
        """Answer another node's request from local state, or once that is on the disk. Switches: no.

        No copies after we stood still: what waited for us tells what was left of its life when it was sent.
        """
        if type(request) in STALE_IF_LATE and self._stood_still():
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

    def own_records(self) -> OwnRecords | None:
        """What is answered from local state, until the next switch; None: nothing. Switches: no."""
        return own_records(self._node, self._node.clock.lives_s())

    def plan_get(self, key: bytes) -> Peer | None:
        """The node that we take for the owner of a key; None when it takes more to know. Switches: no."""
        return plan_get(self._node, key)

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

    def plan_put(self, key: bytes, value: bytes, ttl_s: int, replicas: int) -> PutPlan | None:
        """To whom to write what; None when it takes more to know. Switches: no."""
        return plan_put(self._node, key, value, ttl_s, replicas)

    def judge_put(self, plan: PutPlan, outcomes: Sequence[Outcome]) -> PutOutcome | None:
        """The success that these outcomes come to, None when they do not. Switches: no."""
        return judge_put(self._node, plan, outcomes)

    def finish_put(self, begun: Begun) -> PutOutcome:
        """`put`, after a first attempt that did not settle it. Switches: yes."""
        return finish_put(self._rt, self._node, begun)

    def now_s(self) -> float:
        """When a request begins, by the Runtime's clock. Switches: no."""
        return self._rt.now()

    def note_overload(self, operation: str, key: bytes) -> None:
        """A client's request was refused, as too many are under way. Switches: no."""
        self._node.failures.note(self._node.clock.wall_s(), operation, key, "overload", "too many requests", 0.0)

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
        draining = node.state in (State.DRAINING, State.LEAVING)
        used = f"{node.store.size_bytes} of {node.store.size_bytes_max} bytes"
        return (
            Check("joined", node.is_member, joined),
            Check("successor", node.is_member and (bool(node.ring.successors) or node.founder), successor),
            Check("stabilize", in_time, "never" if age_s is None else f"{age_s:.1f} s ago"),
            Check("store_writable", not node.store.error, node.store.error or "takes writes"),
            Check("store_capacity", node.store.size_bytes < node.store.size_bytes_max, used),
            Check("not_draining", not draining, node.state.value if draining else "takes clients"),
        )

    # Maintenance -----------------------------------------------------------------------------------------------------

    def _maintain(self) -> None:
        node, rt = self._node, self._rt
        while True:
            if not node.is_member:
                enter_ring(rt, node)
                now_s = rt.now()
                self._due = {"stabilize": now_s, "check_predecessor": now_s, "fix_fingers": now_s}
            self._run_steps()
            due_s = max(min(self._due.values()), rt.now())
            node.wake.wait(due_s - rt.now())
            if not node.health.woke(rt.now() - due_s) and node.ring.alone:
                node.health.answered()  # nobody else there whose answers would show that we keep up again

    def _run_steps(self) -> None:
        """Everything that handlers asked for, then every step whose time has come."""
        node, rt = self._node, self._rt
        notifiers, node.notified = node.notified, {}
        if notifiers:  # the nearest decides; another one that should have will notify again
            nearest = min(notifiers.values(), key=lambda peer: distance(peer.ident, node.me.ident))
            self._run("rectify", lambda: rectify(rt, node, nearest))
        if node.stabilize_now or (node.ring.predecessors and not node.ring.successors):
            node.stabilize_now = False
            self._due["stabilize"] = rt.now()  # no longer alone: the newcomer is our successor too
        if node.doubted:
            node.doubted = False
            soon_s = self._checked_s + DOUBT_INTERVALS * node.config.stabilize_interval
            self._due["check_predecessor"] = min(self._due["check_predecessor"], max(rt.now(), soon_s))
        self._run_if_due("stabilize", lambda: stabilize(rt, node))
        if node.ring.successors and not node.arc.accepted:  # our successor will have heard of us in a moment
            soon_s = rt.now() + DOUBT_INTERVALS * node.config.stabilize_interval
            self._due["stabilize"] = min(self._due["stabilize"], soon_s)
        if self._run_if_due("check_predecessor", lambda: check_predecessor(rt, node)):
            self._checked_s = rt.now()
        self._run_if_due("fix_fingers", lambda: fix_fingers(rt, node))
        if node.is_member and node.ring.alone and not node.founder:
            isolate(node)  # the successors said goodbye, and then the predecessor died
        if node.met is not None and node.is_member:
            self._run("merge", lambda: merge(rt, node))

    def _run_if_due(self, task: str, step: Callable[[], object]) -> bool:
        """Run a step whose time has come; whether it had."""
        if not self._node.is_member or self._due[task] > self._rt.now():
            return False
        self._run(task, step)
        self._due[task] = self._rt.now() + self._interval_s()
        return True

    def _run(self, task: str, step: Callable[[], object]) -> None:
        """Run one step and count what became of it; what is no expected failure ends the task."""
        stats = self._node.stats
        try:
            step()
        except GdhtError as error:
            stats.maintenance_runs[task, "error"] += 1
            log.debug("step failed task=%s error=%s", task, error)
        else:
            stats.maintenance_runs[task, "ok"] += 1
            stats.maintenance_last_success[task] = self._rt.wall()

    def _interval_s(self, intervals: float = 1) -> float:
        return intervals * self._node.config.stabilize_interval * self._rt.rng.uniform(*JITTER)

    def _inspect(self) -> None:
        node, rt = self._node, self._rt
        for number in count(1):
            rt.sleep(self._interval_s(LOOK_INTERVALS))
            if node.is_member:
                self._run("look_for_others", lambda: look_for_others(rt, node))
            if node.is_member and number % CHECK_LOOKS == 0:
                self._run("check_nearby", self._look_nearby)

    def _look_nearby(self) -> None:
        self._node.consistent = check_nearby(self._rt, self._node)

    def _stood_still(self) -> bool:
        """Whether requests that come in now may have waited for longer than their senders did. Switches: no."""
        now_s, timeout_s = self._rt.now(), self._node.config.call_timeout
        if now_s - self._pulse_s > self._pulse_every_s + timeout_s:
            self._stale_until_s = now_s + timeout_s
        return now_s < self._stale_until_s

    def _feel_pulse(self) -> None:
        while True:
            self._stood_still()
            self._pulse_s = self._rt.now()
            self._rt.sleep(self._pulse_every_s)

    def _keep_acquaintances(self) -> None:
        node, rt = self._node, self._rt
        while True:
            rt.sleep(self._interval_s())
            if node.is_member:
                self._run("find_again", lambda: find_again(rt, node))
                self._run("remember", lambda: remember(rt, node))

    # Replication and upkeep ------------------------------------------------------------------------------------------

    def _replicate(self) -> None:
        node, rt = self._node, self._rt
        intervals: float = REPAIR_INTERVALS
        while True:
            if node.repair_wanted.wait(self._interval_s(intervals)) and not node.arc.receiving:
                rt.sleep(self._interval_s(SETTLE_INTERVALS))
            if not node.is_member:
                continue
            if node.arc.receiving:
                self._run("catch_up", lambda: catch_up(rt, node))
            self._run("repair", lambda: repair(rt, node))
            unfinished = node.shortage.count or node.unplaced
            intervals = REPAIR_RETRY_INTERVALS if unfinished else REPAIR_INTERVALS
            if node.arc.receiving:
                intervals = 1

    def _upkeep(self) -> None:
        node, rt = self._node, self._rt
        while True:
            self._run("expire", lambda: expire(rt, node))
            self._census.take()
            rt.sleep(self._interval_s())
