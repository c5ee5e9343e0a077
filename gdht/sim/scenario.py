"""Random histories: nodes come, go and crash while clients put and get; then quiet, and everything must be well.

A history is decided by its `Plan` alone: the same plan gives the same events, under any PYTHONHASHSEED. What must hold:
the ring's safety after every event; soon after quiet the ideal ring, every record at its place and every acknowledged
value readable.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass, fields
from random import Random
from typing import NamedTuple

from gdht.config import DhtConfig
from gdht.core.ident import hash_ident, ident_bytes
from gdht.errors import GdhtError
from gdht.sim.cluster import Cluster
from gdht.sim.host import Host
from gdht.sim.network import NetworkOptions, exponential

PAUSE_S_MAX = 0.5
"""Longer than a call takes, shorter than its timeout: a node that stands still is not taken for dead."""

ABSENCE_S = 1.0
"""A node comes back this long after the last call to its earlier run is over: by then nobody takes the one for the
other. Restarts that are faster than that are outside the proof.
"""

REPLICATED_BOUND_INTERVALS = 160
"""How soon after the ring is ideal every record must be at its place: four of the slowest repair rounds."""

KEYS_PER_STEP = 0.3
TTL_S = 3600


@dataclass(frozen=True)
class Plan:
    """What decides a history.

    nodes: as many at the start, at most twice as many later. steps: things that happen before quiet. length: r.
    delay_s: mean seconds of a message. loss: share of messages lost before quiet; the ring's safety is then not
    demanded, since a lost message makes a live node look dead, and the first node stays, so that whoever lost its way
    finds the ring through it. step_s: mean seconds between two steps.
    repair_s: no two crashes within so many seconds; a write must survive one crash between two repairs.
    """

    seed: int = 0
    nodes: int = 8
    steps: int = 100
    length: int = 4
    replication: int = 3
    delay_s: float = 0.02
    loss: float = 0.0
    step_s: float = 0.5
    repair_s: float = 10.0
    skew_s: float = 0.0

    @property
    def command(self) -> str:
        """The command line that runs it again."""
        default = Plan()
        given = [field.name for field in fields(self) if getattr(self, field.name) != getattr(default, field.name)]
        options = "".join(f" --{name.replace('_', '-')} {getattr(self, name)!r}" for name in given)
        return f"python -m gdht.sim.scenario{options}"


class Summary(NamedTuple):
    """What came of a history without a violation.

    ideal_s: virtual seconds from quiet to the ideal ring. replicated_s: from there to every record at its place.
    """

    plan: Plan
    events: int
    messages: int
    virtual_s: float
    ideal_s: float
    replicated_s: float
    crashes: int
    leaves: int
    puts: int
    acknowledged: int
    gets: int
    digest: str


class Written(NamedTuple):
    """What clients know of one key. tried: all values ever put; acknowledged: how many of them are out of date.

    Puts of one key follow each other, so everything before the last acknowledged value must not be read after quiet.
    """

    tried: tuple[bytes, ...] = ()
    outdated: int = 0
    acknowledged: bool = False


def run_history(plan: Plan) -> Summary:
    """Run a history to its end. Raises: SimulationFailed, naming what is wrong and the command that repeats it."""
    config = DhtConfig(
        successor_list_length=plan.length,
        replication=min(plan.replication, plan.length + 1),
        max_replication=min(8, plan.length + 1),
    )
    network = NetworkOptions(delay=exponential(plan.delay_s), loss=plan.loss)
    with Cluster(plan.seed, config, network, skew_s=plan.skew_s, safe=plan.loss == 0.0, replay=plan.command) as cluster:
        return History(plan, cluster).run()


class History:
    """One history under way."""

    def __init__(self, plan: Plan, cluster: Cluster) -> None:
        self.plan = plan
        self.cluster = cluster
        self.rng = Random(f"{plan.seed}/history")
        self.written: dict[bytes, Written] = {}
        self.busy: set[bytes] = set()
        self.counts = {"crash": 0, "leave": 0, "put": 0, "acknowledged": 0, "get": 0}
        self._last_crash_s = 0.0

    def run(self) -> Summary:
        """Churn, quiet, check."""
        cluster = self.cluster
        for _ in range(self.plan.nodes):
            cluster.add()
            cluster.run_for(self.rng.expovariate(1.0 / self.plan.step_s))
        actions, weights = zip(*self._actions().items(), strict=True)
        for _ in range(self.plan.steps):
            cluster.run_for(self.rng.expovariate(1.0 / self.plan.step_s))
            (action,) = self.rng.choices(actions, weights)
            action()
        ideal_s, replicated_s = self._calm()
        self._read_everything()
        counts = self.counts
        return Summary(
            self.plan,
            cluster.scheduler.events,
            cluster.network.messages,
            cluster.now,
            ideal_s,
            replicated_s,
            counts["crash"],
            counts["leave"],
            counts["put"],
            counts["acknowledged"],
            counts["get"],
            cluster.trace.digest,
        )

    # What may happen --------------------------------------------------------------------------------------------------

    def _actions(self) -> dict[Callable[[], None], float]:
        return {
            self._join: 2.0,
            self._restart: 1.0,
            self._crash: 3.0,
            self._leave: 1.0,
            self._pause: 1.0,
            self._put: 6.0,
            self._get: 3.0,
        }

    def _join(self) -> None:
        if len(self.cluster.live()) < 2 * self.plan.nodes:
            self.cluster.add()

    def _restart(self) -> None:
        before_s = self.cluster.now - self.cluster.config.call_timeout - ABSENCE_S
        gone = [host for host in self.cluster.hosts if not host.live and host.gone_at_s < before_s]
        if gone and len(self.cluster.live()) < 2 * self.plan.nodes:
            self.cluster.restart(self.rng.choice(gone))

    def _crash(self) -> None:
        host = self._some(self.cluster.live())
        if host is None or self.cluster.now < self._last_crash_s + self.plan.repair_s:
            return
        if self.cluster.can_crash(host):
            self._last_crash_s = self.cluster.now
            self.counts["crash"] += 1
            self.cluster.crash(host)

    def _leave(self) -> None:
        host = self._some(self.cluster.members())
        if host is not None and self.cluster.can_crash(host):
            self.counts["leave"] += 1
            self.cluster.leave(host)

    def _pause(self) -> None:
        host = self._some(self.cluster.live())
        if host is not None:
            self.cluster.pause(host)
            process = host.process
            pause_s = self.rng.uniform(0.0, PAUSE_S_MAX)
            self.cluster.scheduler.after(pause_s, lambda _: process.unpause(), None, None)

    def _some(self, hosts: list[Host]) -> Host | None:
        settled = [
            host for host in hosts if not host.leaving and not (self.plan.loss and host is self.cluster.hosts[0])
        ]
        return self.rng.choice(settled) if settled else None

    # Clients ----------------------------------------------------------------------------------------------------------

    def _put(self) -> None:
        host = self._some(self.cluster.members())
        key = self._some_key()
        if host is None or key in self.busy:
            return
        self.counts["put"] += 1
        value = f"value {self.counts['put']}".encode()
        before = self.written.get(key, Written())
        self.written[key] = before._replace(tried=(*before.tried, value))
        self.busy.add(key)
        node = host.node

        def run() -> None:
            outcome = node.put(key, value, TTL_S, 0)
            self.busy.discard(key)
            if outcome.result == "success":
                self.counts["acknowledged"] += 1
                self.written[key] = Written(self.written[key].tried, len(before.tried), acknowledged=True)

        host.process.spawn(run, "client put")

    def _get(self) -> None:
        host = self._some(self.cluster.members())
        if host is None or not self.written:
            return
        self.counts["get"] += 1
        key = self.rng.choice(list(self.written))
        node = host.node
        host.process.spawn(lambda: self._check_known(host, key, node.get(key).value), "client get")

    def _some_key(self) -> bytes:
        keys = max(1, round(self.plan.steps * KEYS_PER_STEP))
        return ident_bytes(hash_ident(f"key {self.rng.randrange(keys)}".encode()))

    def _check_known(self, host: Host, key: bytes, value: bytes | None) -> None:
        """While nodes come and go a get may be late or in vain, but what it brings, somebody has put."""
        if value is not None and value not in self.written[key].tried:
            raise self.cluster.failure(f"{host} read {value!r} under {key.hex()[:8]}; nobody put that")

    # Quiet ------------------------------------------------------------------------------------------------------------

    def _calm(self) -> tuple[float, float]:
        cluster = self.cluster
        for host in cluster.live():
            host.process.unpause()
        cluster.network.options = NetworkOptions(delay=cluster.network.options.delay)
        start = cluster.now
        cluster.wait_until_left()
        cluster.wait_until_joined()
        cluster.wait_until_ideal(ideal_bound_s(cluster))
        ideal_s = cluster.now - start
        return ideal_s, cluster.wait_until_replicated(REPLICATED_BOUND_INTERVALS * cluster.config.stabilize_interval)

    def _read_everything(self) -> None:
        for key, known in self.written.items():
            host = self.rng.choice(self.cluster.members())
            outcome = self.cluster.get(host, key)
            if outcome is None or (outcome.value is None and known.acknowledged):
                raise self.cluster.failure(f"{host} cannot read {key.hex()[:8]}: {outcome}")
            allowed = known.tried[known.outdated :]
            if outcome.value is not None and outcome.value not in allowed:
                raise self.cluster.failure(f"{host} read {outcome.value!r} under {key.hex()[:8]}, not one of {allowed}")


def ideal_bound_s(cluster: Cluster) -> float:
    """How soon after quiet the ring must be ideal, in virtual seconds.

    One round of stabilization repairs one step of a chain of joined or dead nodes, or refills one place of a list.
    """
    rounds = cluster.config.successor_list_length + len(cluster.live()) + 5
    return rounds * (cluster.config.stabilize_interval + cluster.config.call_timeout)


def main() -> int:
    """Run the history that the command line tells; 0 when all was well, 1 when not."""
    parser = ArgumentParser(prog="python -m gdht.sim.scenario", description="Run one random history.")
    for option in fields(Plan):
        kind = type(option.default)
        parser.add_argument(f"--{option.name.replace('_', '-')}", type=kind, default=option.default, metavar="N")
    try:
        summary = run_history(Plan(**vars(parser.parse_args())))
    except GdhtError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for name, value in summary._asdict().items():
        sys.stdout.write(f"{name:14}{value}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
