"""Whether the store refuses writes for want of room: a line in the log when that begins, and one when it is over."""

import logging

from gdht.node.state import NodeState

log = logging.getLogger(__name__)

ROOM = 0.95
"""The store has room again when no more than this share of it is used, and nothing is refused."""


class Fullness:
    """Looks now and then at what the store has refused since the last look."""

    def __init__(self, node: NodeState) -> None:
        self._node = node
        self._refused = 0
        self._is_full = False

    def look(self) -> None:
        """Say what has changed. Switches: no."""
        store, refused = self._node.store, self._node.stats.store_rejected_writes["full"]
        is_refusing, self._refused = refused > self._refused, refused
        used = f"{store.size_bytes} of {store.size_bytes_max} bytes"
        if is_refusing and not self._is_full:
            log.warning("the store is full (%s): writes are refused until records expire; see max_store_bytes", used)
            self._is_full = True
        elif self._is_full and not is_refusing and store.size_bytes <= ROOM * store.size_bytes_max:
            log.info("the store has room again (%s)", used)
            self._is_full = False
