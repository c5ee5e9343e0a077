"""The commands: `gdht`, and `python -m gdht`. This package is the composition root, the one place that knows them all.

Each verb's module is imported when it is asked for, so that `gdht get` does not pay for the node's libraries.
"""

import errno
import os
import sys

import click

from gdht.cli.group import VerbGroup
from gdht.cli.logs import verbosity

INTERRUPTED = 130
"""What shells expect of a program that Ctrl-C ended."""


@click.group(
    cls=VerbGroup,
    verbs={
        "serve": "gdht.cli.serve:serve",
        "put": "gdht.cli.values:put",
        "get": "gdht.cli.values:get",
        "status": "gdht.cli.questions:status",
        "ring": "gdht.cli.ring:ring",
        "where": "gdht.cli.questions:where",
        "trace": "gdht.cli.questions:trace",
        "keys": "gdht.cli.keys:keys",
        "requests": "gdht.cli.keys:requests",
        "events": "gdht.cli.events:events",
        "drain": "gdht.cli.actions:drain",
        "leave": "gdht.cli.actions:leave",
        "store": "gdht.cli.store:store",
        "bench": "gdht.cli.bench:bench",
        "cluster": "gdht.cli.cluster:cluster",
        "simulate": "gdht.cli.simulate:simulate",
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="gdht", prog_name="gdht")
@verbosity
def cli() -> None:
    """A distributed hash table: run nodes, put and get values, look at the ring.

    KEY is a text, hashed with SHA-256, or `hex:` and 64 hex digits.
    Exit codes: 0 done, 1 it failed or there is no such value, 2 used wrongly.
    """


def main() -> None:
    """The entry point: run the verb of the command line and exit with its code."""
    _replace_closed_streams()
    sys.exit(_run())


def _replace_closed_streams() -> None:
    """Have a standard stream that is closed fail once it is used, the one for errors swallow what it is given.

    Python has None in the place of each, and the system gives its number to the next file or socket.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            unusable = os.open(os.devnull, os.O_RDONLY if name == "stdout" else os.O_WRONLY)
            if unusable != number:
                os.dup2(unusable, number)
                os.close(unusable)
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115


def _run() -> int:
    try:
        code = cli.main(prog_name="gdht", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except OSError as error:  # standard output is gone or full; what is left in its buffer must not fail once more
        sys.stdout = None
        if error.errno == errno.EBADF:
            click.echo("Error: standard output, or input, is closed", err=True)
        elif not isinstance(error, BrokenPipeError):
            click.echo(f"Error: {error}", err=True)
        return 1
    return code if isinstance(code, int) else 0
