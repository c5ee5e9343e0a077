"""What clients ask, checked before anything is sent, and what the answers mean; no IO."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from gdht.core.ident import IDENT_BYTES
from gdht.core.messages import VALUE_BYTES_MAX, DhtFailure, DhtGet, DhtPut, DhtSuccess
from gdht.errors import PutFailed

TTL_MAX_S = 0xFFFF
REPLICATION_MAX = 0xFF
WANTS_ANSWER = 1
"""Bit 0 of `reserved` in DHT PUT."""

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
    """The question for a value. Raises: ValueError."""
    return DhtGet(_key(key))


def make_put(key: bytes, value: bytes, ttl_s: int, replication: int, reserved: int = WANTS_ANSWER) -> DhtPut:
    """The request to store a value; by default it is to be answered. Raises: ValueError."""
    if len(value) > VALUE_BYTES_MAX:
        raise ValueError(f"a value is at most {VALUE_BYTES_MAX:,} bytes, not {len(value):,}")
    if not 0 <= ttl_s <= TTL_MAX_S:
        raise ValueError(f"ttl_s is 0 to {TTL_MAX_S}, not {ttl_s}")
    if not 0 <= replication <= REPLICATION_MAX:
        raise ValueError(f"replication is 0 to {REPLICATION_MAX}, not {replication}")
    return DhtPut(ttl_s, replication, reserved, _key(key), value)


def make_puts(items: Items, ttl_s: int, replication: int) -> list[DhtPut]:
    """The requests to store many values. Raises: ValueError."""
    pairs = items.items() if isinstance(items, Mapping) else items
    return [make_put(key, value, ttl_s, replication) for key, value in pairs]


def _key(key: bytes) -> bytes:
    if len(key) != IDENT_BYTES:
        raise ValueError(f"a key is {IDENT_BYTES} bytes, not {len(key)}; hash_key makes one from anything")
    return key


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
