"""Nodes of OpenDHT in one process (Debian's python3-opendht): some that wait to be asked, or one that asks.

Usage: python3 -m peers.opendht_node --nodes N [--bootstrap PORT] [--known N]. Prints `ready PORT` when its first node
listens; with --known, when that many others are in its routing table. Then takes the commands of `driving`, and
`{"do": "copies"}`: how many values all its nodes hold.

Its limits on requests per second and per address are off: all nodes of a benchmark have one address. A get is counted
as soon as the first value is in, a put when OpenDHT says that it is done, that is when its nodes have confirmed it.
"""

import argparse
import re
import socket
import threading
import time
from typing import Any

import opendht
from peers.driving import Tally, commands, say
from records import key, value

NO_LIMIT = -1
POLL_S = 0.05
KNOWN_S_MAX = 30.0
DRAIN_S_MAX = 10.0


def start_node(bootstrap: int | None) -> opendht.DhtRunner:
    """A node on a free port of the loopback address."""
    config = opendht.DhtConfig()
    config.setRateLimit(NO_LIMIT, NO_LIMIT)
    node = opendht.DhtRunner()
    node.run(ipv4="127.0.0.1", port=0, config=config)
    if bootstrap:
        node.bootstrap("127.0.0.1", str(bootstrap))
    return node


def port_of(node: opendht.DhtRunner) -> int:
    """Where it listens."""
    return int(node.getBound(socket.AF_INET).getPort())


def wait_until_known(node: opendht.DhtRunner, others: int) -> None:
    """Wait until so many other nodes are in its routing table and have answered."""
    deadline_s = time.monotonic() + KNOWN_S_MAX
    while node.getRoutingTablesLog(socket.AF_INET).count("[good]") < others:
        if time.monotonic() > deadline_s:
            return
        time.sleep(POLL_S)


def info_hash(number: int) -> opendht.InfoHash:
    """The key of a record as OpenDHT takes it: 160 bits, in hexadecimal."""
    return opendht.InfoHash(key(number).hex()[:40].encode())


class Driver:
    """Keeps so many requests in flight, each next one begun where the one before has ended."""

    def __init__(self, node: opendht.DhtRunner, command: dict[str, Any]) -> None:
        self._node = node
        self._begin = self._put if command["do"] == "put" else self._get
        self._tally = Tally(command)
        self._lock = threading.Lock()
        self._running = 0
        self._over = threading.Event()

    def run(self) -> str:
        """The result."""
        self._running = self._tally.in_flight
        for _ in range(self._tally.in_flight):
            self._next()
        self._over.wait(self._tally.seconds_left() + DRAIN_S_MAX)
        return self._tally.result()

    def _next(self) -> None:
        with self._lock:
            number = self._tally.next()
            self._running -= number is None
        if number is not None:
            self._begin(number, time.perf_counter())
        elif not self._running:
            self._over.set()

    def _end(self, started_s: float, success: bool, right: bool = True) -> None:
        with self._lock:
            self._tally.count(started_s, success, right)
        self._next()

    def _put(self, number: int, started_s: float) -> None:
        stored = opendht.Value(value(key(number)))
        stored.id = 1  # a later put of a key replaces its value
        self._node.put(info_hash(number), stored, done_cb=lambda ok, _nodes: self._end(started_s, ok))

    def _get(self, number: int, started_s: float) -> None:
        found: list[bytes] = []

        def take(stored: opendht.Value) -> bool:
            if not found:
                found.append(stored.data)
            return False  # enough

        def done(_ok: bool, _nodes: object) -> None:
            self._end(started_s, bool(found), not found or found[0] == value(key(number)))

        self._node.get(info_hash(number), get_cb=take, done_cb=done)


def copies(nodes: list[opendht.DhtRunner]) -> int:
    """How many values they hold."""
    return sum(int(count) for node in nodes for count in re.findall(r"Total \d+ storages, (\d+)", node.getStorageLog()))


def main() -> None:
    """Serve, and drive when told to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--bootstrap", type=int)
    parser.add_argument("--known", type=int, default=0)
    options = parser.parse_args()
    nodes = [start_node(options.bootstrap)]
    bootstrap = options.bootstrap or port_of(nodes[0])
    nodes += [start_node(bootstrap) for _ in range(options.nodes - 1)]
    wait_until_known(nodes[0], options.known)
    say(f"ready {port_of(nodes[0])}")
    for command in commands():
        say(str(copies(nodes)) if command["do"] == "copies" else Driver(nodes[0], command).run())


if __name__ == "__main__":
    main()
