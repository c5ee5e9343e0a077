"""One node in this process with a probe on its event loop, told over a Unix socket what to do and what to measure.

Usage: python benchmarks/stalls_node.py PROBE_SOCKET [options of `gdht serve`]

Each command is one line of JSON, [name, arguments...], and so is its answer. Holds are measured twice: by the wall
clock, as everybody else feels them, and in CPU time of the loop's thread, which no other work on the machine lengthens.
"""

import gc
import json
import logging
import socket
import sys
import time
from hashlib import sha256
from typing import Any
from weakref import WeakSet

import gevent
from gevent.server import StreamServer

from gdht.cli import cli
from gdht.cli import serve as serve_module
from gdht.config import Config
from gdht.core.ident import IDENTS, ident_bytes
from gdht.core.records import COUNTER_BITS, Record, Version
from gdht.net.daemon import Daemon, DaemonState
from gdht.net.dial import resolve
from gdht.net.pulse import Pulse
from gdht.node.failures import FAILURES_MAX, NOT_FOUND_MAX
from gdht.node.journal import EVENTS_MAX
from gdht.node.node import Node
from gdht.node.state import NodeState
from gdht.node.stats import Histogram

BOUNDS = tuple(0.0001 * 1.1**step for step in range(110))
"""Fine buckets, from a tenth of a millisecond to three seconds."""
AT_ONCE = 200
"""Records that are written straight into the store before others get their turn."""
LAST_KEY = ident_bytes(IDENTS - 1)

spawned: WeakSet[gevent.Greenlet] = WeakSet()
"""All greenlets; the collector does not tell of those that it has set aside."""

log = logging.getLogger("benchmark")


def key(number: int) -> bytes:
    """The key of a record, spread over the ring."""
    return sha256(b"%d" % number).digest()


class Probe:
    """The holds since it was made, by one clock."""

    def __init__(self, clock: Any) -> None:
        self._holds = Histogram(BOUNDS)
        self._pulse = Pulse(self._holds, clock)
        self._pulse.start()

    def end(self) -> dict[str, float]:
        """What was measured, in milliseconds."""
        longest_s = self._pulse.beat()
        self._pulse.stop()
        return {"holds": self._holds.count, "p99": 1000 * self._quantile(0.99), "max": 1000 * longest_s}

    def _quantile(self, share: float) -> float:
        left = share * self._holds.count
        for bound, count in zip(self._holds.bounds, self._holds.counts, strict=False):
            left -= count
            if left <= 0:
                return bound
        return self._holds.bounds[-1]


