"""What `gdht bench` tells: a table and a few sentences, or JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from gdht.cli.load import tally as kinds
from gdht.cli.load.plan import Plan
from gdht.cli.load.tally import Operation, Tally
from gdht.cli.tables import UNKNOWN, counted, percent, print_table

WAITING_SHARE_MIN = 0.1
"""A generator that waits less than this share of the time can offer no more: it limits the load itself."""

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
COLUMNS = ("", "per second>", *(f"{name}>" for name in QUANTILES), "max>", "answered>", "failed>")

WORDS = {
    kinds.NOT_FOUND: "not found",
    kinds.REFUSED: "refused",
    kinds.TIMEOUT: "without an answer in time",
    kinds.DISCONNECTED: "cut off",
    kinds.NONSENSE: "with an answer that made no sense",
    kinds.UNREACHABLE: "not taken",
}


@dataclass(frozen=True)
class Report:
    """All that is known at the end. addresses: as they were given. stored: what came of storing the values."""

    plan: Plan
    addresses: Sequence[str]
    processes: int
    stored: Tally
    loaded: Tally
    was_stopped: bool

    @property
    def is_well(self) -> bool:
        """Whether requests were answered and none failed."""
        lost = self.loaded.connections.total() + self.stored.failed
        return self.loaded.answered > 0 and self.loaded.failed + lost == 0

    @property
    def was_bottleneck(self) -> bool:
        """Whether the generator could offer no more, so that the nodes may well answer more than it says."""
        return self.loaded.answered > 0 and self.waiting_share < WAITING_SHARE_MIN

    @property
    def cpu_share(self) -> float:
        """Of one core per process, 0 to 1."""
        return _share(self.loaded.cpu_s, self.loaded.seconds * self.processes)

    @property
    def waiting_share(self) -> float:
        """Of the time, mean of the processes, 0 to 1."""
        return _share(self.loaded.waited_s, self.loaded.seconds * self.processes)

    # For people ------------------------------------------------------------------------------------------------------

    def show(self) -> None:
        """Write it to standard output."""
        click.echo(self._heading())
        rows = [("get", self.loaded.gets), ("put", self.loaded.puts)]
        used = [self._row(name, one) for name, one in rows if one.latencies.count or one.failures]
        if used:
            print_table(COLUMNS, used)
        for sentence in self._sentences():
            click.echo(sentence)

    def _heading(self) -> str:
        plan = self.plan
        under_way = f"{counted(plan.connections, 'connection')}, {counted(plan.pipeline, 'request')} under way on each"
        records = f"{counted(plan.keys, 'key')}, values of {plan.value_bytes:,} bytes"
        return f"{', '.join(self.addresses)}: {under_way}; {percent(plan.get_ratio)} gets; {records}"

    def _row(self, name: str, operation: Operation) -> list[str]:
        times = operation.latencies
        shown = [_milliseconds(times.quantile_s(share)) for share in QUANTILES.values()]
        return [
            name,
            f"{_share(operation.in_time, self.loaded.seconds):,.0f}",
            *shown,
            _milliseconds(times.max_s if times.count else None),
            f"{times.count:,}",
            f"{operation.failures.total():,}",
        ]

    def _sentences(self) -> list[str]:
        told = []
        if self.was_stopped and not self.loaded.seconds:
            return ["Stopped while values were being stored."]
        if self.was_stopped:
            told.append(f"Stopped after {self.loaded.seconds:.1f} s of {self.plan.seconds:g} s.")
        if self.stored.failed:
            told.append(f"Not all values could be stored: {failures(self.stored)}.")
        if self.loaded.failed or self.loaded.connections:
            told.append(f"Failed: {failures(self.loaded)}.")
        told.append(
            f"The generator used {percent(self.cpu_share)} of {'a core' if self.processes == 1 else 'its cores'} "
            f"and waited for answers {percent(self.waiting_share)} of the time."
        )
        if self.was_bottleneck:
            told.append(
                "It hardly waited: it was the bottleneck, not the nodes. Give it more --processes or a free machine."
            )
        return told

    # For programs ----------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """All of it; times in seconds."""
        plan = self.plan
        return {
            "parameters": {
                "api": list(self.addresses),
                "connections": plan.connections,
                "pipeline": plan.pipeline,
                "seconds": plan.seconds,
                "get_ratio": plan.get_ratio,
                "value_bytes": plan.value_bytes,
                "keys": plan.keys,
                "replication": plan.replication,
                "ttl_seconds": plan.ttl_s,
                "timeout_seconds": plan.timeout_s,
                "processes": self.processes,
            },
            "stopped": self.was_stopped,
            "seconds": round(self.loaded.seconds, 6),
            "stored": {"values": self.stored.answered, "failures": dict(self.stored.puts.failures)},
            "get": self._operation_json(self.loaded.gets),
            "put": self._operation_json(self.loaded.puts),
            "failed_connections": dict(self.loaded.connections),
            "generator": {
                "cpu_share": round(self.cpu_share, 4),
                "waiting_share": round(self.waiting_share, 4),
                "was_bottleneck": self.was_bottleneck,
            },
        }

    def _operation_json(self, operation: Operation) -> dict[str, Any]:
        times = operation.latencies
        return {
            "answered": times.count,
            "per_second": round(_share(operation.in_time, self.loaded.seconds), 3),
            "latency_seconds": {
                **{name: _microseconds(times.quantile_s(share)) for name, share in QUANTILES.items()},
                "max": _microseconds(times.max_s if times.count else None),
            },
            "failures": dict(operation.failures),
        }


def failures(tally: Tally) -> str:
    """What failed, in words.

    >>> tally = Tally()
    >>> tally.gets.failures["not_found"] = 2
    >>> tally.connections["unreachable"] = 1
    >>> failures(tally)
    '2 gets not found, 1 connection not taken'
    """
    parts = _parts(tally.gets.failures, "get") + _parts(tally.puts.failures, "put")
    return ", ".join(parts + _parts(tally.connections, "connection"))


def _parts(counts: Counter[str], noun: str) -> list[str]:
    return [f"{counted(count, noun)} {WORDS[kind]}" for kind, count in sorted(counts.items())]


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _microseconds(seconds: float | None) -> float | None:
    """Seconds as they are worth being told."""
    return None if seconds is None else round(seconds, 6)


def _milliseconds(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else f"{seconds * 1000:.2f} ms"
