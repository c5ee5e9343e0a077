"""For how long the event loop of a node is held by each thing that a node does, with 100,000 records and a light load.

Usage: python benchmarks/stalls.py [--records 100000] [--disk-records 20000] [--write benchmarks/stalls.md]

Three scenes: one real node in a large ring of fakes, with everything that its admin port is asked; a ring of real nodes
with records in memory, and one with records on a disk, with everything that moves records. Takes about three minutes.
"""

import argparse
import contextlib
import json
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import urlopen

HERE = Path(__file__).resolve().parent
NODES = 200
LOAD_PAUSE_S = 0.01
TIMES = 10
"""How often a page is asked for while it is measured."""
WAIT_S_MAX = 120.0
ANSWER_S_MAX = 120.0
LINES = 500
TTL_S = 3600
KEY = "ab" * 32

Row = tuple[str, dict[str, Any]]


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Ask again and again until it is so."""
    ends_at_s = time.monotonic() + WAIT_S_MAX
    while not condition():
        if time.monotonic() > ends_at_s:
            raise SystemExit(f"not within {WAIT_S_MAX:.0f} s: {what}")
        time.sleep(0.1)


def free_port() -> int:
    """A port that nobody listens on, below those that outgoing connections take."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", random.randrange(20000, 32000)))
            return int(sock.getsockname()[1])


class Measured:
    """A real node with a probe."""

    def __init__(self, place: Path, name: str, *options: str, p2p: str = "127.0.0.1:0", data_dir: str = "") -> None:
        socket_path = str(place / f"{name}.probe")
        line = [sys.executable, str(HERE / "stalls_node.py"), socket_path, "--p2p-address", p2p]
        line += ["--api-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0", "--data-dir", data_dir, *options]
        with (place / f"{name}.log").open("w") as log:
            self._process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout
        words = dict(word.partition("=")[::2] for word in self._process.stdout.readline().split())
        if "p2p" not in words:
            raise SystemExit(f"{name} did not start: {(place / f'{name}.log').read_text()}")
        self.name, self.pid = name, self._process.pid
        self.p2p, self._admin = words["p2p"], words["admin"]
        host, _, port = words["api"].rpartition(":")
        self.api = host, int(port)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(ANSWER_S_MAX)
        sock.connect(socket_path)
        self._sock, self._lines = sock, sock.makefile("rw")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._sock.close()
        self._process.kill()
        self._process.communicate()

    def do(self, name: str, *arguments: object) -> Any:
        """Have the node do something; see `stalls_node.Commands`."""
        self._lines.write(json.dumps([name, *arguments]) + "\n")
        self._lines.flush()
        line = self._lines.readline()
        if not line:
            raise SystemExit(f"{self.name} failed in {name}; see its log")
        return json.loads(line)

    def get(self, path: str) -> int:
        """Ask the admin port; how many bytes came."""
        try:
            with urlopen(f"http://{self._admin}{path}", timeout=30) as response:
                return len(response.read())
        except HTTPError as error:
            return len(error.read())

    def wait_end(self) -> None:
        """Wait until the process is gone."""
        self._process.wait(WAIT_S_MAX)


class Load:
    """Gets and puts through one node, a hundred a second, until it is closed."""

    def __init__(self, api: tuple[str, int]) -> None:
        self._sock = socket.create_connection(api, timeout=10)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._sock.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # its node may leave
            while not self._ended.wait(LOAD_PAUSE_S):
                key = random.randbytes(32)
                put = struct.pack("!HHHBB", 140, 650, 60, 3, 1) + key + b"v" * 100
                self._sock.sendall(put + struct.pack("!HH", 36, 651) + key)
                for _ in range(2):  # fakes keep nothing, so that a get may fail
                    size, _type = struct.unpack("!HH", self._read(4))
                    self._read(size - 4)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._sock.recv(size - len(data))
            if not more:
                raise OSError("the node has closed the connection")
            data += more
        return data


