"""How `gdht cluster` shows its nodes: a live table on a terminal, else lines of text or JSON."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from gdht.cli.admin_port import printable
from gdht.cli.processes import Child
from gdht.cli.tables import UNKNOWN, console, counted, make_table, milliseconds


@dataclass(frozen=True)
class Row:
    """What is seen of one node. exit_code: None while it runs; the fields after it: None when not known."""

    node: int
    state: str
    exit_code: int | None
    node_id: str | None = None
    owned: int | None = None
    replica: int | None = None
    successor: str | None = None
    lookup_seconds: float | None = None
    detail: str = ""

    @property
    def news(self) -> tuple[object, ...]:
        """What is worth a line when it changes."""
        return self.condition, self.owned, self.replica, self.successor

    @property
    def condition(self) -> str:
        """State in words, with the exit code of one that ended."""
        return self.state if self.exit_code is None else f"{self.state}, exit {self.exit_code}"


class View(Protocol):
    """One way of showing; a context, so that the terminal is left as it was."""

    def __enter__(self) -> Self:
        """Say where the nodes are: the first line on standard output."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Leave the terminal in order."""

    def show(self, rows: Sequence[Row]) -> None:
        """Show all nodes as they are now."""

    def end(self, outcome: str) -> None:
        """Say why nothing more is shown."""


def make_view(children: Sequence[Child], logs: Path, *, as_json: bool) -> View:
    """The view that fits standard output."""
    if as_json:
        return JsonView(children, logs)
    return TableView(children, logs) if sys.stdout.isatty() else LineView(children, logs)


class JsonView:
    """One object per line: first the places, then all nodes again and again."""

    def __init__(self, children: Sequence[Child], logs: Path) -> None:
        self._children = children
        self._logs = logs

    def __enter__(self) -> Self:
        places = [
            {
                "node": child.number,
                "p2p_address": str(child.ports.p2p),
                "api_address": str(child.ports.api),
                "admin_address": str(child.ports.admin),
                "log": str(child.log),
                "pid": child.process.pid,
            }
            for child in self._children
        ]
        self._write({"started": places, "log_dir": str(self._logs)})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def show(self, rows: Sequence[Row]) -> None:
        """Write all of them."""
        self._write({"nodes": [asdict(row) for row in rows]})

    def end(self, outcome: str) -> None:
        """Write it."""
        self._write({"end": outcome})

    def _write(self, value: object) -> None:
        click.echo(json.dumps(value))


class LineView:
    """A line of text for each node when something about it changes."""

    def __init__(self, children: Sequence[Child], logs: Path) -> None:
        self._children = children
        self._logs = logs
        self._last: dict[int, tuple[object, ...]] = {}

    def __enter__(self) -> Self:
        click.echo(_places(self._children))
        click.echo(_logs_line(self._logs))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def show(self, rows: Sequence[Row]) -> None:
        """Write those that have changed."""
        for row in rows:
            if self._last.get(row.node) != row.news:
                self._last[row.node] = row.news
                click.echo(self._line(row))

    def end(self, outcome: str) -> None:
        """Write it."""
        click.echo(outcome)

    def _line(self, row: Row) -> str:
        line = f"node {row.node}: {row.condition}"
        if row.node_id is not None:
            line += f", {row.owned} owned, {row.replica} replica, successor {row.successor or UNKNOWN}"
        return f"{line}: {printable(row.detail)}" if row.detail else line


class TableView:
    """A table that is redrawn in its place."""

    def __init__(self, children: Sequence[Child], logs: Path) -> None:
        self._children = children
        self._logs = logs
        self._console = console()
        self._live = Live(console=self._console, auto_refresh=False)

    def __enter__(self) -> Self:
        click.echo(_places(self._children))
        click.echo(_logs_line(self._logs))
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._live.stop()

    def show(self, rows: Sequence[Row]) -> None:
        """Draw all of them."""
        columns = ("node", "state", "owned>", "replica>", "successor", "last lookup>", "api")
        cells = [self._cells(row, child) for row, child in zip(rows, self._children, strict=True)]
        notes = [Text(f"node {row.node}: {printable(row.detail)}", overflow="ellipsis") for row in rows if row.detail]
        self._live.update(Group(make_table(columns, cells), *notes), refresh=True)

    def end(self, outcome: str) -> None:
        """Write it below the table."""
        self._live.stop()
        click.echo(outcome)

    def _cells(self, row: Row, child: Child) -> tuple[object, ...]:
        return (
            row.node,
            row.condition,
            row.owned,
            row.replica,
            row.successor,
            milliseconds(row.lookup_seconds),
            child.ports.api,
        )


def _places(children: Sequence[Child]) -> str:
    api = " ".join(str(child.ports.api) for child in children)
    pages = " ".join(f"{child.ports.admin_url}/admin/" for child in children)
    return f"{counted(len(children), 'node')}; API: {api}; pages: {pages}"


def _logs_line(logs: Path) -> str:
    return f"Logs are in {logs}; Ctrl-C stops all."
