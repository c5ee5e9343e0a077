"""What clients ask, checked before anything is sent, and what the answers mean; no IO."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from operator import index

from gdht.core.ident import IDENT_BYTES
from gdht.core.messages import VALUE_BYTES_MAX, DhtFailure, DhtGet, DhtPut, DhtSuccess
from gdht.errors import PutFailed

TTL_MAX_S = 0xFFFF
REPLICATION_MAX = 0xFF
WANTS_ANSWER = 1
"""Bit 0 of `reserved` in DHT PUT."""

TIMEOUT_S_MAX = 1e6
"""Eleven days; the system takes no more than twice that for one wait."""

Request = DhtPut | DhtGet
Answer = DhtSuccess | DhtFailure
Items = Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]]
"""Keys with their values."""


def hash_key(text: str | bytes) -> bytes:
    """The key of a text or of any bytes: their SHA-256, 32 bytes; a text is taken as UTF-8.

    >>> hash_key("motd").hex()[:16]
    '5faab372d8fe1b00'
    >>> hash_key("motd") == hash_key(b"motd")
    True
    """
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return hashlib.sha256(data).digest()


def make_get(key: bytes) -> DhtGet:
    """The question for a value. Raises: ValueError, TypeError."""
    return DhtGet(_key(key))


def make_put(key: bytes, value: bytes, ttl_s: int, replication: int, reserved: int = WANTS_ANSWER) -> DhtPut:
    """The request to store a value; by default it is to be answered. Raises: ValueError, TypeError."""
    value = _bytes("a value", value)
    if len(value) > VALUE_BYTES_MAX:
        raise ValueError(f"a value is at most {VALUE_BYTES_MAX:,} bytes, not {len(value):,}")
    ttl_s, replication = _whole("ttl_s", ttl_s, TTL_MAX_S), _whole("replication", replication, REPLICATION_MAX)
    return DhtPut(ttl_s, replication, reserved, _key(key), value)


def make_puts(items: Items, ttl_s: int, replication: int) -> list[DhtPut]:
    """The requests to store many values, all of them checked. Raises: ValueError, TypeError."""
    pairs = items.items() if isinstance(items, Mapping) else items
    return [make_put(key, value, ttl_s, replication) for key, value in pairs]


def _key(key: bytes) -> bytes:
    key = _bytes("a key", key)
    if len(key) != IDENT_BYTES:
        raise ValueError(f"a key is {IDENT_BYTES} bytes, not {len(key)}; hash_key makes one from anything")
    return key


def _bytes(what: str, given: object) -> bytes:
    """The bytes of anything that is some. Raises: TypeError."""
    if isinstance(given, bytes):
        return given
    if isinstance(given, bytearray | memoryview):
        return bytes(given)
    raise TypeError(f"{what} is bytes, not {type(given).__name__}")


def _whole(name: str, given: int, most: int) -> int:
    """A whole number from 0 on. Raises: ValueError, TypeError."""
    try:
        number = index(given)
    except TypeError:
        raise TypeError(f"{name} is a whole number, not {given!r}") from None
    if not 0 <= number <= most:
        raise ValueError(f"{name} is 0 to {most}, not {number}")
    return number


def check_timeout(timeout_s: float) -> None:
    """Check the time limit of a client's requests. Raises: ValueError, TypeError."""
    if not isinstance(timeout_s, int | float):
        raise TypeError(f"timeout_s is a number of seconds, not {timeout_s!r}")
    if not 0 < timeout_s <= TIMEOUT_S_MAX:  # nan neither
        raise ValueError(f"timeout_s must be above 0 and at most {TIMEOUT_S_MAX:,.0f}, not {timeout_s}")


def wants_answer(request: Request) -> bool:
    """Whether the node will answer this request."""
    return isinstance(request, DhtGet) or request.wants_answer


def is_refusal(request: Request, answer: Answer) -> bool:
    """Whether a value was not stored."""
    return isinstance(request, DhtPut) and isinstance(answer, DhtFailure)


def value_of(answer: Answer) -> bytes | None:
    """What a get comes to: the value; None for DHT FAILURE."""
    return answer.value if isinstance(answer, DhtSuccess) else None


def check_stored(name: str, answers: Sequence[Answer]) -> None:
    """Check the answers to puts. name: who gave them. Raises: PutFailed, with the keys that were not stored."""
    refused = [answer.key for answer in answers if isinstance(answer, DhtFailure)]
    if not refused:
        return
    what = "the value"
    if len(answers) > 1:
        what = f"{len(refused)} of {len(answers)} values, the first that of hex:{refused[0].hex()}"
    raise PutFailed(f"{name}: the write quorum did not store {what}", refused)
