"""Other systems: rings of kademlia and of OpenDHT beside rings of gdht, the same keys and values, 64 in flight."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from generator import BUILD, Result, Shape
from measure import Case, Comparison, Measured, Sample, compare, loaded
from processes import Child, Children, StartError, cpu_us
from records import RECORDS
from rings import Served, start_ring
from workload import api_requests

IN_FLIGHT = 64
ANSWER_S_MAX = 90.0
FILL_TRIES_MAX = 2
INSTALL_S_MAX = 120.0
OPENDHT = "OpenDHT"
IDLE_SHARE = 0.05
"""Of one core, all processes together."""
IDLE_POLL_S = 0.2
IDLE_S_MAX = 10.0
COPIES_MAX = 8
"""gdht makes no more by default."""

DEBIAN_PYTHON = "/usr/bin/python3"
KADEMLIA = "kademlia==2.2.3"
KADEMLIA_DIR = BUILD / "kademlia"
KADEMLIA_KSIZE = 20
"""Its default: so many nodes keep a value."""

PIPELINED = Shape(1, IN_FLIGHT)
ONE_EACH = Shape(IN_FLIGHT, 1)
KNOWN_MAX = 8
"""An OpenDHT node that asks waits for this many neighbours; its first bucket holds no more."""


class MissingError(Exception):
    """Another system is not installed and cannot be; the message says why."""


@dataclass(frozen=True)
class System:
    """A ring of another system. asks: the one of its nodes that puts and gets."""

    name: str
    nodes: list[Child]
    asks: Child

    def run(self, operation: str, seconds: float, once: bool = False) -> Sample:
        """Keep the requests of one kind in flight."""
        pids = [child.pid for child in self.nodes]
        before_us = cpu_us(pids)
        command = {"do": operation.lower(), "seconds": seconds, "in_flight": IN_FLIGHT, "once": once}
        self.asks.say(json.dumps(command))
        result = Result.parse(self.asks.line(ANSWER_S_MAX))
        sample = Sample(result, (cpu_us(pids) - before_us) / max(result.all_answers, 1))
        wait_until_idle(pids)
        return sample

    def fill(self) -> float:
        """Put every record; returns how many copies of each there are then."""
        for _ in range(FILL_TRIES_MAX):
            if not self.run("PUT", 1.0, once=True).result.failures:
                break
        for child in self.nodes:
            child.say(json.dumps({"do": "copies"}))
        return sum(int(child.line()) for child in self.nodes) / RECORDS

    def cases(self, copies: float, seconds: float) -> dict[Case, Measured]:
        """Its GETs and PUTs. copies: told in its name."""
        name = f"{self.name}, {copies:.1f} copies"
        return {
            Case("GET", name): lambda: self.run("GET", seconds),
            Case("PUT", name): lambda: self.run("PUT", seconds),
        }


def wait_until_idle(pids: Sequence[int]) -> None:
    """Wait until the processes hardly work any more, so that what one leaves for later does not slow the next one.

    OpenDHT goes on for 1 to 5 s after its last answer, on up to two cores; what it uses then is not counted.
    """
    deadline_s = time.monotonic() + IDLE_S_MAX
    share = 1.0
    while share > IDLE_SHARE and time.monotonic() < deadline_s:
        before_us, began_s = cpu_us(pids), time.monotonic()
        time.sleep(IDLE_POLL_S)
        share = (cpu_us(pids) - before_us) / 1e6 / (time.monotonic() - began_s)


def start_kademlia(children: Children, nodes: int, ksize: int) -> System:
    """A ring of kademlia. Raises: MissingError, StartError."""
    if not KADEMLIA_DIR.exists():
        install(KADEMLIA, KADEMLIA_DIR)
    env = {"PYTHONPATH": str(KADEMLIA_DIR)}
    command = [sys.executable, "-m", "peers.kademlia_node", "--ksize", str(ksize)]
    started = [children.start(command, env)]
    join = ["--bootstrap", started[0].expect(r"ready (\d+)")[1]]
    started += [children.start([*command, *join], env) for _ in range(nodes - 2)]
    for child in started[1:]:
        child.expect("ready")
    started.append(children.start([*command, *join, "--asks"], env))
    started[-1].expect("ready")
    return System(f"{KADEMLIA.replace('==', ' ')}, ksize {ksize}", started, started[-1])


def start_opendht(children: Children, processes: int, nodes_each: int = 1) -> System:
    """A ring of OpenDHT; the last process has one of its nodes ask. Raises: MissingError, StartError."""
    version = opendht_version()
    command = [DEBIAN_PYTHON, "-m", "peers.opendht_node", "--nodes", str(nodes_each)]
    started = [children.start(command)]
    join = ["--bootstrap", started[0].expect(r"ready (\d+)")[1]]
    started += [children.start([*command, *join]) for _ in range(processes - 2)]
    for child in started[1:]:
        child.expect("ready")
    known = min(processes * nodes_each - 1, KNOWN_MAX)
    started.append(children.start([*command, *join, "--known", str(known)]))
    started[-1].expect("ready")
    return System(f"{OPENDHT} {version}", started, started[-1])


def opendht_version() -> str:
    """Which Debian has. Raises: MissingError."""
    found = subprocess.run([DEBIAN_PYTHON, "-c", "import opendht"], capture_output=True, check=False)
    if found.returncode:
        raise MissingError("OpenDHT: apt-get install python3-opendht")
    query = ["dpkg-query", "--show", "--showformat", "${source:Upstream-Version}", "python3-opendht"]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout or "of unknown version"


def install(requirement: str, directory: Path) -> None:
    """Put a package from PyPI into a directory of its own. Raises: MissingError."""
    fresh = directory.with_name(f"{directory.name}.new")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install", "--upgrade"]
    command += ["--target", str(fresh), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S_MAX, check=False)
    except subprocess.TimeoutExpired:
        raise MissingError(f"{requirement}: pip has not ended after {INSTALL_S_MAX:g} s") from None
    if done.returncode:
        raise MissingError(f"{requirement}: pip cannot install it: {done.stderr.strip().splitlines()[-1:]}")
    fresh.replace(directory)


def gdht(copies: str, shape: Shape) -> str:
    """The name of a ring of gdht in the tables."""
    return f"gdht, {copies}, {shape}"


THREE = "3 copies"
AS_MANY = "as many copies as OpenDHT"
BASE = gdht(THREE, PIPELINED)
"""What the others are compared with."""


@dataclass(frozen=True)
class Ring:
    """One size of ring. systems: what starts the others; as_many: whether gdht is to make as many copies as OpenDHT."""

    name: str
    title: str
    nodes: int
    shapes: tuple[Shape, ...]
    systems: tuple[Callable[[Children], System], ...]
    as_many: bool = False


RINGS = (
    Ring(
        "others 8",
        "8 processes, 64 in flight",
        8,
        (PIPELINED, ONE_EACH),
        (
            lambda children: start_kademlia(children, 8, KADEMLIA_KSIZE),
            lambda children: start_kademlia(children, 8, 3),
            lambda children: start_opendht(children, 8),
        ),
        as_many=True,
    ),
    Ring(
        "others 3",
        "3 processes, 64 in flight",
        3,
        (PIPELINED,),
        (lambda children: start_opendht(children, 3),),
    ),
    Ring(
        "others 32",
        "32 nodes, 64 in flight",
        32,
        (PIPELINED,),
        (lambda children: start_opendht(children, 8, nodes_each=4),),
    ),
)


def measure(rounds: int, seconds: float, left_out: list[str]) -> Iterator[Comparison]:
    """One comparison for each size of ring; what could not be started is added to `left_out`."""
    for ring in RINGS:
        with Children() as children:
            yield compare(ring.name, ring.title, start(children, ring, seconds, left_out), rounds)


def start(children: Children, ring: Ring, seconds: float, left_out: list[str]) -> dict[Case, Measured]:
    """All cases of one size."""
    served = start_ring(children, ring.nodes)
    cases = gdht_cases(served, THREE, 3, ring.shapes, seconds)
    for start_system in ring.systems:
        try:
            system = start_system(children)
            copies = system.fill()
        except (MissingError, StartError) as error:
            left_out.append(f"{ring.title}: {error}")
            continue
        cases |= system.cases(copies, seconds)
        if ring.as_many and system.name.startswith(OPENDHT):
            as_many = min(round(copies), COPIES_MAX)
            cases |= gdht_cases(served, f"{AS_MANY} ({as_many})", as_many, (PIPELINED,), seconds)
    return cases


def gdht_cases(served: Served, name: str, copies: int, shapes: Sequence[Shape], seconds: float) -> dict[Case, Measured]:
    """A ring of gdht through one gateway, with so many copies, in these shapes."""
    requests = {operation: api_requests(operation, copies) for operation in ("GET", "PUT")}
    served.fill(requests["PUT"])
    return {
        Case(operation, gdht(name, shape)): loaded(served, each, shape, seconds)
        for shape in shapes
        for operation, each in requests.items()
    }
