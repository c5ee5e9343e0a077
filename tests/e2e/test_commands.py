"""The commands as a user types them, against a live ring."""

import hashlib
import json
import random
import subprocess

from tests.e2e.harness import NodeProcess, clean_environ, clockwise, owners, run


def said(done: subprocess.CompletedProcess[bytes], code: int = 0) -> str:
    """Standard output of a command that ended as expected, and complained only if it failed."""
    assert done.returncode == code, done
    assert b"Traceback" not in done.stderr
    assert bool(done.stderr) == (code != 0), done
    return done.stdout.decode()


def test_a_value_put_by_one_command_is_got_by_another_through_another_node(ring: list[NodeProcess]) -> None:
    assert said(run("put", "motd", "hello ring", "--api", ring[0].api)) == ""
    assert said(run("get", "motd", "--api", ring[1].api)) == "hello ring"
    key = hashlib.sha256(b"motd").hexdigest()
    assert said(run("get", f"hex:{key}", "--api", ring[2].api)) == "hello ring"


def test_raw_bytes_go_in_through_standard_input_and_come_out_as_they_were(ring: list[NodeProcess]) -> None:
    value = random.randbytes(65_495)
    said(run("put", "blob", "-", "--api", ring[3].api, input=value))
    done = run("get", "blob", "--api", ring[0].api)
    assert (done.returncode, done.stdout) == (0, value)


def test_a_key_without_a_value_is_exit_code_1_and_wrong_use_is_2(ring: list[NodeProcess]) -> None:
    api = ring[0].api
    assert said(run("get", "nobody put this", "--api", api), code=1) == ""
    assert said(run("get", "--api", api), code=2) == ""
    assert said(run("get", "hex:123", "--api", api), code=2) == ""
    assert said(run("get", "motd", "--api", "127.0.0.1:1"), code=1) == ""
    assert said(run("status", "--admin", "127.0.0.1:1"), code=1) == ""


def test_status_shows_the_node_and_its_checks(ring: list[NodeProcess]) -> None:
    text = said(run("status", "--admin", ring[1].admin))
    for part in (f"{ring[1].ident:064x}", "active", ring[1].p2p, ring[1].api, "check joined", "ok: "):
        assert part in text
    told = json.loads(said(run("status", "--json", "--admin", ring[1].admin)))
    assert told["node"] == ring[1].json("ring")["node"]


def test_ring_lists_all_nodes_clockwise(ring: list[NodeProcess]) -> None:
    text = said(run("ring", "--admin", f"http://{ring[2].admin}"))
    order = clockwise(ring, ring[2].ident)
    places = [text.index(node.p2p) for node in order]
    assert places == sorted(places)
    walk = json.loads(said(run("ring", "--json", "--admin", ring[2].admin)))
    assert [met["node"]["p2p_address"] for met in walk["nodes"]] == [node.p2p for node in order]


def test_ring_is_drawn_for_graphviz(ring: list[NodeProcess]) -> None:
    text = said(run("ring", "--dot", "--admin", ring[2].admin))
    assert (text.count("[style=solid]"), text.count("[style=dashed]")) == (len(ring), len(ring))
    assert "red" not in text
    assert all(f'"{node.p2p}\\n' in text for node in ring)


def test_events_tell_how_a_node_came_into_the_ring(ring: list[NodeProcess]) -> None:
    answer = json.loads(said(run("events", "--json", "--admin", ring[1].admin)))
    told = [(event["pointer"], event["cause"]) for event in answer["events"]]
    assert ("state", "active") in told
    assert ("successor", "joined") in told
    numbers = [event["number"] for event in answer["events"]]
    assert numbers == list(range(1, len(numbers) + 1))
    later = json.loads(said(run("events", "--json", "--since", "2", "--admin", ring[1].admin)))
    assert later["events"][0]["number"] == 3
    assert "joined" in said(run("events", "--admin", ring[1].admin))


def test_where_shows_the_holders_of_a_key_and_trace_the_way_to_its_owner(ring: list[NodeProcess]) -> None:
    said(run("put", "found", "x", "--api", ring[0].api, "--replication", "2", "--ttl", "60"))
    order = owners(ring, hashlib.sha256(b"found").digest())
    where = json.loads(said(run("where", "found", "--json", "--admin", ring[0].admin)))
    assert [one["address"] for one in where["nodes"] if one["present"]] == [node.p2p for node in order[:2]]
    assert order[0].p2p in said(run("where", "found", "--admin", ring[0].admin))
    assert f"at {order[0].p2p}" in said(run("trace", "found", "--admin", ring[0].admin))
    assert said(run("where", "never put", "--admin", ring[0].admin), code=1) != ""


def test_a_node_is_named_by_the_environment_too(ring: list[NodeProcess]) -> None:
    env = {**clean_environ(), "GDHT_API_ADDRESS": ring[0].api, "GDHT_ADMIN": ring[0].admin}
    said(run("put", "by environment", "yes", env=env))
    assert said(run("get", "by environment", env=env)) == "yes"
    assert ring[0].p2p in said(run("status", env=env))


def test_bench_loads_several_nodes_and_none_of_its_requests_fails(ring: list[NodeProcess]) -> None:
    options = "--seconds 1 --keys 200 --connections 8 --pipeline 4 --get-ratio 0.5 --timeout 20 --ttl 60 --json".split()
    done = run("bench", "--api", ring[0].api, "--api", ring[1].api, *options, timeout_s=80)
    assert done.returncode == 0, done
    told = json.loads(done.stdout)
    assert told["stored"] == {"values": 200, "failures": {}}
    for name in ("get", "put"):
        assert told[name]["per_second"] > 0
        assert told[name]["failures"] == {}
