"""A simulated disk: what was written to it survives the crash of its host's process; what was under way may not."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

from gdht.core.digests import Digest
from gdht.core.messages import Entry
from gdht.core.records import Record
from gdht.errors import StoreError
from gdht.sim.delays import Delay
from gdht.sim.process import Process
from gdht.store.disk import Batch, RunAside, Work
from gdht.store.merging import due_s


class SimDisk:
    """The disk of one host; implements `gdht.store.disk.Disk` for one process after the other.

    number: tells it from every other disk of the simulation. sync: how long it takes until something is written.
    trouble: what every write meets, None: all is well. slow_s: how much longer a write takes for now.
    """

    def __init__(self, number: int, sync: Delay, rng: Random) -> None:
        self.number = number
        self.refusal = ""
        self.trouble: StoreError | None = None
        self.slow_s = 0.0
        self.longest_s = 0.0
        """The longest that any write took."""
        self.has_failed = False
        """Whether any write was refused."""
        self._sync = sync
        self._rng = rng
        self._records: dict[bytes, Record] = {}
        self._keys: list[bytes] = []  # in order
        self._due: list[tuple[float, bytes]] = []  # in order
        self._leaves: dict[tuple[int, int], Digest] = {}
        self._notes: dict[str, bytes] = {}

    def mend(self) -> None:
        """Be well again."""
        self.trouble = None
        self.slow_s = 0.0

    def draw_s(self) -> tuple[float, float]:
        """How long the next write takes: until it is on the disk, and from there until the process knows."""
        seconds = self._sync(self._rng) + self.slow_s
        self.longest_s = max(self.longest_s, seconds)
        share = self._rng.random()
        return seconds * share, seconds * (1.0 - share)

    # What a store asks ------------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> Record | None:
        return self._records.get(key)

    def scan(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        first = bisect_right(self._keys, after)
        stop = min(bisect_right(self._keys, last), first + limit)
        return [self._records[key] for key in self._keys[first:stop]]

    def entries(self, after: bytes, last: bytes, limit: int) -> list[Entry]:
        return [Entry(record.key, record.version, record.replication) for record in self.scan(after, last, limit)]

    def expiring(self, now_s: float, limit: int) -> list[bytes]:
        stop = min(bisect_right(self._due, now_s, key=lambda due: due[0]), limit)
        return [key for _, key in self._due[:stop]]

    def leaves(self) -> Iterator[tuple[int, int, Digest]]:
        return ((replication, leaf, digest) for (replication, leaf), digest in self._leaves.items())

    def note(self, name: str) -> bytes:
        return self._notes.get(name, b"")

    def applying(self, batch: Batch) -> Work:
        return partial(self._apply, batch)

    def _apply(self, batch: Batch) -> None:
        if self.trouble is not None:
            self.has_failed = True
            raise self.trouble
        for key, record in batch.records.items():
            self._forget(key)
            if record is not None:
                self._records[key] = record
                insort(self._keys, key)
                insort(self._due, (due_s(record), key))
        for place, digest in batch.leaves.items():
            self._leaves.pop(place, None)
            if digest.records:
                self._leaves[place] = digest
        self._notes |= batch.notes

    def close(self) -> None:
        """Nothing to let go of: another process may open it at once."""

    def _forget(self, key: bytes) -> None:
        record = self._records.pop(key, None)
        if record is not None:
            del self._keys[bisect_left(self._keys, key)]
            del self._due[bisect_left(self._due, (due_s(record), key))]


def aside(disk: SimDisk, process: Process) -> RunAside:
    """Run work on the disk beside a process that goes on meanwhile.

    Work is done at one moment, all of it or nothing. When the process dies before that, it is never done; a crash
    between that moment and the word of it leaves it on the disk.
    """
    scheduler = process.scheduler

    def run_aside(work: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        until_written_s, until_known_s = disk.draw_s()

        def carry_out(_: object) -> None:
            error = None
            try:
                work()
            except StoreError as failed:
                error = failed
            scheduler.after(until_known_s, done, error, process)

        scheduler.after(until_written_s, carry_out, None, process)

    return run_aside
