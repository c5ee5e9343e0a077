"""Clients of a simulated ring: what they put, what they were told, and what must therefore be readable after quiet."""

from dataclasses import dataclass
from math import inf
from random import Random

from gdht.core.ident import hash_ident, ident_bytes
from gdht.core.placement import quorum
from gdht.sim.cluster import Cluster
from gdht.sim.host import Host

TTL_S = 3600
STAMP_S = 0.001
"""Versions count milliseconds: of two puts within one, either may be the newer."""


@dataclass
class Try:
    """One put. ended_s: infinite while it is under way.

    acknowledged: by how many nodes it must be held, as it succeeded: a quorum at least. 0: it did not succeed.
    """

    value: bytes
    host: Host
    started_s: float
    ended_s: float = inf
    acknowledged: int = 0


class Clients:
    """Puts and gets through any node, each beside whatever else happens.

    keys: how many different ones. skew_s: how far wall clocks may be off, so how long before an acknowledged put
    another may have ended that wins over it all the same.
    """

    def __init__(self, cluster: Cluster, rng: Random, keys: int, skew_s: float) -> None:
        self.cluster = cluster
        self.rng = rng
        self.puts = self.acknowledged = self.gets = 0
        self.lost: set[bytes] = set()
        """Keys all of whose copies crashed, and more of them than the ring promises to survive."""
        self._keys = [ident_bytes(hash_ident(f"key {number}".encode())) for number in range(max(keys, 1))]
        self._tolerance_s = 2 * skew_s + STAMP_S
        self._tries: dict[bytes, list[Try]] = {}
        self._losses_s: dict[bytes, list[float]] = {}

    # Asking -----------------------------------------------------------------------------------------------------------

    def put(self, host: Host) -> None:
        """Put a new value under some key, soon."""
        key = self.rng.choice(self._keys)
        self.puts += 1
        now = self.cluster.scheduler
        attempt = Try(f"value {self.puts}".encode(), host, now.now)
        self._tries.setdefault(key, []).append(attempt)
        node = host.node

        def run() -> None:
            outcome = node.put(key, attempt.value, TTL_S, 0)
            attempt.ended_s = self.cluster.now
            if outcome.result == "success":
                self.acknowledged += 1
                attempt.acknowledged = max(outcome.acknowledged, quorum("majority", outcome.wanted))
                self._losses_s[key] = [loss_s for loss_s in self._losses_s.get(key, ()) if loss_s > attempt.started_s]
                self.lost.discard(key)

        host.process.spawn(run, "client put")

    def get(self, host: Host) -> None:
        """Get some key, soon. While nodes come and go that may be in vain; but what it brings, somebody has put."""
        if not self._tries:
            return
        self.gets += 1
        key = self.rng.choice(list(self._tries))
        node = host.node

        def run() -> None:
            value = node.get(key).value
            if value is not None and value not in [attempt.value for attempt in self._tries[key]]:
                raise self.cluster.failure(f"{host} read {value!r} under {key.hex()[:8]}; nobody put that")

        host.process.spawn(run, "client get")

    # What crashes cost ------------------------------------------------------------------------------------------------

    def before_crash(self, *hosts: Host) -> None:
        """These nodes are about to die: what do they take with them? Who leaves does not count as a holder any more."""
        staying = [host for host in self.cluster.live() if not host.leaving]
        left = [host for host in staying if host not in hosts]
        for key, tries in self._tries.items():
            for attempt in tries:
                if attempt.host in hosts:
                    attempt.ended_s = min(attempt.ended_s, self.cluster.now)
            allowed = self._allowed(key)
            given = [attempt.acknowledged for attempt in tries if attempt.acknowledged and attempt.value in allowed]
            promised = min(given, default=0)
            if self._holders(staying, key, allowed) >= self.cluster.config.replication:
                self._losses_s[key] = []  # repaired since the last crash
            losses_s = self._losses_s.setdefault(key, [])
            losses_s += [self.cluster.now] * self._holders(hosts, key, allowed)
            if promised and len(losses_s) >= promised and not self._holders(left, key, allowed):
                self.lost.add(key)

    def _holders(self, hosts: "list[Host] | tuple[Host, ...]", key: bytes, values: list[bytes]) -> int:
        held = (host.node.store.get(key, host.runtime.wall()) for host in hosts)
        return sum(record is not None and record.value in values for record in held)

    # After quiet ------------------------------------------------------------------------------------------------------

    def _allowed(self, key: bytes) -> list[bytes]:
        """The values that may be the newest: those no acknowledged put began after the end of."""
        began_s = max((attempt.started_s for attempt in self._tries[key] if attempt.acknowledged), default=-inf)
        return [attempt.value for attempt in self._tries[key] if attempt.ended_s + self._tolerance_s >= began_s]

    def read_everything(self) -> None:
        """Get every key through some member. Raises: SimulationFailed when an acknowledged value is not there."""
        for key, tries in self._tries.items():
            host = self.rng.choice(self.cluster.members())
            outcome = self.cluster.get(host, key)
            value = outcome.value if outcome else None
            owed = key not in self.lost and any(attempt.acknowledged for attempt in tries)
            if value is None and owed:
                raise self.cluster.failure(f"{host} cannot read {key.hex()[:8]}: {outcome}")
            if value is not None and key not in self.lost and value not in self._allowed(key):
                raise self.cluster.failure(
                    f"{host} read {value!r} under {key.hex()[:8]}, not one of {self._allowed(key)}"
                )
