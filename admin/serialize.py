"""Snapshots, walks and reports as the JSON of the admin port. Field names are a promise to other programs."""

from collections.abc import Sequence
from typing import Any

from gdht.core.ident import ident_hex
from gdht.core.invariant import Violation
from gdht.core.peer import Peer
from gdht.core.records import COUNTER_BITS, Version
from gdht.node.journal import Event
from gdht.node.stats import Histogram
from gdht.node.status import Check, Holder, KeyReport, NodeStatus, RingCheck, Trace, TraceHop, Walk, WalkedNode

from .invariants import explanation
from .quantiles import quantile

Json = dict[str, Any]


def _peer(peer: Peer) -> Json:
    return {"id": ident_hex(peer.ident), "address": peer.address}


def _node(status: NodeStatus) -> Json:
    return {
        "id": ident_hex(status.me.ident),
        "p2p_address": status.me.address,
        "api_address": status.api_address,
        "admin_address": status.admin_address,
        "state": status.state.value,
    }


def _keys(status: NodeStatus) -> Json:
    keys = status.keys
    return {"owned": keys.owned, "replica": keys.replica, "misplaced": keys.misplaced, "bytes": keys.bytes}


def ring_json(status: NodeStatus) -> Json:
    """The place of this node in the ring: `/admin/api/ring`."""
    return {
        "node": _node(status),
        "predecessor": _peer(status.predecessor) if status.predecessor else None,
        "successors": [_peer(peer) for peer in status.successors if peer.ident != status.me.ident],
        "fingers": [{"start": ident_hex(finger.start), **_peer(finger.peer)} for finger in status.fingers],
        "keys": _keys(status),
        "owned_ratio": status.owned_ratio,
        "estimated_nodes": status.estimated_nodes,
    }


def node_json(status: NodeStatus) -> Json:
    """This node with its checks and numbers: `/admin/api/node`."""
    stats = status.stats
    ring = ring_json(status)
    return {
        "node": ring["node"],
        "ring": status.ring_name,
        "uptime_seconds": round(status.uptime_s, 3),
        "checks": {"live": checks_json(status.live_checks), "ready": checks_json(status.ready_checks)},
        "predecessor": ring["predecessor"],
        "successors": ring["successors"],
        "fingers": len(status.fingers),
        "keys": ring["keys"],
        "store": {"bytes": status.store_bytes, "capacity_bytes": status.store_bytes_max},
        "owned_ratio": status.owned_ratio,
        "estimated_nodes": status.estimated_nodes,
        "connections": {"api": stats.api_connections, **stats.peer_connections},
        "requests": _nested(stats.api_requests),
        "request_seconds": {name: histogram_json(one) for name, one in sorted(stats.api_request_duration.items())},
        "lookups": _nested(stats.lookups),
        "lookup_seconds": {name: histogram_json(one) for name, one in sorted(stats.lookup_duration.items())},
        "lookup_hops": {name: histogram_json(one) for name, one in sorted(stats.lookup_hops.items())},
        "lookup_dead_hops": stats.lookup_dead_hops,
        "keys_under_replicated": stats.keys_under_replicated,
        "consistent": status.consistent,
        "health_score": status.health_score,
        "suspicions": dict(sorted(stats.suspicions.items())),
        "lost": [_peer(peer) for peer in status.lost],
        "second_ring": [_peer(peer) for peer in status.second_ring],
        "ring_merges": stats.ring_merges,
    }


def _nested(counts: dict[tuple[str, str], int]) -> Json:
    nested: Json = {}
    for (outer, inner), count in sorted(counts.items()):
        nested.setdefault(outer, {})[inner] = count
    return nested


def histogram_json(histogram: Histogram) -> Json:
    """Count, mean, median and 99th percentile; None where nothing was observed."""
    count = histogram.count
    return {
        "count": count,
        "mean": histogram.total / count if count else None,
        "p50": quantile(histogram, 0.5),
        "p99": quantile(histogram, 0.99),
    }


def checks_json(checks: tuple[Check, ...]) -> Json:
    """Checks by name."""
    return {check.name: {"ok": check.ok, "detail": check.detail} for check in checks}


def walk_json(walk: Walk) -> Json:
    """The whole ring: `/admin/api/ring/walk`."""
    return {"nodes": [_walked(node) for node in walk.nodes], "complete": walk.complete}


