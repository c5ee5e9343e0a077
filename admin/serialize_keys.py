"""What is told of keys and of requests for them, as JSON. Field names are a promise to other programs."""

import time
from collections.abc import Sequence

from gdht.core.ident import ident_hex
from gdht.core.records import COUNTER_BITS, NO_VERSION, Version
from gdht.node.failures import FailedRequest
from gdht.node.keys import HeldKey, Holder, KeyPage, KeyReport
from gdht.node.pace import Pace

from .serialize import Json, peer_json
from .text import stamp_s
from .verdict import verdict


def key_json(report: KeyReport) -> Json:
    """Who should hold a key and who does: `/admin/api/keys/<key>`."""
    judged = verdict(report)
    answer: Json = {
        "key": report.key.hex(),
        "state": judged.state,
        "verdict": judged.words,
        "nodes": [_holder(report, holder) for holder in report.holders],
        "nodes_asked": report.asked,
        "newest_version": version_json(report.newest),
        "checksums_agree": report.checksums_agree,
        "failed_requests": [_request(request) for request in reversed(report.failures)],
    }
    return {**answer, "error": report.error} if report.error else answer


def _holder(report: KeyReport, holder: Holder) -> Json:
    answer: Json = {**peer_json(holder.peer), "role": holder.role}
    stat = holder.stat
    if stat is None:  # the same fields, unknown
        unknown = ("present", "version", "ttl_remaining_seconds", "bytes", "replication", "digest")
        return {**answer, **dict.fromkeys(unknown), "condition": "silent", "error": holder.error or "no answer"}
    there = stat.present
    return {
        **answer,
        "present": there,
        "version": version_json(stat.version),
        "ttl_remaining_seconds": stat.ttl_ms / 1000 if there else None,
        "bytes": stat.value_bytes if there else None,
        "replication": stat.replication if there else None,
        "digest": stat.digest.hex() if there else None,
        "condition": report.condition(holder),
    }


def version_json(version: Version) -> Json | None:
    """A version in parts, None for none: its stamp as one number would not survive a reader with 53-bit numbers."""
    if version == NO_VERSION:
        return None
    return {
        "time": stamp_s(version),
        "counter": version.stamp & ((1 << COUNTER_BITS) - 1),
        "coordinator": ident_hex(version.coordinator),
    }


def keys_json(page: KeyPage, turns: Pace) -> Json:
    """Some of the keys a node keeps: `/admin/api/keys`. after: go on there; None: that was all.

    Switches: as `turns` does.
    """
    return {"keys": [_held(held) for held in turns.over(page.keys)], "after": page.after.hex() if page.after else None}


def _held(held: HeldKey) -> Json:
    return {
        "key": held.key.hex(),
        "role": held.role.value,
        "version": version_json(held.version),
        "ttl_remaining_seconds": round(held.ttl_s, 3),
        "bytes": held.value_bytes,
        "replication": held.replication,
        "tombstone": held.is_tombstone,
    }


def requests_json(requests: Sequence[FailedRequest], turns: Pace) -> Json:
    """Requests of clients that did not succeed: `/admin/api/requests`. Switches: as `turns` does."""
    return {"requests": [_request(request) for request in turns.over(requests)]}


def _request(request: FailedRequest) -> Json:
    return {
        "number": request.number,
        "time": round(request.wall_s, 3),
        "age_seconds": round(time.time() - request.wall_s, 3),
        "operation": request.operation,
        "key": request.key.hex(),
        "result": request.result,
        "detail": request.detail,
        "acknowledged": request.acknowledged,
        "wanted": request.wanted,
        "seconds": round(request.seconds, 6),
    }
