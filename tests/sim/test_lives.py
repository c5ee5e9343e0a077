"""Every life ends when it should: any sequence of puts, crashes, restarts, hand-overs and wrong clocks, seen from near.

Messages take a hundredth of a second each, so what is demanded is exact to a few of them.
"""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gdht.config import DhtConfig
from gdht.core.ident import hash_ident, ident_bytes
from gdht.core.messages import RecordCopy
from gdht.core.records import Record
from gdht.node.replication.copies import to_copy
from gdht.sim.cluster import LAST_KEY, Cluster
from gdht.sim.delays import constant
from gdht.sim.host import Host
from gdht.sim.network import NetworkOptions
from gdht.sim.register import Get, Margins, Put, Register

WAY_S = 0.01
LATE_S = 1.0
"""A copy may be handed on a hundred times before that is used up."""

ROUNDED_S = 0.1

EARLY_S = 2.0
"""Who has so little left to live need not be handed on any more."""

BOUND_S = 200.0
SMALL = DhtConfig(successor_list_length=3, replication=3, max_replication=4)
KEYS = [ident_bytes(hash_ident(f"key {number}".encode())) for number in range(3)]


class Story:
    """A small ring, and what everybody was told. One node at most is down at a time, and all is repaired before."""

    def __init__(self, cluster: Cluster, nodes: int, rng: Random) -> None:
        self.cluster = cluster
        self.rng = rng
        self.registers = {key: Register() for key in KEYS}
        cluster.grow(nodes)
        cluster.wait_until_ideal(BOUND_S)

    def put(self, key: int, ttl_s: int) -> None:
        host = self.some()
        register = self.registers[KEYS[key]]
        put = Put(f"value {self.cluster.now}".encode(), host.memory, self.cluster.now, ttl_s)
        register.puts.append(put)
        outcome = self.cluster.put(host, KEYS[key], put.value, ttl_s)
        put.ended_s = self.cluster.now
        put.acknowledged = outcome.acknowledged if outcome and outcome.result == "success" else 0

    def wait(self, seconds: float) -> None:
        self.cluster.run_for(seconds)

    def set_clock(self, skew_s: float) -> None:
        self.cluster.set_clock(self.some(), skew_s)

    def crash(self) -> None:
        if self._mend():
            self.cluster.crash(self.some())

    def restart(self) -> None:
        for host in self.cluster.hosts:
            if not host.live:
                self.cluster.restart(host)

    def leave(self) -> None:
        if self._mend():
            self.cluster.leave(self.some())
            self.cluster.wait_until_left()

    def join(self) -> None:
        if len(self.cluster.hosts) < 7:
            self.cluster.add()

    def _mend(self) -> bool:
        """Wait until all is well; whether there are enough nodes to do without one."""
        self.cluster.wait_until_joined()
        self.cluster.wait_until_ideal(BOUND_S)
        self.cluster.wait_until_replicated(BOUND_S)
        return len(self.cluster.members()) > SMALL.replication

    def some(self) -> Host:
        return self.rng.choice(self.cluster.members())

    # What must hold ---------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """No copy outlives its record, wherever it is; and what members say is right."""
        for host in self.cluster.live():
            for record in host.node.store.scan(b"", LAST_KEY, 1000):
                if record.lives(host.lives_s):
                    left_s = record.expires_at_s - host.lives_s
                    longer_s = left_s + self.registers[record.key].overdue_s(record.value, self.cluster.now)
                    assert -ROUNDED_S < longer_s < LATE_S, f"a life on {host} is longer by {longer_s:.3f} s"
        for key, register in self.registers.items():
            host, started_s = self.some(), self.cluster.now
            outcome = self.cluster.get(host, key)
            if outcome is not None and outcome.result in ("success", "not_found"):
                get = Get(host.memory, started_s, self.cluster.now, outcome.value)
                wrong = register.wrong(get, Margins(0.0, EARLY_S, LATE_S))
                assert wrong == "", f"{host} at {get.ended_s:.3f} s found {wrong}"

    def end(self) -> None:
        """After quiet everything is answered, now and until the last life is over; then nothing is left."""
        self.restart()
        self._mend()
        for _ in range(6):
            self.look()
            self.cluster.run_for(15.0)
        assert [host.node.store.count for host in self.cluster.live()] == [0] * len(self.cluster.live())


