"""What becomes of a ring when more comes than it can serve: latency, refusals, memory, and how soon it is over.

Usage: python benchmarks/overload.py [--rounds 3] [--write benchmarks/overload.md]

A ring of four nodes; everything goes through one of them, which has a core of its own. First is measured what it
serves; then requests are sent at a multiple of that rate, whether or not answers come. Beside them another client asks
for a little at a steady rate: what it sees before, meanwhile and afterwards is what an overload does to those who did
not cause it. Takes at most three minutes.
"""

import argparse
import os
import re
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from generator import Load, NoCompilerError, Result, Shape, Slice, compile_c, load
from processes import Children, cpu_us, on_core, pin
from report import figures, table
from rings import Served, start_ring
from throughput import machine
from workload import api_requests

NODES, COPIES = 4, 3
OPERATIONS = ("GET", "PUT")
MULTIPLES = (0.5, 1.0, 2.0, 4.0)
MANY, FEW = 256, 8
"""Connections: those of an overload by many clients, and by few."""
OUTSTANDING_MAX = 8192
"""Of one connection: beyond that, requests wait in the generator."""
STALL_S = 30.0
SATURATING = Shape(MANY, 1)
CAPACITY_S, CAPACITY_TRIES = 0.7, 3
WARMUP_S, BURST_S = 0.3, 1.7
STILL_S, STOPPED_S = 0.4, 1.0
"""A node that stands still does so after so long, for so long."""
QUIET_S, AFTER_S = 0.6, 1.4
BY_AND_BY = Shape(4, OUTSTANDING_MAX)
BY_AND_BY_PER_S = 500
SLICE_S = 0.1
CALM_SLICES = 3
CALM_MS = 20.0
SCRAPE_S_MAX = 60.0
REST = "\n## What was found\n"
"""From here on the report is written by hand."""


@dataclass(frozen=True)
class Case:
    """One load. multiple: of what the ring serves. still: whether another node stands still for a while."""

    operation: str
    multiple: float
    connections: int = MANY
    still: bool = False

    def __str__(self) -> str:
        few = f", {self.connections} connections" if self.connections != MANY else ""
        return f"{self.operation}, {self.multiple:g} x{few}{', a node stands still' if self.still else ''}"


CASES = (
    *(Case(operation, multiple) for operation in OPERATIONS for multiple in MULTIPLES),
    Case("PUT", 2.0, connections=FEW),
    *(Case(operation, 0.5, still=True) for operation in OPERATIONS),
)


@dataclass(frozen=True)
class Seen:
    """What became of a case in one round.

    other: the slices of the other client. began_s, ended_s: of the overload, by `time.monotonic()`; where a node
    stands still, until it goes on. memory_mib: the most that the gateway had. lag_s, hold_s: 99th percentiles of its
    event loop. counted: refusals by its own counter.
    """

    result: Result
    other: list[Slice]
    began_s: float
    ended_s: float
    memory_mib: float
    lag_s: float
    hold_s: float
    counted: float
    gateway_us: float

    def before(self) -> list[Slice]:
        """The other client's slices before the overload."""
        return [each for each in self.other if each.ended_s <= self.began_s]

    def since(self) -> list[Slice]:
        """Those from its beginning on: what was asked for meanwhile may be answered later."""
        return [each for each in self.other if each.ended_s > self.began_s]

    def meanwhile(self) -> list[Slice]:
        """Those of the overload itself, without its beginning."""
        return [each for each in self.since() if self.began_s + WARMUP_S < each.ended_s <= self.ended_s]


def p99_ms(slices: Sequence[Slice]) -> list[float]:
    """Of those in which an answer came."""
    return [each.latency_us["p99"] / 1000 for each in slices if each.successes + each.failures]


