"""A ring of real processes through its life: it forms, holds values, loses members and gains some."""

import random
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.handmade import get_frame
from tests.e2e.harness import (
    LEAVE_S_MAX,
    Fleet,
    NodeProcess,
    ask_admin,
    clockwise,
    keys_of,
    owners,
    ring_problems,
    wait_for_none,
    wait_until,
)

NODES = 8
VALUES = 1000
REPLICATION = 3
TTL_S = 3600
ALL_ROLES = ("owned", "replica", "misplaced")


class LivingRing:
    """A ring whose members come and go, and all that was put into it."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.values: dict[bytes, bytes] = {}
        self.copies: dict[bytes, int] = {}

    @property
    def nodes(self) -> list[NodeProcess]:
        """The members."""
        return self.fleet.alive

    def grow(self, size: int) -> list[NodeProcess]:
        """Have so many members, which agree on the ring and hold every record where it belongs."""
        before = self.nodes
        if not before:
            self.fleet.ring(size)
        added = [self.fleet.spawn("--bootstrap", before[0].p2p) for _ in range(size - len(before))] if before else []
        for node in added:
            node.wait_ready()
        self.settle()
        return self.nodes

    def settle(self, roles: tuple[str, ...] = ("owned", "replica")) -> None:
        """Wait until all members agree and every record is where it belongs; with `misplaced`, nowhere else too."""
        wait_for_none(lambda: ring_problems(self.nodes))
        wait_for_none(lambda: self.miscounts(roles))

    def put(self, node: NodeProcess, keys: list[bytes], replication: int = REPLICATION) -> None:
        """Put a value under each key through one node, acknowledged."""
        values = {key: random.randbytes(random.randrange(200)) for key in keys}
        with node.connect() as client:
            client.put_all(values.items(), TTL_S, replication)
        self.values |= values
        self.copies |= dict.fromkeys(keys, replication)

    def fill(self, count: int) -> None:
        """Have at least so many values in it."""
        if len(self.values) < count:
            self.put(self.nodes[0], [random.randbytes(32) for _ in range(count - len(self.values))])

    def forget(self, keys: list[bytes]) -> None:
        """Expect nothing of these keys any more."""
        for key in keys:
            del self.values[key], self.copies[key]

    def unread(self, node: NodeProcess) -> list[bytes]:
        """The keys whose values are not read, or not as they were put, through a node."""
        with node.connect() as client:
            found = client.get_all(self.values)
        return [key for key, value in self.values.items() if found.get(key) != value]

    def missing(self, nodes: list[NodeProcess]) -> list[str]:
        """Which values are not read, or not as they were put, through which node; and why the first was not."""
        problems = []
        for node in nodes:
            wrong = self.unread(node)
            problems += [f"{node.name}: {key.hex()} is not as it was put" for key in wrong]
            problems += [ask_admin(node.admin, f"/admin/api/requests?key={key.hex()}").text for key in wrong[:1]]
        return problems

    def miscounts(self, roles: tuple[str, ...] = ALL_ROLES) -> list[str]:
        """Which members count, in these roles, another number of keys than they should."""
        nodes = self.nodes
        expected = {node.ident: {"owned": 0, "replica": 0, "misplaced": 0} for node in nodes}
        for key, copies in self.copies.items():
            for place, node in enumerate(owners(nodes, key)[:copies]):
                expected[node.ident]["replica" if place else "owned"] += 1
        counted = {node.ident: node.json("ring")["keys"] for node in nodes}
        return [
            f"{node.name} {role}: {counted[node.ident][role]} is not {count}"
            for node in nodes
            for role, count in expected[node.ident].items()
            if role in roles and counted[node.ident][role] != count
        ]


@pytest.fixture(scope="module")
def members(module_fleet: Fleet) -> LivingRing:
    """The ring that the tests of this module share; each of them first says how many members it wants."""
    return LivingRing(module_fleet)


@pytest.fixture
def living(members: LivingRing) -> Iterator[LivingRing]:
    """The ring with eight members and a thousand values."""
    members.grow(NODES)
    members.fill(VALUES)
    members.settle()
    yield members
    members.forget(members.unread(members.nodes[0]))  # the next test must not suffer for this one


def test_eight_nodes_form_one_ring_and_every_one_of_them_is_ready(living: LivingRing) -> None:
    assert len(living.nodes) == NODES
    assert ring_problems(living.nodes) == []


def test_a_walk_from_any_node_meets_all_clockwise(living: LivingRing) -> None:
    for node in living.nodes:
        walk = node.json("ring/walk")
        order = clockwise(living.nodes, node.ident)
        assert walk["complete"]
        assert [met["node"]["id"] for met in walk["nodes"]] == [f"{other.ident:064x}" for other in order]
        assert [met["node"]["api_address"] for met in walk["nodes"]] == [other.api for other in order]
        assert all("fingers" not in met for met in walk["nodes"])


def test_the_shares_of_all_nodes_are_the_whole_circle(living: LivingRing) -> None:
    told = [node.json("ring") for node in living.nodes]
    assert sum(one["owned_ratio"] for one in told) == pytest.approx(1)
    assert all(one["estimated_nodes"] == pytest.approx(NODES, abs=0.5) for one in told)


def test_every_finger_becomes_the_owner_of_its_start(living: LivingRing) -> None:
    def wrong() -> list[str]:
        problems = []
        for node in living.nodes:
            fingers = node.json("ring")["fingers"]
            assert len({finger["id"] for finger in fingers}) == len(fingers)
            for finger in fingers:
                owner = owners(living.nodes, bytes.fromhex(finger["start"]))[0]
                if finger["address"] != owner.p2p:
                    problems.append(f"{node.name}: {finger} should be {owner.p2p}")
        return problems

    wait_for_none(wrong)


def test_a_thousand_values_put_through_one_node_are_read_through_every_other(living: LivingRing) -> None:
    assert len(living.values) >= VALUES
    assert living.missing(living.nodes) == []


def test_each_record_is_on_its_owner_and_replicas_and_nowhere_else(living: LivingRing) -> None:
    living.settle(ALL_ROLES)
    key = next(iter(living.values))
    holders = living.nodes[0].json(f"keys/{key.hex()}")["nodes"]
    assert [one["address"] for one in holders if one["present"]] == [node.p2p for node in owners(living.nodes, key)[:3]]


def test_after_one_crash_and_then_another_every_value_is_read_through_every_survivor(living: LivingRing) -> None:
    for _ in range(2):
        random.choice(living.nodes).kill()
        assert living.missing(living.nodes) == []  # at once, before any repair
        living.settle()
        assert living.missing(living.nodes) == []
    assert len(living.nodes) == NODES - 2


def test_two_neighbours_that_crash_together_take_no_value_with_them(living: LivingRing) -> None:
    for node in clockwise(living.nodes)[2:4]:
        node.kill()
    assert living.missing(living.nodes) == []
    living.settle()
    assert living.missing(living.nodes) == []


def test_a_node_that_joins_late_gets_its_share_and_misses_nothing_from_its_first_moment_on(living: LivingRing) -> None:
    late = living.fleet.start("--bootstrap", living.nodes[3].p2p)
    assert living.missing([late]) == []
    living.settle(ALL_ROLES)  # what /admin/api/ring counts: its share is its own, and the others have let go of it
    share = [key for key in living.values if owners(living.nodes, key)[0] is late]
    keys = late.json("ring")["keys"]
    assert keys["owned"] == len(share)
    assert keys["bytes"] > 0
    assert living.missing(living.nodes) == []


def test_a_node_asked_to_leave_hands_over_what_it_alone_held(living: LivingRing) -> None:
    leaver = max(living.nodes, key=lambda node: node.json("ring")["owned_ratio"])
    alone = [key for key, _ in zip(keys_of(living.nodes, leaver), range(20), strict=False)]
    living.put(living.nodes[0], alone, replication=1)
    living.settle()
    assert leaver.leave() == 0
    assert living.missing(living.nodes) == []
    assert set(alone) <= set(living.values)
    living.put(living.nodes[0], alone)  # one copy would not survive the crashes to come
    living.settle()


def test_a_client_in_the_middle_of_requests_is_answered_while_its_node_leaves(living: LivingRing) -> None:
    leaver = living.nodes[-1]
    with leaver.connect() as client:
        keys = [*living.values][:200]
        assert client.get(keys[0]) == living.values[keys[0]]
        for key in keys:
            client.send(get_frame(key))
        leaver.signal(signal.SIGTERM)
        received = client.read_to_end()
    assert leaver.wait_end() == 0
    answers = b"".join(
        (36 + len(living.values[key])).to_bytes(2) + b"\x02\x8c" + key + living.values[key] for key in keys
    )
    assert answers.startswith(received)


def test_a_crashed_node_started_again_on_its_ports_is_a_member_again(living: LivingRing) -> None:
    crashed = living.nodes[5]
    crashed.kill()
    others = living.nodes
    again = living.fleet.start(
        *("--p2p-address", crashed.p2p, "--api-address", crashed.api, "--admin-address", crashed.admin),
        *("--bootstrap", others[0].p2p),
    )
    assert (again.ident, again.p2p, again.api, again.admin) == (crashed.ident, crashed.p2p, crashed.api, crashed.admin)
    assert living.missing([again]) == []
    living.settle()
    assert living.missing(living.nodes) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_leaves_on_a_signal_within_ten_seconds_and_says_so(fleet: Fleet, number: signal.Signals) -> None:
    node = fleet.start()
    with node.connect() as idle:
        node.signal(number)
        assert node.wait_end(LEAVE_S_MAX) == 0
        assert idle.read_to_end() == b""
    assert "leaving" in node.log


def test_a_second_signal_stops_a_node_at_once(fleet: Fleet) -> None:
    leaver, other = fleet.ring(2)
    with leaver.connect() as client:
        client.put_all((key, b"kept") for key, _ in zip(keys_of([leaver, other], leaver), range(5), strict=False))
    other.signal(signal.SIGSTOP)  # takes nothing, so that leaving lasts
    leaver.signal(signal.SIGTERM)
    wait_until(lambda: "leaving" in leaver.log, "begins to leave")
    with pytest.raises(AssertionError, match="still runs"):
        leaver.wait_end(0.5)
    leaver.signal(signal.SIGTERM)
    assert leaver.wait_end(1.5) == 1
    other.signal(signal.SIGCONT)
