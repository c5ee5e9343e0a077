"""A file of entries, each durable when `append` returns; what a disk has written there it may move elsewhere later.

All entries since the file was last begun anew count. They bear its mark, which changes then and is kept elsewhere, so
that nothing has to be cut off: what bears another mark was before. Each begins a block of its own, with its mark,
number, length and checksum. An entry that was being written when the process or the power went is the last one, and
does not count. One that is wrong though later ones are right has been damaged.
"""

import os
import struct
import zlib
from pathlib import Path

MARK_BYTES = 8
BLOCK_BYTES = 512
"""What a disk writes whole or not at all."""

JOURNAL_BYTES_MAX = 1 << 20
"""What it takes: an entry beyond that has no room."""

HEAD = struct.Struct(f">{MARK_BYTES}sII")
"""Mark, number, and the length of what follows the checksum, which is of these and of that."""

CHECKSUM_BYTES = 4
OVERHEAD_BYTES = HEAD.size + CHECKSUM_BYTES


class JournalDamaged(Exception):
    """An entry that was durable is no longer what was written; the message says which."""


class Journal:
    """The entries of a file, which is made by the first one. Errors of the system are passed on as OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._mark = b""
        self._entries = self._end = 0

    def recall(self, mark: bytes) -> list[bytes]:
        """All entries with this mark, the oldest first; what is appended follows them. Raises: JournalDamaged."""
        data = self._path.read_bytes() if self._path.exists() else b""
        entries: list[bytes] = []
        at = 0
        while (found := _entry(data, at, mark)) is not None and found[0] == len(entries):
            entries.append(found[1])
            at += _blocks_bytes(found[1])
        for later in range(at, len(data), BLOCK_BYTES):
            if _entry(data, later, mark) is not None:
                raise JournalDamaged(f"entry {len(entries)} at byte {at} is wrong, though a later one is right")
        self._mark, self._entries, self._end = mark, len(entries), at
        return entries

    def begin(self, mark: bytes) -> None:
        """Have no entries from now on. mark: one that was never used."""
        assert len(mark) == MARK_BYTES, "or heads would not stand where they are looked for"
        self._mark, self._entries, self._end = mark, 0, 0

    def stop(self) -> None:
        """Take nothing more before it is begun anew: how it ends is in doubt."""
        self._mark = b""

    def has_room(self, body: bytes) -> bool:
        """Whether it takes an entry."""
        return self._mark != b"" and self._end + _blocks_bytes(body) <= JOURNAL_BYTES_MAX

    def append(self, body: bytes) -> None:
        """Write an entry down; durable on return. After an OSError it may be there or not: `stop` is called for."""
        data = _head(self._mark, self._entries, body) + body
        at = self._end
        while data:
            written = os.pwrite(self._opened(), data, at)
            data, at = data[written:], at + written
        self._entries += 1
        self._end += _blocks_bytes(body)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _opened(self) -> int:
        """The file; every write to it returns when it is durable. So is its name."""
        if self._file is None:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_DSYNC | os.O_CLOEXEC, 0o600)
            try:
                _sync_directory(self._path.parent)
            except OSError:
                os.close(file)
                raise
            self._file = file
        return self._file


def _sync_directory(path: Path) -> None:
    """See that the names in a directory are durable."""
    directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _head(mark: bytes, number: int, body: bytes) -> bytes:
    head = HEAD.pack(mark, number, len(body))
    return head + zlib.crc32(body, zlib.crc32(head)).to_bytes(CHECKSUM_BYTES, "big")


def _entry(data: bytes, at: int, mark: bytes) -> tuple[int, bytes] | None:
    """Number and body of the entry at a place; None when there is none with this mark, or it is not whole."""
    if not mark or data[at : at + MARK_BYTES] != mark or len(data) < at + OVERHEAD_BYTES:
        return None
    _, number, length = HEAD.unpack_from(data, at)
    body = data[at + OVERHEAD_BYTES : at + OVERHEAD_BYTES + length]
    return (number, body) if data[at : at + OVERHEAD_BYTES] == _head(mark, number, body) else None


def _blocks_bytes(body: bytes) -> int:
    """What an entry takes up: whole blocks, so that the next one changes none of its."""
    return -(-(OVERHEAD_BYTES + len(body)) // BLOCK_BYTES) * BLOCK_BYTES
