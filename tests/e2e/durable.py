"""A ring of nodes with disks, whose processes are killed and started again in place; and a look at all its values."""

import random
import signal
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from tests.e2e.harness import Fleet, NodeProcess, free_port, ring_problems, wait_for_none
from tests.e2e.ledger import Ledger
from tests.e2e.load import Load

SIZE = 5
CALL_TIMEOUT_S = 0.5
READ_S_MAX = 20.0
"""Within this an acknowledged value must be readable, counted from when the ring is asked for it."""

START_S_MAX = 30.0
PART = 200
PROBLEMS_SHOWN = 5


class DurableRing:
    """So many places for a node, each with ports and a directory that stay; the first one is everybody's contact."""

    def __init__(self, fleet: Fleet, place: Path, size: int = SIZE) -> None:
        self._fleet = fleet
        self.options: list[list[str]] = []
        self.apis: list[str] = []
        self.nodes: list[NodeProcess] = []
        for number in range(size):
            p2p, api, admin = (f"127.0.0.1:{free_port()}" for _ in range(3))
            first = self.options[0][1] if self.options else p2p
            where = ["--p2p-address", p2p, "--api-address", api, "--admin-address", admin]
            self.options.append([*where, "--bootstrap", first, "--data-dir", str(place / f"data-{number + 1}")])
            self.apis.append(api)

    def start(self, places: Iterable[int], load: Load | None = None) -> None:
        """Start the nodes of these places, all at once, and wait until each serves; the load goes on meanwhile."""
        started = {place: self._spawn(place) for place in places}

        def all_ready() -> bool:
            ended = [node for node in started.values() if not node.alive]
            assert not ended, f"{ended[0]!r} ended with {ended[0].returncode}:\n{ended[0].log}"
            return all(node.output.endswith("\n") for node in started.values())

        if load is not None:
            load.run_until(all_ready, f"{[*started.values()]} serve again", START_S_MAX)
        for node in started.values():
            node.wait_ready()

    def _spawn(self, place: int) -> NodeProcess:
        node = self._fleet.spawn("--call-timeout", str(CALL_TIMEOUT_S), *self.options[place])
        node.api = self.options[place][3]
        self.nodes[place : place + 1] = [node]
        return node

    def kill(self, places: Iterable[int]) -> None:
        """kill -9, all of them before one is waited for."""
        nodes = [self.nodes[place] for place in places]
        for node in nodes:
            node.signal(signal.SIGKILL)
        for node in nodes:
            node.kill()

    @property
    def alive(self) -> list[NodeProcess]:
        """The nodes that run."""
        return [node for node in self.nodes if node.alive]

    def settle(self) -> None:
        """Wait until all that run agree on the ring."""
        wait_for_none(lambda: ring_problems(self.alive))


def verify(ledger: Ledger, keys: Collection[bytes], nodes: Sequence[NodeProcess]) -> float:
    """Read these keys through each of these nodes; fails when one is not as it must be.

    What may not be read fails at once; what is not found is asked for again, for a while: a node may answer FAILURE
    while it does not know. Returns the seconds until the last value was there.
    """
    started_s = time.monotonic()
    for node in nodes:
        left = [*keys]
        ends_at_s = time.monotonic() + READ_S_MAX
        while left := _read(ledger, left, node):
            assert time.monotonic() < ends_at_s, _lost(ledger, left, node, nodes)
            time.sleep(0.1)
    return time.monotonic() - started_s


def _read(ledger: Ledger, keys: list[bytes], node: NodeProcess) -> list[bytes]:
    """Ask once for each key; those that are missing."""
    missing, wrong = [], []
    with node.connect() as client:
        for start in range(0, len(keys), PART):
            part = keys[start : start + PART]
            asked_at_s = time.monotonic()
            found = client.get_all(part)
            answered_at_s = time.monotonic()
            missing += [key for key in part if ledger.missing(key, found.get(key), answered_at_s)]
            wrong += [text for key in part if (text := ledger.wrong(key, found.get(key), asked_at_s))]
    assert not wrong, f"through {node.name}, {len(wrong)} of {len(keys)}:\n" + "\n".join(wrong[:PROBLEMS_SHOWN])
    return missing


def _lost(ledger: Ledger, keys: list[bytes], node: NodeProcess, nodes: Sequence[NodeProcess]) -> str:
    """What is missing, and what the ring says of the first of it."""
    now_s = time.monotonic()
    lines = [f"through {node.name} {len(keys)} values are lost, {READ_S_MAX:g} s after they were asked for:"]
    lines += [f"{key.hex()}: {ledger.missing(key, None, now_s)}" for key in keys[:PROBLEMS_SHOWN]]
    told = (other.ask(f"/admin/api/keys/{keys[0].hex()}").text for other in nodes)
    return "\n".join([*lines, *told])


def sample(rng: random.Random, keys: Collection[bytes], count: int) -> list[bytes]:
    """At most so many of these keys."""
    return rng.sample([*keys], min(count, len(keys)))
