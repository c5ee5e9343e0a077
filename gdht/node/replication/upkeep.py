"""What a node does for its records without asking anybody: let them expire, and count them."""

from gdht.core.arcs import Arc, arcs_of
from gdht.core.digests import NOTHING, Digest
from gdht.node.later import made_durable
from gdht.node.replication.holdings import held
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState
from gdht.node.status import KeyCounts

EXPIRE_RECORDS = 100
"""How many expired records are dropped before others may run."""


def expire(rt: Runtime, node: NodeState) -> None:
    """Drop what is past its life, a bounded step at a time. Switches: yes. Raises: StoreError.

    Each step is on the disk before the next begins, so that what clients write finds room in between.
    """
    while True:
        dropped = node.store.expire(node.clock.lives_s(), EXPIRE_RECORDS)
        node.stats.store_expired_keys += dropped
        if dropped < EXPIRE_RECORDS:
            return
        made_durable(rt, node.store, node.config.call_timeout)
        rt.sleep(0)


class Census:
    """Counts what a node holds by role, from the digests alone; anew only when something has changed."""

    def __init__(self, node: NodeState) -> None:
        self._node = node
        self._counted: object = None

    def take(self) -> None:
        """Bring `node.keys` up to date. Switches: no."""
        state = held(self._node.store, Arc(0, 0)), arcs_of(self._node.ring)
        if state != self._counted:
            self._counted = state
            self._node.keys = _count(self._node)


def _count(node: NodeState) -> KeyCounts:
    owned, replica, misplaced = NOTHING, NOTHING, NOTHING
    for position, arc in enumerate(arcs_of(node.ring)):
        everything = held(node.store, arc)
        if not position:
            owned = everything
            continue
        placed = held(node.store, arc, position + 1)
        replica = replica.plus(placed)
        misplaced = misplaced.plus(everything.minus(placed))
    return KeyCounts(
        owned=_living(owned),
        replica=_living(replica),
        misplaced=_living(misplaced),
        owned_bytes=owned.size_bytes,
        replica_bytes=replica.size_bytes,
        misplaced_bytes=misplaced.size_bytes,
        tombstones=owned.tombstones + replica.tombstones + misplaced.tombstones,
    )


def _living(digest: Digest) -> int:
    return digest.records - digest.tombstones
