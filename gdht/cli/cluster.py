"""`gdht cluster`: a ring of real processes on this machine, watched in a live table."""

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from gdht.cli.admin_port import AdminError, AdminPort, Json
from gdht.cli.group import WholeNumber
from gdht.cli.logs import verbosity, wanted_verbosity
from gdht.cli.processes import (
    NODES_MAX,
    Child,
    ended_well,
    held_signals,
    make_ports,
    next_stop,
    one_per_core,
    start,
    stop_all,
)
from gdht.cli.tables import short
from gdht.cli.views import Row, View, make_view
from gdht.config import OPTIONS, PORT_MAX, load_config
from gdht.errors import ConfigError

REPLICATION_MAX = OPTIONS["max_replication"].default
"""These nodes are told no other limit."""

REFRESH_S = 1.0
ANSWER_S_MAX = 2.0
ASKED_AT_ONCE_MAX = 16


class Watcher:
    """Asks one node again and again. The time of its last lookup is the mean of those since the answer before."""

    def __init__(self, child: Child, names: dict[str, str]) -> None:
        self._child = child
        self._names = names
        self._port = AdminPort(child.ports.admin_url, timeout_s=ANSWER_S_MAX)
        self._seen = False
        self._lookups: tuple[int, float] = (0, 0.0)
        self._lookup_seconds: float | None = None

    def look(self) -> Row:
        """The node as it is now."""
        number, code = self._child.number, self._child.exit_code()
        if code is not None:
            return Row(number, "down", code, detail=self._child.reason())
        try:
            answer = self._port.ask("node")
            with self._port.reading():
                return self._row(answer)
        except AdminError as error:
            return Row(number, "no answer" if self._seen else "starting", None, detail=str(error) if self._seen else "")

    def _row(self, answer: Json) -> Row:
        self._seen = True
        self._count(answer["lookup_seconds"])
        node, keys, successors = answer["node"], answer["keys"], answer["successors"]
        successor = self._names.get(successors[0]["address"], short(successors[0]["id"])) if successors else None
        return Row(
            node=self._child.number,
            state=node["state"],
            exit_code=None,
            node_id=node["id"],
            owned=keys["owned"],
            replica=keys["replica"],
            successor=successor,
            lookup_seconds=self._lookup_seconds,
        )

    def _count(self, purposes: Json) -> None:
        count = sum(one["count"] for one in purposes.values())
        total = sum(one["count"] * (one["mean"] or 0.0) for one in purposes.values())
        before, self._lookups = self._lookups, (count, total)
        if count > before[0]:
            self._lookup_seconds = max(total - before[1], 0.0) / (count - before[0])


@click.command(short_help="Run N nodes on this machine.")
@click.argument("nodes", metavar="[N]", type=WholeNumber(1, NODES_MAX), default=one_per_core)
@click.option(
    "--base-port",
    metavar="PORT",
    type=WholeNumber(1, PORT_MAX),
    help="Node i, from 0, gets P2P port PORT + 10 i, API one above, admin two above; else a free block is taken.",
)
@click.option("--ring", default="default", show_default=True, help="Name of the ring.")
@click.option(
    "--replication",
    metavar="N",
    type=WholeNumber(1, REPLICATION_MAX),
    help="Copies of each value; else the node's default.",
)
@click.option(
    "--log-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where logs go and stay; else a new directory, removed after a clean stop unless a node died.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where each node has a directory for its records, which stay; else with the logs.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, one line per second.")
@verbosity
@click.pass_context
def cluster(
    ctx: click.Context,
    nodes: int,
    base_port: int | None,
    ring: str,
    replication: int | None,
    log_dir: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Run N nodes on this machine for development and watch them; Ctrl-C stops all. N: one per core unless told.

    \b
    gdht cluster
    gdht cluster 5 --base-port 9000
    """
    try:
        ports = make_ports(nodes, base_port)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--base-port'") from error
    options = _node_options([str(one.p2p) for one in ports], ring, replication)
    logs = _log_dir(log_dir)
    data = data_dir or logs
    children: list[Child] = []
    with held_signals():
        try:
            for number, one in enumerate(ports, 1):
                children.append(start(number, one, logs / f"node-{number}.log", data / f"node-{number}", options))
            with make_view(children, logs, as_json=as_json) as view:
                all_down = _watch(children, view)
                view.end("All nodes are down." if all_down else "Stopping all nodes; Ctrl-C once more: at once.")
        finally:
            clean = stop_all(children)
    removed = log_dir is None and clean and all(map(ended_well, children))
    if removed:
        shutil.rmtree(logs, ignore_errors=True)
    if not as_json:
        click.echo("All nodes left; their logs are removed." if removed else f"Logs stay in {logs}.")
    ctx.exit(1 if all_down or not clean else 0)


def _node_options(members: Sequence[str], ring: str, replication: int | None) -> list[str]:
    """What all nodes are told alike: each lists all, so that the first one starts the ring. Raises: ConfigError."""
    given = {"bootstrap": ",".join(members), "ring": ring}
    if replication is not None:
        given["replication"] = str(replication)
    load_config(None, {}, given)
    level = wanted_verbosity()
    options = [part for name, text in given.items() for part in (f"--{name}", text)]
    return options + ["-v" if level > 0 else "-q"] * abs(level)


def _log_dir(given: Path | None) -> Path:
    if given is None:
        return Path(tempfile.mkdtemp(prefix="gdht-cluster-"))
    try:
        given.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--log-dir {given}: {error.strerror}") from error
    return given


def _watch(children: Sequence[Child], view: View) -> bool:
    """Show the nodes until somebody asks us to stop, or none is left; True for the latter."""
    names = {str(child.ports.p2p): f"node {child.number}" for child in children}
    watchers = [Watcher(child, names) for child in children]
    with ThreadPoolExecutor(min(len(watchers), ASKED_AT_ONCE_MAX)) as pool:
        while True:
            rows = list(pool.map(Watcher.look, watchers))
            view.show(rows)
            if all(row.exit_code is not None for row in rows):
                return True
            if next_stop(REFRESH_S):
                return False
