"""The report: Markdown tables of what was measured, ratios first. Measures nothing itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cores
import others
import ringed
import single
from layers import GROUPS, KERNEL, Shares
from measure import Case, Comparison, Spread
from targets import TARGETS, judge

PERCENTILES = ("p50", "p90", "p99", "p99.9", "max")
LATENCIES_OF = ("node 1x1", "node 64x1", "node 1x64", "ring 8 gateway 64x1", "ring 8 gateway 1x64", "others 8")
CEILING_OF = ("node 64x1", "node 1x64")

INTRODUCTION = """# Throughput

What a node and a ring do per second, beside servers that do the same with less or with nothing in between. Run
`make bench` to repeat it; targets come first, then every figure they are made of.

Keys of 32 bytes, values of {value_bytes} bytes, {records:,} records. A PUT asks for its answer: SUCCESS once the write
quorum has the value. Everything runs on one machine ({machine}),
the load generator too. Only what was measured in turn is compared, round by round: {rounds} rounds of {seconds:g} s,
beside other systems of {others_seconds:g} s. A ratio is made within a round; the tables have the median of the rounds,
with the least and the most in brackets. CPU is that of all server processes together, for each request. The generator
(`benchmarks/load.c`) checks every answer: it must come in turn, repeat the key and bring the value that was put.
"""

TARGETS_TEXT = """A ratio of 0.50 means half as many requests per second. By CPU time it is the inverse ratio of what
the servers used for each request: it says nothing of waiting, and other work on the machine changes it less.
"""

NODE_TEXT = """A node in memory, replication 1, beside servers that are no DHT, all driven by the same generator. The
yardstick is a raw gevent server (`benchmarks/servers/dict.py`): it reads big, answers all whole requests of a read with
one send, keeps values in a dict and counts. It does not know lives, versions, copies or other nodes. The server has one
core, the generator another; with one request at a time both sleep in between, and most of it is waking up.
"""

RING_TEXT = """Rings on 2, 4 and 8 processes beside a raw gevent relay on as many (`benchmarks/servers/relay.py`): each
process takes clients, knows the owner from the key, passes the frame on over one connection per pair with a request
number, writes once per connection and turn of its loop; owners answer from a dict. It makes no copies, so its PUT is
beside ours for each number of copies.
"""

OTHERS_TEXT = """The same keys and values, {in_flight} requests in flight. The ratio says how many times as fast gdht
with 3 copies, pipelined, is. Each is at its best, and used as its users do:

- gdht over its API: one client with {in_flight} requests pipelined (1 x {in_flight}), or {in_flight} with one each.
- kademlia and OpenDHT are libraries: one of the nodes of the ring puts and gets, in its own process, which saves them
  the way from the client to the node. Their CPU includes that of the asking program.
- kademlia has 16 MiB of receive buffer per socket where the system lets it (with the default it loses datagrams and
  waits five seconds for each), and no log. It stores on `ksize` nodes: by default {ksize}, that is all the others in a
  ring of 8; with ksize 3 it makes as many copies as gdht by default, and its routing tables are as small. The asking
  node keeps no values, else its gets would end in its own dictionary.
- OpenDHT's limits on requests per second, also per address, are off. How many copies it makes cannot be set: it has the
  8 nodes nearest to a key store it, or a few more or less, and in a small ring the asking node has a copy too. So it is
  beside gdht with as many copies in a ring of 8, and beside gdht with 3 copies in rings of 3. A get ends with the first
  value found, also in the asking node itself; the search that OpenDHT sends out all the same is what bounds its rate. A
  put of a key replaces the value before. The 32 nodes of OpenDHT are 8 processes of 4, those of gdht are 32 processes.
- After a turn of kademlia or OpenDHT the next one begins when their processes are idle, or after 10 s: OpenDHT works on
  for 1 to 5 s after its last answer. What it uses then is not in its CPU.
- A put has succeeded in gdht when a majority of its copies is stored, in kademlia when one is, in OpenDHT when it says
  that it is done. gdht answers a get with the newest version.
