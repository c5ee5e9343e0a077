"""`gdht bench`: load the API ports of nodes and tell how many requests they answer, and how fast."""

import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gdht.cli.bench_report import Report, failures
from gdht.cli.group import Number, WholeNumber
from gdht.cli.load import plan as limits
from gdht.cli.load.crew import Crew
from gdht.cli.load.plan import Plan, bench_key
from gdht.cli.load.tally import Tally
from gdht.cli.logs import verbosity
from gdht.cli.processes import held_signals, next_stop
from gdht.cli.tables import counted, print_json
from gdht.cli.values import API_ADDRESS, connected, replication_option
from gdht.client import TIMEOUT_S_MAX, TTL_MAX_S
from gdht.client.addresses import parse_addresses
from gdht.config import Address
from gdht.core.messages import VALUE_BYTES_MAX


def _addresses(_ctx: click.Context, _param: click.Parameter, texts: Sequence[str]) -> list[Address]:
    try:
        return parse_addresses(texts)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(short_help="Load API ports: requests per second, latencies.")
@click.option(
    "--api",
    "addresses",
    metavar="HOST:PORT",
    multiple=True,
    default=(API_ADDRESS,),
    show_default=True,
    callback=_addresses,
    help="API port of a node; several share the connections. Never taken from the environment.",
)
@click.option(
    "--connections",
    metavar="N",
    type=WholeNumber(1, limits.CONNECTIONS_MAX),
    default=16,
    show_default=True,
    help="Connections in all.",
)
@click.option(
    "--pipeline",
    metavar="N",
    type=WholeNumber(1, limits.PIPELINE_MAX),
    default=8,
    show_default=True,
    help="Requests under way on each.",
)
@click.option(
    "--seconds",
    metavar="SECONDS",
    type=Number(min=0, max=limits.SECONDS_MAX, min_open=True),
    default=10.0,
    show_default=True,
    help="How long.",
)
@click.option(
    "--get-ratio", metavar="SHARE", type=Number(0, 1), default=0.9, show_default=True, help="Share of GETs, 0 to 1."
)
@click.option(
    "--value-bytes",
    metavar="N",
    type=WholeNumber(0, VALUE_BYTES_MAX),
    default=100,
    show_default=True,
    help="Length of each value.",
)
@click.option(
    "--keys",
    metavar="N",
    type=WholeNumber(1, limits.KEYS_MAX),
    default=10_000,
    show_default=True,
    help="Different keys, the same in every run.",
)
@replication_option
@click.option(
    "--ttl",
    "ttl_s",
    metavar="SECONDS",
    type=WholeNumber(0, TTL_MAX_S),
    default=600,
    show_default=True,
    help="How long the values are kept; 0: node's default.",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=Number(min=0, min_open=True, max=TIMEOUT_S_MAX),
    default=5.0,
    show_default=True,
    help="How long a node may owe an answer.",
)
@click.option(
    "--processes",
    metavar="N",
    type=WholeNumber(1, limits.PROCESSES_MAX),
    default=1,
    show_default=True,
    help="Processes that share the work, each on a core of its own.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@verbosity
@click.pass_context
def bench(ctx: click.Context, /, addresses: list[Address], processes: int, *, as_json: bool, **shape: Any) -> None:
    """Load nodes with GETs and PUTs and tell how many they answer per second, and how fast. Ctrl-C ends it early.

    It first stores a value under every key, then keeps the same number of requests under way on each connection for
    the whole time; PUTs ask for their answer. Exit code 1 when a request failed.

    \b
    gdht bench --connections 64 --pipeline 1
    gdht bench --api 127.0.0.1:7001 --api 127.0.0.1:7002 --get-ratio 0.5 --seconds 30 --json
    """
    whole = Plan(tuple(addresses), **shape)
    _check(whole, processes)
    whole = replace(whole, addresses=tuple(_reach(address, whole.timeout_s) for address in addresses))
    with held_signals(), Crew(_share_out(whole, processes), lambda: next_stop(0)) as crew:
        filled, loaded = _fill(crew, whole), Tally()
        if not crew.was_stopped:
            loaded = _load(crew, whole)
    report = Report(whole, [str(address) for address in addresses], processes, filled, loaded, crew.was_stopped)
    if as_json:
        print_json(report.to_json())
    else:
        report.show()
    ctx.exit(0 if report.is_well else 1)


def _check(whole: Plan, processes: int) -> None:
    """Raises: click.BadParameter for numbers that do not fit one another."""
    if processes > whole.connections:
        raise click.BadParameter(f"{processes} processes need as many connections", param_hint="'--processes'")
    if whole.in_flight_bytes > limits.IN_FLIGHT_BYTES_MAX * processes:
        raise click.BadParameter(
            f"{whole.in_flight_bytes >> 20} MiB of values would be under way at once, "
            f"{limits.IN_FLIGHT_BYTES_MAX >> 20} MiB per process may be: take fewer or shorter ones",
            param_hint="'--pipeline'",
        )


def _reach(address: Address, timeout_s: float) -> Address:
    """Where the address leads, as a literal, once a node has answered there. Raises: click.ClickException."""
    with connected(str(address), timeout_s) as client:
        client.get(bench_key(0))
    with socket.create_connection(address, timeout_s) as probe:
        return Address(*probe.getpeername()[:2])


def _share_out(whole: Plan, processes: int) -> list[Plan]:
    """Each process's part: as many connections, as many of the values to store, and its own address to begin with."""
    plans = []
    first_lane = 0
    for number in range(processes):
        connections = len(range(number, whole.connections, processes))
        turn = first_lane % len(whole.addresses)
        addresses = whole.addresses[turn:] + whole.addresses[:turn]
        plans.append(replace(whole, addresses=addresses, connections=connections, first_key=number, every=processes))
        first_lane += connections
    return plans


# The two phases, with a bar -------------------------------------------------------------------------------------------


def _fill(crew: Crew, whole: Plan) -> Tally:
    """Have the values stored. Raises: click.ClickException when not one of them is."""
    values = counted(whole.fill_count, "value")
    with _bar(f"storing {values}" if whole.fill_count else "starting", whole.fill_count) as show:
        filled = crew.fill(lambda done: show(done, ""))
    if whole.fill_count and not filled.answered and not crew.was_stopped:
        raise click.ClickException(f"not one of {values} could be stored: {failures(filled)}")
    return filled


def _load(crew: Crew, whole: Plan) -> Tally:
    with _bar(f"loading for {whole.seconds:g} s", whole.seconds) as show:
        started_s = time.monotonic()
        return crew.load(lambda done: show(time.monotonic() - started_s, counted(done, "request")))


@contextmanager
def _bar(what: str, total: float) -> Iterator[Callable[[float, str], None]]:
    """A bar on standard error, to be told how far it is; where that is no terminal, a line for the beginning."""
    if not sys.stderr.isatty():
        click.echo(what, err=True)
        yield lambda _done, _text: None
        return
    columns = (TextColumn(what), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda done, text: bar.update(task, completed=done, description=text)
