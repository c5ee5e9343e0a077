"""A store whose records outlive the process: what is not durable yet lies over a disk, and goes there in groups.

One group is on its way to the disk, in another thread, while the next ones gather what is written meanwhile; so a lone
write costs one commit, and a storm of them few. Digests, sizes and counts are those of what readers see; when a commit
fails, they and everything that is not durable go back to what is.
"""

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from gdht.core.digests import LEAF_SHIFT, NOTHING, Digest, DigestTree, digest_of, leaf_of
from gdht.core.ident import ident_bytes
from gdht.core.messages import Entry
from gdht.core.records import Record, Version
from gdht.errors import StoreError
from gdht.store.disk import Batch, Disk, RunAside
from gdht.store.group import Accounts, Group
from gdht.store.layout import RECORD_OVERHEAD_BYTES, Damaged
from gdht.store.merging import after_due, key_before, merged

log = logging.getLogger(__name__)

WAITING_RECORDS_MAX = 20_000
WAITING_BYTES_MAX = 64 << 20
"""What may wait for the disk; more is refused until it has caught up."""

SCAN_RECORDS = 500
REPLICATIONS = range(256)
DAMAGE_TOLD_MAX = 100
"""Damaged records that are named in the log; it is time to look at the disk long before."""


class HasKey(Protocol):
    """A record, or its entry."""

    @property
    def key(self) -> bytes:
        """32 bytes."""


Found = TypeVar("Found", bound=HasKey)


