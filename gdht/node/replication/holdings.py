"""What a store holds in an arc, found through its digests: nothing is read that is not asked for."""

from collections.abc import Callable, Iterator

from gdht.core.arcs import LEAF_WIDTH, Arc, key_ranges, split
from gdht.core.digests import Digest
from gdht.core.messages import Entry
from gdht.node.storage import Store

READ_AT_ONCE = 500
"""How many entries are read from the store at a time."""

BRANCHES = 16
"""Into how many parts an arc is cut to find the few entries in it that are looked for."""

READ_PER_FOUND, READ_FEW = 32, 100
"""It is read as a whole if that is no more entries for each one that is looked for, or no more in all."""


def held(store: Store, arc: Arc, least: int = 1, most: int | None = None) -> Digest:
    """What is kept of an arc with a replication of `least` to `most`, None: or more. Switches: no."""
    digest = store.digest(arc.start, arc.end, least)
    return digest if most is None else digest.minus(store.digest(arc.start, arc.end, most + 1))


def _go_on() -> None:
    """Let nobody else run."""


def entries_in(
    store: Store, arc: Arc, least: int = 1, most: int | None = None, step: Callable[[], None] = _go_on
) -> Iterator[Entry]:
    """What is kept of an arc with a replication of `least` to `most`, clockwise, as it is while the iteration goes on.

    The caller may switch, and may have `step` do so, which is called now and then. However much else lies in the arc,
    no more than some times what is found is read. An arc within a leaf is not summed up first: that would read it all.
    """
    step()
    if arc.width >= LEAF_WIDTH:
        found = held(store, arc, least, most).records
        if not found:
            return
        if arc.width > LEAF_WIDTH and held(store, arc).records > max(found * READ_PER_FOUND, READ_FEW):
            for part in split(arc, BRANCHES):
                yield from entries_in(store, part, least, most, step)
            return
    yield from (entry for entry in _read(store, arc, step) if least <= entry.replication <= (most or entry.replication))


def _read(store: Store, arc: Arc, step: Callable[[], None]) -> Iterator[Entry]:
    for after, last in key_ranges(arc):
        while True:
            entries = store.entries(after, last, READ_AT_ONCE)
            step()
            yield from entries
            if len(entries) < READ_AT_ONCE:
                break
            after = entries[-1].key
