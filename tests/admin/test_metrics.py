"""/metrics: names, labels, zeros from the start, and what promtool thinks of it."""

import re
import subprocess

import pytest
from flask.testing import FlaskClient

from gdht.core.messages import METHODS
from gdht.node.status import Handover, KeyCounts, State

CORE = """
gdht_build_info gdht_node_info gdht_node_state gdht_api_connections gdht_api_requests_total
gdht_api_request_duration_seconds gdht_api_malformed_messages_total gdht_rpc_sent_requests_total
gdht_rpc_sent_duration_seconds gdht_rpc_received_requests_total gdht_rpc_timeouts_total gdht_peer_connections
gdht_lookups_total gdht_lookup_duration_seconds gdht_lookup_hops gdht_lookup_dead_hops_total gdht_ring_successors
gdht_ring_predecessor_known gdht_ring_fingers_distinct gdht_ring_owned_ratio gdht_ring_estimated_nodes
gdht_ring_pointer_changes_total gdht_ring_consistent gdht_maintenance_runs_total
gdht_maintenance_last_success_timestamp_seconds gdht_store_keys
gdht_store_bytes gdht_store_expired_keys_total gdht_store_rejected_writes_total
gdht_replica_writes_total gdht_put_acknowledged_replicas gdht_keys_under_replicated gdht_repaired_keys_total
gdht_handoff_keys_total gdht_event_loop_lag_seconds python_info process_cpu_seconds_total
""".split()


@pytest.fixture
def series(client: FlaskClient):
    """Scrape, and give the value of each series by its text."""

    def scrape() -> dict[str, float]:
        lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    return scrape


@pytest.fixture
def busy(ring):
    """A ring whose first node has counted something of everything."""
    stats = ring.stats
    stats.api_requests["get", "success"] += 3
    for method in METHODS.values():
        stats.rpc_sent_requests[method, "remote_error"] += 1
        stats.rpc_sent_duration[method].observe(0.02)
    for purpose in ("put", "get", "join"):
        stats.lookup_hops[purpose].observe(3)
        stats.lookup_duration[purpose].observe(0.004)
    stats.maintenance_runs["stabilize", "ok"] += 1
    stats.maintenance_last_success["stabilize"] = 1_700_000_000.5
    stats.repaired_keys["read"] += 1
    stats.handoff_keys["sent", "join"] += 7
    stats.peer_rejected["ring"] += 1
    stats.task_crashes["expire"] += 1
    return ring


def test_every_core_metric_is_described(client: FlaskClient):
    described = set(re.findall(r"^# TYPE (\S+) ", client.get("/metrics").text, re.MULTILINE))
    assert set(CORE) - described == set()


def test_it_is_prometheus_text(client: FlaskClient):
    assert client.get("/metrics").headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("counted", [False, True])
def test_promtool_has_no_complaint(request, client: FlaskClient, require_tool, counted):
    if counted:
        request.getfixturevalue("busy")
    text = client.get("/metrics").data
    promtool = [require_tool("promtool"), "check", "metrics"]
    checked = subprocess.run(promtool, input=text, capture_output=True, check=False, timeout=30)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_known_words_start_at_zero(series):
    values = series()
    for text in (
        'gdht_api_requests_total{operation="put",result="quorum"}',
        'gdht_api_requests_total{operation="get",result="not_found"}',
        'gdht_api_malformed_messages_total{reason="size"}',
        'gdht_rpc_sent_requests_total{method="p2p_get_successor",result="ok"}',
        'gdht_rpc_timeouts_total{method="p2p_ping"}',
        'gdht_lookups_total{purpose="fix_finger",result="timeout"}',
        'gdht_ring_pointer_changes_total{pointer="predecessor"}',
        'gdht_peer_connections{direction="inbound"}',
        'gdht_api_request_duration_seconds_count{operation="get"}',
        'gdht_lookup_hops_bucket{purpose="get",le="32.0"}',
        "gdht_lookup_dead_hops_total",
        'gdht_route_cache_total{result="stale"}',
        'gdht_hedged_reads_total{result="copies"}',
        "gdht_put_acknowledged_replicas_count",
    ):
        assert values[text] == 0


def test_values_come_from_the_snapshot(ring, series):
    ring.stats.api_requests["get", "success"] += 5
    ring.stats.peer_connections["inbound"] = 4
    values = series()
    assert values['gdht_api_requests_total{operation="get",result="success"}'] == 5
    assert values['gdht_peer_connections{direction="inbound"}'] == 4
    assert values["gdht_ring_successors"] == 7
    assert values["gdht_ring_successors_target"] == 8
    assert values["gdht_ring_predecessor_known"] == 1
    assert values["gdht_ring_estimated_nodes"] == 8
    assert values["gdht_ring_owned_ratio"] == ring.status().owned_ratio
    assert values["gdht_store_capacity_bytes"] == 1 << 30
    owned = ring.owned[ring.me.ident]
    assert [values[f'gdht_store_keys{{role="{role}"}}'] for role in ("owned", "replica", "misplaced")] == [
        owned, 2 * owned, 0,
    ]  # fmt: skip
    ring.stats.api_requests["get", "success"] += 1
    assert series()['gdht_api_requests_total{operation="get",result="success"}'] == 6


