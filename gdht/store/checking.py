"""Whether a store that nobody uses is whole: its pages, its records, and what is derived from these."""

from collections.abc import Callable, Iterator
from pathlib import Path

from lmdb.verify import VerifyError

from gdht.core.digests import NOTHING, Digest, DigestTree, digest_of, leaf_of
from gdht.core.records import Record
from gdht.errors import StoreError
from gdht.store import layout
from gdht.store.directory import DATA_FILE, Directory, pages_problems
from gdht.store.lmdb_disk import LmdbDisk

Told = Callable[[int], None]
"""Called with how many records have been looked at."""


def open_existing(path: Path) -> LmdbDisk:
    """The store of a stopped node; none is made. Raises: StoreError."""
    _require_store(path)
    return LmdbDisk(path, 0)


def _require_store(path: Path) -> None:
    if not (path / DATA_FILE).is_file():
        raise StoreError("disk", f"data_dir {path}: holds no store")


def check_pages(path: Path) -> list[str]:
    """What is wrong with the file as such, found without LMDB's help. Raises: StoreError: in use, no store."""
    _require_store(path)
    directory = Directory(path)
    try:
        return pages_problems(path)
    except VerifyError as error:
        raise directory.refuse(f"holds no store, or one that cannot be read ({error})") from error
    finally:
        directory.close()


def sound_records(disk: LmdbDisk, tell_damaged: Callable[[str], None]) -> Iterator[Record]:
    """Every record that is what was written; the others are told by their key."""
    for key, data in disk.records():
        try:
            yield layout.checked_record(key, data)
        except layout.Damaged as error:
            tell_damaged(f"record {key.hex()}: {error}")


def check_tables(disk: LmdbDisk, told: Told) -> list[str]:
    """What is wrong with records, with the order of what is due, and with the digests."""
    problems: list[str] = []
    tree = DigestTree()
    for number, record in enumerate(sound_records(disk, problems.append), 1):
        size_bytes = len(record.value) + layout.RECORD_OVERHEAD_BYTES
        tree.change(record.replication, leaf_of(record.key), NOTHING, digest_of(record, size_bytes))
        if not disk.is_due(layout.due_key(record)):
            problems.append(f"record {record.key.hex()}: is not in the order of what is due")
        told(number)
    counts = disk.counts()
    if counts["due"] != counts["records"]:
        problems.append(f"{counts['due']} entries are in the order of what is due, of {counts['records']} records")
    return problems + _digest_problems(disk, tree)


def _digest_problems(disk: LmdbDisk, tree: DigestTree) -> list[str]:
    kept = _by_place(disk.leaves())
    right = _by_place(tree.leaves())
    return [
        f"digest of leaf {leaf:04x} at {replication} copies: is not that of its records"
        for replication, leaf in sorted(kept.keys() | right.keys())
        if kept.get((replication, leaf)) != right.get((replication, leaf))
    ]


def _by_place(leaves: Iterator[tuple[int, int, Digest]]) -> dict[tuple[int, int], Digest]:
    return {(replication, leaf): digest for replication, leaf, digest in leaves}
