"""What a node asks of its store; `gdht.store` has the implementations."""

from collections.abc import Callable
from typing import Protocol

from gdht.core.digests import Digest
from gdht.core.messages import Entry
from gdht.core.records import Record, Version
from gdht.errors import StoreError


class Commit(Protocol):
    """Writes on their way to the disk together."""

    def when_ended(self, run: Callable[[StoreError | None], None]) -> None:
        """Have `run` called once: with None when all of them are durable, else with the error.

        At once when that is known already; from the loop's own thread. After an error none of the writes is there any
        more, not for readers either; only after `overload`, which says that too many wait already, they may be.
        """


class Store(Protocol):
    """Records by key, at most one version each, and the node's own notes. No method switches.

    What is written is there for readers at once, and durable when the commit that `pending` names has ended well.
    Times are seconds since the epoch by the holder's clock of lives.
    """

    @property
    def size_bytes_max(self) -> int:
        """How much it may hold."""

    @property
    def size_bytes(self) -> int:
        """What it holds: keys, values and a fixed overhead per record."""

    @property
    def count(self) -> int:
        """How many records it holds, tombstones and expired ones that are not swept yet included."""

    @property
    def is_durable(self) -> bool:
        """Whether what is written outlives this process, and so takes a commit before it may be acknowledged."""

    @property
    def error(self) -> str:
        """Why the last write could not be made durable, or why none can; empty when all is well."""

    @property
    def failures(self) -> int:
        """How often writes that were there for readers had to be taken back, as their commit failed."""

    @property
    def pending(self) -> Commit | None:
        """What all writes so far wait for; None when everything is durable, or as durable as it gets."""

    def record_bytes(self, record: Record) -> int:
        """What a record counts against the limit."""

    def get(self, key: bytes, now_s: float) -> Record | None:
        """The living record under a key; None when there is none, or its life is over."""

    def value(self, key: bytes, now_s: float) -> bytes | None:
        """The value of `get`, at less cost."""

    def held(self, key: bytes) -> Record | None:
        """Whatever is kept under a key: a living record, one whose life is over, a tombstone."""

    def put(self, record: Record) -> Record:
        """Keep a record unless a newer version is kept; returns what is kept now.

        Of the same version, the larger replication and the later `tombstone_until_s` are kept. A newer version that
        replaces an older one is kept, as a tombstone at last, until that one's `kept_until_s`.
        Raises: StoreError with reason `full`, `read_only`, `disk` or `overload`; nothing has changed then.
        """

    def put_over(self, held: Record | None, record: Record) -> Record:
        """The same for who has just asked what is `held` under the record's key, and has not switched since."""

    def remove(self, key: bytes, version: Version) -> bool:
        """Drop a record if it still has this version; True when it was dropped. Raises: StoreError."""

    def scan(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        """At most `limit` records with after < key <= last, in order of keys; an empty `after` begins at the first.

        All that is kept: living, expired and tombstones.
        """

    def entries(self, after: bytes, last: bytes, limit: int) -> list[Entry]:
        """The same without values."""

    def digest(self, start: int, end: int, replication: int) -> Digest:
        """All that is kept of the arc (start, end] with at least so much replication; start = end: the whole circle."""

    def expire(self, now_s: float, limit: int) -> int:
        """Drop, or turn into tombstones, at most `limit` records whose time has come; returns how many.

        Raises: StoreError.
        """

    def note(self, name: str) -> bytes:
        """What was last written down under a name; empty when nothing was."""

    def write_note(self, name: str, content: bytes) -> None:
        """Write something down beside the records; durable as they are. Raises: StoreError."""

    def note_late(self, seconds: float) -> None:
        """The disk has been at one write for so long: it is `error` until that has ended. Switches: no."""

    def close(self) -> None:
        """Make everything durable and let go of the files; nothing is asked of it afterwards.

        Blocks for as long as the disk does; in another thread than the loop's only when nothing is `pending`.
        """
