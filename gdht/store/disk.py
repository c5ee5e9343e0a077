"""What a durable store asks of the thing that keeps its bytes: LMDB, or the simulator's disk."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from gdht.core.digests import Digest
from gdht.core.messages import Entry
from gdht.core.records import Record

RunAside = Callable[[Callable[[], None], Callable[[Exception | None], None]], None]
"""`run_aside(work, done)` has `work` run elsewhere, then `done` in the loop's thread, with what `work` raised or None.

It returns before `done` is called. The next work is given to it when `done` of the last has been called, not before.
"""


Work = Callable[[], None]
"""What is done elsewhere."""


class Batch(NamedTuple):
    """Changes that are made together or not at all.

    records: by key, None for one that goes. leaves: by replication and leaf, the digest with all these changes made.
    notes: by name. replaced: what lies under these keys so far, as far as that is known: the disk looks up the others.
    """

    records: dict[bytes, Record | None]
    leaves: dict[tuple[int, int], Digest]
    notes: dict[str, bytes]
    replaced: Mapping[bytes, Record | None] = MappingProxyType({})


class Disk(Protocol):
    """Records by key and by the time when they are due, digests by leaf, notes by name; all as of the last work done.

    Only what `applying` returns is called in another thread; meanwhile the others answer as of before or after.
    """

    @property
    def refusal(self) -> str:
        """Why it takes no changes at all; empty when it does."""

    def get(self, key: bytes) -> Record | None:
        """The record under a key. Raises: layout.Damaged."""

    def scan(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        """At most `limit` records with after < key <= last, in order of keys; an empty `after` begins at the first.

        Raises: layout.Damaged, for the first of them that is.
        """

    def entries(self, after: bytes, last: bytes, limit: int) -> list[Entry]:
        """The same without values, and also of records that are damaged."""

    def expiring(self, now_s: float, limit: int) -> list[bytes]:
        """The keys of at most `limit` records that are due, the earliest first. now_s: seconds since the epoch."""

    def leaves(self) -> Iterator[tuple[int, int, Digest]]:
        """Every leaf that holds something: replication, leaf, digest."""

    def note(self, name: str) -> bytes:
        """What was written down under a name; empty when nothing was."""

    def applying(self, batch: Batch) -> Work:
        """The work that makes all these changes, durable on return. It is done before the next one is asked for.

        It raises StoreError; none of the changes is made then.
        """

    def close(self) -> None:
        """Let go of the files, when work under way has ended; a later one raises StoreError."""
