"""What a node does beside its requests: tasks, each a loop of its own, at intervals that chance stretches.

Maintenance (join, stabilize, rectify, check_predecessor, fix_fingers, merge; one step at a time), replication (a
newcomer's share, repair), upkeep (expiry, counting, is the store full?), inspection (is the ring right nearby, and is
there another one?), acquaintances (whom to remember over a restart), pulse (have we stood still?).
"""

import logging
from collections.abc import Callable
from itertools import count
from math import inf

from gdht.core.ident import distance
from gdht.errors import GdhtError
from gdht.node.acquaintances import find_again, remember
from gdht.node.bootstrap import enter_ring
from gdht.node.check import check_nearby
from gdht.node.fullness import Fullness
from gdht.node.membership import check_predecessor, fix_fingers, isolate, rectify, stabilize
from gdht.node.replication.catch_up import catch_up
from gdht.node.replication.repair import repair
from gdht.node.replication.upkeep import Census, expire
from gdht.node.runtime import Runtime, Task
from gdht.node.state import NodeState
from gdht.node.unify import look_for_others, merge

log = logging.getLogger(__name__)

JITTER = (0.5, 1.5)
"""Each interval is multiplied by a number from this range, so that the nodes of a ring do not fall into step.

Source: the 2003 paper, section VI-D: uniform in [15, 45] for an interval of 30 s.
"""

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


class Tasks:
    """All of them. census: brought up to date now and then."""

    def __init__(self, rt: Runtime, node: NodeState, census: Census) -> None:
        self._rt = rt
        self._node = node
        self._census = census
        self._tasks: dict[str, Task] = {}
        self._due: dict[str, float] = {}
        self._checked_s = -inf
        config = node.config
        self._pulse_every_s = max(PULSE_CALLS * config.call_timeout, PULSE_INTERVALS * config.stabilize_interval)
        self._pulse_s = rt.now()
        self._stale_until_s = -inf

    def start(self) -> None:
        """Begin with all. Switches: no."""
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
        """Cancel all. Switches: no."""
        for task in self._tasks.values():
            task.cancel()

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
            self.run("rectify", lambda: rectify(rt, node, nearest))
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
            self.run("merge", lambda: merge(rt, node))

    def _run_if_due(self, task: str, step: Callable[[], object]) -> bool:
        """Run a step whose time has come; whether it had."""
        if not self._node.is_member or self._due[task] > self._rt.now():
            return False
        self.run(task, step)
        self._due[task] = self._rt.now() + self._interval_s()
        return True

    def run(self, task: str, step: Callable[[], object]) -> None:
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
                self.run("look_for_others", lambda: look_for_others(rt, node))
            if node.is_member and number % CHECK_LOOKS == 0:
                self.run("check_nearby", self._look_nearby)

    def _look_nearby(self) -> None:
        self._node.consistent = check_nearby(self._rt, self._node)

    def stood_still(self) -> bool:
        """Whether requests that come in now may have waited for longer than their senders did. Switches: no."""
        now_s, timeout_s = self._rt.now(), self._node.config.call_timeout
        if now_s - self._pulse_s > self._pulse_every_s + timeout_s:
            self._stale_until_s = now_s + timeout_s
        return now_s < self._stale_until_s

    def _feel_pulse(self) -> None:
        while True:
            self.stood_still()
            self._pulse_s = self._rt.now()
            self._rt.sleep(self._pulse_every_s)

    def _keep_acquaintances(self) -> None:
        node, rt = self._node, self._rt
        while True:
            rt.sleep(self._interval_s())
            if node.is_member:
                self.run("find_again", lambda: find_again(rt, node))
                self.run("remember", lambda: remember(rt, node))

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
                self.run("catch_up", lambda: catch_up(rt, node))
            self.run("repair", lambda: repair(rt, node))
            unfinished = node.shortage.count or node.unplaced
            intervals = REPAIR_RETRY_INTERVALS if unfinished else REPAIR_INTERVALS
            if node.arc.receiving:
                intervals = 1

    def _upkeep(self) -> None:
        node, rt = self._node, self._rt
        fullness = Fullness(node)
        while True:
            self.run("expire", lambda: expire(rt, node))
            self._census.take()
            fullness.look()
            rt.sleep(self._interval_s())
