"""How results look: tables for people, JSON for programs, numbers with their units."""

import json
import sys
from collections.abc import Iterable, Sequence

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gdht.cli.admin_port import printable

SHORT_DIGITS = 12
"""So many hex digits of an identifier tell nodes apart, for the eye."""

PLAIN_COLUMNS = 200
"""The width where there is no terminal: tables are not folded for a pipe."""

UNKNOWN = "-"


def console() -> Console:
    """Standard output, as wide as the terminal."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_COLUMNS, highlight=False, emoji=False)


def make_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table of plain cells; a heading that ends in `>` aligns its column to the right, empty ones are not shown."""
    headed = any(columns)
    table = Table(box=SIMPLE_HEAD if headed else None, padding=(0, 1, 0, 0), pad_edge=False, show_header=headed)
    for column in columns:
        right = column.endswith(">")
        table.add_column(column.rstrip(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(UNKNOWN if cell is None else printable(cell)) for cell in row))
    return table


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table to standard output."""
    console().print(make_table(columns, rows))


def print_json(value: object) -> None:
    """Write JSON to standard output, indented."""
    click.echo(json.dumps(value, indent=2))


def short(ident: str | None) -> str:
    """The first digits of an identifier."""
    return UNKNOWN if ident is None else ident[:SHORT_DIGITS]


def counted(number: float, noun: str) -> str:
    """A number of things, rounded to a whole one.

    >>> counted(1, "hop"), counted(2.6, "node"), counted(0, "hop")
    ('1 hop', '3 nodes', '0 hops')
    """
    whole = round(number)
    return f"{whole} {noun}" if whole == 1 else f"{whole} {noun}s"


def milliseconds(seconds: float | None) -> str:
    """A duration.

    >>> milliseconds(0.01234), milliseconds(None)
    ('12.3 ms', '-')
    """
    return UNKNOWN if seconds is None else f"{seconds * 1000:.1f} ms"


def percent(ratio: float | None) -> str:
    """A share of the circle.

    >>> percent(0.25)
    '25.0 %'
    """
    return UNKNOWN if ratio is None else f"{ratio:.1%}".replace("%", " %")


def span(seconds: float | None) -> str:
    """A longer time, in its two largest units.

    >>> span(93784.5), span(59.96), span(2.25)
    ('1d 2h', '1m 0s', '2.2 s')
    """
    if seconds is None:
        return UNKNOWN
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    parts: list[str] = []
    left = round(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, left = divmod(left, size)
        if amount or parts:
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2])
