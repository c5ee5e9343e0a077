"""A store whose records outlive the process: what is not durable yet lies over a disk, and goes there in groups.

One group is on its way to the disk, in another thread, while the next ones gather what is written meanwhile; so a lone
write costs one commit, and a storm of them few. Digests, sizes and counts are those of what readers see; when a commit
fails, they and everything that is not durable go back to what is.
"""

import logging
from collections.abc import Callable

from gdht.core.digests import Digest
from gdht.core.messages import Entry
from gdht.core.records import Record, Version
from gdht.errors import StoreError
from gdht.store.disk import Batch, Disk, RunAside
from gdht.store.group import Accounts, Group
from gdht.store.layers import Layers
from gdht.store.layout import RECORD_OVERHEAD_BYTES, Damaged
from gdht.store.ledger import Ledger
from gdht.store.merging import after_due, merged

log = logging.getLogger(__name__)

WAITING_WRITES_MAX = 20_000
WAITING_BYTES_MAX = 64 << 20
"""What may wait for the disk; more is refused until it has caught up. Writes in place of each other all count: only the
last one's value is kept, but who waits for any of them is remembered."""

DAMAGE_TOLD_MAX = 100
"""Damaged records that are named in the log; it is time to look at the disk long before."""


Soon = Callable[[Callable[[], None]], None]
"""`soon(run)` has `run` called in the loop's thread: at once, or when what is at hand there is done."""


def at_once(run: Callable[[], None]) -> None:
    """The simplest `Soon`."""
    run()


