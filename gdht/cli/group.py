"""What all verbs share: loading them by name, errors as one line with an exit code, and the KEY argument."""

import difflib
import math
import re
from importlib import import_module
from typing import Any

import click

from gdht.client import hash_key
from gdht.errors import ConfigError, GdhtError

USED_WRONGLY = 2


class Misuse(click.ClickException):
    """One line on standard error, and the exit code of wrong use."""

    exit_code = USED_WRONGLY


class VerbGroup(click.Group):
    """A group whose commands are imported when they are asked for. verbs: name to `module:attribute`."""

    def __init__(self, *args: Any, verbs: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """The verbs in the order of their declaration."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb of that name; None when there is none."""
        if cmd_name not in self._verbs:
            return None
        module, attribute = self._verbs[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does, which looks for what was meant only among commands that are imported."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if close := difflib.get_close_matches(args[0], self._verbs, n=1):
                words = f"{error.format_message()} Did you mean '{close[0]}'?"
                raise click.UsageError(words, ctx) from error
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; what it raises on purpose becomes one line. Raises: click.ClickException."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise Misuse(str(error)) from error
        except GdhtError as error:
            raise click.ClickException(str(error)) from error


class WholeNumber(click.IntRange):
    """A whole number in a range, called so in help and errors."""

    name = "whole number"


class Number(click.FloatRange):
    """A number in a range, called so in help and errors; nan is in none."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. Raises: click.BadParameter."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number", param, ctx)
        return number


class Key(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """KEY: a text, hashed with SHA-256, or `hex:` and 64 hex digits; becomes 32 bytes."""

    name = "key"

    def convert(self, value: str | bytes, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """The 32 bytes. Raises: click.BadParameter."""
        if isinstance(value, bytes):  # converted already
            return value
        if not value:
            self.fail("a key is a text that is not empty, or hex: and 64 hex digits", param, ctx)
        if not value.startswith("hex:"):
            return hash_key(value)
        digits = value.removeprefix("hex:")
        if not re.fullmatch("[0-9a-fA-F]{64}", digits):
            self.fail(f"expected 64 hex digits after hex:, not {digits!r} ({len(digits)} characters)", param, ctx)
        return bytes.fromhex(digits)


KEY = Key()
