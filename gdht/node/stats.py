"""What a node counts: plain integers that the admin pages and metrics read when somebody asks.

Counters only grow. Labels are tuples of words from fixed lists, never a key, a node or an address.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LAG_SECONDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
HOPS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)
REPLICAS = (0, 1, 2, 3, 4, 5, 6, 7, 8)


class Histogram:
    """Counts of observations per bucket. bounds: upper edges, inclusive, ascending; one bucket more for the rest."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count `times` observations of one value."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    @property
    def count(self) -> int:
        """How many observations there were."""
        return sum(self.counts)


class Histograms(dict[str, Histogram]):
    """One histogram per label value, made when first used."""

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__()
        self.bounds = bounds

    def __missing__(self, label: str) -> Histogram:
        histogram = self[label] = Histogram(self.bounds)
        return histogram


@dataclass
class Stats:
    """All counters of one node; each field is the metric `gdht_<field>` with its unit or `_total` at the end."""

    # client API
    api_connections: int = 0
    api_accepted_connections: Counter[str] = field(default_factory=Counter)  # accepted, rejected
    api_requests: Counter[tuple[str, str]] = field(default_factory=Counter)  # operation, result
    api_request_duration: Histograms = field(default_factory=lambda: Histograms(SECONDS))  # operation
    api_malformed_messages: Counter[str] = field(default_factory=Counter)  # reason
    # calls between peers
    rpc_sent_requests: Counter[tuple[str, str]] = field(default_factory=Counter)  # method, result
    rpc_sent_duration: Histograms = field(default_factory=lambda: Histograms(SECONDS))  # method
    rpc_received_requests: Counter[tuple[str, str]] = field(default_factory=Counter)  # method, result
    rpc_timeouts: Counter[str] = field(default_factory=Counter)  # method
    peer_connections: Counter[str] = field(default_factory=Counter)  # direction: inbound, outbound; a gauge
    peer_rejected: Counter[str] = field(default_factory=Counter)  # reason
    network_sent_bytes: Counter[str] = field(default_factory=Counter)  # plane: api, p2p
    network_received_bytes: Counter[str] = field(default_factory=Counter)  # plane
    # lookups
    lookups: Counter[tuple[str, str]] = field(default_factory=Counter)  # purpose, result
    lookup_duration: Histograms = field(default_factory=lambda: Histograms(SECONDS))  # purpose
    lookup_hops: Histograms = field(default_factory=lambda: Histograms(HOPS))  # purpose
    lookup_dead_hops: int = 0
    route_cache: Counter[str] = field(default_factory=Counter)  # result: hit, stale, miss
    hedged_reads: Counter[str] = field(default_factory=Counter)  # result: owner, copies, refused
    # ring
    ring_pointer_changes: Counter[str] = field(default_factory=Counter)  # pointer
    ring_merges: int = 0
    suspicions: Counter[str] = field(default_factory=Counter)  # result: refuted, confirmed
    maintenance_runs: Counter[tuple[str, str]] = field(default_factory=Counter)  # task, result
    maintenance_last_success: dict[str, float] = field(default_factory=dict)  # task: seconds since the epoch
    # records
    store_expired_keys: int = 0
    store_rejected_writes: Counter[str] = field(default_factory=Counter)  # reason
    replica_writes: Counter[str] = field(default_factory=Counter)  # result
    put_acknowledged_replicas: Histogram = field(default_factory=lambda: Histogram(REPLICAS))
    keys_under_replicated: int = 0
    repaired_keys: Counter[str] = field(default_factory=Counter)  # cause
    handoff_keys: Counter[tuple[str, str]] = field(default_factory=Counter)  # direction, reason
    handoff_bytes: Counter[tuple[str, str]] = field(default_factory=Counter)  # direction, reason
    keys_under_replicated_oldest_s: float = 0.0  # how long the first of them had been so at the last round
    store_commits: Counter[str] = field(default_factory=Counter)  # result: ok, error
    store_commit_duration: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    # the process
    task_crashes: Counter[str] = field(default_factory=Counter)  # task
    event_loop_lag: Histogram = field(default_factory=lambda: Histogram(LAG_SECONDS))
    event_loop_hold: Histogram = field(default_factory=lambda: Histogram(LAG_SECONDS))
    event_loop_hold_max_s: float = 0.0  # the longest of the last minute
