"""`gdht store check`, `export` and `import`: the records of a stopped node."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import IO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gdht.cli.logs import verbosity
from gdht.cli.tables import counted, print_json
from gdht.config import OPTIONS
from gdht.core.records import Record
from gdht.errors import StoreError
from gdht.store.checking import check_pages, check_tables, open_existing, sound_records
from gdht.store.durable import DurableStore
from gdht.store.lines import LINE_BYTES_MAX, BadLine, line_record, record_line
from gdht.store.lmdb_disk import LmdbDisk

PROBLEMS_SHOWN_MAX = 50
COMMIT_RECORDS = 2000
NEXT_STEP = (
    "Save what is sound with gdht store export, move {place} away, and start the node; replicas give back the rest."
)
BAR_EVERY = 256
"""Records between two updates of a progress bar."""

Told = Callable[[int], None]

directory = click.argument("place", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))


@click.group(short_help="Check, export or import the records of a stopped node.")
@verbosity
def store() -> None:
    """Look after the records of a stopped node. DIR is its data_dir.

    \b
    gdht store check gdht-data
    gdht store export gdht-data > records.jsonl
    gdht store import gdht-data-new records.jsonl
    """


# check ----------------------------------------------------------------------------------------------------------------


@store.command(short_help="Is the store whole?")
@directory
@click.option("--json", "as_json", is_flag=True, help="JSON instead of words.")
@verbosity
@click.pass_context
def check(ctx: click.Context, place: Path, as_json: bool) -> None:
    """Read a whole store: its pages, each record's checksum, and what is derived from the records.

    Exit code 1 when something is wrong. `store export` saves what can be read.
    """
    problems = check_pages(place)
    records = None
    if not problems:  # else LMDB might read beyond the end of its file
        with closing(open_existing(place)) as disk, _bar("checking", disk.counts()["records"]) as told:
            records = disk.counts()["records"]
            problems = check_tables(disk, told)
    if as_json:
        print_json({"path": str(place), "records": records, "problems": problems})
    else:
        _tell(problems)
        found = "the pages are damaged" if records is None else counted(records, "record")
        click.echo(f"{found}, {counted(len(problems), 'problem')}")
        if problems:
            click.echo(NEXT_STEP.format(place=place))
    ctx.exit(1 if problems else 0)


# export ---------------------------------------------------------------------------------------------------------------


@store.command("export", short_help="Write the records as lines of JSON.")
@directory
@click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path), default="-")
@verbosity
@click.pass_context
def export_records(ctx: click.Context, place: Path, file: Path) -> None:
    """Write every record that still matters as a line of JSON, to FILE or standard output.

    FILE is made for its owner alone. Those whose life is over are left out.
    Exit code 1 when some are damaged; they are named and left out too.
    """
    damaged: list[str] = []
    now_s = time.time()
    written = 0
    with (
        closing(open_existing(place)) as disk,
        _opened(file) as lines,
        _bar("exporting", disk.counts()["records"]) as told,
    ):
        for number, record in enumerate(sound_records(disk, damaged.append), 1):
            told(number)
            if record.kept_until_s > now_s:
                lines.write(record_line(record, now_s) + "\n")
                written += 1
    _tell(damaged)
    click.echo(f"{counted(written, 'record')} written, {len(damaged)} damaged", err=True)
    ctx.exit(1 if damaged else 0)


@contextmanager
def _opened(file: Path) -> Iterator[IO[str]]:
    """A file to write to, made for its owner alone; standard output for `-`."""
    if str(file) == "-":
        yield sys.stdout
        return
    try:
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise click.FileError(str(file), str(error.strerror)) from error
    with os.fdopen(made, "w", encoding="ascii") as lines:
        yield lines


# import ---------------------------------------------------------------------------------------------------------------


@store.command("import", short_help="Take records from lines of JSON.")
@directory
@click.argument("file", type=click.File("rb"), default="-")
@click.option(
    "--max-store-bytes",
    type=click.IntRange(min=1),
    default=OPTIONS["max_store_bytes"].default,
    show_default=True,
    envvar="GDHT_MAX_STORE_BYTES",
    help="The node's limit; at it the import ends.",
)
@verbosity
@click.pass_context
def import_records(ctx: click.Context, place: Path, file: IO[bytes], max_store_bytes: int) -> None:
    """Take records from FILE or standard input into a store, which is made if there is none.

    A newer version in the store stays, an older one is replaced. Exit code 1 when lines were refused; others are taken.
    """
    queue = Queue()
    records = DurableStore(LmdbDisk(place, max_store_bytes), max_store_bytes, queue.add)
    with closing(records), _bar("importing", None) as told:
        outcome = Import(records, queue)
        for number, line in _lines(file):
            try:
                outcome.take(number, line)
            except StoreError as error:
                if error.reason != "full":
                    raise
                raise _at_limit(place, max_store_bytes, records.count, number) from error
            told(number)
        queue.flush()
    _tell(outcome.refused)
    click.echo(
        f"{counted(outcome.taken, 'record')} taken, {outcome.same} already there, "
        f"{outcome.older} older than what is there, "
        f"{outcome.expired} expired, {counted(len(outcome.refused), 'line')} refused",
        err=True,
    )
    ctx.exit(1 if outcome.refused else 0)


def _at_limit(place: Path, bytes_max: int, held: int, number: int) -> StoreError:
    return StoreError(
        "full",
        f"data_dir {place} is at its limit of {bytes_max} bytes after {counted(held, 'record')}, at line {number}: "
        "raise --max-store-bytes",
    )


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Each line with its number; of one that is too long only the beginning."""
    for number in count(1):
        rest = line = file.readline(LINE_BYTES_MAX + 1)
        if not line:
            return
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(LINE_BYTES_MAX)
        yield number, line


