"""Bad links: a node behind one is slow, not dead, and stays in the ring; a one-way cut is gone when it ends."""

import time

import pytest

from tests.e2e.harness import ring_problems, wait_for_none, wait_until
from tests.netns.network import Network
from tests.netns.nodes import HostNode, Values, hosts_of, missing, one_ring_problems, put_values

VALUES = 40
FAULT_S = 5.0
"""Some fifteen rounds of maintenance."""
PAUSE_S = 0.1
LOSS = 0.05
LOST_MIN = 20
"""Fewer lost packets than this prove nothing; how many it takes the work to lose them is chance."""
SLOW_CALL_S = 0.02
"""On the slow link calls take three times this, on a good one a tenth."""

SUM, COUNT = (f'gdht_rpc_sent_duration_seconds_{what}{{method="p2p_get_neighbours"}}' for what in ("sum", "count"))


@pytest.fixture
def values(ring: list[HostNode]) -> Values:
    """Some values in the ring."""
    return put_values(ring[0], VALUES)


def pointers(nodes: list[HostNode]) -> dict[str, list[str]]:
    """The predecessor and the successors of each of these nodes."""
    told = {node.name: node.json("ring") for node in nodes}
    return {
        name: [peer["id"] for peer in (one["predecessor"], *one["successors"]) if peer] for name, one in told.items()
    }


def work(nodes: list[HostNode], values: Values, seconds: float) -> None:
    """For so many seconds put and read values, through each node in turn; no pointer may change meanwhile."""
    before = pointers(nodes)
    ends_at_s = time.monotonic() + seconds
    while time.monotonic() < ends_at_s:
        for node in nodes:
            assert missing([node], {**values, **put_values(node, 2)}) == []
            assert pointers(nodes) == before
            time.sleep(PAUSE_S)


def call_s(node: HostNode, since: dict[str, float]) -> float:
    """The mean duration of a node's maintenance calls since it told these metrics."""
    now = node.metrics()
    return (now[SUM] - since[SUM]) / (now[COUNT] - since[COUNT])


def test_a_node_on_a_slow_link_stays_in_the_ring(network: Network, ring: list[HostNode], values: Values) -> None:
    slow = ring[2]
    before = slow.metrics()
    with network.slow(slow.host):
        work(ring, values, FAULT_S)
        assert call_s(slow, before) > SLOW_CALL_S
    assert one_ring_problems(ring) == []


def test_a_node_on_a_link_that_loses_packets_stays_in_the_ring(
    network: Network, ring: list[HostNode], values: Values
) -> None:
    before = network.lost_packets
    with network.lossy(ring[3].host, LOSS):
        work(ring, values, FAULT_S)
        while network.lost_packets - before < LOST_MIN:
            work(ring, values, PAUSE_S)
    assert one_ring_problems(ring) == []


def test_two_neighbours_of_which_one_does_not_hear_the_other_stay_members_that_serve(
    network: Network, ring: list[HostNode], values: Values
) -> None:
    mute, deaf, *others = ring
    with network.deaf([deaf.host], [mute.host]):
        added = put_values(others[0], VALUES)
        wait_until(lambda: mute.json("ring")["successors"][0]["address"] == others[0].p2p, "passes over its successor")
        time.sleep(FAULT_S)
        assert [node.ask("/readyz").status for node in ring] == [200] * len(ring)
        assert missing(ring, {**values, **added}) == []
        added |= put_values(others[1], VALUES)
    wait_for_none(lambda: one_ring_problems(ring))
    assert missing(ring, {**values, **added}) == []


def test_a_node_that_nobody_hears_is_left_out_and_comes_back_when_it_is_heard(
    network: Network, ring: list[HostNode], values: Values
) -> None:
    mute, *others = ring
    with network.deaf(hosts_of(others), [mute.host]):
        wait_for_none(lambda: ring_problems(others))
        assert missing(others, values) == []
        added = put_values(others[0], VALUES)
        wait_until(lambda: mute.ask("/readyz").status == 503, "it says that it has lost the others")
    wait_for_none(lambda: one_ring_problems(ring))
    assert missing(ring, {**values, **added}) == []
