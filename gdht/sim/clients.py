"""Clients of a simulated ring: what they put, what they were told, and what they must therefore be able to read."""

from collections.abc import Iterable
from math import inf
from random import Random

from gdht.core.ident import hash_ident, ident_bytes
from gdht.core.invariant import find_rings
from gdht.core.placement import quorum
from gdht.core.records import NO_VERSION, Record, Version
from gdht.node.clock import RESERVED_S
from gdht.node.replication.get import LAST_RESORT
from gdht.sim import express
from gdht.sim.cluster import LAST_KEY, RECORDS_MAX, Cluster
from gdht.sim.host import Host
from gdht.sim.plan import Plan
from gdht.sim.register import Get, Margins, Put, Register

SHORT_S_MAX = 30
"""The longest of the short lives that some puts ask for."""

KEYS_PER_STEP = 0.3

STAMP_S = 0.001
"""Stamps count milliseconds: of two puts within one, either may be the newer."""

WAYS = 4
"""A copy comes along so many ways one after the other, as long as the longest of all at the most."""

ROUNDING_S = 0.05
"""Lives travel in whole milliseconds, rounded down each time."""

LAST_MOMENTS_S = 2.0
"""What has so little of its life left need not be given to a node that lacks it."""

READS_MAX = 3
"""How often something is read after quiet until an answer comes: messages may still be late."""

EXPRESS = 2
"""Every so manieth request goes the express way, the others the long one."""

ANSWERS = ("success", "not_found")
"""The results of a get that say something of the key."""


