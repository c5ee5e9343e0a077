"""A steady load on a ring of three for a long time: nothing that a node holds may grow.

Usage: python benchmarks/steady.py [--minutes 60] [--place DIR] [--write benchmarks/steady.md]

One node keeps its records in memory, two on a disk. Clients put values that live half a minute, get them, come and go,
and some of them send nonsense; the admin ports are scraped and looked at. Every ten seconds is noted what each process
holds. Ends with exit code 1 when something grew over the last two thirds by more than is allowed.
"""

import argparse
import contextlib
import hashlib
import os
import platform
import random
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from stalls import Measured, wait_until

SAMPLE_S = 10.0
TTL_S = 30
KEYS = 4_000
CYCLES_PER_S = 40
"""Each a put and a get, through each node."""
CYCLES_PER_CONNECTION = 100
SCRAPE_S = 5.0
PAGES = ("/metrics", "/admin/", "/admin/ring", "/admin/keys", "/admin/api/keys/" + "ab" * 32, "/readyz", "/nothing")
ANSWER_S_MAX = 20.0
PUT_ANSWER, GET_HEAD = 652, struct.Struct("!HH")


class Allowance(NamedTuple):
    """How much something may grow over the window: so much, and such a share of what it was on the average."""

    much: float
    share: float


ALLOWED = {
    "memory, MiB": Allowance(2.0, 0.03),
    "open files": Allowance(3, 0.05),
    "greenlets": Allowance(3, 0.05),
    "threads": Allowance(1, 0.0),
    "client connections": Allowance(2, 0.0),
    "peer connections": Allowance(2, 0.0),
}
"""Memory is what the process has for itself (RssAnon): pages of LMDB's file that the kernel keeps at hand are none."""


class Client:
    """One client of one node, that opens a new connection now and then. outcomes: counted by word."""

    def __init__(self, api: tuple[str, int], outcomes: Counter[str]) -> None:
        self._api = api
        self._outcomes = outcomes
        self._rng = random.Random(repr(api))

    def run(self, ended: threading.Event) -> None:
        """Put and get until the end."""
        while not ended.is_set():
            with contextlib.suppress(OSError), socket.create_connection(self._api, ANSWER_S_MAX) as sock:
                self._outcomes["connections"] += 1
                for _ in range(CYCLES_PER_CONNECTION):
                    if ended.wait(self._rng.uniform(0.5, 1.5) / CYCLES_PER_S):
                        return
                    self._cycle(sock)
            self._intrude()

    def _cycle(self, sock: socket.socket) -> None:
        written, asked = (hashlib.sha256(b"%d" % self._rng.randrange(KEYS)).digest() for _ in range(2))
        put = struct.pack("!HHHBB", 40 + 96, 650, TTL_S, 3, 1) + written + value_of(written)
        sock.sendall(put + struct.pack("!HH", 36, 651) + asked)
        kind, _body = read_answer(sock)
        self._outcomes["stored" if kind == PUT_ANSWER else "not stored"] += 1
        kind, body = read_answer(sock)
        if kind == PUT_ANSWER and body[32:] != value_of(asked):
            raise SystemExit("a wrong value was read")
        self._outcomes["found" if kind == PUT_ANSWER else "not found"] += 1

    def _intrude(self) -> None:
        """Be a client that says nothing, and one that speaks something else."""
        for words in (b"", b"GET / HTTP/1.1\r\n\r\n"):
            with contextlib.suppress(OSError), socket.create_connection(self._api, ANSWER_S_MAX) as sock:
                sock.sendall(words)
                self._outcomes["intruders"] += 1


def value_of(key: bytes) -> bytes:
    """What is always stored under a key."""
    return hashlib.sha256(key).digest() * 3


def read_answer(sock: socket.socket) -> tuple[int, bytes]:
    """The type and the body of the next answer."""
    size, kind = GET_HEAD.unpack(read(sock, GET_HEAD.size))
    return kind, read(sock, size - GET_HEAD.size)


def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise OSError("the node has closed the connection")
        data += more
    return data


def look_at_pages(node: Measured, ended: threading.Event) -> None:
    """Ask an admin port for one thing after the other until the end."""
    turn = 0
    while not ended.wait(SCRAPE_S):
        node.get(PAGES[0])
        node.get(PAGES[turn % len(PAGES)])
        turn += 1


# What a process holds ------------------------------------------------------------------------------------------------


