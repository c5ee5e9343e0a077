"""Logs go to standard error, with timestamps; -v shows more of them, -q fewer."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import click

FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s"
DATE_FORMAT = "%Y-%m-%dT%H:%M:%S"
LEVELS = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
NORMAL = LEVELS.index(logging.INFO)
META_KEY = "gdht.verbosity"
"""Where the sum of all -v and -q on the line is kept; they may stand before the verb and after it."""

Command = TypeVar("Command", bound=Callable[..., object])


def verbosity(command: Command) -> Command:
    """Give a command the options -v and -q."""
    quiet = click.option("-q", "--quiet", count=True, expose_value=False, callback=_less, help="Log less (repeatable).")
    more = click.option("-v", "--verbose", count=True, expose_value=False, callback=_more, help="Log more.")
    return more(quiet(command))


def wanted_verbosity() -> int:
    """How much more (above 0) or less (below) than normal the user asked for."""
    level: int = click.get_current_context().meta.get(META_KEY, 0)
    return level


def start_logging(handler: logging.Handler | None = None) -> None:
    """Log from now on, at the level of -v and -q. handler: where to; None: standard error, waiting for its reader."""
    logging.Formatter.converter = time.gmtime
    index = min(max(NORMAL + wanted_verbosity(), 0), len(LEVELS) - 1)
    handlers = None if handler is None else [handler]
    logging.basicConfig(level=LEVELS[index], format=FORMAT, datefmt=DATE_FORMAT, handlers=handlers)


def _more(ctx: click.Context, _param: click.Parameter, count: int) -> None:
    ctx.meta[META_KEY] = ctx.meta.get(META_KEY, 0) + count


def _less(ctx: click.Context, param: click.Parameter, count: int) -> None:
    _more(ctx, param, -count)