class Commands:
    """What a driver may ask of the node. Every method is a command."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._probes: dict[str, Probe] = {}
        self._node: Node = daemon.node
        self._state: NodeState = daemon.node._node

    def begin(self) -> None:
        """Measure from now on."""
        self._probes = {"wall": Probe(time.perf_counter), "cpu": Probe(time.thread_time)}

    def end(self) -> dict[str, dict[str, float]]:
        """What was measured since `begin`."""
        return {name: probe.end() for name, probe in self._probes.items()}

    def fill(self, records: int, ttl_s: float, replication: int, first: int = 0, age: int = 0, every: int = 1) -> int:
        """Write every so manieth of some records straight into the store; how many it holds then.

        first: the number of the first. age: larger for a newer version.
        """
        expires_at_s = self._node.clock.lives_s() + ttl_s
        version = Version(1000 + age << COUNTER_BITS, 1)
        for count, number in enumerate(range(first, first + records, every), 1):
            self._node.store.put(Record(key(number), b"v" * 100, version, expires_at_s, replication))
            if count % AT_ONCE == 0:
                self._durable()
        self._durable()
        return self._node.store.count

    def forget(self, records: int, every: int) -> int:
        """Drop every so manieth record of those; how many are left."""
        for count, number in enumerate(range(0, records, every), 1):
            held = self._node.store.held(key(number))
            if held:
                self._node.store.remove(held.key, held.version)
            if count % AT_ONCE == 0:
                self._durable()
        self._durable()
        return self._node.store.count

    def clear(self) -> int:
        """Drop everything."""
        while records := self._node.store.entries(b"", LAST_KEY, AT_ONCE):
            for record in records:
                self._node.store.remove(record.key, record.version)
            self._durable()
        return self._node.store.count

    def _durable(self) -> None:
        gevent.sleep(1e-6)
        while self._node.store.pending is not None:
            gevent.sleep(0.001)

    def repair(self) -> float:
        """Ask for a round of repair, and wait until one has begun since and ended; the seconds it took."""
        runs = self._state.stats.maintenance_runs
        before, began_s = runs["repair", "ok"], time.perf_counter()
        self._state.repair_wanted.set()
        while runs["repair", "ok"] == before:
            gevent.sleep(0.05)
        return time.perf_counter() - began_s

    def resolve(self, address: str) -> str:
        """Ask for the addresses of a name."""
        try:
            return str(resolve(address))
        except OSError as error:
            return str(error)

    def log_lines(self, lines: int) -> None:
        """Log so many lines, each in a turn of its own."""
        for number in range(lines):
            log.warning("line %d of a benchmark", number)
            gevent.sleep(1e-6)

    def make_history(self) -> None:
        """Fill what pages tell of the past: events and failed requests."""
        ring = self._state.ring
        for _ in range(EVENTS_MAX // 2 + 1):
            self._state.journal._note(time.time(), "successors", ring.successors, (), "pulled from the successor")
            self._state.journal._note(time.time(), "successors", (), ring.successors, "pulled from the successor")
        for number in range(FAILURES_MAX + NOT_FOUND_MAX):
            result = "timeout" if number % 2 else "not_found"
            self._state.failures.note(time.time(), "get", key(number), result, "no answer", 0.1)

    def collect(self) -> int:
        """Collect all garbage at once, as the interpreter does now and then by itself."""
        found = gc.collect()
        gevent.sleep(0.01)  # in a turn that ends before the measurement does
        return found

    def held(self) -> dict[str, int]:
        """What the process holds that could grow."""
        stats = self._state.stats
        return {
            "greenlets": sum(not one.dead for one in list(spawned)),
            "api_connections": stats.api_connections,
            "peer_connections": stats.peer_connections.total(),
            "records": self._node.store.count,
        }

    def known(self) -> dict[str, Any]:
        """What a driver waits for."""
        return {
            "state": self._node.state.value,
            "successors": len(self._node.ring.successors),
            "receiving": self._node.receiving,
            "count": self._node.store.count,
            "expired": self._state.stats.store_expired_keys,
        }

    def leave(self, timeout_s: float) -> dict[str, dict[str, float]]:
        """Leave, and tell what was measured until all was handed over."""
        self._daemon.leave(timeout_s)
        while not (self._state.sealed and self._state.handover and self._state.handover.ended):
            gevent.sleep(0.05)
        return self.end()


def serve_commands(path: str, commands: Commands) -> None:
    """Answer commands on a Unix socket from now on."""

    def answer(sock: Any, _where: object) -> None:
        with sock.makefile("rwb") as lines:
            for line in lines:
                name, *arguments = json.loads(line)
                lines.write(json.dumps(getattr(commands, name)(*arguments)).encode() + b"\n")
                lines.flush()

    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    listening.setblocking(False)
    StreamServer(listening, answer).start()


def main() -> None:
    """Serve a node as `gdht serve` does, with the probe beside it."""
    path, *options = sys.argv[1:]
    make_daemon = serve_module._make_daemon

    def with_probe(config: Config) -> Daemon:
        daemon = make_daemon(config)
        gevent.spawn(probe, daemon)
        return daemon

    def probe(daemon: Daemon) -> None:
        while daemon.state is DaemonState.NEW:
            gevent.sleep(0.01)
        serve_commands(path, Commands(daemon))

    gevent.Greenlet.add_spawn_callback(spawned.add)
    serve_module._make_daemon = with_probe
    cli(["serve", *options])


if __name__ == "__main__":
    main()
