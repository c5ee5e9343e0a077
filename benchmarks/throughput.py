"""GET and PUT per second on a ring of 1 and of 4 processes, beside a raw gevent server that echoes the same bytes.

Usage: python benchmarks/throughput.py [--rounds 5] [--seconds 1] [--write benchmarks/throughput.md]

All servers run at once and are loaded in turn, round by round, so that a slow moment of the machine hits all alike.
What is reported is the ratio to the raw server within one round, median over the rounds, and the spread of it.
"""

import argparse
import contextlib
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from load import Pattern, fill, gets, puts, run

RECORDS = 2000
HERE = Path(__file__).parent
SHAPES = (("64 connections, one at a time each", 64, 1), ("one connection, 64 pipelined", 1, 64))
REPLICATION = {1: 1, 4: 3}

Addresses = list[tuple[str, int]]


@contextlib.contextmanager
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """A list of processes that are all ended at the end."""
    started: list[subprocess.Popen[str]] = []
    try:
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=15)


def start_ring(nodes: int, started: list[subprocess.Popen[str]]) -> Addresses:
    """The API addresses of a new ring of so many processes."""
    addresses: Addresses = []
    bootstrap = ""
    for _ in range(nodes):
        command = [sys.executable, "-m", "gdht", "-q", "serve", "--admin-address", "", "--data-dir", ""]
        command += ["--p2p-address", "127.0.0.1:0", "--api-address", "127.0.0.1:0", "--bootstrap", bootstrap]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        ready = re.search(r"p2p=(\S+) api=(\S+):(\d+)", process.stdout.readline())
        if ready is None:
            raise SystemExit("a node did not start")
        bootstrap = bootstrap or ready[1]
        addresses.append((ready[2], int(ready[3])))
    return addresses


def start_echo(pattern: Pattern, started: list[subprocess.Popen[str]]) -> Addresses:
    """The address of a raw server that answers this pattern."""
    answer = pattern.answer_head + bytes(pattern.answer_bytes - 4)
    command = [sys.executable, str(HERE / "echo.py"), str(len(pattern.frames[0])), answer.hex()]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    started.append(process)
    assert process.stdout
    return [("127.0.0.1", int(process.stdout.readline()))]


def measure(rounds: int, seconds: float) -> list[str]:
    """All rows of the report."""
    rows = []
    with processes() as started:
        rings = {nodes: start_ring(nodes, started) for nodes in REPLICATION}
        for nodes, addresses in rings.items():
            fill(addresses[0], RECORDS, REPLICATION[nodes])
        for pattern, label in ((gets(RECORDS), "GET"), (puts(RECORDS, 0), "PUT")):
            echo = start_echo(pattern, started)
            for shape, connections, in_flight in SHAPES:
                rates: dict[str, list[float]] = {"raw gevent": [], **{f"ring of {n}": [] for n in rings}}
                for _ in range(rounds):
                    rates["raw gevent"].append(run(echo, pattern, connections, in_flight, seconds))
                    for nodes, addresses in rings.items():
                        load = pattern if label == "GET" else puts(RECORDS, REPLICATION[nodes])
                        rates[f"ring of {nodes}"].append(run(addresses[:1], load, connections, in_flight, seconds))
                rows += report(label, shape, rates)
    return rows


def report(label: str, shape: str, rates: dict[str, list[float]]) -> list[str]:
    """The rows of one comparison, ratios first."""
    rows = []
    raw = rates["raw gevent"]
    for name, measured in rates.items():
        ratios = [rate / base for rate, base in zip(measured, raw, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append(f"| {label} | {shape} | {name} | {statistics.median(ratios):.2f} | {spread} "
                    f"| {statistics.median(measured):,.0f} |")  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure, print, and write the report if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    head = ["| | load | server | ratio to raw | spread | requests/s |", "|---|---|---|---|---|---|"]
    print("\n".join(head))
    rows = measure(options.rounds, options.seconds)
    if options.write:
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
        text = [
            "# Throughput",
            "",
            "Values of 100 bytes; ring of 1 with replication 1, ring of 4 with replication 3, all in memory and all",
            "requests through one gateway. PUT asks for its answer. Load generator, raw server and all nodes share one",
            f"machine ({machine}). Medians of {options.rounds} rounds of {options.seconds:g} s, all in one run; the",
            "ratio is to the raw gevent server in the same round. Run `make bench` to repeat it.",
            "",
            *head,
            *rows,
        ]
        options.write.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