def recovered_s(slices: Sequence[Slice], began_s: float, ended_s: float) -> float | None:
    """How long after the end of an overload another client's answers were as before; None when they never were.

    As before: for `CALM_SLICES`, every answer a success, and the p99 at most `CALM_MS` or twice the worst before.
    """
    allowed_ms = max([CALM_MS, *(2 * ms for ms in p99_ms([each for each in slices if each.ended_s <= began_s]))])
    calm, after_s = 0, ended_s
    for each in slices:
        if each.ended_s <= ended_s:
            continue
        is_calm = each.successes and not each.failures and each.latency_us["p99"] / 1000 <= allowed_ms
        calm = calm + 1 if is_calm else 0
        if not is_calm:
            after_s = each.ended_s
        if calm == CALM_SLICES:
            return after_s - ended_s
    return None


# What the gateway says of itself -------------------------------------------------------------------------------------


def scrape(admin: str) -> dict[str, float]:
    """All samples of a node's metrics, by name with labels."""
    with urlopen(f"http://{admin}/metrics", timeout=SCRAPE_S_MAX) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(text) for name, _, text in (line.rpartition(" ") for line in lines if line[:1] not in ("", "#"))
    }


def grown(before: Mapping[str, float], after: Mapping[str, float], name: str) -> float:
    """By how much a counter, or all of a family whose names begin so, rose."""
    return sum(value - before.get(each, 0.0) for each, value in after.items() if each.startswith(name))


def percentile_s(before: Mapping[str, float], after: Mapping[str, float], name: str, share: float) -> float:
    """A percentile of what a histogram counted in between: the upper bound of the bucket that it is in."""
    bounds = {}
    for each, value in after.items():
        if found := re.fullmatch(rf'{name}_bucket\{{le="(\S+)"\}}', each):
            bounds[float(found[1])] = value - before.get(each, 0.0)
    total = max(bounds.values(), default=0.0)
    return next((bound for bound, count in sorted(bounds.items()) if total and count >= share * total), 0.0)


def peak_memory_mib(pid: int) -> float:
    """The most that a process had resident since `forget_peak`."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def forget_peak(pid: int) -> None:
    """Begin anew with the most that a process has had resident."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


# The run --------------------------------------------------------------------------------------------------------------


@contextmanager
def ring() -> Iterator[Served]:
    """A ring that has all records; its first node, the gateway, has a core of its own where there are several."""
    with Children() as children:
        served = start_ring(children, NODES)
        for pid in served.pids:
            pin(pid, 0 if pid == served.pids[0] else -1)
        served.fill(api_requests("PUT", COPIES))
        yield served


def capacity(served: Served, operation: str) -> float:
    """How many requests per second are answered when each connection sends one at a time: the most of some tries."""
    requests = api_requests(operation, COPIES)
    results = [
        load(requests.file, served.addresses[:1], SATURATING, CAPACITY_S, *requests.options)
        for _ in range(CAPACITY_TRIES)
    ]
    return max(result.successes / result.seconds for result in results)


def play(served: Served, case: Case, served_per_s: float) -> Seen:
    """Overload the gateway once, and look on."""
    gateway, addresses = served.pids[0], served.addresses[:1]
    requests, gets = api_requests(case.operation, COPIES), api_requests("GET", COPIES)
    steady = ["--rate", str(BY_AND_BY_PER_S), "--interval", str(SLICE_S), "--stall", str(STALL_S)]
    burst = ["--rate", f"{case.multiple * served_per_s:.0f}", "--warmup", str(WARMUP_S), "--stall", str(STALL_S)]
    forget_peak(gateway)
    whole_s = QUIET_S + WARMUP_S + BURST_S + AFTER_S
    with Load(gets.file, addresses, BY_AND_BY, whole_s, [*gets.options, *steady, "--warmup", "0"]) as other:
        time.sleep(QUIET_S)
        before, used_us = scrape(served.admin), cpu_us([gateway])
        began_s = time.monotonic()
        shape = Shape(case.connections, OUTSTANDING_MAX)
        with Load(requests.file, addresses, shape, BURST_S, [*requests.options, *burst]) as running:
            freed_s = stand_still(served.pids[-1]) if case.still else 0.0
            result, _ = running.result()
        used_us = cpu_us([gateway]) - used_us
        after = scrape(served.admin)
        _, slices = other.result()
    return Seen(
        result,
        slices,
        began_s,
        freed_s or result.ended_s,
        peak_memory_mib(gateway),
        percentile_s(before, after, "gdht_event_loop_lag_seconds", 0.99),
        percentile_s(before, after, "gdht_event_loop_hold_seconds", 0.99),
        grown(before, after, f'gdht_api_requests_total{{operation="{case.operation.lower()}",result="overload"}}'),
        used_us / max(result.all_answers, 1),
    )