def measure(what: str, nodes: Sequence[Measured], run: Callable[[], object]) -> Iterator[Row]:
    """Do something and tell how long the loops of some nodes were held meanwhile."""
    for node in nodes:
        node.do("begin")
    run()
    for node in nodes:
        yield f"{what}{f', at {node.name}' if len(nodes) > 1 else ''}", node.do("end")


def asked(node: Measured, *paths: str, times: int = TIMES) -> Callable[[], None]:
    """Ask for pages, some times each."""

    def run() -> None:
        for _ in range(times):
            for path in paths:
                node.get(path)

    return run


# Scenes ---------------------------------------------------------------------------------------------------------------


def admin_scene(place: Path, records: int) -> Iterator[Row]:
    """One real node in a ring of fakes."""
    p2p = f"127.0.0.1:{free_port()}"
    line = [sys.executable, str(HERE / "fake_ring.py"), str(NODES - 1), p2p]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as fakes:
        try:
            assert fakes.stdout
            first = fakes.stdout.readline().strip()
            with Measured(place, "admin", "--bootstrap", first, p2p=p2p) as node:
                yield from measure("the first scrape", [node], asked(node, "/metrics", times=1))
                yield from measure("the first pages", [node], asked(node, "/admin/", "/admin/ring", times=1))
                node.do("fill", records, TTL_S, 3)
                node.do("make_history")
                with Load(node.api):
                    yield from admin_rows(node)
        finally:
            fakes.kill()


def admin_rows(node: Measured) -> Iterator[Row]:
    """Everything that the admin port of one node is asked, and what goes on beside it."""
    yield from measure("a light load alone", [node], lambda: time.sleep(8))
    pages = {
        "scrape of /metrics": ["/metrics"],
        "probes": ["/livez", "/readyz?verbose", "/health"],
        "overview page": ["/admin/"],
        f"ring page, {NODES} nodes": ["/admin/ring"],
        "its picture as JSON": ["/admin/api/ring/view"],
        "ring as JSON": ["/admin/api/ring", "/admin/api/node"],
        f"walk of {NODES} nodes as JSON": ["/admin/api/ring/walk"],
        f"check of {NODES} nodes": ["/admin/ring/check", "/admin/api/ring/check"],
        "keys page, 1,000 keys": ["/admin/keys?limit=1000"],
        "1,000 keys as JSON": ["/admin/api/keys?limit=1000"],
        "keys of a rare role": ["/admin/api/keys?role=owned&after=" + "80" * 32],
        "where is a key": ["/admin/keys?key=motd", f"/admin/api/keys/{KEY}"],
        "trace of a key": ["/admin/trace?key=motd", f"/admin/api/trace/{KEY}"],
        "events page and JSON": ["/admin/events", "/admin/api/events"],
        "requests page and JSON": ["/admin/requests", "/admin/api/requests"],
        "leave page and plan": ["/admin/leave"],
    }
    for what, paths in pages.items():
        yield from measure(what, [node], asked(node, *paths))
    yield from measure("round of repair", [node], lambda: node.do("repair"))
    yield from measure(f"{LINES} lines of log", [node], lambda: node.do("log_lines", LINES))
    yield from measure("names that are not known", [node], lambda: node.do("resolve", "nobody.invalid:1"))
    yield from measure("full collection of garbage", [node], lambda: node.do("collect"))


def moving_scene(place: Path, records: int, *, disk: bool) -> Iterator[Row]:
    """A ring that grows to three real nodes, repairs, and loses one."""
    quick = ("--stabilize-interval", "0.5")
    where = "on disk" if disk else "in memory"

    def start(name: str, *options: str) -> Measured:
        return Measured(place, name, *quick, *options, data_dir=str(place / name) if disk else "")

    with start("first") as first:
        with Load(first.api):
            ttl_s = 25 if disk else 8
            first.do("fill", records, ttl_s, 1)
            yield from measure(
                f"{where}: expiry", [first], lambda: wait_until(lambda: is_expired(first, records), "expiry")
            )
        first.do("fill", records, TTL_S, 1)
        bootstrap = ("--bootstrap", first.p2p)
        with start("second", *bootstrap) as second, Load(second.api):
            yield from measure(
                f"{where}: catching up", [first, second], lambda: wait_until(lambda: has_all(second), "catching up")
            )
            first.do("fill", records, TTL_S, 1, records)
            yield from measure(f"{where}: misplaced records", [first, second], lambda: first.do("repair"))
            with start("third", *bootstrap) as third:
                wait_until(lambda: has_all(third), "the third node")
                yield from repair_rows(where, [first, second, third], records)
                yield from leave_rows(where, first, second, records)


