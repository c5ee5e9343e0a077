"""The families of random histories: which faults each has, and what it demands while they last.

After quiet all demand the same: within a bound one ideal ring, every record at its place, every acknowledged value
readable unless all its copies crashed.
"""

from collections.abc import Callable
from math import inf

from gdht.core.invariant import check_ideal
from gdht.core.messages import ErrorReason, P2pError, P2pPing
from gdht.node.status import State
from gdht.sim.cluster import LAST_KEY, LOOK_EVERY_S, Cluster
from gdht.sim.history import History, ideal_bound_s
from gdht.sim.host import Host
from gdht.sim.plan import Plan


class Safe(History):
    """The assumptions of the proof hold: who answers late is not taken for dead, and only those fail that may.

    The ring's safety is demanded after every event.
    """

    demands_safety = True
    demands_records = True
    pause_s_max = 0.5
    """Longer than a call takes, shorter than its timeout."""
    clog_s_max = 0.3

    def weights(self) -> dict[Callable[[], None], float]:
        return {
            self.join: 2.0,
            self.restart: 1.0,
            self.crash: 3.0,
            self.leave: 1.0,
            self.pause: 1.0,
            self.clog: 1.0,
            self.set_clock: 0.5,
            self.put: 6.0,
            self.get: 3.0,
        }


class Rough(Safe):
    """Anything goes: loss, resets, long pauses, slow nodes, cuts, clogs, restarts at once. Demands nothing meanwhile.

    The first node of all stays, so that whoever lost its way finds the ring through it. When it has lost all others it
    founds a second ring, as the first of all lists may.
    """

    demands_safety = False
    demands_records = False
    restart_after_s = 0.0
    pause_s_max = History.pause_s_max
    clog_s_max = History.clog_s_max

    def begin(self) -> None:
        super().begin()
        self.clients.excuses_second_rings = True

    def weights(self) -> dict[Callable[[], None], float]:
        return super().weights() | {self.cut: 1.0, self.slow_down: 0.5, self.starve: 0.5, self.bounce: 0.5}

    def may_go(self, *hosts: Host, leaving: bool = False) -> bool:  # noqa: ARG002
        return self.cluster.hosts[0] not in hosts


class Laggards(History):
    """Nothing fails, but nodes stand still for seconds or do everything slowly: how often is a neighbour dropped?

    So many may stand still at once that a get brings what it says may not be the newest.
    """

    slow_s_max = 30.0

    def begin(self) -> None:
        super().begin()
        self.clients.excuses_last_resorts = True
        self.cluster.wait_until_joined()
        self.cluster.wait_until_ideal(ideal_bound_s(self.cluster))

    def weights(self) -> dict[Callable[[], None], float]:
        return {self.pause: 1.0, self.slow_down: 1.0, self.starve: 2.0, self.put: 1.0, self.get: 1.0}


