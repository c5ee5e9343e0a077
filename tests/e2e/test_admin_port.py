"""What operators and their tools get from a live node: probes, metrics, JSON; also while its peers die."""

import random
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.e2e.handmade import get_frame
from tests.e2e.harness import (
    STEADY_NODES,
    Answer,
    Fleet,
    NodeProcess,
    ask_admin,
    clockwise,
    owners,
    ring_problems,
    run,
    wait_for_none,
    wait_until,
)

SCRAPE_S_MAX = 2.0


# Metrics --------------------------------------------------------------------------------------------------------------


def test_the_metrics_of_a_live_node_pass_promtool(ring: list[NodeProcess], require_tool: Callable[[str], str]) -> None:
    promtool = require_tool("promtool")
    answer = ring[0].ask("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=answer.text, text=True, capture_output=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_core_metrics_are_there_and_no_label_names_a_node_a_key_or_an_address(ring: list[NodeProcess]) -> None:
    key = random.randbytes(32)
    with ring[0].connect() as client:
        assert client.put(key, b"x")
    text = ring[0].ask("/metrics").text
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    core = (
        "gdht_build_info gdht_node_info gdht_node_state gdht_api_connections gdht_api_requests_total "
        "gdht_api_request_duration_seconds gdht_api_malformed_messages_total gdht_rpc_sent_requests_total "
        "gdht_rpc_sent_duration_seconds gdht_rpc_received_requests_total gdht_rpc_timeouts_total "
        "gdht_peer_connections gdht_lookups_total gdht_lookup_duration_seconds gdht_lookup_hops "
        "gdht_lookup_dead_hops_total gdht_ring_successors gdht_ring_predecessor_known gdht_ring_fingers_distinct "
        "gdht_ring_owned_ratio gdht_ring_estimated_nodes gdht_ring_pointer_changes_total "
        "gdht_maintenance_runs_total gdht_maintenance_last_success_timestamp_seconds gdht_store_keys "
        "gdht_store_bytes gdht_store_expired_keys_total gdht_store_rejected_writes_total gdht_replica_writes_total "
        "gdht_put_acknowledged_replicas gdht_keys_under_replicated gdht_repaired_keys_total "
        "gdht_handoff_keys_total gdht_event_loop_lag_seconds process_resident_memory_bytes python_info"
    )
    assert set(core.split()) - names == set()
    told = "\n".join(line for line in text.splitlines() if not line.startswith("gdht_node_info{"))
    for secret in (key.hex(), *(f"{node.ident:064x}" for node in ring), *(node.p2p for node in ring), "127.0.0.1"):
        assert secret not in told


def test_counters_move_by_what_clients_ask(ring: list[NodeProcess]) -> None:
    node = ring[1]
    keys = [random.randbytes(32) for _ in range(40)]
    before = node.metrics()
    with node.connect() as client:
        client.put_all((key, b"counted") for key in keys)
        assert len(client.get_all(keys)) == 40
        client.get_all(random.randbytes(32) for _ in range(10))
        after = node.metrics()
        assert after["gdht_api_connections"] == before["gdht_api_connections"] + 1
    grown = {
        'gdht_api_requests_total{operation="put",result="success"}': 40,
        'gdht_api_requests_total{operation="get",result="success"}': 40,
        'gdht_api_requests_total{operation="get",result="not_found"}': 10,
        'gdht_api_request_duration_seconds_count{operation="put"}': 40,
        'gdht_api_request_duration_seconds_count{operation="get"}': 50,
        "gdht_put_acknowledged_replicas_count": 40,
        "gdht_put_acknowledged_replicas_sum": 120,
        'gdht_replica_writes_total{result="ok"}': 120,
        'gdht_lookups_total{purpose="put",result="ok"}': 40,
        'gdht_rpc_timeouts_total{method="put"}': 0,
    }
    assert {name: after.get(name, 0) - before.get(name, 0) for name in grown} == grown
    assert (
        after['gdht_network_received_bytes_total{plane="api"}']
        > before['gdht_network_received_bytes_total{plane="api"}']
    )


def test_the_keys_of_all_nodes_are_counted_once_as_owned(ring: list[NodeProcess]) -> None:
    def owned() -> float:
        return sum(node.metrics()['gdht_store_keys{role="owned"}'] for node in ring)

    before, now = -1.0, owned()
    while now != before:  # what earlier tests put is still being counted
        time.sleep(0.5)
        before, now = now, owned()
    with ring[2].connect() as client:
        client.put_all((random.randbytes(32), b"x") for _ in range(100))
    wait_until(lambda: owned() == before + 100, "100 keys more are owned by somebody")


def test_a_scrape_is_quick_while_clients_are_served(ring: list[NodeProcess]) -> None:
    keys = [random.randbytes(32) for _ in range(300)]
    with ring[0].connect() as client:
        client.put_all((key, bytes(100)) for key in keys)
        client.send(b"".join(get_frame(key) for key in keys * 10))
        started_s = time.monotonic()
        ring[0].metrics()
        assert time.monotonic() - started_s < SCRAPE_S_MAX
        for key in keys * 10:
            assert client.read().key == key


# Questions ------------------------------------------------------------------------------------------------------------


def test_a_key_report_names_who_should_hold_it_and_who_does(ring: list[NodeProcess]) -> None:
    key = random.randbytes(32)
    with ring[3].connect() as client:
        assert client.put(key, b"five!", ttl=300)
    for node in ring:
        report = node.json(f"keys/{key.hex()}")
        assert report["key"] == key.hex()
        holders = [one for one in report["nodes"] if one["present"]]
        assert [one["id"] for one in holders] == [f"{other.ident:064x}" for other in owners(ring, key)[:3]]
        assert [one["role"] for one in holders] == ["owner", "replica", "replica"]
        assert {one["bytes"] for one in holders} == {5}
        assert len({str(one["version"]) for one in holders}) == 1
        assert all(290 < one["ttl_remaining_seconds"] <= 300 for one in holders)


def test_a_trace_leads_to_the_owner_from_every_node(ring: list[NodeProcess]) -> None:
    for _ in range(5):
        key = random.randbytes(32)
        for node in ring:
            trace = node.json(f"trace/{key.hex()}")
            assert trace["owner"]["address"] == owners(ring, key)[0].p2p
            assert trace["hops_total"] == len(trace["hops"]) <= STEADY_NODES
            assert trace["dead_hops_total"] == 0
            assert all(hop["seconds"] >= 0 and not hop["dead"] for hop in trace["hops"])


def test_the_ring_page_answers_json_to_those_who_ask_for_it(ring: list[NodeProcess]) -> None:
    answer = ring[0].ask("/admin/ring", Accept="application/json")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["node"]["id"] == f"{ring[0].ident:064x}"
    assert set(answer.json) == {
        *("node", "predecessor", "successors", "fingers", "keys", "owned_ratio", "estimated_nodes")
    }
    assert ring[0].ask("/admin/ring", Accept="text/html").text.startswith("<!doctype html>")


@pytest.mark.parametrize("path", ["keys/abc", "trace/" + "g" * 64, "nothing"])
def test_a_wrong_question_is_answered_with_an_error_in_json(ring: list[NodeProcess], path: str) -> None:
    answer = ring[0].ask(f"/admin/api/{path}")
    assert answer.status in (400, 404)
    assert answer.json["error"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_token_guards_everything_but_probes_and_metrics(fleet: Fleet) -> None:
    node = fleet.start("--admin-token", "s3cret")
    for path in ("/livez", "/readyz", "/metrics"):
        assert node.ask(path).status == 200
    for path in ("/admin/", "/admin/ring", "/admin/api/ring", "/admin/api/node"):
        assert node.ask(path).status == 401
        assert node.ask(path, Authorization="Bearer wrong").status == 401
        assert node.ask(path, Authorization="Bearer s3cret").status == 200
    assert run("status", "--admin", node.admin).returncode == 1
    assert run("status", "--admin", node.admin, "--token", "s3cret").returncode == 0
    assert "s3cret" not in node.log


# Probes while peers die -----------------------------------------------------------------------------------------------


def livez(node: NodeProcess) -> Answer:
    """Its liveness."""
    return ask_admin(node.admin, "/livez?verbose", timeout_s=2)


def test_a_node_stays_alive_while_all_its_peers_are_dead_and_they_find_it_again(fleet: Fleet) -> None:
    founder, *others = nodes = fleet.ring(3)
    key = random.randbytes(32)
    with others[0].connect() as client:
        assert client.put(key, b"on all three")
    for node in others:
        node.kill()
    with founder.connect() as client:
        for _ in range(20):
            assert livez(founder).status == 200
            client.send(get_frame(key))
            client.read()
            time.sleep(0.1)
    members = ",".join(node.p2p for node in nodes)
    again = [fleet.spawn(*_ports(node), "--bootstrap", members) for node in others]
    for node in again:
        node.wait_ready()
    wait_for_none(lambda: ring_problems([founder, *again]))
    for node in [founder, *again]:
        with node.connect() as client:
            assert client.get(key) == b"on all three"


def test_a_node_that_hangs_is_routed_around_and_is_a_member_again_when_it_wakes(fleet: Fleet) -> None:
    nodes = fleet.ring(4, "--call-timeout", "0.5")
    order = clockwise(nodes)
    keys = [random.randbytes(32) for _ in range(50)]
    with order[0].connect() as client:
        client.put_all((key, b"x") for key in keys)
        order[1].signal(signal.SIGSTOP)
        assert len(client.get_all(keys)) == 50
    awake = [order[0], *order[2:]]
    wait_for_none(lambda: ring_problems(awake))
    assert sum(value for name, value in order[0].metrics().items() if name.startswith("gdht_rpc_timeouts_total")) > 0
    order[1].signal(signal.SIGCONT)
    wait_for_none(lambda: ring_problems(nodes))
    with order[1].connect() as client:
        assert len(client.get_all(keys)) == 50


def _ports(node: NodeProcess) -> tuple[str, ...]:
    return "--p2p-address", node.p2p, "--api-address", node.api, "--admin-address", node.admin
