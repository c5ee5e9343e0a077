"""Numbers and identifiers as people read them. Every value that pages show passes through here, once."""

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from math import log2

from gdht.core.ident import ident_hex
from gdht.core.records import COUNTER_BITS, Version

from .invariants import explanation

KEY_FORM = "a text, or hex: and 64 hex digits"
UNKNOWN = "\N{EN DASH}"


def short(ident: int) -> str:
    """The first eight hex digits of an identifier."""
    return ident_hex(ident)[:8]


def count(number: int) -> str:
    """
    >>> count(1234567)
    '1,234,567'
    """
    return f"{number:,}"


def plural(number: int, word: str, words: str = "") -> str:
    """
    >>> plural(1, "key"), plural(1200, "key"), plural(0, "copy", "copies")
    ('1 key', '1,200 keys', '0 copies')
    """
    return f"{number:,} {word}" if number == 1 else f"{number:,} {words or word + 's'}"


def size(number: float) -> str:
    """Bytes with a binary unit.

    >>> size(0), size(1536), size(3 * 2**30)
    ('0 B', '1.5 KiB', '3.0 GiB')
    """
    if number < 1024:
        return f"{number:.0f} B"
    power = min(int(log2(number)) // 10, 4)
    return f"{number / 1024**power:.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"


def percent(ratio: float) -> str:
    """A share of 0 to 1, small ones with more digits.

    >>> percent(0.25), percent(0.0042)
    ('25.0 %', '0.42 %')
    """
    return f"{ratio * 100:.2f} %" if 0 < ratio < 0.01 else f"{ratio * 100:.1f} %"


def seconds(number: float | None) -> str:
    """A short time in the unit that suits it; None is not known.

    >>> seconds(0.00042), seconds(0.042), seconds(4.2)
    ('0.42 ms', '42.0 ms', '4.20 s')
    """
    if number is None:
        return UNKNOWN
    if number < 1:
        return f"{number * 1000:.2f} ms" if number < 0.01 else f"{number * 1000:.1f} ms"
    return f"{number:.2f} s"


def duration(number: float) -> str:
    """A long time in its two largest units.

    >>> duration(59.9), duration(3700), duration(200000)
    ('59 s', '1 h 1 min', '2 d 7 h')
    """
    whole = int(number)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def clock(wall_s: float) -> str:
    """A moment in UTC, from seconds since the epoch; one that no calendar has is not known.

    >>> clock(1.5)
    '1970-01-01 00:00:01'
    """
    try:
        return f"{datetime.fromtimestamp(wall_s, UTC):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError):
        return UNKNOWN


def stamp_s(version: Version) -> float:
    """When a version was given, in seconds since the epoch."""
    return (version.stamp >> COUNTER_BITS) / 1000


def shorten(name: str, characters_max: int) -> str:
    """Cut the middle of a long name: a host's beginning and the port's end both tell something.

    >>> shorten("a-very-long-host-name.example.org:6001", 16)
    'a-very-…org:6001'
    """
    if len(name) <= characters_max:
        return name
    head = (characters_max - 1) // 2
    return f"{name[:head]}…{name[len(name) - (characters_max - 1 - head) :]}"


def admin_url(address: str | None) -> str:
    """Where a peer says its pages are; empty when that is not an address. Peers may say anything."""
    if address and re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}", address):
        return f"http://{address}/admin/"
    return ""


def parse_key(words: str) -> bytes:
    """The 32 bytes of a key as people write it. Raises: ValueError, naming what is expected.

    >>> parse_key("hex:" + "00" * 32) == bytes(32)
    True
    """
    if not words.startswith("hex:"):
        return hashlib.sha256(words.encode()).digest()
    digits = words[4:]
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
        raise ValueError(f"a key is {KEY_FORM}; after hex: there are {len(digits)} characters")
    return bytes.fromhex(digits)


FILTERS: dict[str, Callable[..., object]] = {
    "short": short,
    "ident_hex": ident_hex,
    "clock": clock,
    "stamp_s": stamp_s,
    "count": count,
    "size": size,
    "percent": percent,
    "seconds": seconds,
    "duration": duration,
    "plural": plural,
    "explanation": explanation,
}
