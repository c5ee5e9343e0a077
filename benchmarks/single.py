"""One process: a node of gdht in memory beside raw gevent servers and redis."""

from collections.abc import Iterator

from generator import Shape
from measure import Case, Comparison, Measured, compare, loaded
from processes import Children, on_core
from rings import Served, start_c_echo, start_raw, start_redis, start_ring
from workload import Requests, api_requests, echo_requests, resp_requests

SHAPES = {
    "node 1x1": (Shape(1, 1), "1 connection, one at a time"),
    "node 64x1": (Shape(64, 1), "64 connections, one at a time each"),
    "node 1x64": (Shape(1, 64), "1 connection, 64 pipelined"),
}
DICT = "raw gevent dict"
GDHT = "gdht"

Playing = dict[Case, tuple[Served, Requests]]


def start(children: Children) -> Playing:
    """All servers, filled, and what each is to be sent."""
    cases: Playing = {
        Case("echo", "C echo"): (start_c_echo(children), echo_requests()),
        Case("echo", "raw gevent echo"): (start_raw(children, "echo"), echo_requests()),
    }
    servers = {DICT: start_raw(children, "dict"), GDHT: start_ring(children, 1), "redis": start_redis(children)}
    for name, served in servers.items():
        if served is None:
            continue
        make = resp_requests if name == "redis" else (lambda operation: api_requests(operation, 1))
        requests = {operation: make(operation) for operation in ("GET", "PUT")}
        served.fill(requests["PUT"])
        cases |= {Case(operation, name): (served, each) for operation, each in requests.items()}
    return cases


def measure(rounds: int, seconds: float) -> Iterator[Comparison]:
    """One comparison for each shape."""
    with Children() as children:
        with on_core(0):
            cases = start(children)
        for name, (shape, title) in SHAPES.items():
            measured: dict[Case, Measured] = {
                case: loaded(served, requests, shape, seconds) for case, (served, requests) in cases.items()
            }
            with on_core(-1):
                comparison = compare(name, title, measured, rounds)
            yield comparison