def stand_still(pid: int) -> float:
    """Stop a process for a while; when it went on, by `time.monotonic()`."""
    time.sleep(STILL_S)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(STOPPED_S)
    finally:
        os.kill(pid, signal.SIGCONT)
    return time.monotonic()


def measure(rounds: int) -> tuple[dict[str, float], dict[Case, list[Seen]]]:
    """What the ring serves of each operation, and all cases, round by round."""
    seen: dict[Case, list[Seen]] = {case: [] for case in CASES}
    with ring() as served, on_core(-1):
        serves = {operation: capacity(served, operation) for operation in OPERATIONS}
        for _ in range(rounds):
            for case, kept in seen.items():
                kept.append(play(served, case, serves[case.operation]))
                result = kept[-1].result
                print(
                    f"{case}: {result.successes / result.seconds:,.0f}/s of {serves[case.operation]:,.0f}", flush=True
                )
    return serves, seen


# The report -----------------------------------------------------------------------------------------------------------


def median(seen: Sequence[Seen], figure: Callable[[Seen], float]) -> float:
    """Any figure of a case."""
    return statistics.median(map(figure, seen))


def worst(seen: Sequence[Seen], figure: Callable[[Seen], float]) -> str:
    """The median, and in brackets the most."""
    values = [figure(each) for each in seen]
    return f"{figures(statistics.median(values))} ({figures(max(values))})"


def recovery(seen: Sequence[Seen]) -> str:
    """How soon the other client's answers were as before: in how many seconds, the median and the most."""
    times = [recovered_s(each.other, each.began_s, each.ended_s) for each in seen]
    known = sorted(AFTER_S if time_s is None else time_s for time_s in times)
    most = f"more than {AFTER_S:.1f}" if None in times else f"{known[-1]:.1f}"
    return f"{statistics.median(known):.1f} ({most})"


def clients_table(serves: Mapping[str, float], seen: Mapping[Case, list[Seen]]) -> str:
    """What those who send see."""
    rows = []
    for case, each in seen.items():
        rate = median(each, lambda one: one.result.successes / one.result.seconds)
        refused = median(each, lambda one: one.result.failures / max(one.result.answers, 1))
        rows.append(
            [
                str(case),
                f"{case.multiple * serves[case.operation]:,.0f}",
                f"{rate:,.0f}",
                f"{refused:.0%}",
                figures(median(each, lambda one: one.result.success_us["p50"] / 1000)),
                worst(each, lambda one: one.result.success_us["p99"] / 1000),
                figures(median(each, lambda one: one.result.success_us["max"] / 1000)),
                figures(median(each, lambda one: one.result.failure_us["p99"] / 1000)) if refused else "",
                f"{median(each, lambda one: one.result.waiting + one.result.unsent):,.0f}",
            ]
        )
    head = ["load", "sent/s", "served/s", "refused", "p50, ms", "p99, ms", "longest, ms", "p99 of refusals, ms", "left"]
    return table(head, rows)


def others_table(seen: Mapping[Case, list[Seen]]) -> str:
    """What the client sees that asks for little."""
    rows = []
    for case, each in seen.items():

        def before_ms(one: Seen) -> float:
            return max(p99_ms(one.before()), default=0.0)

        def meanwhile_ms(one: Seen) -> float:
            return statistics.median(p99_ms(one.meanwhile()) or [one.result.seconds * 1000])

        def longest_ms(one: Seen) -> float:
            return max(part.latency_us["max"] / 1000 for part in one.since())

        def refused(one: Seen) -> float:
            parts = one.meanwhile()
            answers = sum(part.successes + part.failures for part in parts)
            return sum(part.failures for part in parts) / max(answers, 1)

        rows.append(
            [
                str(case),
                figures(median(each, before_ms)),
                worst(each, meanwhile_ms),
                worst(each, longest_ms),
                f"{median(each, refused):.0%}",
                recovery(each),
            ]
        )
    return table(["load", "p99 before, ms", "p99 meanwhile, ms", "longest, ms", "refused", "as before after, s"], rows)


