"""What the speed of a node is held to: ratios between two cases of one comparison, each with the least it should be."""

from collections.abc import Iterable
from dataclasses import dataclass

import others
import ringed
import single
from measure import Comparison, Spread


@dataclass(frozen=True)
class Target:
    """A ratio. case, base: operation and server, or how its name begins."""

    text: str
    least: float
    comparison: str
    case: tuple[str, str]
    base: tuple[str, str]


@dataclass(frozen=True)
class Verdict:
    """What became of a target.

    ratio: None when one of the two was not measured; cpu_ratio: the same ratio by the CPU time of the servers.
    """

    target: Target
    ratio: Spread | None = None
    cpu_ratio: float | None = None

    def __str__(self) -> str:
        if self.ratio is None:
            return "not measured"
        return "met" if self.ratio.median >= self.target.least else "missed"


_NODE_64, _NODE_PIPELINED = "node 64x1", "node 1x64"
_RING = "ring 8 gateway 64x1"
_MEMORY, _DISK = ringed.gdht(3), ringed.gdht(3, "LMDB")
_THREE, _AS_MANY = others.BASE, f"gdht, {others.AS_MANY}"
_DEFAULT_KSIZE, _KSIZE_3 = (f"kademlia 2.2.3, ksize {ksize}" for ksize in (others.KADEMLIA_KSIZE, 3))

TARGETS = (
    Target(
        "One node, 64 connections: GET, of the raw gevent dict",
        0.6,
        _NODE_64,
        ("GET", single.GDHT),
        ("GET", single.DICT),
    ),
    Target(
        "One node, pipelined: GET, of the raw gevent dict",
        0.4,
        _NODE_PIPELINED,
        ("GET", single.GDHT),
        ("GET", single.DICT),
    ),
    Target(
        "Ring of 8, one gateway, 64 connections: GET, of the raw relay",
        0.5,
        _RING,
        ("GET", _MEMORY),
        ("GET", ringed.RELAY),
    ),
    Target("Ring of 8: PUT with 3 copies in memory, of GET", 1 / 3, _RING, ("PUT", _MEMORY), ("GET", _MEMORY)),
    Target("Ring of 8: PUT with 3 copies in LMDB, of PUT in memory", 1 / 2, _RING, ("PUT", _DISK), ("PUT", _MEMORY)),
    Target("Ring of 8: GET, of kademlia as it comes", 5.0, "others 8", ("GET", _THREE), ("GET", _DEFAULT_KSIZE)),
    Target("Ring of 8: PUT, of kademlia as it comes", 8.0, "others 8", ("PUT", _THREE), ("PUT", _DEFAULT_KSIZE)),
    Target("Ring of 8: GET, of kademlia with 3 copies too", 5.0, "others 8", ("GET", _THREE), ("GET", _KSIZE_3)),
    Target("Ring of 8: PUT, of kademlia with 3 copies too", 8.0, "others 8", ("PUT", _THREE), ("PUT", _KSIZE_3)),
    Target(
        "Ring of 8: GET, of OpenDHT, with as many copies", 2.0, "others 8", ("GET", _AS_MANY), ("GET", others.OPENDHT)
    ),
    Target(
        "Ring of 8: PUT, of OpenDHT, with as many copies", 1.0, "others 8", ("PUT", _AS_MANY), ("PUT", others.OPENDHT)
    ),
    Target("Ring of 3: GET, of OpenDHT, 3 copies in both", 2.0, "others 3", ("GET", _THREE), ("GET", others.OPENDHT)),
    Target("Ring of 3: PUT, of OpenDHT, 3 copies in both", 1.0, "others 3", ("PUT", _THREE), ("PUT", others.OPENDHT)),
    Target("Ring of 32: GET, of OpenDHT", 8.0, "others 32", ("GET", _THREE), ("GET", others.OPENDHT)),
)


def judge(target: Target, comparisons: Iterable[Comparison]) -> Verdict:
    """Compare a target with what was measured."""
    measured = next((each for each in comparisons if each.name == target.comparison), None)
    if measured is None:
        return Verdict(target)
    case, base = measured.find(*target.case), measured.find(*target.base)
    if case is None or base is None:
        return Verdict(target)
    return Verdict(target, measured.ratio(case, base), measured.server_us(base) / (measured.server_us(case) or 1.0))
