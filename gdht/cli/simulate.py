"""`gdht simulate`: a simulated ring with churn, and the experiments of the Chord paper, in virtual time."""

import logging
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from gdht.cli.group import Number, WholeNumber
from gdht.cli.logs import start_logging, verbosity, wanted_verbosity
from gdht.cli.tables import print_json, print_table
from gdht.sim.experiments import calls, churn, failures, fastest, load, path_length, ring, scale
from gdht.sim.experiments.plots import draw, require_matplotlib
from gdht.sim.experiments.report import Progress, Report

NODES_MAX = 1 << 20
SUCCESSORS_MAX = 64


class Experiment(NamedTuple):
    """What can be run. options: made with what the command line says."""

    options: Callable[..., Any]
    run: Callable[[Any, Progress], Report]


RING = Experiment(ring.Options, ring.run)
EXPERIMENTS = {
    "failures": Experiment(failures.Options, failures.run),
    "churn": Experiment(churn.Options, churn.run),
    "path-length": Experiment(path_length.Options, path_length.run),
    "load": Experiment(load.Options, load.run),
    "calls": Experiment(calls.Options, calls.run),
    "fastest": Experiment(fastest.Options, fastest.run),
    "scale": Experiment(scale.Options, scale.run),
}


@click.command(short_help="Run a simulated ring, or an experiment.")
@click.option(
    "--experiment",
    type=click.Choice(list(EXPERIMENTS)),
    help="What the Chord paper measured, ours beside its figures; calls: of a get; fastest: with slow and far nodes; "
    "scale: as many real nodes as fit.",
)
@click.option(
    "--nodes",
    metavar="N",
    type=WholeNumber(3, NODES_MAX),
    help="Nodes; with path-length, load: at the most, processes.",
)
@click.option("--minutes", metavar="MINUTES", type=Number(min=0.1), help="Virtual minutes of churn.")
@click.option("--seed", metavar="N", type=WholeNumber(0), help="The same seed, the same run.")
@click.option(
    "--churn",
    metavar="RATE",
    type=Number(min=0),
    multiple=True,
    help="Joins, and as many departures, per second; with --experiment churn one or more rates.",
)
@click.option("--leaves", is_flag=True, default=None, help="Nodes depart in good order; else they crash.")
@click.option("--late", is_flag=True, default=None, help="Answers may take longer than a node waits for them.")
@click.option("--lookups", metavar="N", type=WholeNumber(1), help="Lookups per row of the table.")
@click.option("--lookup-rate", metavar="RATE", type=Number(min=0, min_open=True), help="Lookups per second, in all.")
@click.option("--successors", metavar="N", type=WholeNumber(2, SUCCESSORS_MAX), help="Length of the successor lists.")
@click.option("--keys", metavar="N", type=WholeNumber(10), help="Keys to spread.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw it: a .png, .svg or .pdf file.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of tables.")
@verbosity
def simulate(experiment: str | None, plot: Path | None, *, as_json: bool, **given: Any) -> None:
    """Run a simulated ring: the code of real nodes, every message through its real bytes, in virtual time.

    Without --experiment: one ring with churn, checked after every event. What is not given is as the paper has it.

    \b
    gdht simulate --nodes 32 --minutes 10 --churn 0.1
    gdht simulate --experiment failures --plot failures.svg
    gdht simulate --experiment churn --churn 0.1 --churn 0.4 --nodes 200 --lookups 500
    """
    chosen = EXPERIMENTS[experiment] if experiment else RING
    options = chosen.options(**_known(chosen, experiment, given))
    if plot is not None:
        if experiment is None:
            raise click.UsageError("--plot needs --experiment")
        require_matplotlib()
    with _quiet_nodes(), _progress() as progress:
        started_s = time.perf_counter()
        report = chosen.run(options, progress)
        took_s = time.perf_counter() - started_s
    _show(report, as_json=as_json)
    if plot is not None:
        draw(report, plot)
    click.echo(f"took {took_s:.1f} s and {_memory_mib()} MiB at the most", err=True)


def _known(chosen: Experiment, experiment: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """The options by field. Raises: click.UsageError for one that means nothing here."""
    names = {field.name for field in fields(chosen.options)}  # type: ignore[arg-type]  # they are dataclasses
    found = {}
    for name, value in given.items():
        if value in (None, ()):
            continue
        field = "rates" if name == "churn" and "rates" in names else name
        if field not in names:
            raise click.UsageError(
                f"--{name.replace('_', '-')} means nothing " + (f"with {experiment}" if experiment else "here")
            )
        if field == "churn" and len(value) > 1:
            raise click.UsageError("--churn is given more than once; only --experiment churn compares rates")
        found[field] = value[-1] if field == "churn" else value
    return found


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "experiment": report.experiment,
                "parameters": report.parameters,
                "results": report.results,
                "counted": report.counted,
            }
        )
        return
    for table in report.tables:
        click.echo(table.title)
        print_table(table.columns, table.rows)
    click.echo(report.counted)


def _memory_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


@contextmanager
def _quiet_nodes() -> Iterator[None]:
    """Thousands of nodes that lose each other all the time are not worth a line each, unless -v asks for them."""
    if wanted_verbosity() > 0:
        start_logging()
        yield
        return
    logger = logging.getLogger("gdht")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on standard error; where that is no terminal, a line for everything that begins."""
    if not sys.stderr.isatty():
        yield _line_by_line()
        return
    columns: Sequence[Any] = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


def _line_by_line() -> Progress:
    last = ""

    def tell(what: str, _done: int, total: int) -> None:
        nonlocal last
        if what != last:
            click.echo(f"{what}: of {total}", err=True)
            last = what

    return tell