class Import:
    """What becomes of each line."""

    def __init__(self, records: DurableStore, queue: "Queue") -> None:
        self.taken = self.same = self.older = self.expired = 0
        self.refused: list[str] = []
        self._records = records
        self._queue = queue
        self._now_s = time.time()

    def take(self, number: int, line: bytes) -> None:
        """Put the record of a line, or note why not. Raises: StoreError: the store is full, or broken."""
        try:
            if len(line) > LINE_BYTES_MAX:
                raise BadLine(f"longer than {LINE_BYTES_MAX} bytes")
            record = line_record(line.decode(), self._now_s)
        except (BadLine, UnicodeDecodeError) as error:
            self.refused.append(f"line {number}: {error if isinstance(error, BadLine) else 'no UTF-8'}")
            return
        if record.kept_until_s <= self._now_s:
            self.expired += 1
        else:
            self._put(record)
        if number % COMMIT_RECORDS == 0:
            self._queue.flush()

    def _put(self, record: Record) -> None:
        before = self._records.held(record.key)
        kept = self._records.put(record)
        if kept.version != record.version:
            self.older += 1
        elif before is not None and before.version == record.version:
            self.same += 1
        else:
            self.taken += 1


class Queue:
    """`run_aside` of a program that may wait for its disk: work is done when it is asked for."""

    def __init__(self) -> None:
        self._works: list[tuple[Callable[[], None], Callable[[Exception | None], None]]] = []

    def add(self, work: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        """Keep work for later."""
        self._works.append((work, done))

    def flush(self) -> None:
        """Do all of it, also what comes in meanwhile. Raises: StoreError."""
        while self._works:
            work, done = self._works.pop(0)
            work()
            done(None)


# Words ----------------------------------------------------------------------------------------------------------------


def _tell(problems: list[str]) -> None:
    for problem in problems[:PROBLEMS_SHOWN_MAX]:
        click.echo(problem, err=True)
    if len(problems) > PROBLEMS_SHOWN_MAX:
        click.echo(f"... and {len(problems) - PROBLEMS_SHOWN_MAX} more", err=True)


@contextmanager
def _bar(what: str, total: int | None) -> Iterator[Told]:
    """A progress bar on standard error when that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _number: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)

        def tell(number: int) -> None:
            if number % BAR_EVERY == 0:
                bar.update(task, completed=number)

        yield tell