class Breaking(History):
    """More nodes fail at once than the ring is made for; the rest must own up to what they lost and find each other.

    A node that lost every successor says so, answers nobody as a member and serves no client, until it is in the ring
    again: through its bootstrap list or those it knew.
    """

    look_s = 20.0
    """For how long the rest is watched before some of the dead come back."""
    alone_s_max = 5.0
    """Who founds the ring again is alone until the first of the others has joined it and told it so."""

    def __init__(self, plan: Plan, cluster: Cluster) -> None:
        super().__init__(plan, cluster)
        self._alone_s: dict[Host, float] = {}

    def begin(self) -> None:
        """All nodes start at the same moment; clients fill the ring."""
        for _ in range(self.plan.nodes):
            self.cluster.add()
        self.cluster.wait_until_joined()
        self.cluster.wait_until_ideal(ideal_bound_s(self.cluster))
        self.steps(self.plan.steps)
        self.cluster.run_for(self.plan.repair_s)

    def weights(self) -> dict[Callable[[], None], float]:
        return {self.put: 2.0, self.get: 1.0}

    def trouble(self) -> None:
        way = self.rng.choice([self._successors_of_one, self._half, self._first_and_some])
        victims = way()
        self.kill(*victims)
        for _ in range(round(self.look_s / LOOK_EVERY_S)):
            self.cluster.run_for(LOOK_EVERY_S)
            self.look_for_pretence()
            self.put()
            self.get()
        for host in victims:
            if host is self.cluster.hosts[0] or self.rng.random() < 0.5:
                self.cluster.restart(host)

    def look_for_pretence(self) -> None:
        """Whoever is isolated must not pretend to be a member, nor to be all there is. Raises: SimulationFailed."""
        for host in self.cluster.live():
            alone = host.node.is_member and host.node.ring.alone and len(self.cluster.members()) > 1
            self._alone_s[host] = self._alone_s.get(host, 0.0) + LOOK_EVERY_S if alone else 0.0
            if self._alone_s[host] > self.alone_s_max:
                raise self.cluster.failure(f"{host} lost everybody and acts as a ring of its own")
            if host.node.state is not State.ISOLATED:
                continue
            self.counts["isolated"] += 1
            answer = host.node.handle(self.cluster.hosts[0].peer, P2pPing())
            if not (isinstance(answer, P2pError) and answer.reason == ErrorReason.NOT_JOINED):
                raise self.cluster.failure(f"{host} is isolated and answers {answer}")
            self._ask_isolated(host)

    def _ask_isolated(self, host: Host) -> None:
        node = host.node

        def run() -> None:
            results = [node.get(bytes(32)).result, node.put(bytes(32), b"", 0, 0).result]
            if node.state is State.ISOLATED and results != ["error", "error"]:
                raise self.cluster.failure(f"{host} is isolated and serves clients: {results}")

        host.process.spawn(run, "client of the isolated")

    def _clockwise(self) -> list[Host]:
        return sorted(self.cluster.members(), key=lambda host: host.peer.ident)

    def _successors_of_one(self) -> list[Host]:
        order = self._clockwise()
        index = self.rng.randrange(len(order))
        after = order[index + 1 :] + order[:index]
        return after[: self.plan.length]

    def _half(self) -> list[Host]:
        return self.rng.sample(self._clockwise(), self.plan.nodes // 2)

    def _first_and_some(self) -> list[Host]:
        first, *others = self.cluster.hosts
        return [first, *self.rng.sample(others, min(self.plan.length, len(others) - 1))]


class Partition(History):
    """The network falls into two or three parts for a while; each goes on, with clients, as a ring of its own."""

    settle_s = 30.0
    """How long a part may take to be a ring of its own, beside what a ring takes after quiet."""

    def begin(self) -> None:
        super().begin()
        self.cluster.wait_until_joined()
        self.cluster.wait_until_ideal(ideal_bound_s(self.cluster))
        self.steps(self.plan.steps // 2)
        self.cluster.run_for(self.plan.repair_s)

    def weights(self) -> dict[Callable[[], None], float]:
        return {self.put: 2.0, self.get: 1.0}

    def trouble(self) -> None:
        parts = self._parts()
        self.clients.apart_since_s = self.cluster.now
        self.cluster.network.partition(*([host.address for host in part] for part in parts))
        self.steps(self.plan.steps // 2)
        self.cluster.run_for(self.rng.uniform(0.0, 30.0))
        for part in parts:
            self._await_ring(part)
        self.steps(self.plan.steps // 2)
        self.clients.apart_since_s = inf  # while they merge, an owner may not have what the other side wrote

    def _parts(self) -> list[list[Host]]:
        """Two or three, of any sizes."""
        hosts = self.cluster.live()
        self.rng.shuffle(hosts)
        ends = sorted(self.rng.sample(range(1, len(hosts)), self.rng.choice([1, 2])))
        return [hosts[start:end] for start, end in zip([0, *ends], [*ends, len(hosts)], strict=True)]

    def _await_ring(self, part: list[Host]) -> None:
        """Wait for the members of a part to be an ideal ring of their own; whoever is none must say so.

        A node may lose everybody it knew to the other parts, so a part of up to twice as many nodes as a list has
        may fall into several rings until the cut ends. Raises: SimulationFailed.
        """
        if len(part) <= 2 * self.plan.length:
            return
        bound_s = ideal_bound_s(self.cluster) + self.settle_s
        if not self.cluster.scheduler.run_until(lambda: not self._troubles(part), bound_s, LOOK_EVERY_S):
            raise self.cluster.failure(f"a part of {len(part)} is no ring after {bound_s:g} s: {self._troubles(part)}")

    def _troubles(self, part: list[Host]) -> str:
        isolated = [host for host in part if host.node.state is State.ISOLATED]
        if len(isolated) == len(part) > self.plan.nodes / 2:
            return "all are isolated"
        idents = [host.peer.ident for host in part if host not in isolated]
        views = {ident: view for ident, view in self.cluster.views().items() if ident in idents}
        return "; ".join(map(str, check_ideal(views, idents, self.plan.length)))


class Durable(History):
    """Disks: any number of nodes crash, all of them too, and come back; clocks are set; disks are slow or take nothing.

    Whatever was acknowledged must be there in the end, when everybody is back.
    """

    restart_after_s = 0.0
    reboots = 0.5
    gets_at_change = 10

    def weights(self) -> dict[Callable[[], None], float]:
        return {
            self.join: 0.5,
            self.restart: 4.0,
            self.crash_some: 1.5,
            self.crash_all: 0.3,
            self.leave: 0.3,
            self.pause: 0.5,
            self.set_clock: 1.0,
            self.slow_disk: 0.5,
            self.break_disk: 0.5,
            self.put: 8.0,
            self.get: 8.0,
        }


class Expiry(Safe):
    """Short lives, over older values with longer ones, while nodes come and go as the proof allows it.

    In the end all lives are over, and nothing may be left of them anywhere.
    """

    gets_at_change = 10

    def weights(self) -> dict[Callable[[], None], float]:
        return {
            self.join: 2.0,
            self.restart: 3.0,
            self.crash: 6.0,
            self.leave: 1.0,
            self.set_clock: 1.0,
            self.look: 4.0,
            self.put: 16.0,
            self.get: 24.0,
        }

    def look(self) -> None:
        """Nobody would serve what is past its life."""
        self.clients.look_into_stores()

    def outlast(self) -> None:
        super().outlast()
        self.cluster.run_for(self.plan.long_s + self.clients.margins.late_s)
        self.clients.read_everything()
        for host in self.cluster.live():
            if host.node.store.count:
                raise self.cluster.failure(f"{host} still holds something: {host.node.store.scan(b'', LAST_KEY, 9)}")


class Copies(Expiry):
    """The same, with any number of copies for each put, and any write quorum, so that crashes may cost some."""

    demands_records = False


FAMILIES: dict[str, type[History]] = {
    "safe": Safe,
    "rough": Rough,
    "laggards": Laggards,
    "breaking": Breaking,
    "partition": Partition,
    "durable": Durable,
    "expiry": Expiry,
    "copies": Copies,
}
