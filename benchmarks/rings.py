"""What is loaded: rings of gdht, the raw servers beside them, redis; each started, ready, and with its processes."""

import json
import shutil
import socket
import sys
import time
import urllib.error
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from generator import Shape, compile_c, load
from processes import Children, StartError, cpu_us
from workload import Requests

IDEAL_S_MAX = 60.0
POLL_S = 0.2
FILL = Shape(4, 16)
FILL_TRIES_MAX = 5
REDIS_S_MAX = 10.0


@dataclass(frozen=True)
class Served:
    """Something that listens.

    addresses: where clients reach it, host:port; pids: all its processes; admin: of its first node, when it is a ring.
    """

    addresses: list[str]
    pids: list[int]
    admin: str = ""

    def fill(self, requests: Requests) -> None:
        """Send each request once, until all have succeeded. Raises: StartError."""
        for _ in range(FILL_TRIES_MAX):
            result = load(requests.file, self.addresses, FILL, 1, "--once", *requests.options)
            if result.successes == result.answers:
                return
        raise StartError(f"of {result.answers} records {result.failures} could not be put")

    def cpu_us(self) -> float:
        """What its processes have used."""
        return cpu_us(self.pids)


GDHT = (sys.executable, "-P", "-m", "gdht")


def start_ring(children: Children, nodes: int, data: Path | None = None, first: Sequence[str] = ()) -> Served:
    """A ring of gdht on so many processes, in memory or with a directory each, once it is ideal. Raises: StartError.

    first: another command for its first node.
    """
    started, addresses = [], []
    bootstrap = admin = ""
    for number in range(nodes):
        data_dir = str(data / str(number)) if data else ""
        command = [*(GDHT if number or not first else first), "-q", "serve", "--data-dir", data_dir]
        command += ["--bootstrap", bootstrap]
        command += ["--p2p-address", "127.0.0.1:0", "--api-address", "127.0.0.1:0"]
        command += ["--admin-address", "" if number else "127.0.0.1:0"]
        started.append(children.start(command))
        if not number:
            bootstrap, api, admin = started[0].expect(r"p2p=(\S+) api=(\S+) admin=(\S+)").groups()
            addresses.append(api)
    addresses += [child.expect(r"api=(\S+)")[1] for child in started[1:]]
    wait_until_ideal(admin, nodes)
    return Served(addresses, [child.pid for child in started], admin)


def wait_until_ideal(admin: str, nodes: int) -> None:
    """Ask a node to walk the ring until that is whole and in order. Raises: StartError."""
    deadline_s = time.monotonic() + IDEAL_S_MAX
    seen: object = None
    while time.monotonic() < deadline_s:
        try:
            with urlopen(f"http://{admin}/admin/api/ring/check", timeout=IDEAL_S_MAX) as answer:
                seen = json.load(answer)
            if seen["consistent"] and seen["nodes"] == nodes:  # type: ignore[index]
                return
        except (urllib.error.URLError, TimeoutError) as error:
            seen = error
        time.sleep(POLL_S)
    raise StartError(f"the ring of {nodes} is not in order after {IDEAL_S_MAX:g} s: {seen}")


def start_raw(children: Children, name: str) -> Served:
    """A raw gevent server: `echo` or `dict`."""
    child = children.start([sys.executable, "-m", f"servers.{name}"])
    return Served([child.expect(r"ready (\S+)")[1]], [child.pid])


def start_c_echo(children: Children) -> Served:
    """The echo in C."""
    child = children.start([str(compile_c("echo"))])
    return Served([child.expect(r"ready (\S+)")[1]], [child.pid])


def start_relay(children: Children, processes: int) -> Served:
    """The raw relay on so many processes."""
    command = [sys.executable, "-m", "servers.relay"]
    started = [children.start([*command, str(number), str(processes)]) for number in range(processes)]
    ready = [child.expect(r"api=(\S+) p2p=(\S+)") for child in started]
    for child in started:
        child.say(" ".join(each[2] for each in ready))
    for child in started:
        child.expect("joined")
    return Served([each[1] for each in ready], [child.pid for child in started])


def start_redis(children: Children) -> Served | None:
    """A redis server that writes nothing to disk; None when it is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        return None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options: Sequence[str] = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    child = children.start([program, *options])
    deadline_s = time.monotonic() + REDIS_S_MAX
    while time.monotonic() < deadline_s:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return Served([f"127.0.0.1:{port}"], [child.pid])
        time.sleep(POLL_S)
    raise StartError("redis-server does not listen")