def node_table(seen: Mapping[Case, list[Seen]]) -> str:
    """What the gateway sees."""
    rows = [
        [
            str(case),
            f"{median(each, lambda one: one.counted):,.0f}",
            worst(each, lambda one: one.memory_mib),
            figures(1000 * median(each, lambda one: one.hold_s)),
            figures(1000 * median(each, lambda one: one.lag_s)),
            figures(median(each, lambda one: one.gateway_us)),
        ]
        for case, each in seen.items()
    ]
    head = ["load", "`overload` counted", "memory, MiB", "hold p99, ms", "lag p99, ms", "CPU us per answer"]
    return table(head, rows)


PAGE = """# Overload

What becomes of a ring when more comes than it can serve. Run `make overload` to repeat it.

A ring of {nodes} nodes in memory, {copies} copies, on one machine
({machine}).
Everything goes through one of them, the gateway, which has a core of its own; the others and the load generator share
the rest. With {many} connections that send one request at a time it serves {get:,.0f} GETs or {put:,.0f} PUTs per
second, the most of {tries} tries: that is 1 x. Each load sends a multiple of that for {seconds:g} s, over {many}
connections unless it says otherwise, at even intervals, whether or not answers come. Latency counts from the moment at
which a request was to be sent: the wait of what nobody has read yet is in it. The tables have medians of {rounds}
rounds, with the most in brackets. Other work on the machine changes a round by a factor of two now and then: an
overload that others cause looks just like one that clients cause.

## Those who send

*Refused*: answered with FAILURE. Latencies are those of the answers that were successes, but for the last. *Left*: sent
or due, and not answered at the end; what grows here waits in the kernel's buffers and with the client.

{clients}
## Another client, that asks for little

{few_per_s} GETs per second over {few} connections, before, while and after the others send theirs, in tenths of a
second. *Meanwhile*: the median of their p99; *longest*: until all is answered. *As before*: from then on for three
tenths every answer was a success, with a p99 of at most {calm:g} ms, or twice the worst before. Where a node stands
still, this counts from when it goes on.

{others}
## The gateway

*Memory*: the most it had resident during the load; what it once needed it does not give back at once. Some 60 MiB are
the process with its records. *Hold* and *lag*: `gdht_event_loop_hold_seconds` and
`gdht_event_loop_lag_seconds`, each the upper bound of its bucket; the lag is looked at four times a second, so its p99
is the longest.

{node}"""


def page(rounds: int, serves: Mapping[str, float], seen: Mapping[Case, list[Seen]]) -> str:
    """The part of the report that is measured."""
    return PAGE.format(
        nodes=NODES,
        copies=COPIES,
        machine=machine(),
        many=MANY,
        get=serves["GET"],
        put=serves["PUT"],
        tries=CAPACITY_TRIES,
        seconds=WARMUP_S + BURST_S,
        rounds=rounds,
        clients=clients_table(serves, seen),
        few_per_s=BY_AND_BY_PER_S,
        few=BY_AND_BY.connections,
        calm=CALM_MS,
        others=others_table(seen),
        node=node_table(seen),
    )


def main() -> None:
    """Measure, print, and write the report if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, help="write the report here; what was found stays")
    options = parser.parse_args()
    try:
        compile_c("load")
    except NoCompilerError as error:
        raise SystemExit(f"nothing can be measured: {error}") from None
    began_s = time.monotonic()
    serves, seen = measure(options.rounds)
    text = page(options.rounds, serves, seen)
    print(f"\n{text}\nIt took {time.monotonic() - began_s:.0f} s.")
    if options.write:
        found = options.write.read_text().partition(REST)[2] if options.write.exists() else ""
        options.write.write_text(text + (REST + found if found else ""))


if __name__ == "__main__":
    main()
