"""Partitions: each part becomes a ring that serves; when they end there is one ring again, and nothing is lost."""

import time

from tests.e2e.harness import wait_for_none
from tests.netns.network import Network
from tests.netns.nodes import HostNode, held_by, hosts_of, missing, one_ring_problems, put_again, put_values

VALUES = 200
CUT_S = 30.0
HEAL_S_MAX = 30.0
BLINK_S = 0.2
"""A cut so short that nobody is given up for it."""
LATER_S = 1.5
"""Some rounds of maintenance and a call's timeout later."""


def put_on_both(first: HostNode, second: HostNode, keys: list[bytes]) -> dict[bytes, bytes]:
    """Put values under some keys through one node, then others through another; returns the newer ones."""
    newer = {key: b"newer " + key for key in keys}
    put_again(first, {key: b"older " + key for key in keys})
    put_again(second, newer)
    return newer


def test_a_ring_cut_in_two_for_thirty_seconds_serves_on_both_sides_and_becomes_one_without_a_loss(
    network: Network, ring: list[HostNode]
) -> None:
    left, right = [*ring[:3], ring[4]], [ring[3], ring[5]]  # all kinds of neighbours, and replicas on one side only
    before = put_values(ring[0], VALUES)
    on_left, on_right = held_by(left, ring, before), held_by(right, ring, before)
    assert len(on_right) < len(on_left) == VALUES
    with network.partition(hosts_of(left), hosts_of(right)):
        cut_at_s = time.monotonic()
        wait_for_none(lambda: one_ring_problems(left) + one_ring_problems(right))
        assert missing(left, on_left) + missing(right, on_right) == []
        added = put_values(left[0], VALUES) | put_values(right[0], VALUES)
        newest = put_on_both(left[1], right[1], [*before][::4]) | put_on_both(right[1], left[1], [*before][1::4])
        time.sleep(max(cut_at_s + CUT_S - time.monotonic(), 0))
        assert one_ring_problems(left) + one_ring_problems(right) == []
    wait_for_none(lambda: one_ring_problems(ring), HEAL_S_MAX)
    wait_for_none(lambda: missing(ring, before | added | newest))
    for node in ring:
        checked = node.command("ring", "check")
        assert checked.returncode == 0, checked.stdout


def test_a_ring_cut_in_three_becomes_one_without_a_loss(network: Network, ring: list[HostNode]) -> None:
    sides = ring[::3], ring[1::3], ring[2::3]
    with network.partition(*map(hosts_of, sides)):
        wait_for_none(lambda: [problem for side in sides for problem in one_ring_problems(side)])
        added = {}
        for side in sides:
            added |= put_values(side[0], VALUES)
    wait_for_none(lambda: one_ring_problems(ring), HEAL_S_MAX)
    wait_for_none(lambda: missing(ring, added))


def test_a_cut_that_ends_at_once_changes_nothing(network: Network, ring: list[HostNode]) -> None:
    names = [f'gdht_ring_pointer_changes_total{{pointer="{which}"}}' for which in ("successor", "predecessor")]

    def changes() -> list[float]:
        return [node.metrics()[name] for node in ring for name in names]

    before = changes()
    with network.partition(hosts_of(ring[:3]), hosts_of(ring[3:])):
        time.sleep(BLINK_S)
    time.sleep(LATER_S)
    assert changes() == before
