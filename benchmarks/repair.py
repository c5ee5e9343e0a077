"""What it costs two nodes to find out in what they differ, and to mend it: messages, bytes and seconds of work.

Usage: python benchmarks/repair.py [--records 100000] [--write benchmarks/repair.md]

Both nodes and their stores (in memory) are in this process, and every message goes through the real codec, so the
seconds are the work of both sides together; the network adds a round trip for each message that waits for another.
"""

import argparse
import platform
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from threading import Event
from time import perf_counter, process_time
from typing import Any, NamedTuple

from gdht.config import DhtConfig
from gdht.core.arcs import Arc
from gdht.core.messages import Reply, Request
from gdht.core.peer import Peer
from gdht.core.records import COUNTER_BITS, Record, Version
from gdht.core.ring import Ring
from gdht.node.handlers import handle
from gdht.node.journal import Cause
from gdht.node.later import Later
from gdht.node.replication.reconcile import Task, reconcile
from gdht.node.runtime import Outcome
from gdht.node.state import NodeState
from gdht.node.status import State
from gdht.store.memory import MemoryStore
from gdht.wire.codec import P2pDecoder, encode_p2p

DIFFERENCES = (0, 1, 10, 100, 1000)
VALUE_BYTES = 100
CIRCLE = Arc(0, 0)

PAGE = """# The cost of repair

Two nodes hold the same {records:,} records of {value_bytes} bytes, but for some of which one or the other has a newer
version; one of them reconciles with the other. The last row is a node that has nothing yet. Messages are requests and
replies; those of one turn are under way at once, so a turn costs one round trip. The work is that of both sides, codec
included, with stores in memory ({machine}); the pauses between batches are left out. Made by
`python benchmarks/repair.py --write benchmarks/repair.md`; a test holds the proportions
(`tests/node/replication/test_reconcile.py`).

| differences | messages | turns | bytes | of these keys and values | work, ms |
|---|---|---|---|---|---|
"""


class Line:
    """A Runtime whose calls are answered by the other node at once, and counted."""

    boot = "benchmark"

    def __init__(self) -> None:
        self.rng = Random(1)
        self.other: NodeState
        self.me: Peer
        self.messages = self.turns = self.bytes = 0
        self._decoder = P2pDecoder(greeted=True)

    now = staticmethod(perf_counter)
    wall = staticmethod(perf_counter)

    def sleep(self, seconds: float) -> None:
        """Pauses are for clients, and there are none."""

    def signal(self) -> Any:
        """Nobody waits for any."""
        return Event()

    def call(self, _peer: Peer, request: Request, _timeout_s: float) -> Reply:
        self.turns += 1
        return self._carry(request)

    def calls(self, requests: Sequence[tuple[Peer, Request]], _timeout_s: float) -> Iterator[tuple[int, Outcome]]:
        self.turns += 1
        for index, (_peer, request) in enumerate(requests):
            yield index, self._carry(request)

    def _carry(self, request: Request) -> Reply:
        answer = handle(self.other, self.me, self._through_codec(request), self.other.clock.lives_s())
        assert not isinstance(answer, Later)
        return self._through_codec(answer)

    def _through_codec(self, message: Any) -> Any:
        frame = encode_p2p(message, 1)
        self.messages += 1
        self.bytes += len(frame)
        ((_, decoded),) = self._decoder.feed(frame)
        return decoded


class Cost(NamedTuple):
    """What one run took."""

    differences: int
    messages: int
    turns: int
    bytes: int
    seconds: float


def make_pair() -> tuple[Line, NodeState, NodeState]:
    """Two members of a ring of two, and the line from the first to the second."""
    line = Line()
    peers = Peer(0, "10.0.0.1:6000"), Peer(1 << 255, "10.0.0.2:6000")
    nodes = [NodeState(line, me, DhtConfig(), MemoryStore(1 << 32)) for me in peers]
    for node, other in zip(nodes, reversed(peers), strict=True):
        node.state = State.ACTIVE
        ring = Ring(node.me, node.config.successor_list_length)
        node.set_ring(ring.with_successors(other).with_predecessors(other), Cause.JOINED)
    line.me, line.other = peers[0], nodes[1]
    return line, nodes[0], nodes[1]


def keep(node: NodeState, number: int, age: int = 0) -> None:
    """Put a record straight into a store; the version is newer with every `age`."""
    key = sha256(b"%d" % number).digest()
    expires_at_s = node.clock.lives_s() + 36_000
    node.store.put(Record(key, b"v" * VALUE_BYTES, Version(1 + age << COUNTER_BITS, 1), expires_at_s, 3))


def measure(records: int) -> Iterator[Cost]:
    """Reconcile again and again, with more differences each time: half of them newer here, half there."""
    line, us, peer = make_pair()
    for number in range(records):
        keep(us, number)
        keep(peer, number)
    for age, differences in enumerate(DIFFERENCES, start=1):
        chosen = line.rng.sample(range(records), differences)
        for index, number in enumerate(chosen):
            keep((us, peer)[index % 2], number, age)
        line.messages = line.turns = line.bytes = 0
        began_s = process_time()
        outcome = reconcile(line, us, CIRCLE, Task(peer.me, 1))
        seconds = process_time() - began_s
        assert outcome.sent + outcome.received == differences
        assert us.store.digest(0, 0, 1) == peer.store.digest(0, 0, 1)
        yield Cost(differences, line.messages, line.turns, line.bytes, seconds)


def measure_all(records: int) -> Cost:
    """The same with a node that has nothing: a newcomer."""
    line, us, peer = make_pair()
    for number in range(records):
        keep(peer, number)
    began_s = process_time()
    outcome = reconcile(line, us, CIRCLE, Task(peer.me, 1))
    assert outcome.received == records
    return Cost(records, line.messages, line.turns, line.bytes, process_time() - began_s)


def report(records: int) -> str:
    """The page."""
    moved = VALUE_BYTES + 32
    costs = [*measure(records), measure_all(records)]
    rows = [
        f"| {cost.differences:,} | {cost.messages:,} | {cost.turns:,} | {cost.bytes:,} "
        f"| {cost.differences * moved:,} | {cost.seconds * 1000:,.1f} |\n"
        for cost in costs
    ]
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    return PAGE.format(records=records, value_bytes=VALUE_BYTES, machine=machine) + "".join(rows)


def main() -> None:
    """Measure, and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--write", type=Path, help="write the page to this file too")
    options = parser.parse_args()
    page = report(options.records)
    print(page, end="")
    if options.write:
        options.write.write_text(page)


if __name__ == "__main__":
    main()
