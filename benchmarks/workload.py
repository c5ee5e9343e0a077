"""The prepared requests that the generator plays, as files below build/."""

from collections.abc import Iterable
from pathlib import Path
from struct import Struct

from generator import BUILD
from records import RECORDS, VALUE_BYTES, key, value

PUT, GET, SUCCESS = 650, 651, 652
PUT_HEAD = Struct("!HHHBB")
HEAD = Struct("!HH")
TTL_S = 3600
ANSWERED = 1
"""Bit 0 of `reserved`: the PUT asks for its answer."""


def put_frame(key: bytes, replication: int) -> bytes:
    """A PUT of the client API that asks for its answer."""
    body = key + value(key)
    return PUT_HEAD.pack(PUT_HEAD.size + len(body), PUT, TTL_S, replication, ANSWERED) + body


def get_frame(key: bytes) -> bytes:
    """A GET of the client API."""
    return HEAD.pack(HEAD.size + len(key), GET) + key


def echo_frame(key: bytes) -> bytes:
    """What an echo server may be sent: as long as the answer to a GET, and its own answer."""
    body = key + value(key)
    return HEAD.pack(HEAD.size + len(body), SUCCESS) + body


def resp(*words: bytes) -> bytes:
    """A command as redis reads it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Requests:
    """All requests of one kind. options: what the generator must know about them."""

    def __init__(self, name: str, frames: Iterable[bytes], *options: str) -> None:
        self.file: Path = BUILD / "requests" / name
        self.options = ("--value-bytes", str(VALUE_BYTES), *options)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(b"".join(frames))


def keys(replication: int) -> list[bytes]:
    """The keys that are kept in so many copies: different ones for each number, so that GETs tell them apart."""
    return [key(number, f"r{replication}") for number in range(RECORDS)]


def api_requests(operation: str, replication: int) -> Requests:
    """All PUTs, or all GETs, of the keys with so many copies."""
    if operation == "GET":
        return Requests(f"get-{replication}", map(get_frame, keys(replication)))
    return Requests(f"put-{replication}", (put_frame(key, replication) for key in keys(replication)))


def resp_requests(operation: str) -> Requests:
    """The same for redis."""
    words = ((b"GET", key) if operation == "GET" else (b"SET", key, value(key)) for key in keys(1))
    return Requests(f"resp-{operation.lower()}", (resp(*each) for each in words), "--protocol", "resp")


def echo_requests() -> Requests:
    """For servers that send back what they get."""
    return Requests("echo", map(echo_frame, keys(1)))
