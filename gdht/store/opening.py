"""The store that a node's options ask for."""

from pathlib import Path

from gdht.node.storage import Store
from gdht.store.disk import RunAside
from gdht.store.durable import DurableStore, Soon, at_once
from gdht.store.lending import lending
from gdht.store.lmdb_disk import LmdbDisk
from gdht.store.memory import MemoryStore


def open_store(data_dir: str, bytes_max: int, run_aside: RunAside, soon: Soon = at_once) -> Store:
    """The records of a directory; in memory when it has no name. Raises: StoreError, which names the directory."""
    if not data_dir:
        return MemoryStore(bytes_max)
    disk = LmdbDisk(Path(data_dir), bytes_max)
    return DurableStore(disk, bytes_max, lending(run_aside, disk), disk.has_room, soon)
