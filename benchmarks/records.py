"""What is stored: the keys and values of every comparison, made the same way wherever they are needed.

Imports nothing but the standard library: the nodes of other systems run it with their own interpreters.
"""

from hashlib import sha256

VALUE_BYTES = 100
RECORDS = 2000


def key(number: int, family: str = "") -> bytes:
    """The key of a record, spread over the ring. family: keys of different families have nothing in common."""
    return sha256(b"benchmark %s %d" % (family.encode(), number)).digest()


def value(key: bytes) -> bytes:
    """The value of a key: it begins with the key, so that a wrong one shows."""
    return key + b"v" * (VALUE_BYTES - len(key))
