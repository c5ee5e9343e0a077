"""A storm of puts into one node with a disk: how long it takes, what it costs, what a restart and expiry cost then.

Usage: python benchmarks/storm.py [--records 1000000] [--ttl 1200] [--place DIR] [--write benchmarks/storm.md]

The node is killed after the storm and started again, and every record is read. Then it is killed once more until all
have expired, so that it finds them due at once. Ends with an error when a put is refused or an answer is wrong.
"""

import argparse
import contextlib
import itertools
import math
import os
import platform
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from urllib.request import urlopen

from load import STALL_S, VALUE, Connection, Pattern, gets, key

CONNECTIONS = 4
IN_FLIGHT = 256
"""Requests on each connection that wait for their answers."""

POLL_S = 0.1
EXPIRY_S_MAX = 600.0
PUT_SHARE = 0.75
"""The puts may take this much of the records' life; the rest is for the restart and the reads."""

BUCKET = re.compile(r'gdht_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)')
LAG_MS = (5, 25, 100)
"""How often the loop was later than this is told; each is the bound of a bucket."""


class Served:
    """One node, served from a directory; leaving the `with` block kills it. p2p: where it is reached, and who it is."""

    def __init__(self, data_dir: Path, p2p: str = "127.0.0.1:0") -> None:
        command = [sys.executable, "-m", "gdht", "-q", "serve", "--data-dir", str(data_dir), "--p2p-address", p2p]
        command += ["--api-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0"]
        started_s = time.perf_counter()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        ready = re.search(r"p2p=(\S+) api=(\S+):(\d+) admin=(\S+)", self._process.stdout.readline())
        if ready is None:
            raise SystemExit("the node did not start")
        self.ready_s = time.perf_counter() - started_s
        self.p2p, self.api, self._admin = ready[1], (ready[2], int(ready[3])), ready[4]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def metrics(self) -> str:
        """Its /metrics."""
        with urlopen(f"http://{self._admin}/metrics") as response:
            return str(response.read().decode())

    def lag(self) -> dict[float, int]:
        """How often its loop was late by at most so many seconds, by those seconds."""
        return {float(bound): int(float(count)) for bound, count in BUCKET.findall(self.metrics())}

    def expired(self) -> int:
        """How many records it has dropped because their life was over."""
        found = re.search(r"^gdht_store_expired_keys_total (\S+)", self.metrics(), re.MULTILINE)
        return int(float(found[1])) if found else 0

    def memory_mib(self, peak: bool = False) -> float:
        """Resident memory now, or the most so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmHWM:" if peak else "VmRSS:")[1].split()[0]) / 1024


def told_lag(counts: dict[float, int], before: dict[float, int] | None = None) -> str:
    """How late the loop ran, from the counts of the histogram's buckets: since it began, or since `before`."""
    counts = {bound: count - (before or {}).get(bound, 0) for bound, count in counts.items()}
    total = counts[math.inf]
    if not total:
        return "not looked at once"
    over = (f"{1 - counts[ms / 1000] / total:.1%} over {ms} ms" for ms in LAG_MS)
    worst_s = min(bound for bound, count in counts.items() if count == total)
    most = f"none over {worst_s * 1000:g} ms" if worst_s < math.inf else "some over 1 s"
    return f"looked at {total:,} times: {', '.join(over)}, {most}"


def put_frames(records: int, ttl_s: int) -> list[bytes]:
    """A PUT that asks for its answer, for each record."""
    head = struct.pack("!HHHBB", 40 + len(VALUE), 650, ttl_s, 1, 1)
    return [head + key(number) + VALUE for number in range(records)]


