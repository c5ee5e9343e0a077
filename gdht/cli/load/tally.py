"""What came of a load: counts, times and failures by kind, of one process or summed over several."""

from collections import Counter
from typing import Any

from gdht.cli.load.latencies import Latencies

NOT_FOUND = "not_found"
"""A GET was answered by FAILURE, though the value had been put."""
REFUSED = "refused"
"""A PUT was answered by FAILURE."""
TIMEOUT = "timeout"
"""No answer came in time."""
DISCONNECTED = "disconnected"
"""The connection ended before the answer."""
NONSENSE = "nonsense"
"""What came was no answer to what was asked."""
UNREACHABLE = "unreachable"
"""Nobody to connect to; counted per connection."""


class Operation:
    """GETs, or PUTs. in_time: answered well before the load's time was over, which is what rates are made of."""

    def __init__(self) -> None:
        self.in_time = 0
        self.latencies = Latencies()
        self.failures: Counter[str] = Counter()

    def merge(self, other: "Operation") -> None:
        """Add what the other one has counted."""
        self.in_time += other.in_time
        self.latencies.merge(other.latencies)
        self.failures.update(other.failures)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"in_time": self.in_time, "latencies": self.latencies.to_json(), "failures": dict(self.failures)}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Operation":
        """What `to_json` wrote."""
        made = cls()
        made.in_time = found["in_time"]
        made.latencies = Latencies.from_json(**found["latencies"])
        made.failures = Counter(found["failures"])
        return made


class Tally:
    """All that is counted.

    connections: those that failed, by kind. seconds: how long requests were sent. cpu_s: processor time of the
    process meanwhile. waited_s: time in which it had nothing to do but to wait for answers.
    """

    def __init__(self) -> None:
        self.gets = Operation()
        self.puts = Operation()
        self.connections: Counter[str] = Counter()
        self.seconds = 0.0
        self.cpu_s = 0.0
        self.waited_s = 0.0

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return sum(self.gets.failures.values()) + sum(self.puts.failures.values())

    @property
    def answered(self) -> int:
        """How many requests were answered well, late ones among them."""
        return self.gets.latencies.count + self.puts.latencies.count

    def merge(self, other: "Tally") -> None:
        """Add what another process has counted; the longest time is that of all."""
        self.gets.merge(other.gets)
        self.puts.merge(other.puts)
        self.connections.update(other.connections)
        self.seconds = max(self.seconds, other.seconds)
        self.cpu_s += other.cpu_s
        self.waited_s += other.waited_s

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**vars(self), "gets": self.gets.to_json(), "puts": self.puts.to_json()}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Tally":
        """What `to_json` wrote."""
        made = cls()
        vars(made).update(found)
        made.gets, made.puts = Operation.from_json(found["gets"]), Operation.from_json(found["puts"])
        made.connections = Counter(found["connections"])
        return made
