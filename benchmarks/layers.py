"""Where a node's CPU time goes: samples of its stacks, grouped by the layers of the code.

The samples are taken inside the process, by its CPU time (see sampler.py): on a machine with fewer cores than processes
a profiler that looks from outside takes a process that waits for a core for one that works.
"""

import linecache
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from generator import BUILD, Shape, load
from processes import Children, StartError, kernel_share
from rings import start_ring
from workload import api_requests

import gdht

WRITTEN_S_MAX = 10.0
POLL_S = 0.02

PACKAGE = f"{Path(gdht.__file__).parent}/"
PARTS = ("wire", "net", "node", "core", "store")
SYSTEM_CALLS = "socket calls"
GEVENT = "gevent"
OTHER = "the rest"
GROUPS = (SYSTEM_CALLS, GEVENT, *(f"gdht/{part}" for part in PARTS), "gdht, other", "construct", OTHER)
LIBRARIES = {"gevent": GEVENT, "greenlet": GEVENT, "construct": "construct"}
CALL = re.compile(r"\bself\._sock\.(send|recv|recv_into|sendmsg)\(")
"""A line that does nothing but a system call; a sample of it is one of the call."""

FRAME = re.compile(r"(?P<function>.*) \((?P<file>.*):(?P<line>\d+)\)$")
KERNEL = "time in the kernel, for comparison"

LOADS = (
    ("one node, GET 64 x 1", 1, "GET", 1, Shape(64, 1)),
    ("one node, GET 1 x 64", 1, "GET", 1, Shape(1, 64)),
    ("one node, PUT 64 x 1", 1, "PUT", 1, Shape(64, 1)),
    ("one node, PUT 1 x 64", 1, "PUT", 1, Shape(1, 64)),
    ("gateway of 8, GET 64 x 1", 8, "GET", 3, Shape(64, 1)),
    ("gateway of 8, PUT 64 x 1", 8, "PUT", 3, Shape(64, 1)),
)

Shares = dict[str, float]


def group_of(stack: Sequence[str]) -> str:
    """The layer that a stack, outermost frame first, counts for.

    That of its innermost frame; the standard library counts for what calls it.
    """
    frames = [found for frame in reversed(stack) if (found := FRAME.match(frame))]
    if frames and CALL.search(linecache.getline(frames[0]["file"], int(frames[0]["line"]))):
        return SYSTEM_CALLS
    return next((group for frame in frames if (group := _group_of_file(frame["file"]))), OTHER)


def _group_of_file(file: str) -> str | None:
    if file.startswith(PACKAGE):
        part = file.removeprefix(PACKAGE).split("/")[0]
        return f"gdht/{part}" if part in PARTS else "gdht, other"
    _, installed, library = file.partition("/site-packages/")
    return LIBRARIES.get(library.split("/")[0], OTHER) if installed else None


def shares(lines: Sequence[str]) -> Shares:
    """The share of each layer, from lines of `frame;frame;frame count`."""
    counts: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        counts[group_of(stack.split(";"))] += int(count)
    total = counts.total() or 1
    return {group: counts[group] / total for group in GROUPS if counts[group]}


def tell(pid: int, output: Path) -> list[str]:
    """Have the sampler write what it has, and begin anew. Raises: StartError."""
    output.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR2)
    deadline_s = time.monotonic() + WRITTEN_S_MAX
    while not output.exists():
        if time.monotonic() > deadline_s:
            raise StartError("the sampler does not write")
        time.sleep(POLL_S)
    return output.read_text().splitlines()


@contextmanager
def sampled(pid: int, output: Path, found: Shares) -> Iterator[None]:
    """Sample a process while the block runs."""
    tell(pid, output)
    with kernel_share(pid) as kernel:
        yield
    found.update(shares(tell(pid, output)))
    found[KERNEL] = kernel[0]


def profile(seconds: float) -> dict[str, Shares]:
    """The shares of each load."""
    BUILD.mkdir(parents=True, exist_ok=True)
    output = BUILD / "samples"
    profiles: dict[str, Shares] = {}
    with Children() as children:
        rings = {nodes: start_ring(children, nodes, first=sampler(output, nodes)) for nodes in (1, 8)}
        for name, nodes, operation, copies, shape in LOADS:
            ring, requests = rings[nodes], api_requests(operation, copies)
            ring.fill(api_requests("PUT", copies))
            profiles[name] = {}
            with sampled(ring.pids[0], output.with_suffix(f".{nodes}"), profiles[name]):
                load(requests.file, ring.addresses[:1], shape, seconds, *requests.options)
            print(f"profile: {name}", flush=True)
    return profiles


def sampler(output: Path, nodes: int) -> list[str]:
    """The command of a node that samples itself."""
    return [sys.executable, "-m", "sampler", str(output.with_suffix(f".{nodes}"))]