def test_what_threatens_records_is_told(ring, series):
    quiet = {
        "gdht_store_writable": 1,
        "gdht_store_tombstones": 0,
        "gdht_keys_under_replicated": 0,
        "gdht_keys_under_replicated_oldest_seconds": 0,
        'gdht_store_commits_total{result="error"}': 0,
        "gdht_store_commit_duration_seconds_count": 0,
        'gdht_handoff_bytes_total{direction="sent",reason="leave"}': 0,
        'gdht_handoff_in_progress{reason="leave"}': 0,
        'gdht_handoff_remaining_keys{reason="join"}': 0,
        'gdht_store_rejected_writes_total{reason="read_only"}': 0,
    }
    assert quiet.items() <= series().items()
    ring.changes |= {"store_error": "disk full", "keys": KeyCounts(tombstones=4)}
    ring.stats.keys_under_replicated, ring.stats.keys_under_replicated_oldest_s = 3, 75.5
    ring.stats.store_commits["error"] += 1
    ring.stats.store_commit_duration.observe(0.02)
    ring.stats.handoff_bytes["sent", "leave"] += 700
    ring.changes["handover"] = Handover("leave", 1000, 250, 0, 0, 1.0)
    assert {
        "gdht_store_writable": 0,
        "gdht_store_tombstones": 4,
        "gdht_keys_under_replicated": 3,
        "gdht_keys_under_replicated_oldest_seconds": 75.5,
        'gdht_store_commits_total{result="error"}': 1,
        "gdht_store_commit_duration_seconds_count": 1,
        'gdht_handoff_bytes_total{direction="sent",reason="leave"}': 700,
        'gdht_handoff_in_progress{reason="leave"}': 1,
        'gdht_handoff_in_progress{reason="join"}': 0,
        'gdht_handoff_remaining_keys{reason="leave"}': 750,
    }.items() <= series().items()


def test_a_hand_over_that_has_ended_is_not_in_progress(ring, series):
    ring.changes["handover"] = Handover("leave", 1000, 990, 0, 0, 1.0, ended=True, without_taker=10)
    values = series()
    assert values['gdht_handoff_in_progress{reason="leave"}'] == 0
    assert values['gdht_handoff_remaining_keys{reason="leave"}'] == 0


def test_exactly_one_state_is_1(ring, series):
    ring.changes["state"] = State.DRAINING
    states = {name: value for name, value in series().items() if name.startswith("gdht_node_state{")}
    assert len(states) == 6
    assert [name for name, value in states.items() if value] == ['gdht_node_state{state="draining"}']


def test_whether_the_ring_is_right_is_not_said_before_somebody_looked(ring, series):
    assert series()["gdht_ring_consistent"] == 1
    ring.changes["consistent"] = False
    assert series()["gdht_ring_consistent"] == 0
    ring.changes["consistent"] = None
    assert "gdht_ring_consistent" not in series()


def test_lost_peers_a_second_ring_and_our_own_health_are_told(ring, series):
    quiet = {"gdht_ring_lost_peers": 0, "gdht_ring_second_ring_suspected": 0, "gdht_health_score": 0}
    assert quiet.items() <= series().items()
    ring.changes |= {"health_score": 3, "lost": tuple(ring.peers[:2]), "second_ring": (ring.peers[1],)}
    ring.stats.ring_merges += 1
    ring.stats.suspicions["refuted"] += 5
    assert {
        "gdht_ring_lost_peers": 2,
        "gdht_ring_second_ring_suspected": 1,
        "gdht_health_score": 3,
        "gdht_ring_merges_total": 1,
        'gdht_suspicions_total{result="refuted"}': 5,
        'gdht_suspicions_total{result="confirmed"}': 0,
    }.items() <= series().items()


def test_buckets_are_cumulative(ring, series):
    for hops in (0, 1, 1, 3, 40):
        ring.stats.lookup_hops["get"].observe(hops)
    values = series()
    buckets = [f'gdht_lookup_hops_bucket{{purpose="get",le="{edge}"}}' for edge in ("0.0", "1.0", "2.0", "3.0", "+Inf")]
    assert [values[bucket] for bucket in buckets] == [1, 3, 3, 4, 5]
    assert values['gdht_lookup_hops_sum{purpose="get"}'] == 45
    assert values['gdht_lookup_hops_count{purpose="get"}'] == 5


def test_checks_are_mirrored(ring, series):
    ring.ready["stabilize"] = False
    values = series()
    assert values['gdht_healthcheck{type="readyz",name="stabilize"}'] == 0
    assert values['gdht_healthcheck{type="livez",name="event_loop"}'] == 1


def test_only_the_info_metric_names_a_node(busy, client: FlaskClient):
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("gdht_node_info")]
    text = "\n".join(lines)
    for peer in busy.peers:
        assert f"{peer.ident:064x}" not in text
        assert peer.address not in text


def test_a_ring_name_is_escaped(ring, client: FlaskClient):
    ring.changes["ring_name"] = 'a"b\\c\nd'
    assert 'ring="a\\"b\\\\c\\nd"' in client.get("/metrics").text
