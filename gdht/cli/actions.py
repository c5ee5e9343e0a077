"""`gdht drain` and `gdht leave`: have a node take no more clients, hand its records over, go; and wait until it has."""

import sys
import time
from collections.abc import Callable

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gdht.cli.admin_port import AdminPort, AdminUnreachable, Json, tells_admin
from gdht.cli.group import Number
from gdht.cli.tables import counted, print_json, print_table, short, span

POLL_S = 0.2
"""How often to look how far the node is."""

DRAIN_S = 10.0
LEAVE_S = 60.0
LEAVE_S_MAX = 86400.0
GOODBYE_S = 10.0
"""How long after its deadline a leaver may need to finish what clients asked, say goodbye and end."""


def _timeout_option(default: float, words: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        "--timeout",
        "timeout_s",
        metavar="SECONDS",
        type=Number(min=0, min_open=True, max=LEAVE_S_MAX),
        default=default,
        show_default=True,
        help=words,
    )


@click.command(short_help="Have a node take no more clients.")
@tells_admin
@_timeout_option(DRAIN_S, "How long to wait until its clients are gone.")
@click.pass_context
def drain(ctx: click.Context, port: AdminPort, timeout_s: float) -> None:
    """Have a node take no more clients, and wait until it has finished what they asked; exit code 1 if it has not.

    It stays in the ring and keeps its records, and is not ready any more. To undo this, start it anew.

    \b
    gdht drain --admin 127.0.0.1:8001
    """
    ends_at_s = time.monotonic() + timeout_s
    port.tell("drain")
    while clients := _clients(port):
        if time.monotonic() >= ends_at_s:
            click.echo(f"{counted(clients, 'client')} still connected after {timeout_s:g} s.", err=True)
            ctx.exit(1)
        time.sleep(POLL_S)
    click.echo("Drained: no clients any more; the node stays in the ring.")


def _clients(port: AdminPort) -> int:
    answer = port.ask("node")
    with port.reading():
        return int(answer["connections"]["api"])


@click.command(short_help="Have a node hand its records over and leave the ring.")
@tells_admin
@_timeout_option(LEAVE_S, "How long it may look for takers of its records.")
@click.option("--dry-run", is_flag=True, help="Only show who would get how much.")
@click.option("--json", "as_json", is_flag=True, help="The node's plan, or how it ended, as JSON.")
@click.pass_context
def leave(ctx: click.Context, port: AdminPort, timeout_s: float, dry_run: bool, as_json: bool) -> None:
    """Have a node drain, hand its records over, leave the ring and end; wait until it is gone.

    Exit code 1 when records found no taker in time, or when how it ended was not seen; of --dry-run: when nobody could
    take them.

    \b
    gdht leave --dry-run
    gdht leave --timeout 120
    """
    if dry_run:
        could_go = _show_plan(port, port.tell("leave?dry_run=1"), as_json)
        return None if could_go else ctx.exit(1)
    answer = port.ask("node")
    port.tell(f"leave?timeout={timeout_s:g}")
    with _progress() as progress:
        answer = _watch(port, answer, progress, time.monotonic() + timeout_s + GOODBYE_S)
    with port.reading():
        left, words = _outcome(answer, timeout_s)
    if as_json:
        print_json(answer["handover"])
    click.echo(words, err=not left or as_json)
    return None if left else ctx.exit(1)


def _show_plan(port: AdminPort, plan: Json, as_json: bool) -> bool:
    """Show who would get what; False when there are records and nobody to take them."""
    with port.reading():
        rows = [(short(one["id"]), one["address"], one["keys"], one["bytes"]) for one in plan["receivers"]]
        total = ("total", "", plan["keys"], plan["bytes"])
    could_go, words = (True, "") if rows else _empty_plan(port)
    if as_json:
        print_json(plan)
    elif rows:
        print_table(("node", "address", "keys>", "bytes>"), [*rows, total])
    if words and not (as_json and could_go):
        click.echo(words, err=not could_go)
    return could_go


def _empty_plan(port: AdminPort) -> tuple[bool, str]:
    """Why nobody would get anything, and whether nothing is left behind by that."""
    answer = port.ask("node")
    with port.reading():
        keys, alone = _records(answer), not answer["successors"]
    if keys == 0:
        return True, "Nobody would get anything: it has no records."
    if alone:
        return False, f"Nobody can take its {counted(keys, 'record')}: it is alone. Its data_dir keeps what it has."
    return True, "Nobody would get anything: the others have all of its records."


def _records(answer: Json) -> int:
    """How many records a node has."""
    return sum(answer["keys"][role] for role in ("owned", "replica", "misplaced"))


def _progress() -> Progress:
    """A bar on standard error, only where that is a terminal."""
    words = TextColumn("{task.description} {task.completed:.0f} of {task.total:.0f} copies")
    console = Console(stderr=True)
    return Progress(words, BarColumn(), TimeElapsedColumn(), console=console, disable=not sys.stderr.isatty())


def _watch(port: AdminPort, answer: Json, progress: Progress, ends_at_s: float) -> Json:
    """Follow a leaver until its port is closed; the last that it told."""
    task = progress.add_task("handing over", total=0)
    while time.monotonic() < ends_at_s:
        try:
            answer = port.ask("node")
        except AdminUnreachable:
            break
        with port.reading():
            if told := _leaving(answer):
                progress.update(task, total=max(told["keys_total"], told["keys_done"]), completed=told["keys_done"])
        time.sleep(POLL_S)
    return answer


def _leaving(answer: Json) -> Json | None:
    handover: Json | None = answer["handover"]
    return handover if handover and handover["kind"] == "leave" else None


WHAT_TO_DO = "What is left is in its data_dir: start the node again, or move it with gdht store export."


def _outcome(answer: Json, timeout_s: float) -> tuple[bool, str]:
    """Whether all went well, from the last that a leaver told; and a line about it. timeout_s: what it was given."""
    told = _leaving(answer)
    if told is None and answer["successors"]:
        return False, "It is gone; how that ended was not seen."
    if told is None:
        keys = _records(answer)
        return keys == 0, "It has left; it was alone" + (
            f", and {counted(keys, 'record')} found no taker. {WHAT_TO_DO}" if keys else "."
        )
    copies = "1 copy" if told["keys_done"] == 1 else f"{told['keys_done']} copies"  # a record may go to several nodes
    handed_over = f"{copies} handed over in {span(told['seconds'])}"
    if told["keys_without_taker"]:
        late = " or were not confirmed in time" if told["seconds"] >= timeout_s else ""
        lost = f"{counted(told['keys_without_taker'], 'record')} found no taker{late}"
        return False, f"It has left: {handed_over}, but {lost}. {WHAT_TO_DO}"
    if told["ended"]:
        return True, f"It has left: {handed_over}."
    return False, f"Its end was not seen: {handed_over} of about {told['keys_total']} when it was last heard of."