def repair_rows(where: str, nodes: Sequence[Measured], records: int) -> Iterator[Row]:
    """Rounds of repair: nothing differs; some differ; one node lost all."""
    first, second, _third = nodes
    for node in nodes:
        node.do("clear")
        node.do("fill", records, TTL_S, 3)
    yield from measure(f"{where}: repair, nothing differs", [first, second], lambda: first.do("repair"))
    second.do("forget", records, 20)
    first.do("fill", records, TTL_S, 3, 0, 1, 20)
    yield from measure(f"{where}: repair, a tenth differs", [first, second], lambda: first.do("repair"))
    second.do("clear")
    yield from measure(f"{where}: repair, one lost all", [first, second], lambda: first.do("repair"))


def leave_rows(where: str, first: Measured, second: Measured, records: int) -> Iterator[Row]:
    """One node leaves with records that nobody else has."""
    first.do("fill", records, TTL_S, 1, 2 * records)
    for node in (first, second):
        node.do("begin")
    yield f"{where}: leaving, at first", first.do("leave", 60)
    yield f"{where}: leaving, at second", second.do("end")


def is_expired(node: Measured, records: int) -> bool:
    return bool(node.do("known")["expired"] >= records)


def has_all(node: Measured) -> bool:
    known = node.do("known")
    return known["state"] == "active" and not known["receiving"] and known["successors"] > 0


# Report ---------------------------------------------------------------------------------------------------------------

HEAD = """| activity | turns | p99, ms | longest, ms | p99 of work, ms | longest work, ms |
|---|---|---|---|---|---|"""


def told(row: Row) -> str:
    """One line of the table."""
    what, holds = row
    wall, cpu = holds["wall"], holds["cpu"]
    figures = f"{wall['p99']:.1f} | {wall['max']:.1f} | {cpu['p99']:.1f} | {cpu['max']:.1f}"
    return f"| {what} | {cpu['holds']:,} | {figures} |"


def with_table(page: str, table: str) -> str:
    """A page with a new table in place of its first one, or of the rows of that; its words stay."""
    lines = page.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| activity |"))
    last = next((number for number in range(first, len(lines)) if not lines[number].startswith("|")), len(lines))
    return "\n".join([*lines[:first], table, *lines[last:]]) + "\n"


def main() -> None:
    """Measure, print, and write the table if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--disk-records", type=int, default=20_000)
    parser.add_argument("--scene", choices=("admin", "memory", "disk"), action="append")
    parser.add_argument("--place", type=Path, help="a directory for the disk; a temporary one by default")
    parser.add_argument("--write", type=Path, help="put the table into this page too")
    options = parser.parse_args()
    scenes = options.scene or ("admin", "memory", "disk")
    rows = []
    with tempfile.TemporaryDirectory(prefix="gdht-stalls-", dir=options.place) as name:
        place = Path(name)
        print(HEAD, flush=True)
        for scene in scenes:
            (place / scene).mkdir()
            found = (
                admin_scene(place / scene, options.records)
                if scene == "admin"
                else moving_scene(
                    place / scene, options.records if scene == "memory" else options.disk_records, disk=scene == "disk"
                )
            )
            for row in found:
                rows.append(told(row))
                print(rows[-1], flush=True)
    if options.write:
        page = options.write.read_text() if options.write.exists() else f"# Stalls\n\n{HEAD}\n"
        options.write.write_text(with_table(page, "\n".join([HEAD, *rows])))


if __name__ == "__main__":
    main()
