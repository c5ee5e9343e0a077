"""Asking a running node through its admin port; every way this can go wrong becomes one line for the user."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from http.client import HTTPException, RemoteDisconnected
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
)

import click

from gdht.cli.group import Number
from gdht.client import TIMEOUT_S_MAX
from gdht.config import parse_address
from gdht.errors import GdhtError

ADMIN_URL = "http://127.0.0.1:8001"
ANSWER_BYTES_MAX = 64 << 20
"""More than a walk of 1,024 nodes with the longest successor lists."""

ANSWER_S = 15.0
"""How long to wait for an answer unless told otherwise."""

ENVIRONMENT = ("GDHT_ADMIN", "GDHT_ADMIN_ADDRESS")
"""Where a node may be named; the second one also tells a node that is started where to serve."""

Json = dict[str, Any]


class AdminError(GdhtError):
    """The admin port did not give an answer that can be used; the message says what to try."""


class AdminUnreachable(AdminError):
    """Nobody answers there, or no longer."""


class AdminPort:
    """The JSON side of one node's admin port. url: without a slash at the end. timeout_s: for each wait."""

    def __init__(self, url: str, token: str = "", timeout_s: float = ANSWER_S) -> None:
        self.url = url
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._timeout_s = timeout_s
        self._opener = OpenerDirector()  # no proxies and no redirects: the token is for this address alone
        for handler in (HTTPHandler(), HTTPSHandler(), HTTPErrorProcessor(), HTTPDefaultErrorHandler()):
            self._opener.add_handler(handler)

    def ask(self, path: str) -> Json:
        """The JSON object at a path under /admin/api/. Raises: AdminError."""
        return self._exchange("GET", path)

    def tell(self, path: str) -> Json:
        """Have the node do what the path says; its answer. Raises: AdminError."""
        return self._exchange("POST", path)

    def _exchange(self, method: str, path: str) -> Json:
        request = Request(f"{self.url}/admin/api/{path}", headers=self._headers, method=method)
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                answer = response.read(ANSWER_BYTES_MAX)
        except HTTPError as error:
            with error:
                raise AdminError(self._refusal(error)) from error
        except (URLError, OSError, HTTPException) as error:
            raise self._no_answer(error) from error
        try:
            parsed = json.loads(answer)
        except ValueError as error:
            raise AdminError(self._stranger("what it sends is not JSON")) from error
        if not isinstance(parsed, dict):
            raise AdminError(self._stranger("what it sends is not a JSON object"))
        return parsed

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While an answer's fields are read: a missing or strange one is the other side's fault."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AdminError(
                self._stranger(f"its answer has unknown fields ({type(error).__name__}: {error})")
            ) from error

    def _refusal(self, error: HTTPError) -> str:
        if error.code == 401:
            given = "refuses this token" if "Authorization" in self._headers else "wants a token"
            return f"{self.url} {given}: give the right one with --token or GDHT_ADMIN_TOKEN"
        try:
            detail = json.loads(error.read(ANSWER_BYTES_MAX))["error"]
        except (ValueError, KeyError, TypeError, OSError, HTTPException):
            return self._stranger(f"it answers {error.code} {error.reason}")
        return f"{self.url} answers {error.code}: {printable(detail)}"

    def _no_answer(self, error: Exception) -> AdminError:
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, TimeoutError):
            return AdminError(
                f"{self.url} did not answer within {self._timeout_s:g} s: try again, or give it longer with --timeout"
            )
        if isinstance(cause, HTTPException) and not isinstance(cause, RemoteDisconnected):
            return AdminError(self._stranger("what it sends is not HTTP"))
        reason = getattr(cause, "strerror", None) or str(cause)
        return AdminUnreachable(
            f"no answer from {self.url} ({reason}): is the node running, and is this its admin address (--admin)?"
        )

    def _stranger(self, what: str) -> str:
        return f"{self.url} is not a node's admin port, or of another version: {what}; name another with --admin"


def printable(text: object) -> str:
    """A text from elsewhere, without what could steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in str(text))


def parse_admin(text: str) -> str:
    """The base URL in `http://host:port`, a page's address, or `host:port`. Raises: ValueError.

    >>> parse_admin("localhost:8001"), parse_admin("http://[::1]:8001/admin/")
    ('http://localhost:8001', 'http://[::1]:8001')
    """
    if "://" not in text:
        return f"http://{parse_address(text, port_min=1)}"
    parts = urlsplit(text)
    is_url = parts.scheme in ("http", "https") and parts.hostname and printable(text) == text and " " not in text
    if not is_url or parts.port == 0:  # reading the port raises when it is none
        raise ValueError("expected http://host:port or host:port")
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path.rstrip('/').removesuffix('/admin')}"


def _admin_url(_ctx: click.Context, _param: click.Parameter, text: str) -> str:
    try:
        return parse_admin(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}") from error


ADDRESS_OPTIONS = (
    click.option(
        "--admin",
        metavar="URL",
        default=ADMIN_URL,
        envvar=ENVIRONMENT,
        callback=_admin_url,
        show_default=True,
        show_envvar=True,
        help="Admin port of the node to ask; host:port will do.",
    ),
    click.option("--token", default="", envvar="GDHT_ADMIN_TOKEN", show_envvar=True, help="Its admin token."),
)

ANSWER_OPTIONS = (
    click.option(
        "--timeout",
        "timeout_s",
        metavar="SECONDS",
        type=Number(min=0, min_open=True, max=TIMEOUT_S_MAX),
        default=ANSWER_S,
        show_default=True,
        help="How long to wait for the answer.",
    ),
    click.option("--json", "as_json", is_flag=True, help="The node's whole answer as JSON."),
)


def asks_admin(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a question to an admin port, and pass it an AdminPort first."""

    @wraps(command)
    def run(admin: str, token: str, timeout_s: float, **rest: Any) -> None:
        command(AdminPort(admin, token, timeout_s), **rest)

    return _with_options(run, ADDRESS_OPTIONS + ANSWER_OPTIONS)


def tells_admin(command: Callable[..., None]) -> Callable[..., None]:
    """The same for a command that has a `--timeout` of its own: how long what it has done may take."""

    @wraps(command)
    def run(admin: str, token: str, **rest: Any) -> None:
        command(AdminPort(admin, token), **rest)

    return _with_options(run, ADDRESS_OPTIONS)


def _with_options(
    command: Callable[..., None], options: Sequence[Callable[[Callable[..., None]], Callable[..., None]]]
) -> Callable[..., None]:
    for option in reversed(options):
        command = option(command)
    return command