def each_once(address: tuple[str, int], pattern: Pattern) -> float:
    """Send every frame of a pattern once, over several connections, and check the answers; returns the seconds."""
    frames = len(pattern.frames)
    first = [number * frames // CONNECTIONS for number in range(CONNECTIONS + 1)]
    started_s = time.perf_counter()
    poll = select.epoll()
    by_fd: dict[int, tuple[Connection, list[int]]] = {}
    for begin, end in itertools.pairwise(first):
        connection = Connection(address, pattern, begin)
        at_once = min(IN_FLIGHT, end - begin)
        by_fd[connection.sock.fileno()] = (connection, [end - begin - at_once, end - begin])
        poll.register(connection.sock, select.EPOLLIN)
        connection.send(at_once)
    while any(left[1] for _, left in by_fd.values()):
        if not (ready := poll.poll(STALL_S)):
            raise SystemExit(f"no answer to {pattern.name} for {STALL_S:.0f} s")
        for fd, _ in ready:
            connection, left = by_fd[fd]
            done = connection.receive()
            more = min(done, left[0])
            left[0] -= more
            left[1] -= done
            if more:
                connection.send(more)
    for connection, _ in by_fd.values():
        connection.sock.close()
    return time.perf_counter() - started_s


def disk_mib(data_dir: Path) -> float:
    """What the files take on the disk, holes not counted."""
    return sum(file.stat().st_blocks * 512 for file in data_dir.iterdir()) / (1 << 20)


def expire_all(node: Served, records: int) -> float:
    """Wait until a node has dropped so many records; returns the seconds since it was asked first."""
    started_s = time.perf_counter()
    while (expired := node.expired()) < records:
        if time.perf_counter() - started_s > EXPIRY_S_MAX:
            raise SystemExit(f"after {EXPIRY_S_MAX:.0f} s {records - expired} records are still there")
        time.sleep(POLL_S)
    return time.perf_counter() - started_s


def measure(data_dir: Path, records: int, ttl_s: int) -> Iterator[tuple[str, str]]:
    """What was measured, row by row."""
    with Served(data_dir) as node:
        pattern = Pattern("PUT", put_frames(records, ttl_s), 36)
        began_s = time.monotonic()
        seconds = each_once(node.api, pattern)
        ended_s = time.monotonic()
        if ended_s - began_s > PUT_SHARE * ttl_s:
            raise SystemExit(f"the puts took {seconds:.0f} s; take a --ttl that leaves more time to read them")
        yield "put, each acknowledged when it is on the disk", f"{seconds:.1f} s, {records / seconds:,.0f} per second"
        yield "event loop meanwhile", told_lag(node.lag())
        yield "memory, at most", f"{node.memory_mib(peak=True):,.0f} MiB"
    yield "disk", f"{disk_mib(data_dir):,.0f} MiB, {disk_mib(data_dir) * (1 << 20) / records:,.0f} bytes per record"
    with Served(data_dir, node.p2p) as node:
        yield "restart after kill -9, until it serves", f"{node.ready_s:.2f} s"
        yield "memory after the restart", f"{node.memory_mib():,.0f} MiB"
        before = node.lag()
        seconds = each_once(node.api, gets(records))
        yield "read, every record once", f"{seconds:.1f} s, {records / seconds:,.0f} per second"
        yield "event loop meanwhile", told_lag(node.lag(), before)
        yield "memory, at most", f"{node.memory_mib(peak=True):,.0f} MiB"
    time.sleep(max(ended_s + ttl_s + 1 - time.monotonic(), 0))
    with Served(data_dir, node.p2p) as node:
        yield "restart with all of them expired, until it serves", f"{node.ready_s:.2f} s"
        seconds = node.ready_s + expire_all(node, records)
        yield "until they have all left, from its start on", f"{seconds:.1f} s"
        yield "event loop meanwhile", told_lag(node.lag())
        yield "memory, at most", f"{node.memory_mib(peak=True):,.0f} MiB"


def main() -> None:
    """Measure, print, and write the report if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--ttl", type=int, default=1200, help="seconds; longer than the puts and the reads take")
    parser.add_argument("--place", type=Path, help="a directory on the disk to measure; a temporary one by default")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    rows = []
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="gdht-storm-", dir=options.place))
        for what, figure in measure(Path(place) / "data", options.records, options.ttl):
            rows.append(f"| {what} | {figure} |")
            print(rows[-1], flush=True)
    if options.write:
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
        load = f"{CONNECTIONS} connections with {IN_FLIGHT} requests in flight on each"
        text = [
            "# A storm of puts",
            "",
            f"{options.records:,} records of {len(VALUE)} bytes are put into one node with a disk, over {load}.",
            "Then it is killed and started again, and every record is read; and once more when all have expired.",
            f"The load generator runs on the same machine ({machine}). Run `make storm` to repeat it.",
            "",
            "| | |",
            "|---|---|",
            *rows,
        ]
        options.write.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