"""

CORES_TEXT = """Clients spread over all nodes, 64 connections, one request at a time each. CPU is measured: of all nodes
together and of the generator, for each request, the kernel's work in it. A single node has one core and one copy, the
generator the other core; larger rings and the generator share all cores, with no core of their own. *Busy* is
requests/s x (nodes + generator): so many cores worked. A GET in a larger ring is more often another node's.
"""

EXPECTED_TEXT = """**Computed, not measured**: {cores} cores with {nodes} nodes, clients spread over all. Requests/s =
{cores} cores x the busy share of the ring of 2 / CPU time of a request in the ring of {nodes}. The busy share is *busy*
of the cores that there were. It assumes that a request costs on {cores} cores what it costs here, that {nodes} nodes
keep as many cores as busy as 2 nodes and the generator keep those here, and that keys and clients are spread evenly.
*With the generator*: its CPU time is taken off too, as if it ran on the same machine; *without*: as if the load came
from elsewhere, at the same cost to the nodes. *Times one node*: the latter beside the single node above, which has one
core, one copy, and every record itself.
"""

CEILING_TEXT = """The generator is one process in C. This is what it reaches with servers that only echo, one in C like
itself, and how much of one core it needed: while its share is well below 1, the server is what was measured.
"""

PROFILE_TEXT = """Share of a node's CPU time by the layer its code was in, sampled inside the process by its CPU time. C
functions count for the code that calls them, calls of sockets for themselves.
"""

LATENCY_TEXT = """Microseconds from sending a request to reading its answer, medians of the rounds. With 64 requests in
flight this is mostly waiting for the others: the rate decides it.
"""


@dataclass(frozen=True)
class Settings:
    """What a reader must know of a run."""

    machine: str
    rounds: int
    seconds: float
    others_seconds: float
    value_bytes: int
    records: int


@dataclass
class Findings:
    """All that was measured, and why what is missing is missing: left_out is not installed, failed did not end well."""

    comparisons: list[Comparison] = field(default_factory=list)
    profiles: dict[str, Shares] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def named(self, prefix: str) -> list[Comparison]:
        """The comparisons whose names begin so."""
        return [each for each in self.comparisons if each.name.startswith(prefix)]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = "".join(f"| {' | '.join(line)} |\n" for line in [head, *rows])
    first, rest = lines.split("\n", 1)
    return f"{first}\n|{'---|' * len(head)}\n{rest}"


def figures(value: float) -> str:
    """A number with about three figures."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def spread(value: Spread) -> str:
    """A median, and in brackets the least and the most."""
    return f"{figures(value.median)} ({figures(value.least)} to {figures(value.most)})"


def targets_table(comparisons: Sequence[Comparison]) -> str:
    """All targets, met or missed."""
    verdicts = [judge(target, comparisons) for target in TARGETS]
    rows = [
        [
            verdict.target.text,
            f"at least {figures(verdict.target.least)}",
            spread(verdict.ratio) if verdict.ratio else "",
            figures(verdict.cpu_ratio) if verdict.cpu_ratio else "",
            str(verdict),
        ]
        for verdict in verdicts
    ]
    return table(["target", "ratio", "measured", "by CPU time", ""], rows)


def rates_table(comparison: Comparison, base: str, inverted: bool = False) -> str:
    """One comparison. base: the server that the ratios are to. inverted: how many times as fast the base is."""
    rows = []
    for case in comparison.samples:
        other = comparison.find(case.operation, base) or comparison.find("GET", base)
        ratio = ""
        if other:
            ratio = spread(comparison.ratio(other, case) if inverted else comparison.ratio(case, other))
        rows.append(
            [case.operation, case.server, ratio, f"{comparison.rate(case):,.0f}", figures(comparison.server_us(case))]
        )
    ratio_head = f"{base} is … times this" if inverted else f"ratio to {base}"
    return table(["", "server", ratio_head, "requests/s", "CPU us per request"], rows)


def section(title: str, text: str, comparisons: Sequence[Comparison], base: str, inverted: bool = False) -> str:
    """All comparisons of one kind; nothing when there are none."""
    if not comparisons:
        return ""
    parts = [f"### {each.title}\n\n{rates_table(each, base, inverted)}" for each in comparisons]
    return f"## {title}\n\n{text}\n" + "\n".join(parts)