class Clients:
    """Puts and gets through any node, each beside whatever else happens, and what is wrong with their outcome.

    apart_since_s: since when the ring is in parts, so that a get must see only what was put through its own node
    after that; infinite: it is not there yet, or broken, and nothing must be seen. None: it is whole.
    excuses_last_resorts: what a get says may not be the newest, as too many stood still, need not be.
    excuses_second_rings: what is put while there are two need not be seen until they have merged.
    """

    def __init__(self, cluster: Cluster, rng: Random, plan: Plan) -> None:
        self.cluster = cluster
        self.rng = rng
        self.plan = plan
        self.apart_since_s: float | None = inf
        self.excuses_last_resorts = self.excuses_second_rings = False
        self.puts = self.acknowledged = self.gets = self.judged = 0
        keys = plan.keys or max(round(plan.steps * KEYS_PER_STEP), 1)
        self._keys = [ident_bytes(hash_ident(f"key {number}".encode())) for number in range(keys)]
        self._registers: dict[bytes, Register] = {}
        self._newest: dict[bytes, tuple[Version, float]] = {}  # that was acknowledged, and when its life is over
        self._losses: dict[bytes, int] = {}
        self._copies: dict[bytes, int] = {}  # that the last acknowledged put asked for

    @property
    def lost(self) -> list[bytes]:
        """Keys all of whose copies crashed, and more of them than the ring promises to survive."""
        return [key for key, register in self._registers.items() if register.exposed]

    @property
    def margins(self) -> Margins:
        """How exact the ring can be, as slow as it was and as wrong as its clocks may be."""
        late_s = WAYS * self.cluster.longest_way_s + self._restored_s + ROUNDING_S
        stamps_s = 2 * self.plan.skew_s + STAMP_S + (RESERVED_S if self.plan.disks else 0.0)
        return Margins(stamps_s, LAST_MOMENTS_S + late_s, late_s)

    @property
    def _restored_s(self) -> float:
        """How wrong a life may be: each time that a machine starts again, it goes by its wall clock."""
        return 2 * self.plan.skew_s * self.cluster.reboots

    # Asking -----------------------------------------------------------------------------------------------------------

    def put(self, host: Host) -> None:
        """Put a new value under some key, soon."""
        key = self.rng.choice(self._keys)
        brief = self.plan.short > 0.0 and self.rng.random() < self.plan.short
        ttl_s = self.rng.randint(1, SHORT_S_MAX) if brief else self.plan.long_s
        self.puts += 1
        put = Put(f"value {self.puts}".encode(), host.memory, self.cluster.now, ttl_s)
        register = self._registers.setdefault(key, Register())
        register.puts.append(put)
        node, rt, timeout_s = host.node, host.runtime, self.cluster.config.call_timeout
        by_express = self.puts % EXPRESS == 0
        config = self.cluster.config
        copies = self.rng.randint(self.plan.copies, config.max_replication) if self.plan.copies else 0

        def run() -> None:
            put.taken_s = self.cluster.now
            if by_express:
                outcome = express.put(rt, node, key, put.value, ttl_s, copies, timeout_s)
            else:
                outcome = node.put(key, put.value, ttl_s, copies)
            put.ended_s = self.cluster.now
            if outcome.result == "success":
                self.acknowledged += 1
                put.acknowledged = max(outcome.acknowledged, quorum(config.write_quorum, outcome.wanted))
                self._copies[key] = copies or config.replication
                self._note_stored(key, put)

        host.process.spawn(run, "client put")

    def get(self, host: Host) -> None:
        """Get some key, soon. It may be in vain; but what it brings must be right. Raises, then: SimulationFailed."""
        if not self._registers:
            return
        key = self.rng.choice(list(self._registers))
        self.gets += 1
        node, memory, started_s = host.node, host.memory, self.cluster.now
        rt, timeout_s = host.runtime, self.cluster.config.call_timeout
        by_express = self.gets % EXPRESS == 0

        def run() -> None:
            outcome = express.get(rt, node, key, timeout_s) if by_express else node.get(key)
            if outcome.result in ANSWERS and not (self.excuses_last_resorts and outcome.detail == LAST_RESORT):
                get = Get(memory, started_s, self.cluster.now, outcome.value)
                self._judge(key, get)

        host.process.spawn(run, "client get")

    def _judge(self, key: bytes, get: Get) -> None:
        self.judged += 1
        wrong = self._registers[key].wrong(get, self.margins, self.apart_since_s)
        if wrong:
            raise self.cluster.failure(f"{get.node} was asked for {key.hex()[:8]} and found {wrong}")

    # What crashes cost ------------------------------------------------------------------------------------------------

    def _note_stored(self, key: bytes, put: Put) -> None:
        """A put was acknowledged: it must survive crashes from now on, but for those while it was under way."""
        if self.excuses_second_rings and self.apart_since_s is None and len(find_rings(self.cluster.views())) > 1:
            self.apart_since_s = inf
        live = self.cluster.live()
        records = [record for host in live if (record := host.node.store.held(key))]
        versions = [record.version for record in records if record.value == put.value]
        versions = versions or [record.version for record in records]  # it has been replaced already
        stored = max(versions, default=NO_VERSION), put.started_s + put.ttl_s
        self._newest[key] = max(self._newest[key], stored) if self._owed(key) else stored
        self._registers[key].put_again()
        left = self._holders(live, key)
        self._losses[key] = max(put.acknowledged - left, 0)
        if not left and self._owed(key):
            self._registers[key].expose(self.cluster.now)

    def before_crash(self, *hosts: Host) -> None:
        """These nodes are about to die: what do they take with them?

        Who leaves does not count as a holder any more, nor who has come back and is not in the ring yet.
        """
        crashed = {host.memory for host in hosts}
        staying = [host for host in self.cluster.members() if not host.leaving]
        left = [host for host in staying if host not in hosts]
        for key, register in self._registers.items():
            for put in register.puts:
                if put.node in crashed:
                    put.ended_s = min(put.ended_s, self.cluster.now)
            if self._holders(staying, key) >= self._copies.get(key, self.cluster.config.replication):
                self._losses[key] = 0  # repaired since the last crash
            losses = self._holders(hosts, key)
            self._losses[key] = self._losses.get(key, 0) + losses
            given = [put.acknowledged for put in register.candidates(self.margins) if put.acknowledged]
            if losses and self._losses[key] >= min(given, default=inf) and not self._holders(left, key):
                register.expose(self.cluster.now)

    def after_quiet(self, *, everybody_is_back: bool) -> None:
        """The ring is whole. everybody_is_back: so is what was on the disks of all who crashed; nothing is lost."""
        self.apart_since_s = None
        if everybody_is_back:
            for key, register in self._registers.items():
                self._losses[key] = 0
                register.is_back()

    def _holders(self, hosts: Iterable[Host], key: bytes) -> int:
        """How many hold the newest version that was acknowledged, or a newer one, or its tombstone, while it lives."""
        newest = self._owed(key)
        if newest is None:
            return 0
        held = (host.node.store.held(key) for host in hosts)
        return sum(record is not None and record.version >= newest for record in held)

    def _owed(self, key: bytes) -> Version | None:
        """The newest version that was acknowledged; None once its life is over: then one with an older stamp counts."""
        version, ends_s = self._newest.get(key, (None, 0.0))
        return version if ends_s > self.cluster.now else None

    # After quiet ------------------------------------------------------------------------------------------------------

    def read_everything(self) -> None:
        """Get every key through some member. Raises: SimulationFailed when no answer comes, or a wrong one."""
        for key in self._registers:
            for _ in range(READS_MAX):
                host, started_s = self.rng.choice(self.cluster.members()), self.cluster.now
                outcome = self.cluster.get(host, key)
                if outcome is not None and outcome.result in ANSWERS:
                    self._judge(key, Get(host.memory, started_s, self.cluster.now, outcome.value))
                    break
            else:
                raise self.cluster.failure(f"{host} cannot read {key.hex()[:8]}: {outcome}")
        self.look_into_stores()

    def look_into_stores(self) -> None:
        """Look at all that nodes would serve. Raises: SimulationFailed when a copy has another life than its record."""
        for host in self.cluster.live():
            for record in host.node.store.scan(b"", LAST_KEY, RECORDS_MAX):
                if record.key in self._registers and record.lives(host.lives_s):
                    self._check_life(host, record)

    def _check_life(self, host: Host, record: Record) -> None:
        left_s = record.expires_at_s - host.lives_s
        stretched_s = left_s + self._registers[record.key].overdue_s(record.value, self.cluster.now)
        if not -self._restored_s - ROUNDING_S <= stretched_s <= self.margins.late_s:
            what = (
                f"{record.value!r} under {record.key.hex()[:8]}, with a life longer by {stretched_s:.3f} s than it had"
            )
            raise self.cluster.failure(f"{host} would serve {what}")
