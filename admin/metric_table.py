"""Every metric of a node in one table: name, help, labels, and where its value stands in the snapshot.

Counters carry the label words that are known beforehand: those series exist from the first scrape on, so that rate()
sees the first event. Labels are words from short lists, never a key, a node or an address.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

from gdht.core.messages import METHODS
from gdht.node.stats import HOPS, LAG_SECONDS, REPLICAS, SECONDS, Histogram
from gdht.node.status import Handover, NodeStatus, State

Labels = tuple[str, ...]
Values = Mapping[Any, float]  # the keys are Labels; a Mapping does not take shorter tuples for longer ones
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Gauge:
    """A value that goes up and down; its label values are what `read` returns now."""

    name: str
    help: str
    labels: Labels
    read: Callable[[NodeStatus], Values]


@dataclass(frozen=True, slots=True)
class Count:
    """A value that only grows; name without `_total`. words: label values that are there from the start."""

    name: str
    help: str
    labels: Labels
    words: tuple[Labels, ...]
    read: Callable[[NodeStatus], Values]


@dataclass(frozen=True, slots=True)
class Spread:
    """A histogram. words: label values that are there from the start; bounds: the buckets of those."""

    name: str
    help: str
    labels: Labels
    bounds: tuple[float, ...]
    words: tuple[Labels, ...]
    read: Callable[[NodeStatus], Mapping[Labels, Histogram]]


def _plain(value: float) -> Values:
    return {(): float(value)}


def _single(values: Mapping[str, V]) -> dict[Labels, V]:
    return {(label,): value for label, value in values.items()}


def _words(*words: str) -> tuple[Labels, ...]:
    return tuple((word,) for word in words)


def _checks(status: NodeStatus) -> Values:
    kinds = (("livez", status.live_checks), ("readyz", status.ready_checks))
    return {(kind, check.name): float(check.ok) for kind, checks in kinds for check in checks}


def _moved(status: NodeStatus, read: Callable[[Handover], float]) -> Values:
    """Something of the hand-over under way, by its reason; 0 for those that are not."""
    moved = status.handover
    under_way = {} if moved is None or moved.ended else {(moved.kind,): read(moved)}
    return {**dict.fromkeys(_words(*MOVES), 0.0), **under_way}


def _remaining(moved: Handover) -> float:
    return float(max(moved.keys_total - moved.keys_done, 0))


def _pairs(left: Iterable[str], right: Iterable[str]) -> tuple[Labels, ...]:
    return tuple(product(left, right))


OPERATIONS = ("put", "get")
RESULTS = ("success", "not_found", "timeout", "quorum", "invalid", "overload", "error")
REQUESTS = tuple(pair for pair in _pairs(OPERATIONS, RESULTS) if pair != ("put", "not_found"))
PURPOSES = ("put", "get", "join", "fix_finger", "repair", "unify", "trace")
TASKS = (
    "stabilize",
    "rectify",
    "check_predecessor",
    "fix_fingers",
    "look_for_others",
    "merge",
    "check_nearby",
    "catch_up",
    "repair",
    "expire",
    "find_again",
    "remember",
)
MOVES = ("join", "leave")
METHOD_WORDS = tuple(METHODS.values())

HANDOFFS = (*_pairs(("sent", "received"), ("repair", "leave", "join")), ("received", "transfer"))
"""What is received in answer to a question has the reason for asking; the rest, the word transfer."""

GAUGES = (
    Gauge("gdht_node_info", "Who this node is.", ("node_id", "ring"),
          lambda s: {(f"{s.me.ident:064x}", s.ring_name): 1.0}),
    Gauge("gdht_node_state", "1 for the state the node is in, 0 for the others.", ("state",),
          lambda s: {(state.value,): float(state is s.state) for state in State}),
    Gauge("gdht_healthcheck", "1 for each check of a probe that is well, 0 when it is not.", ("type", "name"), _checks),
    Gauge("gdht_api_connections", "Open client connections.", (), lambda s: _plain(s.stats.api_connections)),
    Gauge("gdht_peer_connections", "Open connections to and from other nodes.", ("direction",),
          lambda s: {("inbound",): 0.0, ("outbound",): 0.0} | _single(s.stats.peer_connections)),
    Gauge("gdht_ring_successors", "Entries in the successor list.", (), lambda s: _plain(len(s.successors))),
    Gauge("gdht_ring_successors_target", "Configured length of the successor list.", (),
          lambda s: _plain(s.successor_list_length)),
    Gauge("gdht_ring_predecessor_known", "Whether the predecessor is known.", (),
          lambda s: _plain(s.predecessor is not None)),
    Gauge("gdht_ring_fingers_distinct", "Different nodes in the finger table.", (),
          lambda s: _plain(len({finger.peer.ident for finger in s.fingers}))),
    Gauge("gdht_ring_owned_ratio", "Share of the circle this node owns, 0 to 1.", (), lambda s: _plain(s.owned_ratio)),
    Gauge("gdht_ring_estimated_nodes", "Size of the ring, from the spacing of the successors.", (),
          lambda s: _plain(s.estimated_nodes)),
    Gauge("gdht_ring_consistent", "Whether this node and its neighbours agreed on the ring and no second one was "
          "suspected when last looked at; absent before the first look.", (),
          lambda s: {} if s.consistent is None else _plain(s.consistent)),
    Gauge("gdht_ring_lost_peers", "Nodes that stopped answering and are asked now and then.", (),
          lambda s: _plain(len(s.lost))),
    Gauge("gdht_ring_second_ring_suspected", "Whether some of those answer from another ring of the same name.", (),
          lambda s: _plain(bool(s.second_ring))),
    Gauge("gdht_health_score", "How far this node itself lags, 0 when not: it waits 1 + score times as long.",
          (), lambda s: _plain(s.health_score)),
    Gauge("gdht_maintenance_last_success_timestamp_seconds", "When a maintenance task last succeeded, since the epoch.",
          ("task",), lambda s: _single(s.stats.maintenance_last_success)),
    Gauge("gdht_store_keys", "Keys held, by role.", ("role",),
          lambda s: {("owned",): s.keys.owned, ("replica",): s.keys.replica, ("misplaced",): s.keys.misplaced}),
    Gauge("gdht_store_bytes", "Bytes held, by role.", ("role",),
          lambda s: {("owned",): s.keys.owned_bytes, ("replica",): s.keys.replica_bytes,
                     ("misplaced",): s.keys.misplaced_bytes}),
    Gauge("gdht_store_capacity_bytes", "Bytes the store may hold.", (), lambda s: _plain(s.store_bytes_max)),
    Gauge("gdht_store_tombstones", "Records kept without a value, so that no older version comes back.", (),
          lambda s: _plain(s.keys.tombstones)),
    Gauge("gdht_store_writable", "Whether writes can be made durable.", (), lambda s: _plain(not s.store_error)),
    Gauge("gdht_keys_under_replicated", "Owned keys with too few copies at the last round of repair.", (),
          lambda s: _plain(s.stats.keys_under_replicated)),
    Gauge("gdht_keys_under_replicated_oldest_seconds", "For how long the first of those had had too few; 0: there "
          "are none.", (), lambda s: _plain(s.stats.keys_under_replicated_oldest_s)),
    Gauge("gdht_event_loop_hold_seconds_max", "The longest of the holds of the event loop in the last minute.", (),
          lambda s: _plain(s.stats.event_loop_hold_max_s)),
    Gauge("gdht_handoff_in_progress", "Whether the records of this node are moved as it leaves or joins.", ("reason",),
          lambda s: _moved(s, lambda _: 1.0)),
    Gauge("gdht_handoff_remaining_keys", "How many records are still to be moved then, as estimated when it began.",
          ("reason",), lambda s: _moved(s, _remaining)),
)  # fmt: skip

COUNTS = (
    Count("gdht_api_accepted_connections", "Client connections taken or turned away.", ("result",),
          _words("accepted", "rejected"), lambda s: _single(s.stats.api_accepted_connections)),
    Count("gdht_api_requests", "Client requests that ended.", ("operation", "result"),
          REQUESTS, lambda s: s.stats.api_requests),
    Count("gdht_api_malformed_messages", "Client messages that were not the protocol.", ("reason",),
          _words("size", "type", "truncated", "too_large", "trailing", "magic", "value"),
          lambda s: _single(s.stats.api_malformed_messages)),
    Count("gdht_rpc_sent_requests", "Requests to other nodes that ended.", ("method", "result"),
          _pairs(METHOD_WORDS, ("ok", "timeout")), lambda s: s.stats.rpc_sent_requests),
    Count("gdht_rpc_received_requests", "Requests from other nodes that ended.", ("method", "result"),
          _pairs(METHOD_WORDS, ("ok", "error")), lambda s: s.stats.rpc_received_requests),
    Count("gdht_rpc_timeouts", "Requests to other nodes without an answer in time.", ("method",),
          _words(*METHOD_WORDS), lambda s: _single(s.stats.rpc_timeouts)),
    Count("gdht_peer_rejected", "Connections of other nodes that were refused.", ("reason",),
          _words("magic", "version", "ring", "ident", "overload", "hello_timeout", "size", "type", "truncated",
                 "too_large", "trailing", "value"), lambda s: _single(s.stats.peer_rejected)),
    Count("gdht_network_sent_bytes", "Bytes sent.", ("plane",),
          _words("api", "p2p"), lambda s: _single(s.stats.network_sent_bytes)),
    Count("gdht_network_received_bytes", "Bytes received.", ("plane",),
          _words("api", "p2p"), lambda s: _single(s.stats.network_received_bytes)),
    Count("gdht_lookups", "Lookups that ended.", ("purpose", "result"),
          _pairs(PURPOSES, ("ok", "timeout", "no_route", "loop")), lambda s: s.stats.lookups),
    Count("gdht_lookup_dead_hops", "Nodes that did not answer during a lookup and were routed around.", (),
          ((),), lambda s: _plain(s.stats.lookup_dead_hops)),
    Count("gdht_route_cache", "Gets and puts that went by what was heard before of who owns what: hit: it was right, "
          "stale: it was not, miss: a lookup was needed.", ("result",),
          _words("hit", "stale", "miss"), lambda s: _single(s.stats.route_cache)),
    Count("gdht_hedged_reads", "Gets whose owner was late: owner: it answered first all the same, copies: its replicas "
          "told enough, refused: they were not asked, as too many had been.", ("result",),
          _words("owner", "copies", "refused"), lambda s: _single(s.stats.hedged_reads)),
    Count("gdht_ring_pointer_changes", "Changes of the node's pointers into the ring.", ("pointer",),
          _words("successor", "predecessor", "finger"), lambda s: _single(s.stats.ring_pointer_changes)),
    Count("gdht_ring_merges", "Times that pointers moved because another ring of the same name was found.", (),
          ((),), lambda s: _plain(s.stats.ring_merges)),
    Count("gdht_suspicions", "Silent neighbours that were asked again: refuted ones answered, confirmed ones did not.",
          ("result",), _words("refuted", "confirmed"), lambda s: _single(s.stats.suspicions)),
    Count("gdht_maintenance_runs", "Runs of periodic tasks.", ("task", "result"),
          _pairs(TASKS, ("ok", "error")), lambda s: s.stats.maintenance_runs),
    Count("gdht_store_expired_keys", "Keys dropped because their time was over.", (),
          ((),), lambda s: _plain(s.stats.store_expired_keys)),
    Count("gdht_store_rejected_writes", "Writes the store refused.", ("reason",),
          _words("full", "read_only", "disk", "overload", "too_large", "ttl", "version"),
          lambda s: _single(s.stats.store_rejected_writes)),
    Count("gdht_store_commits", "Groups of writes that were made durable together, or failed to be.", ("result",),
          _words("ok", "error"), lambda s: _single(s.stats.store_commits)),
    Count("gdht_replica_writes", "Copies sent to the nodes that should hold them.", ("result",),
          _words("ok", "timeout", "refused", "error"), lambda s: _single(s.stats.replica_writes)),
    Count("gdht_repaired_keys", "Copies restored where they were missing or old.", ("cause",),
          _words("read"), lambda s: _single(s.stats.repaired_keys)),
    Count("gdht_handoff_keys", "Records handed from node to node.", ("direction", "reason"),
          HANDOFFS, lambda s: s.stats.handoff_keys),
    Count("gdht_handoff_bytes", "The bytes of their values.", ("direction", "reason"),
          HANDOFFS, lambda s: s.stats.handoff_bytes),
    Count("gdht_task_crashes", "Background tasks that failed unexpectedly and were started anew.", ("task",),
          _words("maintenance", "inspection", "replication", "upkeep"), lambda s: _single(s.stats.task_crashes)),
)  # fmt: skip

SPREADS = (
    Spread("gdht_api_request_duration_seconds", "From a client's request to its answer.", ("operation",), SECONDS,
           _words(*OPERATIONS), lambda s: _single(s.stats.api_request_duration)),
    Spread("gdht_rpc_sent_duration_seconds", "From a request to another node to its answer.", ("method",), SECONDS,
           (), lambda s: _single(s.stats.rpc_sent_duration)),
    Spread("gdht_lookup_duration_seconds", "How long lookups took.", ("purpose",), SECONDS,
           _words("put", "get"), lambda s: _single(s.stats.lookup_duration)),
    Spread("gdht_lookup_hops", "Nodes asked per lookup.", ("purpose",), HOPS,
           _words("put", "get"), lambda s: _single(s.stats.lookup_hops)),
    Spread("gdht_put_acknowledged_replicas", "Copies confirmed per put.", (), REPLICAS,
           ((),), lambda s: {(): s.stats.put_acknowledged_replicas}),
    Spread("gdht_store_commit_duration_seconds", "How long it took to make a group of writes durable.", (), SECONDS,
           ((),), lambda s: {(): s.stats.store_commit_duration}),
    Spread("gdht_event_loop_lag_seconds", "How late the event loop runs what is due.", (), LAG_SECONDS,
           ((),), lambda s: {(): s.stats.event_loop_lag}),
    Spread("gdht_event_loop_hold_seconds", "For how long at a time the event loop is held before it looks at its "
           "sockets again; the sum is how long it was busy.", (), LAG_SECONDS,
           ((),), lambda s: {(): s.stats.event_loop_hold}),
)  # fmt: skip
