"""From an address as text to a connected socket: names are resolved, and their addresses tried in turn."""

import socket as stdlib_socket
from typing import Any

import gevent
from gevent import socket

from gdht.config import parse_address
from gdht.net.stream import tune

RESOLVE_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
"""For all addresses of a name together."""
ADDRESSES_MAX = 8
UNACKNOWLEDGED_MS_MAX = 5000
"""The kernel gives a connection up when the other side has not taken what was sent for so long: what a request says of
times to live would be over when a cut ends."""


def connect(address: str) -> stdlib_socket.socket:
    """A connection to `host:port`; IPv4 and IPv6, the first address of a name that answers. Switches: yes.

    Raises: OSError (of the last address tried; socket.gaierror when the name is unknown), TimeoutError.
    """
    with gevent.Timeout(RESOLVE_TIMEOUT_S, TimeoutError("the name was not resolved in time")):
        found = resolve(address)
    for last, (family, kind, protocol, _name, where) in enumerate(found, 1 - len(found)):
        try:
            return _connect_one(family, kind, protocol, where, CONNECT_TIMEOUT_S / len(found))
        except OSError:
            if last == 0:
                raise
    raise OSError("the name has no address")


def resolve(address: str) -> list[Any]:
    """What getaddrinfo knows of `host:port`, without repeats. Switches: yes, unless the host is a literal.

    Raises: socket.gaierror (an OSError).
    """
    try:
        host, port = parse_address(address)
    except ValueError as error:
        raise OSError(f"not an address: {error}") from error
    try:
        found = stdlib_socket.getaddrinfo(
            host, port, type=stdlib_socket.SOCK_STREAM, flags=stdlib_socket.AI_NUMERICHOST
        )
    except stdlib_socket.gaierror:
        found = socket.getaddrinfo(host, port, type=stdlib_socket.SOCK_STREAM)
    return list(dict.fromkeys(found))[:ADDRESSES_MAX]


def _connect_one(family: int, kind: int, protocol: int, where: Any, timeout_s: float) -> stdlib_socket.socket:
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(timeout_s)
        sock.connect(where)
        connected = stdlib_socket.socket(family, kind, protocol, fileno=sock.detach())
    tune(connected)
    if hasattr(stdlib_socket, "TCP_USER_TIMEOUT"):  # not every system has it
        connected.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS_MAX)
    return connected
