"""Snapshots, walks and reports as the JSON of the admin port. Field names are a promise to other programs."""

from collections.abc import Sequence
from typing import Any

from gdht.core.ident import ident_hex
from gdht.core.invariant import Violation
from gdht.core.peer import Peer
from gdht.node.journal import Event
from gdht.node.pace import Pace
from gdht.node.stats import Histogram
from gdht.node.status import (
    Check,
    Handover,
    NodeStatus,
    RingCheck,
    Share,
    Trace,
    TraceHop,
    Walk,
    WalkedNode,
)

from .invariants import explanation
from .quantiles import quantile

Json = dict[str, Any]


def peer_json(peer: Peer) -> Json:
    """A node as others name it."""
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
        "predecessor": peer_json(status.predecessor) if status.predecessor else None,
        "successors": [peer_json(peer) for peer in status.successors if peer.ident != status.me.ident],
        "fingers": [{"start": ident_hex(finger.start), **peer_json(finger.peer)} for finger in status.fingers],
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
        "store": {
            "bytes": status.store_bytes,
            "capacity_bytes": status.store_bytes_max,
            "tombstones": status.keys.tombstones,
            "error": status.store_error or None,
        },
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
        "keys_under_replicated_oldest_seconds": stats.keys_under_replicated_oldest_s,
        "handover": handover_json(status.handover) if status.handover else None,
        "consistent": status.consistent,
        "health_score": status.health_score,
        "suspicions": dict(sorted(stats.suspicions.items())),
        "lost": [peer_json(peer) for peer in status.lost],
        "second_ring": [peer_json(peer) for peer in status.second_ring],
        "ring_merges": stats.ring_merges,
    }


def handover_json(handover: Handover) -> Json:
    """How far the records are that are moved."""
    return {
        "kind": handover.kind,
        "keys_total": handover.keys_total,
        "keys_done": handover.keys_done,
        "bytes_total": handover.bytes_total,
        "bytes_done": handover.bytes_done,
        "seconds": round(handover.seconds, 3),
        "ended": handover.ended,
        "keys_without_taker": handover.without_taker,
    }


def plan_json(shares: Sequence[Share]) -> Json:
    """Who would get what if the node left now: `/admin/api/leave?dry_run=1`."""
    return {
        "receivers": [{**peer_json(share.peer), "keys": share.keys, "bytes": share.size_bytes} for share in shares],
        "keys": sum(share.keys for share in shares),
        "bytes": sum(share.size_bytes for share in shares),
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


def walk_json(walk: Walk, turns: Pace) -> Json:
    """The whole ring: `/admin/api/ring/walk`. Switches: as `turns` does."""
    return {"nodes": [_walked(node) for node in turns.over(walk.nodes)], "complete": walk.complete}


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
        "predecessor": peer_json(status.predecessors[0]) if status.predecessors else None,
        "successors": [peer_json(peer) for peer in status.successors if peer.ident != walked.peer.ident],
        "keys": {
            "owned": status.keys_owned,
            "replica": status.keys_replica,
            "misplaced": status.keys_misplaced,
            "bytes": status.keys_bytes,
        },
        "owned_ratio": status.owned_ratio,
        "estimated_nodes": status.estimated_nodes,
    }


def check_json(check: RingCheck, turns: Pace) -> Json:
    """Whether the ring is right: `/admin/api/ring/check`. Switches: as `turns` does."""
    return {
        "consistent": check.consistent,
        "nodes": check.nodes,
        "violations": [_violation(violation) for violation in turns.over(check.violations)],
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


def events_json(events: Sequence[Event], last: int, limit: int, turns: Pace) -> Json:
    """The oldest of some events, at most `limit`: `/admin/api/events`. Switches: as `turns` does.

    more: there are newer ones. last: the newest.
    """
    told = [_event(event) for event in turns.over(events[:limit])]
    return {"events": told, "more": len(events) > limit, "last": last}


def _event(event: Event) -> Json:
    return {
        "number": event.number,
        "time": round(event.wall_s, 3),
        "pointer": event.pointer,
        "before": [peer_json(peer) for peer in event.before],
        "after": [peer_json(peer) for peer in event.after],
        "cause": event.cause,
    }


def trace_json(trace: Trace) -> Json:
    """A lookup step by step: `/admin/api/trace/<key>`."""
    answer: Json = {
        "key": ident_hex(trace.ident),
        "hops": [_hop(hop) for hop in trace.hops],
        "owner": peer_json(trace.owner) if trace.owner else None,
        "hops_total": len(trace.hops),
        "dead_hops_total": sum(hop.dead for hop in trace.hops),
        "seconds_total": trace.seconds,
    }
    return {**answer, "error": trace.error} if trace.error else answer


def _hop(hop: TraceHop) -> Json:
    answer: Json = {**peer_json(hop.peer), "finger": hop.finger, "seconds": hop.seconds, "dead": hop.dead}
    return {**answer, "error": hop.error} if hop.error else answer
