"""One random history under way: what every family of them shares, from the first node to the last look after quiet."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from math import inf
from random import Random

from gdht.errors import StoreError
from gdht.sim.clients import SHORT_S_MAX, Clients
from gdht.sim.cluster import Cluster
from gdht.sim.disk import SimDisk
from gdht.sim.host import Host
from gdht.sim.network import NetworkOptions
from gdht.sim.plan import Plan, Summary

REPLICATED_BOUND_INTERVALS = 160
"""How soon after the ring is ideal every record must be at its place: four of the slowest repair rounds."""

SURE_BOUND_INTERVALS = 60
"""How soon after the ring is ideal every node must answer for what it owns: who came back waits for others to do so."""

LOOKS = 4
"""How often everything is read while short lives end."""

DISK_TROUBLES = (("full", "No space left on device"), ("disk", "Input/output error"), ("read_only", "Read-only disk"))


class History:
    """Nodes come and go while clients put and get; then quiet, and everything must be well.

    What a family of histories adds: `weights`, what may happen at a step and how often; for how long faults last at the
    most, in seconds; what every event takes on a slow node; how long a starved one stands still and runs, in turns;
    whether the ring's safety is demanded all the time, and that no crash costs a record, if they are `repair_s` apart.
    """

    demands_safety = False
    demands_records = False
    pause_s_max = 10.0
    clog_s_max = 10.0
    cut_s_max = 10.0
    slow_s_max = 10.0
    service_s = (0.005, 0.1)
    starved_s, fed_s = 4.0, 0.4
    slow_disk_s_max = 5.0
    back_s_max = 10.0
    reboots = 0.0
    gets_at_change, change_s_max = 0, 2.0
    outlast_s = SHORT_S_MAX + 5.0
    restart_after_s = 9.0
    """A node comes back this long after its crash at the earliest.

    By default when the last calls to its earlier run are over, also those that a slow observer repeated with twice the
    usual timeout: nobody takes the one for the other.
    """

    def __init__(self, plan: Plan, cluster: Cluster) -> None:
        self.plan = plan
        self.cluster = cluster
        self.rng = Random(f"{plan.seed}/history")
        self.clients = Clients(cluster, self.rng, plan)
        if not self.demands_records:
            cluster.before_exit = self.clients.before_crash  # it may have found nobody to take its records
        self.counts: Counter[str] = Counter()
        self.quiet = False
        self._last_crash_s = 0.0

    def weights(self) -> dict[Callable[[], None], float]:
        """What may happen at a step, and how often compared with the others."""
        raise NotImplementedError

    def run(self) -> Summary:
        """Everything, to its end. Raises: SimulationFailed."""
        self.begin()
        self.trouble()
        ideal_s, replicated_s = self.calm()
        self.clients.read_everything()
        self.outlast()
        return self._summary(ideal_s, replicated_s)

    def begin(self) -> None:
        """The first nodes start, one after the other, without waiting for each other."""
        for _ in range(self.plan.nodes):
            self.cluster.add()
            self.pass_time()

    def trouble(self) -> None:
        """Everything up to quiet."""
        self.steps(self.plan.steps)

    def steps(self, count: int) -> None:
        """So many things happen."""
        actions, weights = zip(*self.weights().items(), strict=True)
        for _ in range(count):
            self.pass_time()
            if self.clients.apart_since_s is not None and self._is_whole():
                self.clients.apart_since_s = None
            (action,) = self.rng.choices(actions, weights)
            action()

    def _is_whole(self) -> bool:
        cluster = self.cluster
        everybody = 0 < len(cluster.members()) == len(cluster.live())
        return everybody and not (cluster.network.is_parted or cluster.violations() or cluster.unsure())

    def pass_time(self) -> None:
        """Until the next step."""
        self.cluster.run_for(self.rng.expovariate(1.0 / self.plan.step_s))

    # What may happen --------------------------------------------------------------------------------------------------

    def join(self) -> None:
        """A new node."""
        if len(self.cluster.live()) < 2 * self.plan.nodes:
            self.cluster.add()
            self.ask_around()

    def restart(self) -> None:
        """A node that crashed or left comes back."""
        gone = [host for host in self.cluster.hosts if not host.live]
        absent = [host for host in gone if self.cluster.now - host.gone_at_s > self.restart_after_s]
        if absent and len(self.cluster.live()) < 2 * self.plan.nodes:
            self.cluster.restart(self.rng.choice(absent))
            self.ask_around()

    def crash(self) -> None:
        """Some node, in whatever it is doing: joining and leaving too; or some neighbours at once."""
        if self.cluster.now < self._last_crash_s + self.plan.repair_s:
            return
        victims = self._neighbours() if self.plan.repair_s == 0.0 else self._somebody()
        if victims and self.may_go(*victims):
            self._last_crash_s = self.cluster.now
            self.kill(*victims)

    def _somebody(self) -> list[Host]:
        host = self.some(self.cluster.live())
        return [host] if host else []

    def _neighbours(self) -> list[Host]:
        """Fewer than r nodes that follow each other: another may just be taking over the list of the first."""
        order = sorted(self.cluster.live(), key=lambda host: host.peer.ident)
        start = self.rng.randrange(len(order)) if order else 0
        return (order[start:] + order[:start])[: self.rng.randint(1, self.plan.length - 1)]

    def leave(self) -> None:
        """Some member begins to leave."""
        host = self.some([host for host in self.cluster.members() if not host.leaving])
        if host is not None and self.may_go(host, leaving=True):
            self.counts["leave"] += 1
            self.cluster.leave(host)

    def bounce(self) -> None:
        """A node crashes and is back at once, remembering nothing."""
        crashes = self.counts["crash"]
        self.crash()
        if self.counts["crash"] > crashes:
            self.cluster.restart(max(self.cluster.hosts, key=lambda host: host.gone_at_s))

    def pause(self) -> None:
        """A node stands still for a while, then goes on."""
        host = self.some(self.cluster.live())
        if host is not None:
            self.cluster.pause_for(host, self.rng.uniform(0.0, self.pause_s_max))

    def slow_down(self) -> None:
        """A node does everything slowly for a while."""
        host = self.some([host for host in self.cluster.live() if not host.process.held])
        if host is not None:
            self.cluster.slow_down(host, self.rng.uniform(*self.service_s))
            self.later(self.slow_s_max, lambda: self.cluster.slow_down(host, 0.0))

    def starve(self) -> None:
        """A node gets to run only now and then for a while, as on a machine that has no time for it."""
        host = self.some([host for host in self.cluster.live() if not host.process.held])
        if host is None:
            return
        ends_s = self.cluster.now + self.rng.uniform(0.0, self.slow_s_max)
        process, scheduler = host.process, self.cluster.scheduler

        def stop(_: object) -> None:
            if process.alive and not self.quiet and self.cluster.now < ends_s:
                pause_s = self.rng.uniform(0.0, self.starved_s)
                self.cluster.pause_for(host, pause_s)
                scheduler.after(pause_s + self.rng.uniform(0.0, self.fed_s), stop, None, None)

        stop(None)

    def clog(self) -> None:
        """What one node sends to another waits for a while."""
        link = self._some_link()
        if link is not None:
            self.cluster.network.clog(*link)
            self.later(self.clog_s_max, lambda: self.cluster.network.unclog(*link))

    def cut(self) -> None:
        """What one node sends to another is dropped for a while; the other way works."""
        link = self._some_link()
        if link is not None:
            self.cluster.network.cut(*link)
            self.later(self.cut_s_max, lambda: self.cluster.network.mend(*link))

    def set_clock(self) -> None:
        """A node's wall clock jumps, forward or back."""
        host = self.some(self.cluster.live())
        if host is not None:
            self.cluster.set_clock(host, self.rng.uniform(-self.plan.skew_s, self.plan.skew_s))

    def put(self) -> None:
        """A client puts something."""
        host = self.some(self.cluster.members())
        if host is not None:
            self.clients.put(host)

    def get(self) -> None:
        """A client gets something."""
        host = self.some(self.cluster.members())
        if host is not None:
            self.clients.get(host)

    def ask_around(self) -> None:
        """Clients get things while a node has just come, and soon after."""
        for _ in range(self.gets_at_change):
            self.later(self.change_s_max, lambda: None if self.quiet else self.get())

    def may_go(self, *hosts: Host, leaving: bool = False) -> bool:
        """Whether the ring must survive it if these nodes fail now, or begin to leave."""
        return self.cluster.can_go(*hosts, leaving=leaving)

    def kill(self, *hosts: Host) -> None:
        """Crash nodes, all at the same moment."""
        self.counts["crash"] += len(hosts)
        self.clients.before_crash(*hosts)
        if self.clients.lost and self.demands_records and self.plan.repair_s > 0.0:
            raise self.cluster.failure(f"{len(self.clients.lost)} keys would be lost by a crash of {hosts}")
        self.cluster.crash(*hosts)
        if self.cluster.is_broken():
            self.clients.apart_since_s = inf

    def some(self, hosts: list[Host]) -> Host | None:
        """One of them by chance."""
        return self.rng.choice(hosts) if hosts else None

    def later(self, most_s: float, undo: Callable[[], None]) -> None:
        """Undo something after a while."""
        self.cluster.scheduler.after(self.rng.uniform(0.0, most_s), lambda _: undo(), None, None)

    def _some_link(self) -> tuple[str, str] | None:
        live = self.cluster.live()
        if len(live) < 2:
            return None
        source, target = self.rng.sample(live, 2)
        return source.address, target.address

    # Disks ------------------------------------------------------------------------------------------------------------

    def crash_some(self) -> None:
        """Any number of nodes at once, of which some are back at once."""
        live = self.cluster.live()
        if not live:
            return
        victims = self.rng.sample(live, min(len(live), 1 + int(self.rng.expovariate(1.0))))
        self.kill(*victims)
        for host in victims:
            if self.rng.random() < 0.5:
                self.revive(host)

    def crash_all(self) -> None:
        """Every node at the same moment; they come back one by one, in any order."""
        victims = self.cluster.live()
        self.kill(*victims)
        for host in victims:
            self.later(self.back_s_max, partial(self.revive, host))

    def revive(self, host: Host) -> None:
        """Start a node that is gone, with what is on its disk; its machine may have started again too."""
        if not host.live:
            self.cluster.restart(host, reboot=self.rng.random() < self.reboots)
            self.ask_around()

    def slow_disk(self) -> None:
        """A disk takes long for everything for a while."""
        disk = self._some_disk()
        if disk is not None:
            disk.slow_s = self.rng.uniform(0.0, self.slow_disk_s_max)
            self.later(self.slow_s_max, disk.mend)

    def break_disk(self) -> None:
        """A disk takes nothing for a while."""
        disk = self._some_disk()
        if disk is not None:
            disk.trouble = StoreError(*self.rng.choice(DISK_TROUBLES))
            self.later(self.slow_s_max, disk.mend)

    def _some_disk(self) -> SimDisk | None:
        host = self.some(self.cluster.live())
        return host.disk if host else None

    # Quiet ------------------------------------------------------------------------------------------------------------

    def calm(self) -> tuple[float, float]:
        """End every fault; the virtual seconds until the ring is ideal, and from there until records are in place."""
        cluster = self.cluster
        self.quiet = True
        if self.plan.disks:
            self._mend_disks()
        for host in cluster.live():
            cluster.slow_down(host, 0.0)
            cluster.unpause(host)
        cluster.network.options = NetworkOptions(delay=self.plan.delay)
        cluster.network.heal()
        start_s = cluster.now
        cluster.wait_until_left()
        self._give_new_lists()
        cluster.wait_until_joined(ideal_bound_s(cluster))
        cluster.wait_until_ideal(ideal_bound_s(cluster))
        ideal_s = cluster.now - start_s
        cluster.wait_until_sure(SURE_BOUND_INTERVALS * cluster.config.stabilize_interval, at_once=not self.plan.tail)
        replicated_s = cluster.wait_until_replicated(REPLICATED_BOUND_INTERVALS * cluster.config.stabilize_interval)
        self.clients.after_quiet(everybody_is_back=bool(self.plan.disks))
        return ideal_s, replicated_s

    def _give_new_lists(self) -> None:
        """Whoever only knows the dead is started again with another list, as by an operator who reads its log."""
        for host in self.cluster.stranded():
            self.cluster.crash(host)
            self.cluster.restart(host)

    def _mend_disks(self) -> None:
        """Every disk is well, and whoever is gone comes back with what is on it."""
        for host in self.cluster.hosts:
            if host.disk is not None:
                host.disk.mend()
            self.revive(host)

    def outlast(self) -> None:
        """Let the lives end that end soon; every now and then, everything must read as it should."""
        if self.plan.short == 0.0:
            return
        for _ in range(LOOKS):
            self.cluster.run_for(self.outlast_s / LOOKS)
            self.clients.read_everything()

    def _summary(self, ideal_s: float, replicated_s: float) -> Summary:
        cluster, clients, suspicions = self.cluster, self.clients, self.cluster.observer.suspicions
        return Summary(
            plan=self.plan,
            events=cluster.scheduler.events,
            messages=cluster.network.messages,
            virtual_s=cluster.now,
            ideal_s=ideal_s,
            replicated_s=replicated_s,
            crashes=self.counts["crash"],
            leaves=self.counts["leave"],
            puts=clients.puts,
            acknowledged=clients.acknowledged,
            gets=clients.gets,
            lost=len(clients.lost),
            dropped_dead=suspicions["dead"],
            dropped_laggards=suspicions["laggard"],
            dropped_healthy=suspicions["healthy"],
            digest=cluster.trace.digest,
        )


def ideal_bound_s(cluster: Cluster) -> float:
    """How soon after quiet the ring must be ideal, in virtual seconds.

    One round of stabilization repairs one step of a chain of joined or dead nodes, or refills one place of a list.
    """
    config = cluster.config
    rounds = config.successor_list_length + len(cluster.live()) + 5
    return rounds * (config.stabilize_interval + config.call_timeout)
