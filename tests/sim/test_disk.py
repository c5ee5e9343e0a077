"""The simulated disk, under a store and a process: what survives a crash, and at which moment something is written."""

from random import Random

import pytest

from gdht.config import DhtConfig
from gdht.core.ident import distance, hash_ident, ident_bytes, key_ident
from gdht.core.records import Record, Version
from gdht.errors import StoreError
from gdht.node.own_arc import OwnArc
from gdht.sim.cluster import Cluster
from gdht.sim.delays import constant
from gdht.sim.disk import SimDisk, aside
from gdht.sim.process import Process
from gdht.sim.scheduler import Scheduler
from gdht.store.durable import DurableStore

SYNC_S = 1.0
KEYS = [ident_bytes(hash_ident(f"key {number}".encode())) for number in range(9)]
BOUND_S = 60.0
SMALL = DhtConfig(successor_list_length=3, max_replication=4)


def record(number: int, ttl_s: float = 100.0) -> Record:
    return Record(KEYS[number], b"value", Version(number + 1, 7), ttl_s, 3)


class Machine:
    """A disk and the run of a process on it; `ended` has what became of each commit."""

    def __init__(self, seed: int = 1) -> None:
        self.scheduler = Scheduler()
        self.disk = SimDisk(1, constant(SYNC_S), Random(seed))
        self.ended: list[StoreError | None] = []
        self.process: Process
        self.store: DurableStore
        self.start()

    def start(self) -> None:
        self.process = self.scheduler.process("run")
        self.store = DurableStore(self.disk, 1 << 20, aside(self.disk, self.process))

    def put(self, number: int) -> None:
        self.store.put(record(number))
        self.store.pending.when_ended(self.ended.append)

    def crash_and_restart(self) -> None:
        self.process.kill()
        self.start()

    @property
    def kept(self) -> list[int]:
        return [number for number, key in enumerate(KEYS) if self.store.held(key)]


def test_what_was_acknowledged_survives_a_crash():
    machine = Machine()
    machine.put(1)
    machine.scheduler.run_for(SYNC_S)
    assert machine.ended == [None]
    machine.crash_and_restart()
    assert machine.kept == [1]
    assert machine.store.digest(0, 0, 1).records == machine.store.count == 1


def test_what_is_under_way_when_the_process_dies_is_lost_or_kept_but_never_acknowledged():
    kept = set()
    for seed in range(20):
        machine = Machine(seed)
        machine.put(1)
        machine.put(2)
        machine.scheduler.run_for(SYNC_S / 2)
        machine.crash_and_restart()
        machine.scheduler.run_for(9 * SYNC_S)
        assert machine.ended == []
        kept.add(tuple(machine.kept))
    assert kept == {(), (1,)}


def test_nothing_that_a_dead_process_began_reaches_the_disk_later():
    machine = Machine()
    machine.put(1)
    machine.crash_and_restart()
    machine.scheduler.run_for(9 * SYNC_S)
    assert machine.kept == []


def test_a_disk_in_trouble_keeps_what_it_has_and_takes_nothing_until_it_is_mended():
    machine = Machine()
    machine.put(1)
    machine.scheduler.run_for(SYNC_S)
    machine.disk.trouble = StoreError("full", "No space left on device")
    machine.put(2)
    machine.scheduler.run_for(SYNC_S)
    assert machine.ended == [None, machine.disk.trouble]
    assert machine.kept == [1]
    machine.disk.mend()
    machine.put(3)
    machine.scheduler.run_for(SYNC_S)
    assert machine.kept == [1, 3]


def test_a_slow_disk_takes_its_time():
    machine = Machine()
    machine.disk.slow_s = 5.0
    machine.put(1)
    machine.scheduler.run_for(SYNC_S + 4.9)
    assert machine.ended == []
    machine.scheduler.run_for(0.1)
    assert machine.ended == [None]
    assert machine.disk.longest_s == SYNC_S + 5.0


def test_what_is_due_is_told_in_order_also_after_it_changed():
    disk = SimDisk(1, constant(SYNC_S), Random(1))
    store = DurableStore(disk, 1 << 20, lambda work, done: (work(), done(None)))
    for number, ttl_s in enumerate([30.0, 10.0, 20.0]):
        store.put(record(number, ttl_s))
    store.put(record(5)._replace(key=KEYS[1], expires_at_s=40.0))
    assert disk.expiring(20.0, 9) == [KEYS[2]]
    assert disk.expiring(99.0, 9) == [KEYS[2], KEYS[0], KEYS[1]]
    assert disk.expiring(99.0, 1) == [KEYS[2]]
    store.remove(KEYS[2], Version(3, 7))
    assert disk.expiring(20.0, 9) == []


# Rings ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sync", [None, constant(0.01)], ids=["memory", "disk"])
def test_a_ring_that_crashed_as_a_whole_has_its_values_again_if_it_has_disks(sync):
    with Cluster(3, SMALL, safe=False, sync=sync) as cluster:
        hosts = cluster.grow(5)
        cluster.wait_until_ideal(BOUND_S)
        for key in KEYS:
            assert cluster.put(hosts[0], key, b"value of " + key, 3600).result == "success"
        cluster.crash(*hosts)
        for host in hosts:
            cluster.restart(host)
        cluster.wait_until_joined()
        cluster.wait_until_ideal(BOUND_S)
        values = [cluster.get(hosts[-1], key).value for key in KEYS]
        assert values == ([b"value of " + key for key in KEYS] if sync else [None] * len(KEYS))


def test_a_wiped_disk_is_an_empty_one():
    with Cluster(3, safe=False, sync=constant(0.01)) as cluster:
        (host,) = cluster.grow(1)
        cluster.put(host, KEYS[0], b"value", 3600, 1)
        memory = host.memory
        cluster.crash(host)
        cluster.wipe(host)
        cluster.restart(host)
        cluster.wait_until_joined()
        assert host.memory != memory
        assert cluster.get(host, KEYS[0]).value is None


def values_after_the_owner_is_back(seed: int) -> set[bytes | None]:
    """What gets bring soon after an owner is back on whose disk there is an older value than others have."""
    with Cluster(seed, SMALL, safe=False, sync=constant(0.01)) as cluster:
        hosts = cluster.grow(6)
        cluster.wait_until_ideal(BOUND_S)
        owner = min(hosts, key=lambda host: distance(key_ident(KEYS[0]), host.peer.ident))
        others = [host for host in hosts if host is not owner]
        assert cluster.put(others[0], KEYS[0], b"older", 3600).result == "success"
        cluster.crash(owner)
        cluster.wait_until_ideal(BOUND_S)
        assert cluster.put(others[0], KEYS[0], b"newer", 3600).result == "success"
        cluster.restart(owner)
        values = set()
        for step in range(60):
            outcome = cluster.get(cluster.members()[step % len(cluster.members())], KEYS[0])
            if outcome and outcome.result in ("success", "not_found"):
                values.add(outcome.value)
            cluster.run_for(0.05)
        return values


@pytest.mark.parametrize("seed", range(5))
def test_an_owner_that_comes_back_serves_nothing_that_was_replaced_meanwhile(seed):
    assert values_after_the_owner_is_back(seed) == {b"newer"}


def test_an_owner_that_trusts_its_disk_at_once_is_found_out(monkeypatch):
    monkeypatch.setattr(OwnArc, "is_sure_of", lambda arc, ident: True)
    assert any(b"older" in values_after_the_owner_is_back(seed) for seed in range(5))
