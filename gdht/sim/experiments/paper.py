"""The figures of the 2003 paper that ours are put beside. Source: Stoica et al., ToN 11(1), tables II and III."""

from random import Random
from typing import NamedTuple

from gdht.sim.delays import exponential
from gdht.sim.experiments.report import Spread
from gdht.sim.network import NetworkOptions

MEAN_DELAY_S = 0.05
"""One message takes this long on average, exponentially distributed."""

TIMEOUT_S = 0.5
"""How long a dead node is waited for."""


def prompt(rng: Random) -> float:
    """Seconds that one message takes, drawn anew where a living node would look dead: 0.7 % of all."""
    while (seconds := rng.expovariate(1.0 / MEAN_DELAY_S)) > TIMEOUT_S / 2:
        pass
    return seconds


def network(*, late: bool) -> NetworkOptions:
    """The paper's network: silence where a node has failed. late: messages may take longer than a node waits."""
    return NetworkOptions(delay=exponential(MEAN_DELAY_S) if late else prompt, refusal=0.0)


NODES = 1000
SUCCESSORS = 20
LOOKUPS = 10_000
STABILIZE_S = 30.0


class Measured(NamedTuple):
    """One row of a table; None: not measured. failed: lookups of 10,000."""

    path: Spread | None = None
    timeouts: Spread | None = None
    failed: int | None = None


FAILURES: dict[float, Measured] = {
    0.0: Measured(Spread(3.84, 2, 5), Spread(0.0, 0, 0), 0),
    0.1: Measured(Spread(4.03, 2, 6), Spread(0.60, 0, 2), 0),
    0.2: Measured(Spread(4.22, 2, 6), Spread(1.17, 0, 3), 0),
    0.3: Measured(Spread(4.44, 2, 6), Spread(2.02, 0, 5), 0),
    0.4: Measured(Spread(4.69, 2, 7), Spread(3.23, 0, 8), 0),
    0.5: Measured(Spread(5.09, 3, 8), Spread(5.10, 0, 11), 0),
}
"""Table II, by the share of nodes that fail at once."""

CHURN: dict[float, Measured] = {
    0.05: Measured(Spread(3.90, 1, 9), Spread(0.05, 0, 2), 0),
    0.10: Measured(Spread(3.83, 1, 9), Spread(0.11, 0, 2), 0),
    0.15: Measured(Spread(3.84, 1, 9), Spread(0.16, 0, 2), 2),
    0.20: Measured(Spread(3.81, 1, 9), Spread(0.23, 0, 3), 5),
    0.25: Measured(Spread(3.83, 1, 9), Spread(0.30, 0, 3), 6),
    0.30: Measured(Spread(3.91, 1, 9), Spread(0.34, 0, 4), 8),
    0.35: Measured(Spread(3.94, 1, 10), Spread(0.42, 0, 4), 16),
    0.40: Measured(Spread(4.06, 1, 10), Spread(0.46, 0, 5), 15),
}
"""Table III, by joins, and as many departures, per second."""

LOAD_P99_OF_MEAN = 4.6
LOAD_MAX_OF_MEAN = 9.1
"""Figure 8: 10^4 nodes and 5 * 10^5 keys; the 99th percentile and the largest count of keys per node, in means."""

VIRTUAL: dict[int, tuple[float, float]] = {1: (0.0, 4.8), 20: (0.5, 1.6)}
"""Figure 9: 10^4 nodes, 10^6 keys; 1st and 99th percentile of keys per node in means, by identifiers per node."""
