"""`gdht status`, `where` and `trace`: questions to a running node, through its admin port."""

import re
from collections.abc import Iterator

import click

from gdht.cli.admin_port import AdminPort, Json, asks_admin, printable
from gdht.cli.group import KEY
from gdht.cli.keys import print_requests, request_rows, version_words
from gdht.cli.tables import UNKNOWN, console, counted, milliseconds, percent, print_json, print_table, short, span


@click.command(short_help="Show one node.")
@asks_admin
def status(port: AdminPort, as_json: bool) -> None:
    """Show one node: state, neighbours, keys, traffic, checks.

    \b
    gdht status --admin 127.0.0.1:8001
    """
    answer = port.ask("node")
    if as_json:
        return print_json(answer)
    with port.reading():
        rows = [*_status_rows(answer)]
    return print_table(("", ""), rows)


def _status_rows(answer: Json) -> Iterator[tuple[str, object]]:
    node, keys, store = answer["node"], answer["keys"], answer["store"]
    yield "node", node["id"]
    yield "state", node["state"]
    yield "ring", f"{answer['ring']}, about {counted(answer['estimated_nodes'], 'node')}"
    yield "up", span(answer["uptime_seconds"])
    yield "p2p / api / admin", " / ".join((node["p2p_address"], node["api_address"], node["admin_address"]))
    yield "predecessor", _peer(answer["predecessor"])
    yield "successors", ", ".join(_peer(peer) for peer in answer["successors"]) or None
    yield "neighbours", {True: "agree", False: "DO NOT AGREE", None: "not compared yet"}[answer["consistent"]]
    if answer["lost"]:
        yield "lost", ", ".join(_peer(peer) for peer in answer["lost"])
    if answer["second_ring"]:
        yield "SECOND RING", ", ".join(_peer(peer) for peer in answer["second_ring"])
    if answer["health_score"]:
        yield "health", f"lags: waits {answer['health_score'] + 1} times as long for others"
    yield "owns", f"{percent(answer['owned_ratio'])} of the ring"
    yield "keys", f"{keys['owned']} owned, {keys['replica']} replica, {keys['misplaced']} misplaced"
    if answer["keys_under_replicated"]:
        age = span(answer["keys_under_replicated_oldest_seconds"])
        yield "TOO FEW COPIES", f"of {counted(answer['keys_under_replicated'], 'key')}, the first for {age}"
    yield (
        "store",
        f"{store['bytes']:,} of {store['capacity_bytes']:,} bytes, {counted(store['tombstones'], 'tombstone')}",
    )
    if store["error"]:
        yield "WRITES REFUSED", store["error"]
    if answer["handover"] and not answer["handover"]["ended"]:
        moved = answer["handover"]
        yield f"moves ({moved['kind']})", f"{moved['keys_done']} of about {counted(moved['keys_total'], 'record')}"
    yield "connections", ", ".join(f"{name} {count}" for name, count in answer["connections"].items())
    for name, results in answer["requests"].items():
        yield f"{name}s", ", ".join(f"{result} {count}" for result, count in results.items())
    for name, seconds in answer["lookup_seconds"].items():
        yield f"lookups ({name})", f"{seconds['count']}, mean {milliseconds(seconds['mean'])}"
    for kind in ("live", "ready"):
        for name, check in answer["checks"][kind].items():
            yield f"check {name}", ("ok: " if check["ok"] else "FAILED: ") + check["detail"]


def _peer(peer: Json | None) -> str:
    return UNKNOWN if peer is None else f"{short(peer['id'])} at {peer['address']}"


@click.command(short_help="Show who holds a key.")
@click.argument("key", type=KEY)
@asks_admin
@click.pass_context
def where(ctx: click.Context, port: AdminPort, key: bytes, as_json: bool) -> None:
    """Show which nodes should hold KEY, which do, and what is wrong; exit code 1 when none does.

    Then the recent requests for it through this node that did not succeed, with the reasons.

    \b
    gdht where motd
    """
    answer = port.ask(f"keys/{key.hex()}")
    with port.reading():
        rows = [_holder_row(holder) for holder in answer["nodes"]]
        held = any(holder["present"] for holder in answer["nodes"])
        verdict, failed = printable(answer["verdict"]), request_rows(answer["failed_requests"], with_key=False)
    if as_json:
        print_json(answer)
    else:
        if rows:
            print_table(HOLDER_COLUMNS, rows)
        if held:
            console().print(verdict, markup=False)
        print_requests(failed)
    if not held:
        click.echo(verdict, err=True)
        ctx.exit(1)


COPIES = {
    "holds": "yes",
    "lacks": "no",
    "stale": "old version",
    "differs": "OTHER VALUE",
    "tombstone": "tombstone",
}
"""What a node has, by its condition."""

HOLDER_COLUMNS = ("node", "address", "role", "copy", "bytes>", "time left>", "copies>", "version (UTC)", "checksum")


def _holder_row(holder: Json) -> tuple[object, ...]:
    condition = holder["condition"]
    return (
        short(holder["id"]),
        holder["address"],
        holder["role"],
        _silence(holder) if condition == "silent" else COPIES.get(condition, condition),
        holder["bytes"],
        span(holder["ttl_remaining_seconds"]),
        holder["replication"],
        version_words(holder["version"]),
        short(holder["digest"]),
    )


def _silence(holder: Json) -> str:
    """Why a node is silent, without its address, which has a column of its own."""
    itself = rf"([0-9a-f]+@)?{re.escape(holder['address'])}:? "
    return f"no answer: {re.sub(f'^{itself}', '', holder.get('error', ''))}"


@click.command(short_help="Show how a key's owner is found.")
@click.argument("key", type=KEY)
@asks_admin
@click.pass_context
def trace(ctx: click.Context, port: AdminPort, key: bytes, as_json: bool) -> None:
    """Look KEY's owner up and show each node asked on the way; exit code 1 when the lookup fails.

    \b
    gdht trace motd
    """
    answer = port.ask(f"trace/{key.hex()}")
    with port.reading():
        rows = [_hop_row(number, hop) for number, hop in enumerate(answer["hops"], 1)]
        owner = answer["owner"] and _peer(answer["owner"])
        hops = f"{counted(answer['hops_total'], 'hop')}, {answer['dead_hops_total']} dead"
        verdict = f"{hops}, {milliseconds(answer['seconds_total'])}"
    if as_json:
        print_json(answer)
    else:
        if rows:
            print_table(("hop>", "node", "address", "found through", "took>", ""), rows)
        if owner:
            console().print(printable(f"owner {owner}: {verdict}"), markup=False)
    if not owner:
        click.echo(f"The lookup failed after {verdict}: {printable(answer.get('error', 'no reason given'))}", err=True)
        ctx.exit(1)


def _hop_row(number: int, hop: Json) -> tuple[object, ...]:
    through = "answer or successor" if hop["finger"] is None else f"finger {hop['finger']}"
    outcome = f"dead: {hop.get('error', '')}" if hop["dead"] else hop.get("error", "")
    return number, short(hop["id"]), hop["address"], through, milliseconds(hop["seconds"]), outcome