class DurableStore:
    """Records over a disk. run_aside: see `gdht.store.disk`. has_room: whether the disk could take so many bytes.

    soon: puts off the beginning of a commit, so that what is written meanwhile is in it, too.
    """

    is_durable = True

    def __init__(
        self,
        disk: Disk,
        bytes_max: int,
        run_aside: RunAside,
        has_room: Callable[[int], bool] = lambda _bytes: True,
        soon: Soon = at_once,
    ) -> None:
        self.size_bytes_max = bytes_max
        self.error = disk.refusal
        self.failures = 0
        self._disk = disk
        self._run_aside = run_aside
        self._has_room = has_room
        self._soon = soon
        self._is_beginning = False  # `_begin` will be called
        self._is_under_way = False  # the first group in line is on its way to the disk
        self._failed_bytes = 0  # of the largest group that failed since one as large did not
        self._damage_told: set[bytes] = set()
        self._layers = Layers(disk, self._drop_damaged)
        self._ledger = Ledger(RECORD_OVERHEAD_BYTES, self._layers.scan)
        self._ledger.changes = self._layers.open.changes
        self._ledger.recall(disk.leaves())
        self._layers.open.accounts = self._accounts()
        self._is_closed = False
        self._ledger.divide_crowds()

    # Reading -------------------------------------------------------------------------------------------------------

    @property
    def size_bytes(self) -> int:
        return self._ledger.size_bytes

    @property
    def count(self) -> int:
        return self._ledger.count

    @property
    def pending(self) -> Group | None:
        return self._layers.last

    def record_bytes(self, record: Record) -> int:
        return len(record.value) + RECORD_OVERHEAD_BYTES

    def get(self, key: bytes, now_s: float) -> Record | None:
        record = self._layers.held(key)
        return record if record is not None and record.expires_at_s > now_s and not record.is_tombstone else None

    def value(self, key: bytes, now_s: float) -> bytes | None:
        record = self.get(key, now_s)
        return None if record is None else record.value

    def held(self, key: bytes) -> Record | None:
        return self._layers.held(key)

    def scan(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        return self._layers.scan(after, last, limit)

    def entries(self, after: bytes, last: bytes, limit: int) -> list[Entry]:
        return self._layers.entries(after, last, limit)

    def digest(self, start: int, end: int, replication: int) -> Digest:
        return self._ledger.digest(start, end, replication)

    def note(self, name: str) -> bytes:
        return self._layers.note(name)

    # Writing -------------------------------------------------------------------------------------------------------

    def put(self, record: Record) -> Record:
        return self.put_over(self._layers.held(record.key), record)

    def put_over(self, held: Record | None, record: Record) -> Record:
        kept = record if held is None else merged(held, record)
        if kept is not held:
            self._require_room()
            self._ledger.require_room(held, kept, self.size_bytes_max)
            self._replace(kept.key, held, kept)
            self._commit()
        return kept

    def remove(self, key: bytes, version: Version) -> bool:
        held = self.held(key)
        if held is None or held.version != version:
            return False
        self._require_room()
        self._replace(key, held, None)
        self._commit()
        return True

    def expire(self, now_s: float, limit: int) -> int:
        """Drop, or turn into tombstones, at most `limit` records whose time has come; returns how many.

        One whose last change is not durable yet is left until it is.
        """
        due = [key for key in self._disk.expiring(now_s, 2 * limit) if not self._layers.changes(key)][:limit]
        if due:
            self._require_room()
        for key in due:
            held = self.held(key)
            if held is not None:  # else it was damaged, and is dropped
                self._replace(key, held, after_due(held, now_s))
        self._commit()
        return len(due)

    def write_note(self, name: str, content: bytes) -> None:
        self._require_room()
        self._layers.open.notes[name] = content
        self._commit()

    def _require_room(self) -> None:
        """Raises: StoreError when nothing can be written, or nothing now."""
        if self._disk.refusal:
            raise StoreError("read_only", self._disk.refusal)
        layers = self._layers
        writes = layers.lined_writes + layers.open.writes
        if writes >= WAITING_WRITES_MAX or layers.lined_bytes + layers.open.size_bytes >= WAITING_BYTES_MAX:
            raise StoreError("overload", "too much waits for the disk")

    def _replace(self, key: bytes, held: Record | None, new: Record | None) -> None:
        """One record takes the place of another, or of none; None: nothing does."""
        ledger = self._ledger
        ledger.replace(held, new)
        self._layers.set(key, held, new)
        if ledger.unsettled:
            ledger.settle()

    def _accounts(self) -> Accounts:
        return Accounts(self._ledger.size_bytes, self._ledger.count)

    # Damage --------------------------------------------------------------------------------------------------------

    def _drop_damaged(self, damage: Damaged) -> None:
        """Let a record that cannot be trusted be gone, so that digests differ and the other replicas give it back.

        What it counted for cannot be known from it, so what is around it is counted anew.
        """
        key = damage.key
        if key not in self._damage_told and len(self._damage_told) < DAMAGE_TOLD_MAX:
            self._damage_told.add(key)
            log.error("record %s is damaged, and dropped: %s", key.hex(), damage)
        if self._disk.refusal or self._layers.changes(key):
            return
        self._layers.set_damaged(key)
        self._ledger.recount(key, self._layers.scan_sound)
        self._commit()

    # Commits -------------------------------------------------------------------------------------------------------

    def _commit(self) -> None:
        """Line up what has gathered when it is enough; have it begin, unless something is on its way to the disk."""
        if self._layers.open.is_full:
            self._seal()
        if not (self._is_under_way or self._is_beginning or self._layers.last is None):
            self._is_beginning = True
            self._soon(self._begin)

    def _begin(self) -> None:
        """Send what has gathered to the disk, if it has not been taken back since it was asked for."""
        self._is_beginning = False
        if self._is_closed or self._layers.last is None:
            return
        if not self._layers.line:
            self._seal()
        self._send()

    def _seal(self) -> None:
        group = self._layers.seal(self._accounts())
        leaves = self._ledger.leaves(group.changes)
        group.batch = Batch(group.records, leaves, group.notes, group.replaced)
        self._ledger.changes = self._layers.open.changes

    def _send(self) -> None:
        batch = self._layers.line[0].batch
        assert batch is not None, "it was sealed"
        self._is_under_way = True
        self._run_aside(self._disk.applying(batch), self._end)

    def _end(self, failure: Exception | None) -> None:
        """The commit under way is over; the next one is asked for before those who waited for this one are told."""
        if self._is_closed:
            return
        self._is_under_way = False
        error = _translated(failure)
        group_bytes = self._layers.line[0].size_bytes
        ended = [self._layers.end_first()] if error is None else self._take_back()
        self._tell(error, group_bytes)
        self._commit()
        for group in ended:
            group.end(error)

    def _take_back(self) -> list[Group]:
        """Forget changes, so that only what is durable is left; returns their groups."""
        groups = self._layers.clear()
        for group in reversed(groups):
            self._ledger.take_back(group.changes)
        self._ledger.size_bytes, self._ledger.count = groups[0].accounts
        self._ledger.changes = self._layers.open.changes
        self.failures += 1
        return groups

    def _tell(self, error: StoreError | None, group_bytes: int) -> None:
        """Keep and log the error; a small group that fits on a full disk does not make it healthy."""
        if error is not None:
            self._failed_bytes = max(self._failed_bytes, group_bytes)
        elif group_bytes < self._failed_bytes and not self._has_room(self._failed_bytes):
            return
        else:
            self._failed_bytes = 0
        text = str(error) if error is not None else self._disk.refusal
        if text and text != self.error:
            log.error("writes fail: %s", text)
        elif self.error and not text:
            log.info("writes are durable again")
        self.error = text

    def note_late(self, seconds: float) -> None:
        if not self.error:
            self.error = f"the disk has been at one write for {seconds:.0f} s"
            log.error("writes hang: %s", self.error)

    def close(self) -> None:
        """Make everything durable and let go of the files. Blocks until the commits have ended."""
        if not self._layers.open.is_empty:
            self._seal()
        error: StoreError | None = None
        outcomes = []
        for group in self._layers.line:  # each builds on the one before
            error = error or self._applied(group)
            outcomes.append((group, error))
        self._is_closed = True
        self._disk.close()
        for group, outcome in outcomes:
            group.end(outcome)

    def _applied(self, group: Group) -> StoreError | None:
        """Apply a group here and now, the first one perhaps a second time, which changes nothing."""
        assert group.batch is not None, "it was sealed"
        try:
            self._disk.applying(group.batch)()
        except StoreError as error:
            log.error("the last writes are lost: %s", error)  # noqa: TRY400  (the message says it all)
            return error
        return None


def _translated(failure: Exception | None) -> StoreError | None:
    if failure is None or isinstance(failure, StoreError):
        return failure
    log.error("the disk failed in an unforeseen way", exc_info=failure)
    return StoreError("disk", f"the disk failed: {failure!r}")
