"""How nodes find their ring: by name, by any member, however late it comes up, and never a ring of another name."""

import re

from tests.e2e.handmade import ApiSocket
from tests.e2e.harness import (
    Fleet,
    NodeProcess,
    ask_admin,
    clockwise,
    free_port,
    ring_problems,
    wait_for_none,
    wait_until,
)

RETRY_LINE = re.compile(
    r"WARNING gdht\.node\.bootstrap: not in the ring yet: (?P<why>.*); trying again in (?P<s>[\d.]+) s"
)


def local(port: int) -> str:
    """A port of this machine."""
    return f"127.0.0.1:{port}"


def starts_knocking(node: NodeProcess, admin: str) -> None:
    """Wait until a node that is in no ring yet has tried to get into one."""

    def knocked() -> bool:
        assert node.alive, node.log
        return bool(RETRY_LINE.search(node.log))

    wait_until(knocked, "looks for its ring")
    assert node.output == ""
    assert ask_admin(admin, "/livez").text == "ok"


def test_a_node_whose_bootstrap_is_down_says_so_once_per_step_keeps_trying_and_joins(fleet: Fleet) -> None:
    founder_port, admin = free_port(), local(free_port())
    waiting = fleet.spawn("--bootstrap", local(founder_port), "--admin-address", admin)
    starts_knocking(waiting, admin)
    wait_until(lambda: len(RETRY_LINE.findall(waiting.log)) >= 3, "tries three times")
    listening, *lines = waiting.log_lines
    assert "listening" in listening
    tries = [RETRY_LINE.search(line) for line in lines]
    assert all(match and local(founder_port) in match["why"] for match in tries), lines
    steps = [float(match["s"]) for match in tries[:3] if match]
    assert steps == sorted(set(steps)), "each pause is longer than the one before it"

    ready = ask_admin(admin, "/readyz?verbose")
    assert ready.status == 503
    assert f"[-]joined failed: joining: {local(founder_port)}: " in ready.text
    health = ask_admin(admin, "/health")
    assert (health.status, health.json["state"], health.json["status"]) == (503, "joining", "degraded")

    founder = fleet.start("--p2p-address", local(founder_port))
    waiting.wait_ready()
    wait_for_none(lambda: ring_problems([founder, waiting]))


def test_a_node_that_is_not_in_its_ring_yet_answers_its_clients_with_failure(fleet: Fleet) -> None:
    api, admin = local(free_port()), local(free_port())
    waiting = fleet.spawn("--bootstrap", local(free_port()), "--api-address", api, "--admin-address", admin)
    starts_knocking(waiting, admin)
    with ApiSocket(api) as client:
        assert client.get(bytes(32)) is None
        assert not client.put(bytes(32), b"nowhere to go")
    assert waiting.leave() == 0


def test_nodes_of_different_rings_refuse_each_other(fleet: Fleet) -> None:
    ours = fleet.start("--ring", "ours")
    admin = local(free_port())
    theirs = fleet.spawn("--ring", "theirs", "--bootstrap", ours.p2p, "--admin-address", admin)
    starts_knocking(theirs, admin)
    assert "ring 'theirs' is not ring 'ours'" in theirs.log
    assert "ring 'theirs' is not ring 'ours'" in ours.log
    assert "ring 'theirs' is not ring 'ours'" in ask_admin(admin, "/readyz?verbose").text
    assert ring_problems([ours]) == []
    assert ours.json("ring/walk")["complete"]


def test_three_nodes_with_one_list_started_together_form_one_ring(fleet: Fleet) -> None:
    members = [local(free_port()) for _ in range(3)]
    nodes = [fleet.spawn("--p2p-address", member, "--bootstrap", ",".join(members)) for member in members]
    for node in nodes:
        node.wait_ready()
    wait_for_none(lambda: ring_problems(nodes))
    assert "started ring" in nodes[0].log
    assert "started ring" not in nodes[1].log + nodes[2].log


def test_the_first_of_the_list_comes_back_into_the_ring_instead_of_starting_another(fleet: Fleet) -> None:
    members = [local(free_port()) for _ in range(2)]
    first, second = (fleet.spawn("--p2p-address", member, "--bootstrap", ",".join(members)) for member in members)
    for node in (first, second):
        node.wait_ready()
    wait_for_none(lambda: ring_problems([first, second]))
    first.kill()
    again = fleet.start("--p2p-address", members[0], "--bootstrap", ",".join(members))
    assert again.ident == first.ident
    wait_for_none(lambda: ring_problems([again, second]))


def test_a_member_is_found_by_its_name_and_behind_one_that_is_down(fleet: Fleet) -> None:
    founder = fleet.start()
    port = founder.p2p.rpartition(":")[2]
    joiner = fleet.start("--bootstrap", f"{local(free_port())}, localhost:{port}")
    wait_for_none(lambda: ring_problems([founder, joiner]))


def test_a_ring_on_ipv6_serves_clients_and_pages_on_ipv6(fleet: Fleet) -> None:
    options = "--p2p-address [::1]:0 --api-address [::1]:0 --admin-address [::1]:0".split()
    nodes = fleet.ring(3, *options)
    for node in nodes:
        assert all(address.startswith("[::1]:") for address in (node.p2p, node.api, node.admin))
        told = node.json("ring")
        assert told["node"]["p2p_address"] == node.p2p
        assert told["successors"][0]["address"] == clockwise(nodes, node.ident)[1].p2p
    with nodes[0].connect() as writer:
        assert writer.put(bytes(32), b"over IPv6")
    for node in nodes:
        with node.connect() as reader:
            assert reader.get(bytes(32)) == b"over IPv6"


def test_a_node_listens_everywhere_and_is_known_by_what_it_advertises(fleet: Fleet) -> None:
    port = free_port()
    node = fleet.start("--p2p-address", f"0.0.0.0:{port}", "--advertise-address", f"localhost:{port}")
    other = fleet.start("--bootstrap", local(port))
    wait_for_none(lambda: ring_problems([node, other]))
    assert other.json("ring")["successors"][0]["address"] == f"localhost:{port}"
