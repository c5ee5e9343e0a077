"""`gdht serve`: one node in this process."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gdht.cli.log_thread import LogThread
from gdht.cli.logs import start_logging, verbosity
from gdht.config import OPTIONS, Config, Option, load_config
from gdht.settings import without_ours

if TYPE_CHECKING:
    from gdht.net.daemon import Daemon

SECTIONS = ("dht", "admin")
"""Where a configuration file sets our options."""

STANDARD_ERROR = 2

logger = logging.getLogger(__name__)

COMMAND_LINE_ONLY = ("GDHT_ADMIN",)
"""Variables of other verbs, which a node is not told anything by."""


def _config_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option per thing a node can be told, as gdht.config declares them."""
    for option in reversed(OPTIONS.values()):
        command = click.option(_spelled(option), option.name, metavar=_metavar(option), help=_help(option))(command)
    return command


def _spelled(option: Option) -> str:
    return "--" + option.name.replace("_", "-")


def _metavar(option: Option) -> str:
    if "address" in option.name or option.name == "bootstrap":
        return "HOST:PORT"
    return {int: "N", float: "SECONDS"}.get(type(option.default), "TEXT")


def _help(option: Option) -> str:
    return f"{option.about}  [default: {option.default}]" if option.default else option.about


@click.command(short_help="Run a node.")
@click.option("-c", "--config", "config_file", metavar="FILE", help="INI file with sections [dht] and [admin].")
@_config_options
@verbosity
def serve(config_file: str | None, **given: str | None) -> None:
    """Run a node until SIGTERM or Ctrl-C: it then hands its records over and leaves. A second one stops it at once.

    Each option may also stand in the file, and in the environment as GDHT_ and its name in capitals;
    defaults < file < environment < options. Prints one line when it serves.

    \b
    gdht serve                                   a new ring on 127.0.0.1
    gdht serve -c conf/node.ini
    gdht serve --p2p-address 127.0.0.1:6002 --api-address 127.0.0.1:7002 \\
               --admin-address 127.0.0.1:8002 --bootstrap 127.0.0.1:6001
    """
    environ = {name: text for name, text in os.environ.items() if name not in COMMAND_LINE_ONLY}
    config = load_config(config_file, environ, given)
    start_logging(LogThread(STANDARD_ERROR))
    if config_file and (warning := without_ours(Path(config_file), SECTIONS)):
        logger.warning("%s", warning)
    _make_daemon(config).serve_forever()


def _make_daemon(config: Config) -> "Daemon":
    """The node of this process; its libraries are imported now, so that no other verb has to wait for them."""
    from gdht.admin import create_warm_app  # noqa: PLC0415
    from gdht.net.daemon import Daemon  # noqa: PLC0415

    return Daemon(config, create_warm_app)
