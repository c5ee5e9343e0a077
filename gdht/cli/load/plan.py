"""What a load consists of: requests for numbered keys, in which shape, for how long."""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from gdht.client.requests import Request, make_get, make_put
from gdht.config import Address
from gdht.core.messages import VALUE_BYTES_MAX

CONNECTIONS_MAX = 1000
PIPELINE_MAX = 1024
KEYS_MAX = 1_000_000
SECONDS_MAX = 7 * 86400.0
PROCESSES_MAX = 64
IN_FLIGHT_BYTES_MAX = 1 << 29
"""Of requests or answers that may be under way in one process, all connections together."""

FILL_IN_FLIGHT = 64
"""Storing the values that GETs will find is no measurement: at least so many puts are under way."""


@dataclass(frozen=True)
class Plan:
    """One process's part of a load.

    addresses: where the connections go, in turn. pipeline: requests under way per connection. get_ratio: share of GETs,
    0 to 1. keys: how many there are; of them this process stores those numbered `first_key`, `first_key + every`, ...
    """

    addresses: tuple[Address, ...]
    connections: int
    pipeline: int
    seconds: float
    get_ratio: float
    value_bytes: int
    keys: int
    replication: int
    ttl_s: int
    timeout_s: float
    first_key: int = 0
    every: int = 1

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of values that may be under way at once."""
        return self.connections * self.pipeline * self.value_bytes

    @property
    def fill_count(self) -> int:
        """How many values this process stores before the load begins; none when nothing will be read."""
        return len(range(self.first_key, self.keys, self.every)) if self.get_ratio else 0

    @property
    def fill_pipeline(self) -> int:
        """Requests under way per connection while values are stored."""
        return max(self.pipeline, -(-FILL_IN_FLIGHT // self.connections))

    def fill(self) -> Iterator[Request]:
        """A PUT of every value that this process stores."""
        value = self._value()
        numbers = range(self.first_key, self.keys, self.every) if self.get_ratio else ()
        return (make_put(bench_key(number), value, self.ttl_s, self.replication) for number in numbers)

    def mix(self, rng: random.Random) -> Iterator[Request]:
        """GETs and PUTs of keys taken by lot, without end."""
        value = self._value()
        keys = [bench_key(number) for number in range(self.keys)]
        lot, count, get_ratio = rng.random, self.keys, self.get_ratio
        while True:
            key = keys[int(lot() * count)]
            yield make_get(key) if lot() < get_ratio else make_put(key, value, self.ttl_s, self.replication)

    def _value(self) -> bytes:
        assert self.value_bytes <= VALUE_BYTES_MAX
        return b"gdht".ljust(self.value_bytes, b".")[: self.value_bytes]

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Plan":
        """What `to_json` wrote."""
        return cls(**{**found, "addresses": tuple(Address(*one) for one in found["addresses"])})


def bench_key(number: int) -> bytes:
    """The key of a numbered value: always the same, so that one run after the other fills no store."""
    return sha256(b"gdht bench %d" % number).digest()
