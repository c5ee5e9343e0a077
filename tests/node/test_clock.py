"""The clocks of a node: lives that no setting of the wall clock touches, stamps that never go back."""

import json
from types import SimpleNamespace

import pytest

from gdht.core.records import CLOCK_AHEAD_S_MAX, COUNTER_BITS, Version
from gdht.errors import StoreError
from gdht.node.clock import AHEAD_RESERVED_S, NOTE, RESERVED_LEFT_S, RESERVED_S, Clock
from gdht.store.memory import MemoryStore

EPOCH_S = 1_700_000_000.0
NODE = 7


class Machine:
    """What a Runtime tells of time. ahead_s: how far the wall clock is from the truth."""

    def __init__(self) -> None:
        self.boot = "first"
        self.up_s = 100.0
        self.ahead_s = 0.0
        self.store = MemoryStore(1 << 20)

    def start(self) -> Clock:
        """A node starts here, or starts again."""
        runtime = SimpleNamespace(now=lambda: self.up_s, wall=self.wall, boot=self.boot)
        return Clock(runtime, NODE, self.store)

    def wall(self) -> float:
        return EPOCH_S + self.up_s + self.ahead_s


@pytest.fixture
def machine():
    return Machine()


def wall_s(version):
    return (version.stamp >> COUNTER_BITS) / 1000


# Lives ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump_s", [-7200, -1, 1, 7200])
def test_a_jump_of_the_wall_clock_does_not_touch_lives(machine, jump_s):
    clock = machine.start()
    before_s = clock.lives_s()
    machine.ahead_s += jump_s
    machine.up_s += 5
    assert clock.lives_s() - before_s == 5


def test_lives_go_on_over_a_restart_though_the_wall_clock_was_set_meanwhile(machine):
    clock = machine.start()
    before_s = clock.lives_s()
    machine.ahead_s -= 3600
    machine.up_s += 20
    assert machine.start().lives_s() - before_s == 20


def test_after_the_machine_has_started_anew_lives_follow_the_wall_clock(machine):
    machine.start().reserve()
    machine.boot, machine.up_s, machine.ahead_s = "second", 3.0, 500.0
    assert machine.start().lives_s() == machine.wall()


# Stamps ---------------------------------------------------------------------------------------------------------------


def test_each_stamp_is_later_than_the_one_before_also_when_the_clock_is_set_back(machine):
    clock = machine.start()
    given = [clock.stamp()]
    for ahead_s in (0, -600, -3000, 600, 0):
        machine.ahead_s = ahead_s
        given.append(clock.stamp())
    assert given == sorted(set(given))


def test_a_stamp_is_later_than_any_that_was_seen(machine):
    clock = machine.start()
    seen = Version(clock.stamp().stamp + (60_000 << COUNTER_BITS), 99)
    assert clock.observe(seen)
    assert clock.stamp() > seen


def test_an_older_stamp_is_believed_and_changes_nothing(machine):
    clock = machine.start()
    given = clock.stamp()
    assert clock.observe(Version(given.stamp - (60_000 << COUNTER_BITS), 99))
    assert clock.stamp() == Version(given.stamp + 1, NODE)


def test_stamps_from_far_ahead_are_not_followed(machine):
    clock = machine.start()
    assert not clock.observe(Version(int((machine.wall() + 2 * CLOCK_AHEAD_S_MAX) * 1000) << COUNTER_BITS, 99))
    assert wall_s(clock.stamp()) == pytest.approx(machine.wall(), abs=0.01)


def test_our_own_clock_set_back_from_far_ahead_is_believed_again(machine):
    machine.ahead_s = 3 * CLOCK_AHEAD_S_MAX
    clock = machine.start()
    clock.stamp()
    machine.ahead_s = 0.0
    assert wall_s(clock.stamp()) == pytest.approx(machine.wall(), abs=0.01)


@pytest.mark.parametrize("set_back_s", [0, 1, 60, 3000])
def test_after_a_restart_stamps_are_later_than_all_before_it(machine, set_back_s):
    clock = machine.start()
    assert clock.reserve()
    last = clock.stamp()
    machine.ahead_s -= set_back_s
    machine.up_s += 0.001
    assert machine.start().stamp() > last


def test_after_a_restart_stamps_are_not_far_ahead(machine):
    machine.start().reserve()
    assert wall_s(machine.start().stamp()) <= machine.wall() + RESERVED_S + 0.01


def test_restarts_one_after_the_other_do_not_add_up_to_stamps_far_ahead(machine):
    restarts = 100
    for _ in range(restarts):
        clock = machine.start()
        assert clock.reserve()
        last = clock.stamp()
        machine.up_s += 0.05
        assert wall_s(last) <= machine.wall() + RESERVED_S + restarts * (AHEAD_RESERVED_S - 0.05)
    for _ in range(restarts):
        clock = machine.start()
        assert clock.reserve()
        assert clock.stamp() > last
        machine.up_s += AHEAD_RESERVED_S
    assert wall_s(clock.stamp()) <= machine.wall() + RESERVED_S + restarts * (AHEAD_RESERVED_S - 0.05)


