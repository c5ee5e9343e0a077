"""Real node processes for tests: started, watched, stopped, and gone when the test is over.

Nothing of gdht is imported here or in `handmade`: the tests see nodes as other programs do.
"""

import ctypes
import json
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from tests.e2e.handmade import ApiSocket

READY_LINE = re.compile(
    r"gdht ready node=(?P<ident>[0-9a-f]{64}) p2p=(?P<p2p>\S+) api=(?P<api>\S+) admin=(?P<admin>\S+)\n"
)
"""All of standard output, byte for byte."""
ADDRESS = re.compile(r"(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):[1-9]\d{0,4}")

CRASH = re.compile(
    r"^(Traceback \(most|\S+ (ERROR|CRITICAL)\s+(?!\S+ (?:isolated|writes fail|the disk hangs):)\S).*", re.MULTILINE
)
"""Losing every successor, or the disk, is an error of the world; all others are ours."""

START_S_MAX = 30.0
SETTLE_S_MAX = 25.0
LEAVE_S_MAX = 10.0
POLL_S = 0.05
LOG_LINES_SHOWN = 60
IDENTS = 1 << 256

FREE_PORTS = "--p2p-address 127.0.0.1:0 --api-address 127.0.0.1:0 --admin-address 127.0.0.1:0".split()
QUICK = "--stabilize-interval 0.2".split()

STEADY_NODES = 5
DEFAULT_TTL_S, TTL_S_MAX = 1000, 2000
REPLICATION, REPLICATION_MAX = 3, 4
STEADY_LIMITS = (
    *("--default-ttl", str(DEFAULT_TTL_S), "--max-ttl", str(TTL_S_MAX)),
    *("--replication", str(REPLICATION), "--max-replication", str(REPLICATION_MAX)),
)
"""The ring that most tests share, and its limits: low enough to be met."""

PROCESSES: list["NodeProcess"] = []
"""Every process that was started, for the report of a failed test."""


def wait_until(condition: Callable[[], Any], what: str, within_s: float = SETTLE_S_MAX) -> Any:
    """Ask again and again until the answer is true, and return it; after `within_s` seconds the test fails."""
    ends_at_s = time.monotonic() + within_s
    while not (answer := condition()):
        assert time.monotonic() < ends_at_s, f"not within {within_s:g} s: {what}"
        time.sleep(POLL_S)
    return answer


def wait_for_none(problems: Callable[[], Sequence[str]], within_s: float = SETTLE_S_MAX) -> None:
    """Ask for problems until there are none; those of the last answer are the failure's message."""
    ends_at_s = time.monotonic() + within_s
    while found := problems():
        assert time.monotonic() < ends_at_s, f"after {within_s:g} s still:\n" + "\n".join(found)
        time.sleep(POLL_S)


def ports_of_this_worker() -> Iterator[int]:
    """Ports below those that outgoing connections take, in any order: none twice, and none of another test process."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = list(range(20000 + number, 32000, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
    random.shuffle(ports)
    return cycle(ports)


PORTS = ports_of_this_worker()


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on, nor was told by this to listen on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = next(PORTS)
        with socket.socket(family, socket.SOCK_STREAM) as sock, suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            return port


def allow_open_files(wanted: int) -> bool:
    """Whether this process may have so many files open, after raising its soft limit if need be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return True


def die_with_parent() -> None:
    """Have the kernel kill this process once its parent is gone, however that came about (prctl, PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def clean_environ() -> dict[str, str]:
    """Our environment without anything that configures a node."""
    return {name: text for name, text in os.environ.items() if not name.startswith("GDHT_")}


class Answer(NamedTuple):
    """What an admin port answered."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


def ask_admin(address: str, path: str, headers: dict[str, str] | None = None, timeout_s: float = 10.0) -> Answer:
    """GET a path of an admin port; an error status is an answer like any other."""
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(Request(f"http://{address}{path}", headers=headers or {}), timeout=timeout_s) as response:
            return Answer(response.status, dict(response.headers), response.read().decode())
    except HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read().decode())


