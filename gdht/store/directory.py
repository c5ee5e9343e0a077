"""A node's directory on the disk: made, claimed for one process, and looked over before LMDB maps its file.

LMDB believes its file: a page that the file has lost ends the process by SIGBUS. So the file is measured first.
"""

import fcntl
import os
import struct
from pathlib import Path

from lmdb.verify import VerifyError, verify

from gdht.errors import StoreError

DATA_FILE, LOCK_FILE = "data.mdb", "gdht.lock"
DIRECTORY_MODE = 0o700
FULL_BYTES = 1 << 20

META = struct.Struct("=16x IIQQ I44x 48x QQ")
"""LMDB 0.9's meta page: header; magic, version, address, map size; two trees (page size first); last page, number."""

MAGIC = 0xBEEFC0DE
PAGE_BYTES = range(256, 65537)


class Directory:
    """A claim on a directory, for as long as it is open. may_write: whether its files can be changed."""

    def __init__(self, path: Path) -> None:
        """Make the directory if there is none, and claim it. Raises: StoreError."""
        self.path = path
        _make(path)
        self._lock, self.may_write = self._open_lock()
        self._claim()

    @property
    def data(self) -> Path:
        """The file of pages."""
        return self.path / DATA_FILE

    def refuse(self, why: str) -> StoreError:
        """An error that names the directory."""
        return StoreError("disk", f"data_dir {self.path}: {why}")

    def has_room(self, size_bytes: int) -> bool:
        """Whether its disk has so much room left and a little more, as far as it can be known.

        Of a write that was cut short LMDB says only that it failed.
        """
        try:
            room = os.statvfs(self.path)
        except OSError:
            return True
        return room.f_bavail * room.f_frsize >= size_bytes + FULL_BYTES

    def close(self) -> None:
        """Let another process have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _open_lock(self) -> tuple[int | None, bool]:
        path = self.path / LOCK_FILE
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if not self.data.exists():
                raise self.refuse(
                    f"cannot be written to ({error.strerror}): choose another, or mend its rights"
                ) from error
            return (os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path.exists() else None), False
        return lock, not self.data.exists() or os.access(self.data, os.W_OK, effective_ids=True)

    def _claim(self) -> None:
        if self._lock is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip()
            self.close()
            if not isinstance(error, BlockingIOError):
                raise self.refuse(f"cannot be locked ({error.strerror})") from error
            who = f"process {holder}" if holder else "another process"
            raise self.refuse(f"is in use by {who}: stop that, or give each node its own data_dir") from error
        if self.may_write:
            self._write_pid()

    def _write_pid(self) -> None:
        assert self._lock is not None, "claimed"
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass  # on a full disk the claim holds without a number in it

    def look_over(self) -> bool:
        """Whether there is a store at all; when there is, its file is whole as far as LMDB will read it.

        Raises: StoreError.
        """
        try:
            size = self.data.stat().st_size if self.data.exists() else 0
            if size and size < _bytes_needed(self.data) and (problems := pages_problems(self.path)):
                raise self.refuse(f"{DATA_FILE} is cut off or damaged ({problems[0]}). {ADVICE}")
        except (ValueError, VerifyError) as error:
            raise self.refuse(f"{DATA_FILE} is damaged, or no store ({error}). {ADVICE}") from error
        except OSError as error:
            raise self.refuse(f"{DATA_FILE} cannot be read ({error.strerror})") from error
        return size > 0


ADVICE = "Move it away to begin with an empty store; the other replicas give back what they hold."


def pages_problems(path: Path) -> list[str]:
    """What is wrong with the pages of a directory's file, page by page; takes long, and maps nothing.

    Raises: VerifyError when it is no file of LMDB's.
    """
    return list(verify(str(path)))  # type: ignore[no-untyped-call]


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StoreError("disk", f"data_dir {path}: is no directory: choose another") from error
    except OSError as error:
        raise StoreError("disk", f"data_dir {path}: cannot be made ({error.strerror}): choose another") from error


def _bytes_needed(data: Path) -> int:
    """How long the file is by its newer meta page. Raises: ValueError when it has none."""
    with data.open("rb") as file:
        metas = [_meta(file.read(META.size))]
        file.seek(metas[0][0])
        metas.append(_meta(file.read(META.size)))
    page_bytes, last_page, _ = max(metas, key=lambda meta: meta[2])
    return page_bytes * (last_page + 1)


def _meta(page: bytes) -> tuple[int, int, int]:
    """Page size, last page, number of the transaction."""
    if len(page) < META.size:
        raise ValueError("it ends within its first two pages")
    magic, _version, _address, _map_bytes, page_bytes, last_page, number = META.unpack(page)
    if magic != MAGIC or page_bytes not in PAGE_BYTES:
        raise ValueError("it does not begin as one")
    return page_bytes, last_page, number