def sample(node: Measured) -> dict[str, float]:
    """What a node's process holds now, by the words of ALLOWED, and its resident memory."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{node.pid}/status").read_text().splitlines())
    held = node.do("held")
    return {
        "memory, MiB": int(status["RssAnon"].split()[0]) / 1024,
        "resident, MiB": int(status["VmRSS"].split()[0]) / 1024,
        "open files": len(os.listdir(f"/proc/{node.pid}/fd")),  # noqa: PTH208  (numbers, not paths)
        "greenlets": held["greenlets"],
        "threads": int(status["Threads"]),
        "client connections": held["api_connections"],
        "peer connections": held["peer_connections"],
        "records": held["records"],
    }


def growth(values: Sequence[float]) -> float:
    """By how much the line through some values, taken at even intervals, rises from its begin to its end."""
    if len(values) < 3:
        return 0.0
    slope, _intercept = statistics.linear_regression(range(len(values)), values)
    return slope * (len(values) - 1)


class Verdict(NamedTuple):
    """One row of the table."""

    node: str
    what: str
    first: float
    last: float
    grew: float
    allowed: float

    @property
    def ok(self) -> bool:
        return self.grew <= self.allowed

    def __str__(self) -> str:
        word = "" if self.ok else "grew"
        figures = f"{self.first:.1f} | {self.last:.1f} | {self.grew:+.2f} | {self.allowed:.2f}"
        return f"| {self.node} | {self.what} | {figures} | {word} |"


def verdicts(name: str, samples: Sequence[dict[str, float]]) -> Iterator[Verdict]:
    """What became of one node, over the last two thirds of its samples."""
    window = samples[len(samples) // 3 :]
    for what, allowance in ALLOWED.items():
        values = [one[what] for one in window]
        allowed = allowance.much + allowance.share * statistics.mean(values)
        yield Verdict(name, what, samples[0][what], values[-1], growth(values), allowed)


# The run --------------------------------------------------------------------------------------------------------------


def run(place: Path, minutes: float, tell: Callable[[str], None]) -> tuple[list[Verdict], Counter[str]]:
    """Load a ring for so many minutes and judge it."""
    outcomes: Counter[str] = Counter()
    ended = threading.Event()
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(Measured(place, "memory"))]
        for name in ("disk 1", "disk 2"):
            options = ("--bootstrap", nodes[0].p2p)
            nodes.append(stack.enter_context(Measured(place, name, *options, data_dir=str(place / name))))
        wait_until(lambda: all(node.do("known")["successors"] == 2 for node in nodes), "a ring of three")
        works = [threading.Thread(target=Client(node.api, outcomes).run, args=(ended,)) for node in nodes]
        works += [threading.Thread(target=look_at_pages, args=(node, ended)) for node in nodes]
        for work in works:
            work.start()
        try:
            samples = take_samples(nodes, minutes, tell)
        finally:
            ended.set()
            for work in works:
                work.join()
    return [row for node in nodes for row in verdicts(node.name, samples[node.name])], outcomes


def take_samples(
    nodes: Sequence[Measured], minutes: float, tell: Callable[[str], None]
) -> dict[str, list[dict[str, float]]]:
    """The samples of each node, by its name; the first when its records are as many as they will be."""
    samples: dict[str, list[dict[str, float]]] = {node.name: [] for node in nodes}
    time.sleep(min(2 * TTL_S, 20 * minutes))
    began_s = time.monotonic()
    for number in range(max(int(minutes * 60 / SAMPLE_S), 4)):
        time.sleep(max(began_s + number * SAMPLE_S - time.monotonic(), 0))
        for node in nodes:
            samples[node.name].append(sample(node))
        held = (f"{name} {kept[-1]['memory, MiB']:.1f} MiB" for name, kept in samples.items())
        tell(f"{number * SAMPLE_S / 60:6.1f} min  {', '.join(held)}")
    return samples


HEAD = """| node | what | at first | in the end | growth | allowed | |
|---|---|---|---|---|---|---|"""


def main() -> int:
    """Run, print, and write the table if asked to; 1 when something grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--place", type=Path, help="a directory for the disks; a temporary one by default")
    parser.add_argument("--write", type=Path, help="write the table to this file too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gdht-steady-", dir=options.place) as name:
        rows, outcomes = run(Path(name), options.minutes, lambda line: print(line, flush=True))
    counts = ", ".join(f"{count:,} {word}" for word, count in sorted(outcomes.items()))
    table = "\n".join([HEAD, *map(str, rows)])
    print(f"\n{table}\n\n{counts}")
    if options.write:
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
        options.write.write_text(PAGE.format(minutes=options.minutes, machine=machine, table=table, counts=counts))
    return 0 if all(row.ok for row in rows) else 1


PAGE = """# A steady load

A ring of three nodes, one with its records in memory and two with theirs on a disk, {minutes:g} minutes under a steady
load on one machine ({machine}), sampled every ten seconds. Growth is that of a line through the
samples of the last two thirds. Memory is what the process has for itself. Run `make steady` to repeat it
(`STEADY_MINUTES=60`); it fails when something grew by more than is allowed.

{table}

In that time: {counts}.
"""

if __name__ == "__main__":
    sys.exit(main())
