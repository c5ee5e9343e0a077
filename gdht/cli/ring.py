"""`gdht ring`: all nodes as a table, JSON or Graphviz text; `gdht ring check`: is the ring right?"""

from collections.abc import Iterator

import click
from click.core import ParameterSource

from gdht.cli.admin_port import AdminPort, Json, asks_admin, printable
from gdht.cli.tables import console, counted, milliseconds, percent, print_json, print_table, short

VIOLATIONS_SHOWN_MAX = 50


@click.group(short_help="List all nodes; `ring check`: is the ring right?", invoke_without_command=True)
@asks_admin
@click.option("--dot", is_flag=True, help="Graphviz text: first successors, predecessors dashed, broken ones red.")
@click.pass_context
def ring(ctx: click.Context, port: AdminPort, as_json: bool, dot: bool) -> None:
    """List all nodes, clockwise from the one asked; exit code 1 when the walk did not come full circle.

    \b
    gdht ring --json | jq '.nodes[].node.api_address'
    gdht ring --dot | dot -Tsvg -Kcirco > ring.svg
    """
    if ctx.invoked_subcommand is not None:
        return _refuse_options(ctx)
    if as_json and dot:
        raise click.UsageError("--json and --dot exclude each other")
    answer = port.ask("ring/walk")
    with port.reading():
        rows, lines = [_row(entry) for entry in answer["nodes"]], [*dot_lines(answer["nodes"])]
        complete = bool(answer["complete"])
    if as_json:
        print_json(answer)
    elif dot:
        click.echo("\n".join(lines))
    else:
        print_table(("node", "state", "p2p", "api", "share>", "owned>", "replica>", "misplaced>", "successor"), rows)
    if not complete:
        click.echo(
            "The walk did not come full circle: the ring is changing, or broken. Try: gdht ring check.", err=True
        )
        ctx.exit(1)
    return None


def _refuse_options(ctx: click.Context) -> None:
    """Options before the verb would be lost, for it has its own. Raises: click.UsageError."""
    for name in ctx.params:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"put options after {ctx.invoked_subcommand}")


def _row(entry: Json) -> tuple[object, ...]:
    node, keys = entry["node"], entry["keys"] or {}
    return (
        short(node["id"]),
        node["state"] or f"no answer: {entry.get('error', '')}",
        node["p2p_address"],
        node["api_address"],
        percent(entry["owned_ratio"]),
        *(keys.get(role) for role in ("owned", "replica", "misplaced")),
        short(entry["successors"][0]["id"]) if entry["successors"] else None,
    )


# Graphviz -------------------------------------------------------------------------------------------------------------


def dot_lines(entries: list[Json]) -> Iterator[str]:
    """A ring as Graphviz text. An edge is broken when its end does not answer, or does not point back."""
    nodes = {entry["node"]["id"]: entry for entry in entries}
    yield "digraph ring {"
    yield "  layout=circo; node [shape=box, fontname=monospace];"
    for ident, entry in nodes.items():
        colour = ", color=red" if entry["node"]["state"] is None else ""
        label = f"{_quotable(entry['node']['p2p_address'])}\\n{_quotable(short(ident))}"
        yield f'  "{_quotable(short(ident))}" [label="{label}"{colour}];'
    for ident, entry in nodes.items():
        for end in entry["successors"][:1]:
            yield _edge(ident, end["id"], "solid", broken=_predecessor(nodes.get(end["id"])) != ident)
        if before := _predecessor(entry):
            yield _edge(ident, before, "dashed", broken=_successor(nodes.get(before)) != ident)
    yield "}"


def _edge(start: str, end: str, style: str, *, broken: bool) -> str:
    colour = ", color=red" if broken else ""
    return f'  "{_quotable(short(start))}" -> "{_quotable(short(end))}" [style={style}{colour}];'


def _predecessor(entry: Json | None) -> str | None:
    return entry["predecessor"]["id"] if entry and entry["predecessor"] else None


def _successor(entry: Json | None) -> str | None:
    return entry["successors"][0]["id"] if entry and entry["successors"] else None


def _quotable(text: object) -> str:
    """A text from elsewhere, for between double quotes."""
    return printable(text).replace("\\", "?").replace('"', "?")


# Check ----------------------------------------------------------------------------------------------------------------


@ring.command(short_help="Is the ring right?")
@asks_admin
@click.pass_context
def check(ctx: click.Context, port: AdminPort, as_json: bool) -> None:
    """Ask whether the ring is right, and what is wrong with it; exit code 1 when it is wrong, or not seen whole.

    Every node is asked for its pointers; what is wrong is looked at twice, so that nodes that come and go do not count.

    \b
    gdht ring check --admin 127.0.0.1:8002
    """
    answer = port.ask("ring/check")
    with port.reading():
        rows = [_violation_row(violation) for violation in answer["violations"]]
        consistent, verdict = bool(answer["consistent"]), _verdict(answer)
    if as_json:
        print_json(answer)
    else:
        if rows:
            print_table(("invariant", "node", "what is wrong"), rows[:VIOLATIONS_SHOWN_MAX])
        if len(rows) > VIOLATIONS_SHOWN_MAX:
            click.echo(f"and {len(rows) - VIOLATIONS_SHOWN_MAX} more; --json shows all")
        console().print(verdict, markup=False)
    if not consistent:
        ctx.exit(1)


def _violation_row(violation: Json) -> tuple[object, ...]:
    return violation["invariant"], short(violation["node"]), violation["detail"]


def _verdict(answer: Json) -> str:
    """The answer in one line."""
    seen = f"{counted(answer['nodes'], 'node')} seen in {milliseconds(answer['seconds'])}"
    part = "" if answer["complete"] else ", not the whole ring"
    violations = answer["violations"]
    if violations:
        first = f"first {printable(violations[0]['invariant'])}"
        return f"The ring is NOT right: {counted(len(violations), 'violation')}, {first}; {seen}{part}."
    if not answer["consistent"]:
        return f"The ring could not be seen whole: {seen}, nothing wrong among those."
    return f"The ring is right: {seen}, all pointers agree."
