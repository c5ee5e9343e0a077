"""What a store holds in an arc, found through its digests: nothing is read that is not asked for."""

from collections.abc import Iterator

from gdht.core.arcs import LEAF_WIDTH, Arc, key_ranges, split
from gdht.core.digests import Digest
from gdht.core.messages import Entry
from gdht.node.storage import Store

READ_AT_ONCE = 500
"""How many entries are read from the store at a time."""

BRANCHES = 16
"""Into how many parts an arc is cut to find the few entries in it that are looked for."""


def held(store: Store, arc: Arc, least: int = 1, most: int | None = None) -> Digest:
    """What is kept of an arc with a replication of `least` to `most`, None: or more. Switches: no."""
    digest = store.digest(arc.start, arc.end, least)
    return digest if most is None else digest.minus(store.digest(arc.start, arc.end, most + 1))


def entries_in(store: Store, arc: Arc, least: int = 1, most: int | None = None) -> Iterator[Entry]:
    """What is kept of an arc with a replication of `least` to `most`, clockwise, as it is while the iteration goes on.

    The caller may switch. However much else lies in the arc, about as much is read as is found.
    """
    found, everything = held(store, arc, least, most).records, held(store, arc).records
    if not found:
        return
    if found == everything:
        yield from _read(store, arc)
    elif arc.width <= LEAF_WIDTH and everything <= READ_AT_ONCE:
        yield from (entry for entry in _read(store, arc) if least <= entry.replication <= (most or entry.replication))
    else:
        for part in split(arc, BRANCHES):
            yield from entries_in(store, part, least, most)


def _read(store: Store, arc: Arc) -> Iterator[Entry]:
    for after, last in key_ranges(arc):
        while True:
            entries = store.entries(after, last, READ_AT_ONCE)
            yield from entries
            if len(entries) < READ_AT_ONCE:
                break
            after = entries[-1].key
