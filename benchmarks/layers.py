"""Where a node's time goes: a sampling profiler over the process, its samples grouped by the layers of the code.

py-spy tells Python frames from C and system calls. Where it cannot be installed or may not look into processes,
`sampler` does it from inside, and system calls count for whatever called them.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import gdht
from generator import BUILD, Shape, load
from others import MissingError, install
from processes import Children
from rings import Served, start_ring
from workload import Requests, api_requests

PY_SPY = "py-spy==0.4.1"
PY_SPY_DIR = BUILD / "py-spy"
RATE_HZ = 200
SPARE_S = 1.0
"""The load lasts so much longer than the samples are taken."""

PACKAGE = f"{Path(gdht.__file__).parent}/"
PARTS = ("wire", "net", "node", "core", "store")
SYSTEM_CALLS = "system calls"
GEVENT = "gevent"
OTHER = "the rest"
GROUPS = (*(f"gdht/{part}" for part in PARTS), "gdht, other", GEVENT, "construct", "lmdb", SYSTEM_CALLS, OTHER)
LIBRARIES = {"gevent": GEVENT, "greenlet": GEVENT, "construct": "construct", "lmdb": "lmdb"}
CALLS = re.compile(r"_*(send|recv|read|write|epoll_wait|epoll|poll|futex|f?data?sync|fsync|msync|pwrite|accept|fcntl)")
WAITS = ("epoll_wait", "poll", "futex")
"""A process that could go on but has no core to do so is seen here too."""

FRAME = re.compile(r"(?P<function>.*) \((?P<file>.*?)(:\d+)?\)$")

LOADS = (
    ("one node, GET 64 x 1", 1, "GET", 1, Shape(64, 1)),
    ("one node, GET 1 x 64", 1, "GET", 1, Shape(1, 64)),
    ("one node, PUT 64 x 1", 1, "PUT", 1, Shape(64, 1)),
    ("one node, PUT 1 x 64", 1, "PUT", 1, Shape(1, 64)),
    ("gateway of 8, GET 64 x 1", 8, "GET", 3, Shape(64, 1)),
    ("gateway of 8, PUT 64 x 1", 8, "PUT", 3, Shape(64, 1)),
)

Shares = dict[str, float]


def group_of(stack: Sequence[str]) -> str | None:
    """The layer that a stack, outermost frame first, counts for; None when it waits.

    That of its innermost frame; the interpreter, libc and the standard library count for what calls them.
    """
    frames = [found for frame in reversed(stack) if (found := FRAME.match(frame))]
    if frames and "/libc" in frames[0]["file"] and (call := CALLS.match(frames[0]["function"])):
        return None if call[1] in WAITS else SYSTEM_CALLS
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
        if group := group_of(stack.split(";")):
            counts[group] += int(count)
    total = counts.total() or 1
    return {group: counts[group] / total for group in GROUPS if counts[group]}


def py_spy() -> Path:
    """The program. Raises: MissingError when it cannot be installed or may not look into processes."""
    program = PY_SPY_DIR / "bin" / "py-spy"
    if not program.exists():
        install(PY_SPY, PY_SPY_DIR)
    with Children() as children:
        child = children.start([sys.executable, "-c", "print('ready', flush=True); input()"])
        child.expect("ready")
        looked = subprocess.run([program, "dump", "--pid", str(child.pid)], capture_output=True, text=True, check=False)
    if looked.returncode:
        raise MissingError(f"py-spy may not look into processes: {looked.stderr.strip()}")
    return program


@contextmanager
def sampled_from_outside(program: Path, pid: int, seconds: float, output: Path) -> Iterator[None]:
    """Have py-spy take samples while the block runs."""
    command = [str(program), "record", "--pid", str(pid), "--duration", f"{seconds:.0f}", "--rate", str(RATE_HZ)]
    command += ["--format", "raw", "--native", "--full-filenames", "--output", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
        process.wait(seconds + 30)
    finally:
        process.kill()
        process.wait()


@contextmanager
def sampled_from_inside(pid: int, output: Path) -> Iterator[None]:
    """Have the node's own sampler begin anew, and write what it has at the end."""
    os.kill(pid, signal.SIGUSR2)
    time.sleep(SPARE_S)
    output.unlink()
    yield
    os.kill(pid, signal.SIGUSR2)
    time.sleep(SPARE_S)


def profile(seconds: float) -> tuple[dict[str, Shares], str]:
    """The shares of each load, and which profiler it was."""
    output = BUILD / "samples.raw"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.unlink(missing_ok=True)
    try:
        program, note = py_spy(), "py-spy, with C frames"
        first: Sequence[str] = ()
    except MissingError as error:
        program, note = None, f"a sampler in the process, so system calls count for their callers ({error})"
        first = (sys.executable, "-m", "sampler", str(output))
    found: dict[str, Shares] = {}
    with Children() as children:
        rings = {nodes: start_ring(children, nodes, first=first) for nodes in (1, 8)}
        for name, nodes, operation, copies, shape in LOADS:
            ring, requests = rings[nodes], api_requests(operation, copies)
            ring.fill(api_requests("PUT", copies))
            pid = ring.pids[0]
            sampled = (
                sampled_from_outside(program, pid, seconds, output) if program else sampled_from_inside(pid, output)
            )
            with sampled:
                play(ring, requests, shape, seconds + SPARE_S)
            found[name] = shares(output.read_text().splitlines())
            print(f"profile: {name}", flush=True)
    return found, note


def play(ring: Served, requests: Requests, shape: Shape, seconds: float) -> None:
    """Load its first node."""
    load(requests.file, ring.addresses[:1], shape, seconds, *requests.options)
