"""`gdht keys`: which keys a node keeps; `gdht requests`: which requests of its clients did not succeed, and why."""

from collections.abc import Iterable
from datetime import UTC, datetime

import click

from gdht.cli.admin_port import AdminPort, Json, asks_admin, printable
from gdht.cli.group import KEY, WholeNumber
from gdht.cli.tables import UNKNOWN, console, counted, milliseconds, print_json, print_table, short, span

PAGE_MAX = 1000
"""How many keys the node tells at a time."""

KEY_COLUMNS = ("key", "role", "bytes>", "time left>", "copies>", "version (UTC)")
REQUEST_COLUMNS = ("no.>", "time (UTC)", "request", "key", "result", "copies", "took>", "reason")


@click.command(short_help="List the keys of one node.")
@asks_admin
@click.option("--role", type=click.Choice(["owned", "replica", "misplaced"]), help="Only those; else all.")
@click.option("--after", type=KEY, help="Only keys that come after this one, in the order of their hex digits.")
@click.option(
    "--limit", metavar="N", type=WholeNumber(1, PAGE_MAX), default=100, show_default=True, help="At most so many."
)
def keys(port: AdminPort, as_json: bool, role: str | None, after: bytes | None, limit: int) -> None:
    """List the keys that a node keeps with role, size and time left to live, in the order of their hex digits.

    \b
    gdht keys --role owned --limit 1000
    """
    begin = after.hex() if after else ""
    answer = port.ask(f"keys?role={role or ''}&after={begin}&limit={limit}")
    with port.reading():
        rows = [_key_row(held) for held in answer["keys"]]
        more = answer["after"]
    if as_json:
        print_json(answer)
        return
    if rows:
        print_table(KEY_COLUMNS, rows)
    elif not more:
        click.echo(f"It keeps no {role or ''} keys{' after this one' if after else ''}.".replace("  ", " "))
    if more:
        click.echo(f"There may be more: --after hex:{printable(more)}", err=True)


def _key_row(held: Json) -> tuple[object, ...]:
    return (
        held["key"],
        held["role"] + (", tombstone" if held["tombstone"] else ""),
        held["bytes"],
        span(held["ttl_remaining_seconds"]),
        held["replication"],
        version_words(held["version"]),
    )


def version_words(version: Json | None) -> str | None:
    """A version as people tell them apart: when (UTC) it was written, and through which node; None for none."""
    return None if version is None else f"{_clock(version['time'])} by {short(version['coordinator'])}"


def _clock(wall_s: float) -> str:
    """A moment in UTC; one that no calendar has is not known."""
    try:
        return f"{datetime.fromtimestamp(wall_s, UTC):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError):
        return UNKNOWN


@click.command(short_help="Show which requests did not succeed, and why.")
@click.argument("key", type=KEY, required=False)
@asks_admin
@click.option("--limit", metavar="N", type=WholeNumber(1), default=50, show_default=True, help="At most so many.")
def requests(port: AdminPort, as_json: bool, key: bytes | None, limit: int) -> None:
    """Show the recent requests of a node's clients that did not succeed, newest first; with KEY only those for it.

    \b
    gdht requests motd
    """
    answer = port.ask(f"requests?limit={limit}" + (f"&key={key.hex()}" if key else ""))
    with port.reading():
        rows = request_rows(answer["requests"], with_key=True)
    if as_json:
        print_json(answer)
    elif rows:
        print_table(REQUEST_COLUMNS, rows)
    else:
        click.echo("None that the node remembers.")


def request_rows(requests: Iterable[Json], *, with_key: bool) -> list[tuple[object, ...]]:
    """Requests as rows of a table; without the key where all are for the same."""
    return [_request_row(request, with_key=with_key) for request in requests]


def _request_row(request: Json, *, with_key: bool) -> tuple[object, ...]:
    return (
        request["number"],
        _clock(request["time"]),
        request["operation"],
        *([short(request["key"])] if with_key else []),
        request["result"].replace("_", " "),
        copies_words(request),
        milliseconds(request["seconds"]),
        request["detail"],
    )


def copies_words(request: Json) -> str:
    """How many replicas stored what a put wanted stored; empty where none was asked."""
    return f"{request['acknowledged']} of {request['wanted']}" if request["wanted"] else ""


def print_requests(rows: list[tuple[object, ...]]) -> None:
    """Requests for one key below the verdict on it; nothing when there were none."""
    if rows:
        console().print(f"{counted(len(rows), 'request')} for it through this node did not succeed:", markup=False)
        print_table(tuple(column for column in REQUEST_COLUMNS if column != "key"), rows)