def seconds(most: float) -> st.SearchStrategy[float]:
    return st.floats(0.0, most, allow_nan=False)


def step(name: str, *arguments: st.SearchStrategy) -> st.SearchStrategy[Callable[[Story], None]]:
    return st.tuples(*arguments).map(lambda given: (name, given))


STEPS = st.lists(
    st.one_of(
        step("put", st.integers(0, 2), st.integers(1, 60)),
        step("put", st.integers(0, 0), st.sampled_from([3, 60])),
        step("wait", seconds(15.0)),
        step("set_clock", st.sampled_from([-60.0, 0.0, 60.0])),
        step("crash"),
        step("restart"),
        step("leave"),
        step("join"),
    ),
    min_size=3,
    max_size=14,
)


def tell(steps: list, nodes: int, seed: int, *, disks: bool) -> None:
    """One story from beginning to end, looked at after every step."""
    sync = constant(WAY_S) if disks else None
    with Cluster(seed, SMALL, NetworkOptions(delay=constant(WAY_S)), safe=False, skew_s=30.0, sync=sync) as cluster:
        story = Story(cluster, nodes, Random(seed))
        for name, arguments in steps:
            getattr(story, name)(*arguments)
            story.look()
        story.end()


@pytest.mark.timeout(240)
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, nodes=st.integers(3, 5), seed=st.integers(0, 1000), disks=st.booleans())
def test_no_copy_outlives_its_record_none_dies_early_and_none_comes_back(steps, nodes, seed, disks):
    tell(steps, nodes, seed, disks=disks)


MISSED = [("put", (0, 60)), ("crash", ()), ("put", (0, 3)), ("wait", (8.0,)), ("restart", ()), ("wait", (12.0,))]
"""Somebody was away while a value that he has was replaced by one that lives for seconds only."""

MOVED = [
    ("put", (0, 60)),
    ("put", (1, 60)),
    ("join", ()),
    ("join", ()),
    ("wait", (9.0,)),
    ("leave", ()),
    ("wait", (9.0,)),
]
"""Copies move from node to node."""

CLOCKS = [("put", (0, 60)), ("set_clock", (60.0,)), ("set_clock", (-60.0,)), ("set_clock", (60.0,)), ("wait", (1.0,))]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", [MISSED, MOVED, CLOCKS], ids=["missed", "moved", "clocks"])
def test_stories_that_a_careless_store_gets_wrong(steps, seed):
    tell(steps, 5, seed, disks=True)


# The demands can fail -------------------------------------------------------------------------------------------------


def without_tombstones(held: Record | None, new: Record) -> Record:
    return new if held is None or new.version > held.version else held


def stretched(record: Record, now_s: float) -> RecordCopy:
    copy = to_copy(record, now_s)
    return copy._replace(ttl_ms=copy.ttl_ms + 5000) if copy.ttl_ms > 0 else copy


def cut(record: Record, now_s: float) -> RecordCopy:
    copy = to_copy(record, now_s)
    return copy._replace(ttl_ms=copy.ttl_ms // 2)


@pytest.mark.parametrize(
    ("steps", "name", "broken", "wrong"),
    [
        (MISSED, "gdht.store.durable.merged", without_tombstones, "had replaced"),
        (MOVED, "gdht.node.replication.transfer.to_copy", stretched, "longer"),
        (MOVED, "gdht.node.replication.transfer.to_copy", cut, "longer by -"),
        (CLOCKS, "gdht.node.clock.Clock.lives_s", lambda clock: clock.wall_s(), "longer"),
    ],
    ids=["without tombstones", "lives are stretched", "lives are cut", "lives by the wall clock"],
)
def test_a_careless_store_is_found_out(monkeypatch, steps, name, broken, wrong):
    monkeypatch.setattr(name, broken)
    found = []
    for seed in range(3):
        try:
            tell(steps, 5, seed, disks=True)
        except AssertionError as error:
            found.append(str(error))
    assert wrong in " ".join(found)