def cores_section(comparisons: Sequence[Comparison]) -> str:
    """What rings of 1, 2 and 4 nodes cost here, and what a machine with more cores would serve."""
    found = cores.costs(comparisons)
    if not found:
        return ""
    measured = table(
        ["", "copies", "nodes", "requests/s", "nodes, CPU us", "generator, CPU us", "busy cores"],
        [
            [
                each.operation,
                str(min(each.copies, each.nodes)),
                str(each.nodes),
                f"{each.per_s:,.0f}",
                figures(each.nodes_us),
                figures(each.generator_us),
                figures(each.busy_cores),
            ]
            for each in found
        ],
    )
    computed = table(
        ["", "copies", "computed requests/s, with the generator", "without", "times one node"],
        [
            [
                each.operation,
                str(each.copies),
                f"{each.with_generator_per_s:,.0f}",
                f"{each.alone_per_s:,.0f}",
                figures(each.times_one_node) if each.times_one_node else "",
            ]
            for each in cores.expected(found)
        ],
    )
    text = EXPECTED_TEXT.format(cores=cores.CORES, nodes=cores.CORES_NODES)
    return f"## What more cores would bring\n\n{CORES_TEXT}\n{measured}\n{text}\n{computed}"


def latency_section(comparisons: Sequence[Comparison]) -> str:
    """The percentiles of what is worth it."""
    rows = [
        [comparison.title, *case, *_percentiles(comparison, case)]
        for comparison in comparisons
        if comparison.name in LATENCIES_OF
        for case in comparison.samples
    ]
    return f"## Latency\n\n{LATENCY_TEXT}\n{table(['load', '', 'server', *PERCENTILES], rows)}" if rows else ""


def _percentiles(comparison: Comparison, case: Case) -> list[str]:
    def median(name: str) -> float:
        return comparison.median(case, lambda sample: sample.result.latency_us[name])

    return [figures(median(name)) for name in PERCENTILES]


def ceiling_section(comparisons: Sequence[Comparison]) -> str:
    """What the generator can do, and how busy it was with each server."""

    rows = [
        [comparison.title, *case, f"{comparison.rate(case):,.0f}", _generator_share(comparison, case)]
        for comparison in comparisons
        if comparison.name in CEILING_OF
        for case in comparison.samples
    ]
    head = ["load", "", "server", "requests/s", "generator, share of a core"]
    return f"## The generator's ceiling\n\n{CEILING_TEXT}\n{table(head, rows)}" if rows else ""


def _generator_share(comparison: Comparison, case: Case) -> str:
    return figures(comparison.median(case, lambda sample: sample.generator_share))


def profile_section(profiles: Mapping[str, Shares]) -> str:
    """A column for each load, a row for each layer."""
    rows = [
        [group, *(f"{shares.get(group, 0.0):.0%}" for shares in profiles.values())]
        for group in (*GROUPS, KERNEL)
        if any(group in shares for shares in profiles.values())
    ]
    return f"## Time by layer\n\n{PROFILE_TEXT}\n{table(['', *profiles], rows)}" if profiles else ""


def faults(comparisons: Iterable[Comparison]) -> list[str]:
    """Every case in which an answer was a failure or wrong."""
    found = []
    for comparison in comparisons:
        for case in comparison.samples:
            failures, mismatches = comparison.faults(case)
            if failures or mismatches:
                where = ", ".join([comparison.title, *case])
                found.append(f"{where}: {failures} failed, {mismatches} wrong")
    return found


def notes(findings: Findings) -> str:
    """What went wrong, and what is not there."""
    wrong = [f"- {line}\n" for line in faults(findings.comparisons)]
    missing = [f"- {line}\n" for line in findings.left_out]
    failed = "Answers that were failures or wrong:\n\n" + "".join(wrong) if wrong else "Every answer was right.\n"
    return failed + ("\nLeft out:\n\n" + "".join(missing) if missing else "")


def page(findings: Findings, settings: Settings, plots: Sequence[Path] = ()) -> str:
    """The whole report. plots: files, relative to it."""
    pictures = "".join(f"![{plot.stem}]({plot.as_posix()})\n" for plot in plots)
    others_text = OTHERS_TEXT.format(in_flight=others.IN_FLIGHT, ksize=others.KADEMLIA_KSIZE)
    parts = [
        INTRODUCTION.format(**vars(settings)),
        f"## Targets\n\n{TARGETS_TEXT}\n{targets_table(findings.comparisons)}",
        notes(findings),
        pictures,
        section("One node", NODE_TEXT, findings.named("node"), single.DICT),
        section("Rings", RING_TEXT, findings.named("ring"), ringed.RELAY),
        cores_section(findings.comparisons),
        section("Beside other systems", others_text, findings.named("others"), others.BASE, inverted=True),
        latency_section(findings.comparisons),
        profile_section(findings.profiles),
        ceiling_section(findings.comparisons),
    ]
    return "\n".join(filter(None, parts))