def _walked(walked: WalkedNode) -> Json:
    node: Json = {"id": ident_hex(walked.peer.ident), "p2p_address": walked.peer.address}
    status = walked.status
    if status is None:  # the same fields, unknown
        node |= dict.fromkeys(("api_address", "admin_address", "state"))
        rest = dict.fromkeys(("predecessor", "keys", "owned_ratio", "estimated_nodes"))
        return {"node": node, **rest, "successors": [], "error": walked.error or "no answer"}
    return {
        "node": {
            **node,
            "api_address": status.api_address,
            "admin_address": status.admin_address,
            "state": status.state,
        },
        "predecessor": _peer(status.predecessors[0]) if status.predecessors else None,
        "successors": [_peer(peer) for peer in status.successors if peer.ident != walked.peer.ident],
        "keys": {
            "owned": status.keys_owned,
            "replica": status.keys_replica,
            "misplaced": status.keys_misplaced,
            "bytes": status.keys_bytes,
        },
        "owned_ratio": status.owned_ratio,
        "estimated_nodes": status.estimated_nodes,
    }


def check_json(check: RingCheck) -> Json:
    """Whether the ring is right: `/admin/api/ring/check`."""
    return {
        "consistent": check.consistent,
        "nodes": check.nodes,
        "violations": [_violation(violation) for violation in check.violations],
        "complete": check.complete,
        "seconds": round(check.seconds, 3),
    }


def _violation(violation: Violation) -> Json:
    idents = [ident_hex(ident) for ident in violation.nodes]
    return {
        "invariant": violation.invariant,
        "node": idents[0],
        "detail": violation.detail,
        "nodes_involved": idents,
        "explanation": explanation(violation.invariant),
    }


def events_json(events: Sequence[Event], last: int, limit: int) -> Json:
    """The oldest of some events, at most `limit`: `/admin/api/events`. more: there are newer ones. last: the newest."""
    return {"events": [_event(event) for event in events[:limit]], "more": len(events) > limit, "last": last}


def _event(event: Event) -> Json:
    return {
        "number": event.number,
        "time": round(event.wall_s, 3),
        "pointer": event.pointer,
        "before": [_peer(peer) for peer in event.before],
        "after": [_peer(peer) for peer in event.after],
        "cause": event.cause,
    }


def key_json(report: KeyReport) -> Json:
    """Who should hold a key and who does: `/admin/api/keys/<key>`."""
    answer: Json = {"key": report.key.hex(), "nodes": [_holder(holder) for holder in report.holders]}
    return {**answer, "error": report.error} if report.error else answer


def _holder(holder: Holder) -> Json:
    answer: Json = {**_peer(holder.peer), "role": holder.role}
    stat = holder.stat
    if stat is None:  # the same fields, unknown
        unknown = ("present", "version", "ttl_remaining_seconds", "bytes", "replication", "digest")
        return {**answer, **dict.fromkeys(unknown), "error": holder.error or "no answer"}
    there = stat.present
    return {
        **answer,
        "present": there,
        "version": version_json(stat.version) if there else None,
        "ttl_remaining_seconds": stat.ttl_ms / 1000 if there else None,
        "bytes": stat.value_bytes if there else None,
        "replication": stat.replication if there else None,
        "digest": stat.digest.hex() if there else None,
    }


def version_json(version: Version) -> Json:
    """A version in parts: its stamp as one number would not survive a reader with 53-bit numbers."""
    return {
        "time": (version.stamp >> COUNTER_BITS) / 1000,
        "counter": version.stamp & ((1 << COUNTER_BITS) - 1),
        "coordinator": ident_hex(version.coordinator),
    }


def trace_json(trace: Trace) -> Json:
    """A lookup step by step: `/admin/api/trace/<key>`."""
    answer: Json = {
        "key": ident_hex(trace.ident),
        "hops": [_hop(hop) for hop in trace.hops],
        "owner": _peer(trace.owner) if trace.owner else None,
        "hops_total": len(trace.hops),
        "dead_hops_total": sum(hop.dead for hop in trace.hops),
        "seconds_total": trace.seconds,
    }
    return {**answer, "error": trace.error} if trace.error else answer


def _hop(hop: TraceHop) -> Json:
    answer: Json = {**_peer(hop.peer), "finger": hop.finger, "seconds": hop.seconds, "dead": hop.dead}
    return {**answer, "error": hop.error} if hop.error else answer
