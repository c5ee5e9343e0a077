"""Who may read, and who may act.

With a token set, everything but the probes and /metrics wants it.
Programs send `Authorization: Bearer <token>`. A browser cannot, so pages also offer HTTP Basic: any user name, and the
token as password. The browser then asks for it itself and keeps it for this host and port alone, where a cookie would
be sent to every port of the host.

A browser also sends what a stranger's page asks it to, with the password it keeps. So it may act only with a word that
stands in our own forms, which such a page cannot read; and where no token is set, only at an address in numbers or at
localhost: any name might lead here by a stranger's will, and his page would then count as ours.
"""

import hmac
import secrets
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Response, request
from werkzeug.exceptions import Forbidden

OPEN_PATHS = ("/livez", "/readyz", "/health", "/metrics")


def is_open(path: str) -> bool:
    """Whether a path needs no token: probes and metrics, for machines that cannot keep secrets."""
    return any(path == one or path.startswith(one + "/") for one in OPEN_PATHS)


def has_token(token: str) -> bool:
    """Whether the present request carries the token; takes the same time however much of it is right."""
    given = request.authorization
    if given is None:
        return False
    word = given.token if given.type == "bearer" else given.password if given.type == "basic" else None
    return hmac.compare_digest((word or "").encode(), token.encode())


def challenge(response: Response, path: str) -> Response:
    """Say how to come in. Never Basic under /admin/api/: a page's background request must not open a dialogue."""
    response.headers.add("WWW-Authenticate", 'Bearer realm="gdht"')
    if not path.startswith("/admin/api/"):
        response.headers.add("WWW-Authenticate", 'Basic realm="gdht", charset="UTF-8"')
    return response


BROWSER_HEADERS = ("Origin", "Sec-Fetch-Site", "Referer")
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
"""All that a page can have a browser post somewhere without asking there first."""


class Guard:
    """Holds strangers' pages off the actions. token: the admin port's, empty for none. form_word: for our forms."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.form_word = secrets.token_urlsafe(24)

    def check(self) -> None:
        """Let the present request act. Raises: Forbidden."""
        if not _may_be_a_browser() or (
            self._token and request.authorization and request.authorization.type == "bearer"
        ):
            return
        if not hmac.compare_digest(request.form.get("word", "").encode(), self.form_word.encode()):
            raise Forbidden("a browser may do this only from a page of this node; if this was one, load it again")
        if not self._token and not _is_plain_host(request.host):
            raise Forbidden("without an admin token, open these pages at the node's address in numbers, not by a name")


def _may_be_a_browser() -> bool:
    return request.mimetype in FORM_TYPES or any(name in request.headers for name in BROWSER_HEADERS)


def _is_plain_host(host: str) -> bool:
    """Whether a Host header names an address in numbers, or this machine."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ip_address(name))
    except ValueError:
        return False
