"""Records as lines of JSON, to be carried from one store to another.

A line tells what was left of the record's life at a time, so that a file may lie around without stretching it.
"""

import base64
import json
from typing import Any

from gdht.core.ident import IDENT_BYTES, ident_hex
from gdht.core.messages import VALUE_BYTES_MAX
from gdht.core.records import STAMP_MAX, TTL_S_MAX, Record, Version

LINE_BYTES_MAX = 100_000
LIFE_MS_MAX = TTL_S_MAX * 1000
REPLICATION_MAX = 255
TIME_MS_MAX = 1 << 53

FIELDS = ("key", "value", "version", "at_ms", "ttl_ms", "replication", "tombstone_ms", "is_tombstone")


class BadLine(Exception):
    """A line is no record of ours; the message says why."""


def record_line(record: Record, now_s: float) -> str:
    """A record as one line, without its end. now_s: seconds since the epoch."""
    return json.dumps(
        {
            "key": record.key.hex(),
            "value": base64.b64encode(record.value).decode(),
            "version": {"stamp": record.version.stamp, "coordinator": ident_hex(record.version.coordinator)},
            "at_ms": int(now_s * 1000),
            "ttl_ms": 0 if record.is_tombstone else max(record.ttl_ms(now_s), 0),
            "replication": record.replication,
            "tombstone_ms": max(record.tombstone_ms(now_s), 0),
            "is_tombstone": record.is_tombstone,
        }
    )


def line_record(line: str, now_s: float) -> Record:
    """The record of a line; its life has gone on since it was written. Raises: BadLine."""
    fields = _fields(line)
    aged_ms = max(now_s * 1000 - _whole(fields, "at_ms", 0, TIME_MS_MAX), 0)
    ttl_ms, tombstone_ms = (_whole(fields, name, 0, LIFE_MS_MAX) for name in ("ttl_ms", "tombstone_ms"))
    is_tombstone = fields["is_tombstone"]
    if not isinstance(is_tombstone, bool) or (is_tombstone and (ttl_ms or fields["value"])):
        raise BadLine("is_tombstone: expected true or false; a tombstone has no value and no life")
    return Record(
        _hex(fields, "key"),
        _value(fields["value"]),
        _version(fields["version"]),
        0.0 if is_tombstone else now_s + (ttl_ms - aged_ms) / 1000,
        _whole(fields, "replication", 1, REPLICATION_MAX),
        now_s + (tombstone_ms - aged_ms) / 1000 if tombstone_ms else 0.0,
        is_tombstone,
    )


def _fields(line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLine("no JSON") from error
    if not isinstance(fields, dict):
        raise BadLine("expected an object")
    if missing := [name for name in FIELDS if name not in fields]:
        raise BadLine(f"{missing[0]}: is missing")
    return fields


def _whole(fields: dict[str, Any], name: str, low: int, high: int) -> int:
    number = fields.get(name)
    if type(number) is not int or not low <= number <= high:
        raise BadLine(f"{name}: expected a whole number from {low} to {high}")
    return number


def _hex(fields: dict[str, Any], name: str) -> bytes:
    text = fields.get(name)
    try:
        data = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        data = b""
    if len(data) != IDENT_BYTES:
        raise BadLine(f"{name}: expected 64 hex digits")
    return data


def _value(text: object) -> bytes:
    try:
        value = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except ValueError:
        value = None
    if value is None or len(value) > VALUE_BYTES_MAX:
        raise BadLine(f"value: expected up to {VALUE_BYTES_MAX} bytes in base64")
    return value


def _version(fields: object) -> Version:
    if not isinstance(fields, dict):
        raise BadLine("version: expected a stamp and a coordinator")
    return Version(_whole(fields, "stamp", 0, STAMP_MAX), int.from_bytes(_hex(fields, "coordinator"), "big"))
