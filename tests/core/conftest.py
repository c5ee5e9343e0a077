"""Strategies and makers that all tests of the pure core share, as fixtures."""

from collections.abc import Callable
from random import Random

import pytest

from gdht.core.ident import IDENTS
from gdht.core.peer import Peer
from gdht.core.ring import Ring


def make_peer(ident: int) -> Peer:
    return Peer(ident % IDENTS, f"10.0.0.1:{ident % 60000 + 1}")


@pytest.fixture(scope="session")
def peer() -> Callable[[int], Peer]:
    """`peer(ident)`: a peer at that place."""
    return make_peer


@pytest.fixture(scope="session")
def ideal_rings() -> Callable[..., dict[int, Ring]]:
    """`ideal_rings(idents, length)`: the pointers of every node of an ideal ring, without fingers, by identifier."""

    def make(idents: list[int], length: int) -> dict[int, Ring]:
        order = [make_peer(ident) for ident in sorted(set(idents))]
        rings = {}
        for index, me in enumerate(order):
            onward = order[index + 1 :] + order[:index]
            ring = Ring(me, length, successors=tuple(onward)[:length])
            rings[me.ident] = ring.with_predecessors(*reversed(onward))
        return rings

    return make


@pytest.fixture(scope="session")
def random_idents() -> Callable[[int, int], list[int]]:
    """`random_idents(seed, count)`: so many distinct identifiers, in order."""

    def make(seed: int, count: int) -> list[int]:
        rng = Random(seed)
        return sorted({rng.randrange(IDENTS) for _ in range(count)})

    return make
