"""Changes to the tables of a disk by key, as bytes: what a batch comes to, and what a journal has of several."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

ROW = struct.Struct(">BHI")
"""Number of the table, length of the key, length of the data."""

GONE = 0xFFFFFFFF
"""In place of a length: nothing lies under the key any more."""

Table = dict[bytes, bytes | None]
"""Changes by key; None: nothing lies there any more."""


class Rows(NamedTuple):
    """Changes to each table."""

    records: Table
    due: Table
    digests: Table
    notes: Table

    def add(self, later: "Rows") -> None:
        """Make later changes, too. A reader in another thread sees each table before or after."""
        for table, changes in zip(self, later, strict=True):
            table.update(changes)

    def plus(self, later: "Rows") -> "Rows":
        """These changes and later ones."""
        return Rows(*(table | changes for table, changes in zip(self, later, strict=True)))

    def packed(self) -> bytes:
        """All of it in one piece."""
        return b"".join(_pieces(self))


def no_rows() -> Rows:
    """Nothing changes so far."""
    return Rows({}, {}, {}, {})


def unpacked(data: bytes) -> Rows:
    """What was packed. The data is trusted to be that: its journal has checked it."""
    rows, at = no_rows(), 0
    while at < len(data):
        table, key_bytes, data_bytes = ROW.unpack_from(data, at)
        key_at, data_at = at + ROW.size, at + ROW.size + key_bytes
        at = data_at + (data_bytes if data_bytes != GONE else 0)
        rows[table][data[key_at:data_at]] = data[data_at:at] if data_bytes != GONE else None
    return rows


def _pieces(rows: Rows) -> Iterator[bytes]:
    pack = ROW.pack
    for number, table in enumerate(rows):
        for key, data in table.items():
            if data is None:
                yield pack(number, len(key), GONE)
                yield key
            else:
                yield pack(number, len(key), len(data))
                yield key
                yield data


def laid_over(
    found: Iterator[tuple[bytes, bytes]], changes: Table, after: bytes, last: bytes
) -> Iterator[tuple[bytes, bytes]]:
    """What lies in a table, in order of keys, with changes that are not in it yet to those in after < key <= last."""
    changed = sorted(key for key in list(changes) if after < key <= last)
    return found if not changed else _merged(found, [(key, changes[key]) for key in changed])


def _merged(
    found: Iterator[tuple[bytes, bytes]], changed: list[tuple[bytes, bytes | None]]
) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    for key, data in found:
        while at < len(changed) and changed[at][0] < key:
            yield from _kept(*changed[at])
            at += 1
        if at < len(changed) and changed[at][0] == key:
            yield from _kept(*changed[at])
            at += 1
        else:
            yield key, data
    for change in changed[at:]:
        yield from _kept(*change)


def _kept(key: bytes, data: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    if data is not None:
        yield key, data
