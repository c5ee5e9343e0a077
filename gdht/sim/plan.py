"""What decides a random history: its family, its seed, and sizes and speeds, drawn by the seed unless given."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from random import Random
from typing import Any, NamedTuple

from gdht.config import DhtConfig, WriteQuorum
from gdht.sim.delays import Delay, exponential, lognormal
from gdht.sim.network import NetworkOptions


@dataclass(frozen=True)
class Plan:
    """What decides a history.

    family: what may happen, and what is demanded; see `gdht.sim.families`. nodes: as many at the start, at most twice
    as many later. steps: things that happen before quiet. length: r. delay_s: mean seconds of a message. tail: 0 for
    exponential delays, else sigma of a lognormal with that median. loss, reset: shares of messages and requests, before
    quiet. step_s: mean seconds between two steps. repair_s: no two crashes within so many seconds; a write must survive
    one crash between two repairs. 0: at any time, several neighbours at once, as far as the family allows it.
    skew_s: how far a wall clock may be off, either way. keys: how many different ones clients use; 0: as many as fit
    the steps. long_s: how long what they put lives; short: the share of it that lives for some seconds only. disks: 1
    when records are kept on disks that survive crashes, 0 in memory. sync_s: mean seconds until a disk has something.
    quorum: when a write has succeeded. copies: clients ask for any number of copies from so many on; 0: for none.
    """

    family: str = "safe"
    seed: int = 0
    nodes: int = 8
    steps: int = 100
    length: int = 4
    replication: int = 3
    delay_s: float = 0.02
    tail: float = 0.0
    loss: float = 0.0
    reset: float = 0.0
    step_s: float = 0.5
    repair_s: float = 10.0
    skew_s: float = 0.0
    keys: int = 0
    long_s: int = 3600
    short: float = 0.0
    disks: int = 0
    sync_s: float = 0.005
    quorum: WriteQuorum = "majority"
    copies: int = 0

    @property
    def command(self) -> str:
        """The command line that runs it again: family, seed, and what the seed would have drawn differently."""
        usual = draw(self.family, self.seed)
        others = [name for name in option_names() if getattr(self, name) != getattr(usual, name)]
        given = {name: getattr(self, name) for name in ("family", "seed", *others)}
        options = "".join(f" --{name.replace('_', '-')} {value}" for name, value in given.items())
        return f"python -m gdht.sim.scenario{options}"

    @property
    def config(self) -> DhtConfig:
        """What every node is told."""
        return DhtConfig(
            successor_list_length=self.length,
            replication=min(self.replication, self.length + 1),
            max_replication=min(8, self.length + 1),
            write_quorum=self.quorum,
        )

    @property
    def delay(self) -> Delay:
        """How long messages are under way."""
        return lognormal(self.delay_s, self.tail) if self.tail else exponential(self.delay_s)

    @property
    def network(self) -> NetworkOptions:
        """How messages are treated before quiet."""
        return NetworkOptions(delay=self.delay, loss=self.loss, reset=self.reset)


class Summary(NamedTuple):
    """What came of a history without a violation.

    ideal_s: virtual seconds from quiet to the ideal ring. replicated_s: from there to every record at its place.
    lost: keys all of whose copies crashed. dropped_...: how often a node took a neighbour for dead that was dead, that
    stood still or was slow, or that was well.
    """

    plan: Plan
    events: int
    messages: int
    virtual_s: float
    ideal_s: float
    replicated_s: float
    crashes: int
    leaves: int
    puts: int
    acknowledged: int
    gets: int
    lost: int
    dropped_dead: int
    dropped_laggards: int
    dropped_healthy: int
    digest: str


SAFE_SIZES: dict[str, tuple[Any, ...]] = {
    "nodes": (1, 2, 3, 5, 8, 16),
    "length": (2, 3, 4, 8),
    "delay_s": (0.005, 0.02, 0.05),
    "step_s": (0.1, 0.3, 1.0),
    "steps": (40, 80, 120),
    "skew_s": (0.0, 0.0, 2.0),
    "repair_s": (10.0, 10.0, 0.0),
}

EXPIRY: dict[str, tuple[Any, ...]] = {
    "nodes": (1, 3, 5, 8),
    "length": (2, 3, 4),
    "delay_s": (0.005, 0.02, 0.05),
    "step_s": (0.1, 0.3),
    "steps": (200, 400),
    "skew_s": (0.0, 0.0, 2.0, 30.0),
    "repair_s": (10.0, 20.0),
    "keys": (2, 5),
    "long_s": (60, 120),
    "short": (0.5, 0.8),
    "disks": (0, 1),
}

CHOICES: dict[str, dict[str, tuple[Any, ...]]] = {
    "safe": SAFE_SIZES | {"short": (0.0, 0.3)},
    "rough": SAFE_SIZES
    | {
        "nodes": (3, 5, 8, 16),
        "tail": (0.0, 0.0, 1.0, 1.5),
        "loss": (0.0, 0.01, 0.03),
        "reset": (0.0, 0.01, 0.05),
        "skew_s": (0.0, 2.0, 30.0),
        "repair_s": (10.0, 3.0),
    },
    "laggards": {"nodes": (8, 16), "delay_s": (0.005, 0.05), "steps": (40, 80), "step_s": (1.0, 3.0)},
    "breaking": {"nodes": (6, 10, 16, 24), "length": (2, 3, 4), "delay_s": (0.005, 0.05), "steps": (30,)},
    "partition": {"nodes": (4, 8, 12, 20), "length": (2, 3, 4, 8), "delay_s": (0.005, 0.05), "steps": (40, 80)},
    "durable": {
        "nodes": (1, 2, 3, 5, 8),
        "length": (2, 3, 4),
        "delay_s": (0.005, 0.02, 0.05),
        "step_s": (0.05, 0.2, 0.5),
        "steps": (100, 300),
        "skew_s": (0.0, 0.0, 2.0, 30.0),
        "repair_s": (0.0,),
        "keys": (3, 10),
        "disks": (1,),
        "sync_s": (0.001, 0.01, 0.2),
    },
    "expiry": EXPIRY,
    "copies": EXPIRY | {"quorum": ("one", "majority", "all"), "copies": (1, 2)},
}
"""What the seed draws from, by family; everything else is as in `Plan`."""


def draw(family: str, seed: int) -> Plan:
    """The plan of a seed."""
    rng = Random(f"{seed}/plan/{family}")
    drawn = {name: rng.choice(values) for name, values in CHOICES[family].items()}
    return Plan(family=family, seed=seed, **drawn)


def option_names() -> list[str]:
    """The fields that a command line may set beside family and seed."""
    return [field.name for field in fields(Plan) if field.name not in ("family", "seed")]


def option_type(name: str) -> Callable[[str], Any]:
    """What makes a field's value from a word of a command line."""
    return type(getattr(Plan, name))
