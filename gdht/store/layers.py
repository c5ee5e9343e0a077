"""What readers of a durable store see: what is on the disk, and over it the changes that are not there yet."""

from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from gdht.core.messages import Entry
from gdht.core.records import Record
from gdht.store.disk import Disk
from gdht.store.group import Accounts, Group
from gdht.store.layout import Damaged
from gdht.store.merging import key_before


class HasKey(Protocol):
    """A record, or its entry."""

    @property
    def key(self) -> bytes:
        """32 bytes."""


Found = TypeVar("Found", bound=HasKey)


class Layers:
    """A disk with groups of changes over it. open: the group that still gathers; line: those that take nothing more.

    lined_writes, lined_bytes: how much is in the line.

    damaged: told of each record on the disk that cannot be trusted; it counts as absent.
    """

    def __init__(self, disk: Disk, damaged: Callable[[Damaged], None]) -> None:
        self.open = Group(Accounts(0, 0))
        self.line: deque[Group] = deque()  # the first one is on its way to the disk
        self.lined_writes = self.lined_bytes = 0
        self._disk = disk
        self._damaged = damaged
        self._changed: dict[bytes, Group] = {}  # by key, the last group that changes it

    @property
    def last(self) -> Group | None:
        """The group that has the latest change of all."""
        if not self.open.is_empty:
            return self.open
        return self.line[-1] if self.line else None

    def groups(self) -> tuple[Group, ...]:
        """The newest one first."""
        return (self.open, *reversed(self.line))

    # Changes -------------------------------------------------------------------------------------------------------

    def set(self, key: bytes, held: Record | None, new: Record | None) -> None:
        """Have one record take the place of another; None: of none, or nothing does."""
        self.open.set(key, held, new)
        self._changed[key] = self.open

    def set_damaged(self, key: bytes) -> None:
        """Have nothing take the place of something damaged."""
        self.open.set_damaged(key)
        self._changed[key] = self.open

    def changes(self, key: bytes) -> bool:
        """Whether a key's last change is not on the disk yet."""
        return key in self._changed

    def seal(self, accounts: Accounts) -> Group:
        """Have the open group take nothing more, and begin the next one. accounts: as they are now."""
        group = self.open
        self.line.append(group)
        self.lined_writes += group.writes
        self.lined_bytes += group.size_bytes
        self.open = Group(accounts)
        return group

    def end_first(self) -> Group:
        """What the first group changed is on the disk."""
        group = self.line.popleft()
        self.lined_writes -= group.writes
        self.lined_bytes -= group.size_bytes
        changed = self._changed
        for key in group.records:
            if changed.get(key) is group:
                del changed[key]
        return group

    def clear(self) -> list[Group]:
        """Forget all changes that are not on the disk; returns their groups, the oldest first."""
        groups = [*self.line, self.open]
        self.line.clear()
        self.lined_writes = self.lined_bytes = 0
        self.open = Group(groups[0].accounts)
        self._changed.clear()
        return groups

    # Reading -------------------------------------------------------------------------------------------------------

    def held(self, key: bytes) -> Record | None:
        """What is kept under a key."""
        group = self._changed.get(key)
        if group is not None:
            return group.records[key]
        try:
            return self._disk.get(key)
        except Damaged as damage:
            self._damaged(damage)
            return None

    def note(self, name: str) -> bytes:
        """What was last written down under a name."""
        for group in self.groups():
            if name in group.notes:
                return group.notes[name]
        return self._disk.note(name)

    def scan(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        """At most `limit` records with after < key <= last, in order of keys."""
        return self._laid_over(self._scan_disk, lambda record: record, after, last, limit)

    def scan_sound(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        """The same, and nobody is told of damage."""
        return self._laid_over(lambda *where: self._sound(*where)[0], lambda record: record, after, last, limit)

    def entries(self, after: bytes, last: bytes, limit: int) -> list[Entry]:
        """The same without values."""
        return self._laid_over(self._disk.entries, _entry, after, last, limit)

    def _scan_disk(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        """What is sound on the disk; of what is not, somebody is told."""
        found, damaged = self._sound(after, last, limit)
        for damage in damaged:
            self._damaged(damage)
        return found

    def _sound(self, after: bytes, last: bytes, limit: int) -> tuple[list[Record], list[Damaged]]:
        found: list[Record] = []
        damaged: list[Damaged] = []
        while True:
            try:
                return found + self._disk.scan(after, last, limit - len(found)), damaged
            except Damaged as damage:
                found += self._disk.scan(after, key_before(damage.key), limit - len(found))
                after = damage.key
                damaged.append(damage)

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
            changed = [group.keys_between(after, last, limit) for group in self.groups()]
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


def _entry(record: Record) -> Entry:
    return Entry(record.key, record.version, record.replication)