class NodeProcess:
    """One `gdht serve`. Its addresses are known once `wait_ready` has read the ready line."""

    def __init__(self, place: Path, name: str, arguments: Sequence[str], prefix: Sequence[str] = ()) -> None:
        self.name = name
        self.arguments = [*arguments]
        self.ident = -1
        self.p2p = self.api = self.admin = ""
        self._place = place
        self._out, self._err = place / f"{name}.out", place / f"{name}.log"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "gdht", "serve", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**clean_environ(), "GDHT_DATA_DIR": f"{name}.data"},
                cwd=place,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - there are no threads here
            )
        self.pid = self._process.pid
        PROCESSES.append(self)

    def __repr__(self) -> str:
        return f"<{self.name} pid={self.pid} p2p={self.p2p} api={self.api} admin={self.admin}>"

    # Its life --------------------------------------------------------------------------------------------------------

    def wait_ready(self) -> Self:
        """Wait for the ready line, which must be all of standard output."""
        self.wait_output()
        match = READY_LINE.fullmatch(self.output)
        assert match, f"{self.name} printed {self.output!r}"
        self.ident, self.p2p, self.api, self.admin = int(match["ident"], 16), match["p2p"], match["api"], match["admin"]
        for address in (self.p2p, self.api, self.admin):
            assert ADDRESS.fullmatch(address), address
        return self

    def wait_output(self) -> None:
        """Wait until a whole line was printed."""

        def printed() -> bool:
            assert self.returncode is None, f"{self.name} ended with {self.returncode}:\n{self.log}"
            return self.output.endswith("\n")

        wait_until(printed, f"{self.name} prints its ready line", START_S_MAX)

    @property
    def output(self) -> str:
        """Standard output so far."""
        return self._out.read_text()

    @property
    def log(self) -> str:
        """Standard error so far."""
        return self._err.read_text(errors="replace")

    @property
    def logged_at_s(self) -> float:
        """When the last line was logged, by the wall clock."""
        return self._err.stat().st_mtime

    @property
    def log_lines(self) -> list[str]:
        """The lines of the log so far."""
        return self.log.splitlines()

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it runs, minus the signal's number when one killed it."""
        return self._process.poll()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        os.kill(self.pid, number)

    def wait_end(self, within_s: float = LEAVE_S_MAX) -> int:
        """Wait for its end; returns the exit code."""
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {within_s:g} s") from None

    def kill(self) -> None:
        """End it as a crash would, with all it started. Nothing happens when it has ended."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def leave(self) -> int:
        """Ask it to leave with SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_end()

    @property
    def memory_bytes(self) -> int:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    # Its ports -------------------------------------------------------------------------------------------------------

    def connect(self) -> ApiSocket:
        """A client connection to the API port."""
        return ApiSocket(self.api)

    def ask(self, path: str, **headers: str) -> Answer:
        """GET a path of the admin port."""
        return ask_admin(self.admin, path, headers)

    def json(self, path: str) -> Any:
        """The JSON at a path under /admin/api/."""
        answer = self.ask(f"/admin/api/{path}")
        assert answer.status == 200, f"{self.name} {path}: {answer.status} {answer.text}"
        assert answer.headers["Content-Type"] == "application/json"
        return answer.json

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by its name and labels, as they stand there."""
        lines = self.ask("/metrics").text.splitlines()
        samples = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}


class Fleet:
    """The processes of one test or module. Leaving the `with` block kills what is left."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self.nodes: list[NodeProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for node in self.nodes:
            node.kill()

    @property
    def alive(self) -> list[NodeProcess]:
        """The processes that run, in the order of their start."""
        return [node for node in self.nodes if node.alive]

    def spawn(self, *options: str, prefix: Sequence[str] = ()) -> NodeProcess:
        """Start a node and do not wait. Later options override earlier ones, and those all nodes get."""
        name = f"node-{len(self.nodes) + 1}"
        node = NodeProcess(self._place, name, [*FREE_PORTS, *QUICK, *options], prefix)
        self.nodes.append(node)
        return node

    def start(self, *options: str, prefix: Sequence[str] = ()) -> NodeProcess:
        """Start a node and wait until it serves."""
        return self.spawn(*options, prefix=prefix).wait_ready()

    def ring(self, size: int, *options: str) -> list[NodeProcess]:
        """A ring of so many nodes, which all know each other; the first one started it."""
        first = self.start(*options)
        rest = [self.spawn("--bootstrap", first.p2p, *options) for _ in range(size - 1)]
        for node in rest:
            node.wait_ready()
        wait_for_none(lambda: ring_problems([first, *rest]))
        return [first, *rest]


def run(*arguments: str, timeout_s: float = 30.0, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a `gdht` command to its end."""
    command = [sys.executable, "-m", "gdht", *arguments]
    more.setdefault("env", clean_environ())
    return subprocess.run(command, capture_output=True, timeout=timeout_s, check=False, **more)


# Rings ----------------------------------------------------------------------------------------------------------------


def clockwise(nodes: Sequence[NodeProcess], start: int = 0) -> list[NodeProcess]:
    """The nodes in the order in which one meets them from a place on the circle."""
    return sorted(nodes, key=lambda node: (node.ident - start) % IDENTS)


def owners(nodes: Sequence[NodeProcess], key: bytes) -> list[NodeProcess]:
    """All nodes, the owner of a key first, then those that follow it."""
    return clockwise(nodes, int.from_bytes(key))


def keys_of(nodes: Sequence[NodeProcess], owner: NodeProcess) -> Iterator[bytes]:
    """Keys that one node of a ring owns, without end."""
    while True:
        key = random.randbytes(32)
        if owners(nodes, key)[0] is owner:
            yield key


def ring_problems(nodes: Sequence[NodeProcess]) -> list[str]:
    """In which points /admin/api/ring and /readyz of these nodes differ from those of the members of one ring."""
    problems = []
    order = clockwise(nodes)
    for place, node in enumerate(order):
        around = order[place + 1 :] + order[:place]
        told = node.json("ring")
        expected = {
            "state": "active",
            "id": _hex(node.ident),
            "predecessor": _hex(around[-1].ident) if around else None,
            "successors": [_hex(other.ident) for other in around[:8]],
        }
        found = {
            "state": told["node"]["state"],
            "id": told["node"]["id"],
            "predecessor": told["predecessor"] and told["predecessor"]["id"],
            "successors": [peer["id"] for peer in told["successors"]],
        }
        problems += [f"{node.name} {k}: {found[k]} is not {expected[k]}" for k in expected if found[k] != expected[k]]
        ready = node.ask("/readyz")
        if ready.status != 200:
            problems.append(f"{node.name} /readyz: {ready.status} {ready.text}")
    return problems


def _hex(ident: int) -> str:
    return f"{ident:064x}"
