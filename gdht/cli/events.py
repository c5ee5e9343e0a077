"""`gdht events`: what happened to a node's pointers, and what happens to them now."""

import json
import time
from datetime import UTC, datetime
from typing import NoReturn

import click

from gdht.cli.admin_port import AdminPort, Json, asks_admin, printable
from gdht.cli.group import WholeNumber
from gdht.cli.tables import print_json, print_table

FOLLOW_S = 1.0
"""How often to ask for news."""

EVENT_MAX = 10**18 - 1
COLUMNS = ("no.>", "time (UTC)", "pointer", "change", "cause")


@click.command(short_help="Show what happened to a node's pointers.")
@asks_admin
@click.option("--since", metavar="N", type=WholeNumber(0, EVENT_MAX), default=0, help="Only events after number N.")
@click.option("--follow", is_flag=True, help="Go on with new events until Ctrl-C; a line for each.")
def events(port: AdminPort, as_json: bool, since: int, follow: bool) -> None:
    """Show the changes of a node's pointers with their causes, oldest first; it remembers the last 500.

    \b
    gdht events --since 42 --follow
    """
    if follow:
        _follow(port, since, as_json)
    answer = port.ask(_path(since))
    with port.reading():
        rows = [_row(event) for event in answer["events"]]
    if as_json:
        print_json(answer)
    else:
        print_table(COLUMNS, rows)


def _path(since: int) -> str:
    return f"events?since={since}"


def _follow(port: AdminPort, since: int, as_json: bool) -> NoReturn:
    """Write every event after number `since`, without end. Raises: AdminError once the node does not answer."""
    while True:
        answer = port.ask(_path(since))
        with port.reading():
            for event in answer["events"]:
                click.echo(json.dumps(event) if as_json else _line(event))
            newest, more = int(answer["last"]), bool(answer["more"])
            restarted = newest < since
            since = answer["events"][-1]["number"] if answer["events"] else newest
        if restarted:
            click.echo("The node was started anew and counts its events from 1.", err=True)
            since = 0
        elif not more:
            time.sleep(FOLLOW_S)


def _row(event: Json) -> tuple[object, ...]:
    moment = f"{datetime.fromtimestamp(event['time'], UTC):%Y-%m-%d %H:%M:%S}"
    if event["pointer"] == "state":  # its cause is what it has changed to
        return event["number"], moment, event["pointer"], event["cause"], ""
    return event["number"], moment, event["pointer"], _change(event), event["cause"]


def _change(event: Json) -> str:
    """Who went and who came."""
    before, after = ([peer["address"] for peer in event[side]] for side in ("before", "after"))
    gone = [f"-{address}" for address in before if address not in after]
    return " ".join([*gone, *(f"+{address}" for address in after if address not in before)])


def _line(event: Json) -> str:
    return "  ".join(printable(cell) for cell in _row(event) if cell != "")
