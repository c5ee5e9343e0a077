"""`gdht put` and `gdht get`: values through the API port of a node.

The API tells whether it went well, not how or why. Where the node's admin port is named too, that one is asked.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from gdht.cli.group import KEY, Number, WholeNumber
from gdht.client import REPLICATION_MAX, TIMEOUT_S_MAX, TTL_MAX_S, Client
from gdht.core.messages import VALUE_BYTES_MAX
from gdht.errors import ClientDisconnected, ClientTimeout, PutFailed

if TYPE_CHECKING:
    from gdht.cli.witness import Witness

API_ADDRESS = "127.0.0.1:7001"

NOT_FOUND = ": not found"
"""How a witness's reason begins when the node asked those that should hold the key, and they have none."""

api_option = click.option(
    "--api",
    metavar="HOST:PORT",
    default=API_ADDRESS,
    envvar="GDHT_API_ADDRESS",
    show_default=True,
    show_envvar=True,
    help="API port of any node.",
)
timeout_option = click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=Number(min=0, min_open=True, max=TIMEOUT_S_MAX),
    default=5.0,
    show_default=True,
    help="How long to wait for the answer.",
)
replication_option = click.option(
    "--replication",
    metavar="N",
    type=WholeNumber(0, REPLICATION_MAX),
    default=0,
    help="Copies; 0: node's default.",
)
admin_option = click.option(
    "--admin",
    metavar="URL",
    envvar="GDHT_ADMIN",
    show_envvar=True,
    help="Admin port of that node, to be asked for the number of copies, or for the reason of a failure.",
)
token_option = click.option("--token", default="", envvar="GDHT_ADMIN_TOKEN", show_envvar=True, help="Its admin token.")


@click.command(short_help="Store a value.")
@click.argument("key", type=KEY)
@click.argument("value")
@api_option
@click.option(
    "--ttl",
    "ttl_s",
    metavar="SECONDS",
    type=WholeNumber(0, TTL_MAX_S),
    default=0,
    help="How long to keep it; 0: node's default.",
)
@replication_option
@timeout_option
@admin_option
@token_option
def put(
    key: bytes, value: str, api: str, ttl_s: int, replication: int, timeout_s: float, admin: str | None, token: str
) -> None:
    """Store VALUE under KEY and wait until it is stored; VALUE - reads standard input.

    With --admin it then says how many nodes have it or, after a failure, why.

    \b
    gdht put motd "hello ring" --ttl 3600
    gdht put avatar - < avatar.png
    """
    witness = _witness("put", key, api, admin, token, timeout_s)
    with connected(api, timeout_s) as client:
        try:
            client.put(key, _read_value(value), ttl_s, replication)
        except PutFailed as error:
            raise click.ClickException(f"{error}{witness.reason() if witness else ''}") from error
    if witness:
        click.echo(witness.copies())


def _typed_key(ctx: click.Context, param: click.Parameter, text: str) -> tuple[str, bytes]:
    """A key as it was typed, for messages, and its 32 bytes."""
    return text, KEY.convert(text, param, ctx)


@click.command(short_help="Write a value to standard output.")
@click.argument("typed_key", metavar="KEY", callback=_typed_key)
@api_option
@timeout_option
@admin_option
@token_option
def get(typed_key: tuple[str, bytes], api: str, timeout_s: float, admin: str | None, token: str) -> None:
    """Write the value of KEY to standard output; exit code 1 when the node finds none, with --admin with the reason.

    Byte for byte; only on a terminal a newline follows a value that does not end in one.

    \b
    gdht get motd
    gdht get hex:5faab372d8fe1b009a0c4945bc68d38a90ff15acd62bc66d033be56714c03d9a > motd.txt
    """
    typed, key = typed_key
    witness = _witness("get", key, api, admin, token, timeout_s)
    with connected(api, timeout_s) as client:
        value = client.get(key)
    if value is None:
        raise click.ClickException(_not_found(api, typed, witness.reason() if witness else ""))
    sys.stdout.buffer.write(value)
    if sys.stdout.isatty() and not value.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def _not_found(api: str, typed: str, reason: str) -> str:
    """What a get without a value comes to. reason: what the witness knows of it."""
    if reason.startswith(NOT_FOUND):
        return f"{api} has no value for {typed}{reason.removeprefix(NOT_FOUND)}"
    return f"{api} finds no value for {typed}, or cannot reach its holders{reason}"


@contextmanager
def connected(api: str, timeout_s: float) -> Iterator[Client]:
    """A client of one node; when nobody is there it is said what to look at. Raises: click.ClickException."""
    try:
        with _client(api, timeout_s) as client:
            yield client
    except ClientDisconnected as error:
        hint = "is the node running, and is this its API address (--api)?"
        raise click.ClickException(f"{error}: {hint}") from error
    except ClientTimeout as error:
        hint = "is this its API address (--api)? Else give it longer with --timeout"
        raise click.ClickException(f"{error}: {hint}") from error


def _client(api: str, timeout_s: float) -> Client:
    try:
        return Client(api, timeout_s=timeout_s)
    except ValueError as error:
        raise click.BadParameter(f"{api!r}: {error}", param_hint="'--api'") from error


def _witness(operation: str, key: bytes, api: str, admin: str | None, token: str, timeout_s: float) -> "Witness | None":
    """Whom to ask afterwards, None when no admin port was named; what that takes is imported only then."""
    if not admin:
        return None
    from gdht.cli.admin_port import AdminPort, parse_admin  # noqa: PLC0415
    from gdht.cli.witness import Witness  # noqa: PLC0415

    try:
        url = parse_admin(admin)
    except ValueError as error:
        raise click.BadParameter(f"{admin!r}: {error}", param_hint="'--admin'") from error
    return Witness(AdminPort(url, token, timeout_s), api, operation, key)


def _read_value(value: str) -> bytes:
    """The bytes to store; of standard input no more is read than shows that it is too much."""
    data = sys.stdin.buffer.read(VALUE_BYTES_MAX + 1) if value == "-" else value.encode("utf-8", "surrogateescape")
    if len(data) > VALUE_BYTES_MAX:
        size = f"standard input has more than {VALUE_BYTES_MAX:,}" if value == "-" else f"this one has {len(data):,}"
        raise click.BadParameter(f"a value is at most {VALUE_BYTES_MAX:,} bytes; {size}", param_hint="'VALUE'")
    return data
