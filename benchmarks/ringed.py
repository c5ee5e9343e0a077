"""Rings: gdht in memory and on disks beside a raw gevent relay on as many processes."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from generator import BUILD, Shape
from measure import Case, Comparison, compare, loaded
from processes import Children
from rings import Served, start_relay, start_ring
from workload import Requests, api_requests

NODES = (2, 4, 8)
COPIES = (1, 3)
RELAY = "raw gevent relay"
WAYS = {
    "gateway 64x1": (Shape(64, 1), False, "64 connections to one gateway, one at a time each"),
    "spread 64x1": (Shape(64, 1), True, "64 connections spread over all, one at a time each"),
    "gateway 1x64": (Shape(1, 64), False, "1 connection, 64 pipelined"),
}

Playing = dict[Case, tuple[Served, Requests]]


def gdht(copies: int, place: str = "memory") -> str:
    """The name of a ring in the tables."""
    return f"gdht, {'1 copy' if copies == 1 else f'{copies} copies'}, {place}"


def start(children: Children, nodes: int, data: Path) -> Playing:
    """All rings, filled, and what each is to be sent."""
    relay = start_relay(children, nodes)
    memory = start_ring(children, nodes)
    disk = start_ring(children, nodes, data)
    cases: Playing = {}
    for operation in ("GET", "PUT"):
        cases[Case(operation, RELAY)] = (relay, api_requests(operation, 1))
        for copies in COPIES:
            requests = api_requests(operation, copies)
            cases[Case(operation, gdht(copies))] = (memory, requests)
            if operation == "PUT" or copies == max(COPIES):
                cases[Case(operation, gdht(copies, "LMDB"))] = (disk, requests)
    for case, (served, requests) in cases.items():
        if case.operation == "PUT":
            served.fill(requests)
    return cases


def measure(rounds: int, seconds: float) -> Iterator[Comparison]:
    """For each number of processes, one comparison for each way in."""
    BUILD.mkdir(parents=True, exist_ok=True)
    for nodes in NODES:
        with tempfile.TemporaryDirectory(prefix="data-", dir=BUILD) as data, Children() as children:
            cases = start(children, nodes, Path(data))
            for way, (shape, spread, title) in WAYS.items():
                measured = {
                    case: loaded(served, requests, shape, seconds, spread) for case, (served, requests) in cases.items()
                }
                yield compare(f"ring {nodes} {way}", f"{nodes} processes, {title}", measured, rounds)
