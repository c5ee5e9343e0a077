"""Identifiers and the circle they lie on: 256 bits, clockwise, modulo 2^256.

Interval tests take the tested value first; the brackets are in the name.
"""

import hashlib

IDENT_BITS = 256
IDENT_BYTES = IDENT_BITS // 8
IDENTS = 1 << IDENT_BITS
"""How many identifiers the circle has."""


def hash_ident(data: bytes) -> int:
    """The identifier of some bytes: their SHA-256. Source: the 2003 paper, section IV-A (there SHA-1)."""
    return int.from_bytes(hashlib.sha256(data).digest(), "big")


def ident_bytes(ident: int) -> bytes:
    """The 32 bytes, big-endian, of an identifier."""
    return ident.to_bytes(IDENT_BYTES, "big")


def ident_hex(ident: int) -> str:
    """The 64 hex digits of an identifier.

    >>> ident_hex(255)[-4:]
    '00ff'
    """
    return f"{ident:064x}"


def key_ident(key: bytes) -> int:
    """A key of the client API is already 256 bits: it is its own identifier."""
    return int.from_bytes(key, "big")


def distance(start: int, end: int) -> int:
    """How far it is clockwise from start to end; 0 when they are the same.

    >>> distance(5, 3) == IDENTS - 2
    True
    """
    return (end - start) % IDENTS


def in_open(x: int, a: int, b: int) -> bool:
    """Whether x lies in (a, b), clockwise; when a = b, every x except a does. (`between` of the papers.)

    >>> in_open(1, IDENTS - 1, 2), in_open(2, 1, 2), in_open(9, 5, 5), in_open(5, 5, 5)
    (True, False, True, False)
    """
    if a < b:
        return a < x < b
    return x > a or x < b if a > b else x != a


def in_open_closed(x: int, a: int, b: int) -> bool:
    """Whether x lies in (a, b], clockwise; when a = b, every x does.

    >>> in_open_closed(2, 1, 2), in_open_closed(1, 1, 2), in_open_closed(5, 5, 5)
    (True, False, True)
    """
    if a < b:
        return a < x <= b
    return x > a or x <= b


def finger_start(ident: int, index: int) -> int:
    """Where finger `index` (0 to 255) of a node begins: ident + 2^index. Source: the 2003 paper, table I."""
    return (ident + (1 << index)) % IDENTS
