"""What the fields of a message may hold; both forms of every codec use these checks.

Each function raises ValueError with a plain sentence when the value is not allowed; the caller knows who is to blame.
"""

import ipaddress
import math
import re
from functools import lru_cache

from gdht.core.messages import RECORDS_PER_MESSAGE_MAX, ErrorReason, FailureReason

TEXT_BYTES_MAX = 255
"""The longest ring name, state or address."""

DETAIL_BYTES_MAX = 256
"""The longest explanation of a FAILURE or an ERROR; longer ones are cut when they are sent."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # would forge log lines and drive terminals
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|[0-9A-Za-z._-]+):([1-9][0-9]{0,4})")
_ERROR_REASONS = {int(reason): reason for reason in ErrorReason}
_FAILURE_REASONS = {int(reason): reason for reason in FailureReason}


def parse_text(data: bytes) -> str:
    """UTF-8 without control characters."""
    text = data.decode()
    if _CONTROL.search(text):
        raise ValueError("a control character in a text")
    return text


def build_text(text: str) -> bytes:
    """The bytes of a text of at most 255 bytes."""
    if _CONTROL.search(text):
        raise ValueError("a control character in a text")
    data = text.encode()
    if len(data) > TEXT_BYTES_MAX:
        raise ValueError(f"a text of {len(data)} bytes; {TEXT_BYTES_MAX} are allowed")
    return data


def build_detail(detail: str) -> bytes:
    """The bytes of an explanation for people; control characters become spaces, what is too long is cut."""
    data = _CONTROL.sub(" ", detail).encode(errors="replace")
    return data[:DETAIL_BYTES_MAX].decode(errors="ignore").encode()


def check_address(address: str) -> str:
    """An address as `host:port` or `[ipv6]:port`: a name or a literal, at most 255 bytes, port 1 to 65535."""
    match = _ADDRESS.fullmatch(address)
    if match is None or len(address) > TEXT_BYTES_MAX:
        raise ValueError(f"not an address: {address[:60]!r}")
    if match[1] is not None:
        ipaddress.IPv6Address(match[1])
    if int(match[2]) > 65535:
        raise ValueError(f"not a port: {match[2]}")
    return address


@lru_cache(maxsize=8192)  # the same few peers stand in most messages
def parse_address(data: bytes) -> str:
    """The text of an address."""
    return check_address(data.decode("ascii"))


@lru_cache(maxsize=8192)
def build_address(address: str) -> bytes:
    """The bytes of an address."""
    return check_address(address).encode("ascii")


def parse_optional_address(data: bytes) -> str:
    """The text of an address, or an empty one."""
    return parse_address(data) if data else ""


def build_optional_address(address: str) -> bytes:
    """The bytes of an address, or none."""
    return build_address(address) if address else b""


def check_count(count: int) -> int:
    """How many records, entries, arcs or flags follow; known before any of them is looked at."""
    if count > RECORDS_PER_MESSAGE_MAX:
        raise ValueError(f"{count} items in one message; {RECORDS_PER_MESSAGE_MAX} are allowed")
    return count


def parse_flag(number: int) -> bool:
    """Bit 0; the others belong to newer versions and are ignored."""
    return bool(number & 1)


def parse_flags(data: bytes) -> tuple[bool, ...]:
    """One byte per flag, 0 or 1."""
    if data.strip(b"\0\1"):
        raise ValueError("a flag that is neither 0 nor 1")
    return tuple(map(bool, data))


def build_flags(flags: tuple[bool, ...]) -> bytes:
    """One byte per flag."""
    return bytes(map(bool, flags))


def parse_error_reason(number: int) -> int:
    """An ErrorReason, or the number of a newer version's."""
    return _ERROR_REASONS.get(number, number)


def parse_failure_reason(number: int) -> int:
    """A FailureReason, or the number of a newer version's."""
    return _FAILURE_REASONS.get(number, number)


def check_ratio(number: float) -> float:
    """A share of the whole: 0 to 1, and a number."""
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"not a share: {number}")
    return number


def check_estimate(number: float) -> float:
    """How many there may be: finite and not negative."""
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"not a count: {number}")
    return number