class DurableStore:
    """Records over a disk. run_aside: see `gdht.store.disk`. has_room: whether the disk could take so many bytes."""

    is_durable = True

    def __init__(
        self, disk: Disk, bytes_max: int, run_aside: RunAside, has_room: Callable[[int], bool] = lambda _bytes: True
    ) -> None:
        self.size_bytes_max = bytes_max
        self.error = disk.refusal
        self.failures = 0
        self._disk = disk
        self._run_aside = run_aside
        self._has_room = has_room
        self._failed_bytes = 0  # of the largest group that failed since one as large did not
        self._damage_told: set[bytes] = set()
        self._tree = DigestTree()
        for replication, leaf, digest in disk.leaves():
            self._tree.change(replication, leaf, NOTHING, digest)
        total = self._tree.cover(0, 0).digest
        self.size_bytes, self.count = total.size_bytes, total.records
        self._open = Group(Accounts(self.size_bytes, self.count))
        self._line: deque[Group] = deque()  # those that take nothing more, the first of them on its way to the disk
        self._is_closed = False

    # Reading -------------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> Group | None:
        if not self._open.is_empty:
            return self._open
        return self._line[-1] if self._line else None

    def record_bytes(self, record: Record) -> int:
        return len(record.value) + RECORD_OVERHEAD_BYTES

    def get(self, key: bytes, now_s: float) -> Record | None:
        record = self.held(key)
        return record if record and record.lives(now_s) else None

    def held(self, key: bytes) -> Record | None:
        for group in self._groups():
            if key in group.records:
                return group.records[key]
        try:
            return self._disk.get(key)
        except Damaged as damage:
            self._drop_damaged(damage)
            return None

    def scan(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        return self._laid_over(self._scan_disk, lambda record: record, after, last, limit)

    def _scan_disk(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        """What is sound on the disk; what is not is dropped."""
        found, damaged = self._scan_sound(after, last, limit)
        for damage in damaged:
            self._drop_damaged(damage)
        return found

    def _scan_sound(self, after: bytes, last: bytes, limit: int) -> tuple[list[Record], list[Damaged]]:
        found: list[Record] = []
        damaged: list[Damaged] = []
        while True:
            try:
                return found + self._disk.scan(after, last, limit - len(found)), damaged
            except Damaged as damage:
                found += self._disk.scan(after, key_before(damage.key), limit - len(found))
                after = damage.key
                damaged.append(damage)

    def entries(self, after: bytes, last: bytes, limit: int) -> list[Entry]:
        return self._laid_over(self._disk.entries, _entry, after, last, limit)

    def digest(self, start: int, end: int, replication: int) -> Digest:
        digest, edges = self._tree.cover(start, end, replication)
        for first, last in edges:
            after = key_before(ident_bytes(first))
            while found := self.scan(after, ident_bytes(last), SCAN_RECORDS):
                for record in found:
                    if record.replication >= replication:
                        digest = digest.plus(self._digest(record))
                after = found[-1].key
        return digest

    def note(self, name: str) -> bytes:
        for group in self._groups():
            if name in group.notes:
                return group.notes[name]
        return self._disk.note(name)

    def _groups(self) -> tuple[Group, ...]:
        """The newest one first."""
        return (self._open, *reversed(self._line))

    def _laid_over(
        self,
        read: Callable[[bytes, bytes, int], list[Found]],
        shorten: Callable[[Record], Found],
        after: bytes,
        last: bytes,
        limit: int,
    ) -> list[Found]:
        """What `read` finds on the disk, with the changes that are not there yet."""
        found: list[Found] = []
        while len(found) < limit and after < last:
            page = read(after, last, limit)
            changed = [group.keys_between(after, last, limit) for group in self._groups()]
            if not any(changed):
                return (found + page)[:limit]
            full = [keys[-1] for keys in (*changed, [one.key for one in page]) if len(keys) == limit]
            up_to = min(full, default=last)  # beyond it not everything has been read
            seen = {one.key: one for one in page if one.key <= up_to}
            for key in (key for keys in changed for key in keys if key <= up_to):
                record = self.held(key)
                if record is None:
                    seen.pop(key, None)
                else:
                    seen[key] = shorten(record)
            found += [seen[key] for key in sorted(seen)]
            after = up_to
        return found[:limit]

    # Writing -------------------------------------------------------------------------------------------------------

    def put(self, record: Record) -> Record:
        held = self.held(record.key)
        kept = merged(held, record)
        if kept is held:
            return kept
        self._require_room()
        grown_bytes = self.record_bytes(kept) - (self.record_bytes(held) if held else 0)
        if grown_bytes > 0 and self.size_bytes + grown_bytes > self.size_bytes_max:
            raise StoreError("full", f"the store is at its limit of {self.size_bytes_max} bytes")
        self._replace(held, kept)
        self._commit()
        return kept

    def remove(self, key: bytes, version: Version) -> bool:
        held = self.held(key)
        if held is None or held.version != version:
            return False
        self._require_room()
        self._replace(held, None)
        self._commit()
        return True

    def expire(self, now_s: float, limit: int) -> int:
        """Drop, or turn into tombstones, at most `limit` records whose time has come; returns how many.

        One whose last change is not durable yet is left until it is.
        """
        changing = {key for group in self._groups() for key in group.records}
        due = [key for key in self._disk.expiring(now_s, 2 * limit) if key not in changing][:limit]
        if due:
            self._require_room()
        for key in due:
            held = self.held(key)
            if held is not None:  # else it was damaged, and is dropped
                self._replace(held, after_due(held, now_s))
        self._commit()
        return len(due)

    def write_note(self, name: str, content: bytes) -> None:
        self._require_room()
        self._open.notes[name] = content
        self._commit()

    def _require_room(self) -> None:
        """Raises: StoreError when nothing can be written, or nothing now."""
        if self._disk.refusal:
            raise StoreError("read_only", self._disk.refusal)
        records = size_bytes = 0
        for group in self._groups():
            records += len(group.records)
            size_bytes += group.size_bytes
        if records >= WAITING_RECORDS_MAX or size_bytes >= WAITING_BYTES_MAX:
            raise StoreError("overload", "too much waits for the disk")

    def _replace(self, held: Record | None, new: Record | None) -> None:
        """One record takes the place of another of the same key, or of none; None: nothing does."""
        if held is not None:
            self._account(held, self._digest(held), NOTHING)
        if new is not None:
            self._account(new, NOTHING, self._digest(new))
        changed = held or new
        assert changed is not None, "something changes"
        self._open.set(changed.key, new)

    def _account(self, record: Record, gone: Digest, come: Digest) -> None:
        leaf = leaf_of(record.key)
        place = (record.replication, leaf)
        if place not in self._open.leaves:
            self._open.leaves[place] = self._tree.leaf(*place)
        self._tree.change(record.replication, leaf, gone, come)
        self.size_bytes += come.size_bytes - gone.size_bytes
        self.count += come.records - gone.records

    def _digest(self, record: Record) -> Digest:
        return digest_of(record, self.record_bytes(record))

    # Damage --------------------------------------------------------------------------------------------------------

    def _drop_damaged(self, damage: Damaged) -> None:
        """Let a record that cannot be trusted be gone, so that digests differ and the other replicas give it back.

        What it counted for cannot be known from it, so its leaf is counted anew.
        """
        key = damage.key
        if key not in self._damage_told and len(self._damage_told) < DAMAGE_TOLD_MAX:
            self._damage_told.add(key)
            log.error("record %s is damaged, and dropped: %s", key.hex(), damage)
        if self._disk.refusal or any(key in group.records for group in self._groups()):
            return
        self._open.set(key, None)
        sound = self._sums_of_leaf(leaf_of(key))
        for replication in REPLICATIONS:
            self._recount(replication, leaf_of(key), sound.get(replication, NOTHING))
        self._commit()

    def _sums_of_leaf(self, leaf: int) -> dict[int, Digest]:
        """Digests by replication of what is sound in a leaf."""
        sums: dict[int, Digest] = {}
        after, last = key_before(ident_bytes(leaf << LEAF_SHIFT)), ident_bytes((leaf + 1 << LEAF_SHIFT) - 1)
        while found := self._laid_over(
            lambda *where: self._scan_sound(*where)[0], lambda record: record, after, last, SCAN_RECORDS
        ):
            for record in found:
                sums[record.replication] = sums.get(record.replication, NOTHING).plus(self._digest(record))
            after = found[-1].key
        return sums

    def _recount(self, replication: int, leaf: int, right: Digest) -> None:
        counted = self._tree.leaf(replication, leaf)
        if counted != right:
            self._open.leaves.setdefault((replication, leaf), counted)
            self._tree.change(replication, leaf, counted, right)
            self.size_bytes += right.size_bytes - counted.size_bytes
            self.count += right.records - counted.records

    # Commits -------------------------------------------------------------------------------------------------------

    def _commit(self) -> None:
        """Send what has gathered to the disk, unless something is on its way there; line it up when it is enough."""
        if self._open.is_empty:
            return
        if not self._line:
            self._seal()
            self._send()
        elif self._open.is_full:
            self._seal()

    def _seal(self) -> None:
        group = self._open
        leaves = {place: self._tree.leaf(*place) for place in group.leaves}
        group.batch = Batch(group.records, leaves, group.notes)
        self._line.append(group)
        self._open = Group(Accounts(self.size_bytes, self.count))

    def _send(self) -> None:
        batch = self._line[0].batch
        assert batch is not None, "it was sealed"
        self._run_aside(partial(self._disk.apply, batch), self._end)

    def _end(self, failure: Exception | None) -> None:
        """The commit under way is over; the next one begins before those who waited for this one are told."""
        if self._is_closed:
            return
        error = _translated(failure)
        ended = [self._line.popleft()]
        group_bytes = ended[0].size_bytes
        if error is not None:
            ended += [*self._line, self._open]
            self._take_back(ended)
        self._tell(error, group_bytes)
        if self._line:
            self._send()
        else:
            self._commit()
        for group in ended:
            group.end(error)

    def _take_back(self, groups: list[Group]) -> None:
        """Forget changes, so that only what is durable is left. groups: the oldest first."""
        for group in reversed(groups):
            for place, before in group.leaves.items():
                self._tree.change(*place, self._tree.leaf(*place), before)
        self.size_bytes, self.count = groups[0].before
        self.failures += 1
        self._line.clear()
        self._open = Group(groups[0].before)

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

    def close(self) -> None:
        """Make everything durable and let go of the files. Blocks until the commits have ended."""
        if not self._open.is_empty:
            self._seal()
        error: StoreError | None = None
        outcomes = []
        for group in self._line:  # each builds on the one before
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
            self._disk.apply(group.batch)
        except StoreError as error:
            log.error("the last writes are lost: %s", error)  # noqa: TRY400  (the message says it all)
            return error
        return None


def _entry(record: Record) -> Entry:
    return Entry(record.key, record.version, record.replication)


def _translated(failure: Exception | None) -> StoreError | None:
    if failure is None or isinstance(failure, StoreError):
        return failure
    log.error("the disk failed in an unforeseen way", exc_info=failure)
    return StoreError("disk", f"the disk failed: {failure!r}")