def test_stamps_that_are_ahead_are_reserved_so_that_few_puts_wait(machine):
    machine.start().reserve()
    clock = machine.start()
    assert clock.reserve()
    noted = machine.store.note(NOTE)
    for _ in range(1000):
        clock.stamp()
        assert clock.reserve()
    machine.up_s += RESERVED_S - RESERVED_LEFT_S - 0.1
    assert clock.reserve()
    assert machine.store.note(NOTE) == noted
    machine.up_s += 2 * RESERVED_LEFT_S
    assert clock.reserve()
    assert machine.store.note(NOTE) != noted


@pytest.mark.parametrize("ahead_s", [7.0, 9.7, 12.0, 60.0])
def test_beside_a_node_whose_clock_is_ahead_few_puts_wait(machine, ahead_s):
    clock = machine.start()
    waited = 0
    for _ in range(120):
        assert clock.observe(Version(int((machine.wall() + ahead_s) * 1000) << COUNTER_BITS, 99))
        reserved = clock._reserved  # durable before this put came
        assert clock.reserve()
        waited += clock.stamp().stamp > reserved
        machine.up_s += 0.5
    assert waited <= 8


def test_stamps_are_reserved_ahead_so_that_few_puts_wait(machine):
    clock = machine.start()
    clock.reserve()
    noted = machine.store.note(NOTE)
    machine.up_s += RESERVED_S - RESERVED_LEFT_S - 0.1
    assert clock.reserve()
    assert machine.store.note(NOTE) == noted
    machine.up_s += 0.2
    assert clock.reserve()
    assert machine.store.note(NOTE) != noted


class SlowStore(MemoryStore):
    """Its commits end when the test says so."""

    is_durable = True

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self.waiting = []

    @property
    def pending(self):
        return SimpleNamespace(when_ended=self.waiting.append)


def test_a_stamp_is_not_reserved_before_that_is_on_the_disk(machine):
    machine.store = SlowStore()
    clock = machine.start()
    machine.store.waiting.pop()(None)
    assert not clock.reserve()
    assert not clock.reserve()
    assert len(machine.store.waiting) == 1, "it is written once"
    machine.store.waiting.pop()(None)
    assert clock.reserve()


def test_a_reservation_never_takes_the_place_of_a_larger_one(machine):
    """The disk fails, the wall clock is set back: stamps up to the first reservation may be given all the same."""
    machine.store = SlowStore()
    clock = machine.start()
    clock.reserve()
    for ended in machine.store.waiting:
        ended(None)
    reserved = json.loads(machine.store.note(NOTE))["reserved"]
    clock._settle(reserved, StoreError("disk", "no space left"))
    machine.ahead_s -= 60.0
    clock.reserve()
    assert json.loads(machine.store.note(NOTE))["reserved"] >= reserved


def test_while_the_disk_takes_nothing_no_stamp_is_reserved(machine):
    machine.store = SlowStore()
    clock = machine.start()
    machine.store.waiting.pop()(None)
    clock.reserve()
    machine.store.waiting.pop()(StoreError("disk", "no space left"))
    assert not clock.reserve(), "it is tried again"
    machine.store.waiting.pop()(None)
    assert clock.reserve()


@pytest.mark.parametrize(
    "note",
    [b"", b"{", b"[]", b"null", b'{"reserved": "x"}', b'{"boot": "first", "offset_s": NaN, "reserved": -5}', b"\xff"],
)
def test_a_note_that_makes_no_sense_is_passed_over(machine, note):
    machine.store.write_note(NOTE, note)
    clock = machine.start()
    assert clock.lives_s() == machine.wall()
    assert wall_s(clock.stamp()) == pytest.approx(machine.wall(), abs=0.01)


def test_a_reservation_from_far_ahead_is_not_believed(machine):
    far = int((machine.wall() + 2 * CLOCK_AHEAD_S_MAX) * 1000) << COUNTER_BITS
    machine.store.write_note(NOTE, json.dumps({"boot": "first", "offset_s": 1.0, "reserved": far}).encode())
    assert wall_s(machine.start().stamp()) == pytest.approx(machine.wall(), abs=0.01)


def test_why_stamps_are_not_reserved_is_known_until_they_are(machine, caplog):
    machine.store = SlowStore()
    clock = machine.start()
    for _ in range(3):
        clock.reserve()
        assert clock.error is None, "it is under way"
        machine.store.waiting.pop()(StoreError("disk", "no space left"))
        assert str(clock.error) == "no space left"
    assert len(caplog.messages) == 1, "not once for each try"
    clock.reserve()
    machine.store.waiting.pop()(None)
    assert clock.error is None
