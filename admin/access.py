"""Who may read: with a token set, everything but the probes and /metrics wants it.

Programs send `Authorization: Bearer <token>`. A browser cannot, so pages also offer HTTP Basic: any user name, and the
token as password. The browser then asks for it itself and keeps it for this host and port alone, where a cookie would
be sent to every port of the host.
"""

import hmac

from flask import Response, request

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
