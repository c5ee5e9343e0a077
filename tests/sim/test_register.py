"""The demands on one key: histories made by hand, those that are right and those that are wrong."""

from math import inf

import pytest

from gdht.sim.register import Get, Margins, Put, Register

EXACT = Margins()
OLD = Put(b"old", "a", 0.0, 100.0, 1.0, 3)


def put(value: bytes, start: float, end: float = inf, node: str = "a", ttl: float = 100.0, copies: int = 3) -> Put:
    return Put(value, node, start, ttl, end, 0 if end == inf else copies)


def wrong(puts: list[Put], value: bytes | None, at: float, node: str = "a", margins: Margins = EXACT, **how) -> str:
    """What is wrong with a get that took a tenth of a second."""
    return Register(puts).wrong(Get(node, at, at + 0.1, value), margins, **how)


def test_nothing_may_be_read_before_anything_was_put():
    assert wrong([], None, 5.0) == ""


def test_what_nobody_put_is_wrong():
    assert "nobody put" in wrong([OLD], b"other", 5.0)


def test_what_is_put_later_is_wrong():
    assert "nobody put" in wrong([OLD, put(b"new", 9.0, 10.0)], b"new", 5.0)


def test_a_put_under_way_may_be_read_or_not():
    puts = [OLD, put(b"new", 4.0)]
    assert wrong(puts, b"new", 5.0) == wrong(puts, b"old", 5.0) == ""


@pytest.mark.parametrize("node", ["a", "b"])
def test_what_an_acknowledged_put_replaced_is_wrong(node):
    assert "had replaced" in wrong([OLD, put(b"new", 3.0, 4.0, node)], b"old", 5.0)


def test_what_is_replaced_while_the_get_runs_is_right():
    assert wrong([OLD, put(b"new", 3.0, 5.05)], b"old", 5.0) == ""


def test_a_failed_put_replaces_nothing_but_may_be_read_at_any_time():
    failed = put(b"failed", 3.0, 4.0, copies=0)
    assert wrong([OLD, failed], b"old", 5.0) == wrong([OLD, failed], b"failed", 50.0) == ""


def test_a_failed_put_is_replaced_by_an_acknowledged_one():
    assert "had replaced" in wrong([put(b"failed", 0.0, 1.0, copies=0), put(b"new", 2.0, 3.0)], b"failed", 5.0)


def test_of_concurrent_puts_either_may_win():
    puts = [put(b"one", 0.0, 3.0), put(b"two", 2.0, 4.0)]
    assert wrong(puts, b"one", 5.0) == wrong(puts, b"two", 5.0) == ""


def test_clocks_that_differ_excuse_the_puts_of_other_nodes_only():
    margins = Margins(stamps_s=5.0)
    assert wrong([OLD, put(b"new", 3.0, 4.0, "b")], b"old", 5.0, margins=margins) == ""
    assert "had replaced" in wrong([OLD, put(b"new", 3.0, 4.0, "a")], b"old", 5.0, margins=margins)
    assert "had replaced" in wrong([OLD, put(b"new", 7.0, 8.0, "b")], b"old", 9.0, margins=margins)


def test_while_the_ring_is_in_parts_a_node_must_see_its_own_later_puts_only():
    puts = [OLD, put(b"new", 3.0, 4.0, "b")]
    assert wrong(puts, b"old", 5.0, "a", apart_since_s=2.0) == wrong(puts, None, 5.0, "a", apart_since_s=2.0) == ""
    assert wrong(puts, b"old", 5.0, "b", apart_since_s=3.5) == ""
    assert "had replaced" in wrong(puts, b"old", 5.0, "b", apart_since_s=2.0)


# Lives ----------------------------------------------------------------------------------------------------------------


def test_a_value_is_there_until_its_life_is_over_and_not_after():
    margins = Margins(early_s=1.0, late_s=2.0)
    assert "there is nothing" in wrong([OLD], None, 98.0, margins=margins)
    assert wrong([OLD], None, 99.0, margins=margins) == wrong([OLD], b"old", 102.0, margins=margins) == ""
    assert "been over for 2.100 s" in wrong([OLD], b"old", 102.1, margins=margins)


def test_a_life_counts_from_when_the_node_took_the_put_up():
    slow = put(b"slow", 3.0, 6.0, ttl=10.0)
    slow.taken_s = 5.0
    assert wrong([slow], b"slow", 15.0) == ""
    assert "been over for 0.100 s" in wrong([slow], b"slow", 15.1)


def test_nobody_has_to_find_what_another_put_may_have_replaced_that_is_over():
    brief = put(b"brief", 3.0, 4.0, ttl=10.0, copies=0)
    assert wrong([OLD, brief], None, 20.0) == ""
    assert "there is nothing" in wrong([OLD, brief], None, 5.0)
    assert "there is nothing" in wrong([put(b"brief", 0.0, 1.0, ttl=3.0), put(b"new", 2.0, 3.0)], None, 20.0)


def test_what_was_replaced_does_not_come_back_when_the_life_of_its_successor_is_over():
    assert "had replaced" in wrong([OLD, put(b"brief", 3.0, 4.0, ttl=10.0)], b"old", 20.0)


# Crashes --------------------------------------------------------------------------------------------------------------


def exposed(puts: list[Put], at_s: float, *, still: bool = False) -> Register:
    register = Register(puts)
    register.expose(at_s)
    register.exposed = still
    return register


def test_nothing_is_owed_while_too_many_have_crashed_but_what_is_read_must_live():
    register = exposed([OLD, put(b"new", 3.0, 4.0)], 4.5, still=True)
    assert register.wrong(Get("a", 5.0, 5.1, None), EXACT) == register.wrong(Get("a", 5.0, 5.1, b"old"), EXACT) == ""
    assert "nobody" in register.wrong(Get("a", 5.0, 5.1, b"other"), EXACT)
    assert "over" in register.wrong(Get("a", 500.0, 500.1, b"new"), EXACT)


def test_what_was_lost_is_not_owed_again_when_something_new_is_put():
    register = exposed([OLD], 2.0, still=True)
    register.put_again()
    new = put(b"new", 3.0, 5.0)
    register.puts.append(new)
    assert register.wrong(Get("a", 4.5, 5.5, None), EXACT) == "", "the get began before the new one was acknowledged"
    assert "new" in register.wrong(Get("a", 5.5, 5.6, None), EXACT)
    register.is_back()
    assert "old" in register.wrong(Get("a", 4.5, 4.6, None), EXACT)


def test_who_never_met_the_older_copies_outlives_them_only_for_its_own_life():
    register = exposed([OLD, put(b"brief", 3.0, 4.0, ttl=10.0)], 2.0)
    assert "had replaced" in register.wrong(Get("a", 5.0, 5.1, b"old"), EXACT)
    assert register.wrong(Get("a", 20.0, 20.1, b"old"), EXACT) == ""


def test_the_candidates_are_what_no_acknowledged_put_came_after():
    puts = [OLD, put(b"failed", 2.0, 3.0, copies=0), put(b"new", 4.0, 5.0), put(b"late", 4.5), put(b"last", 6.0)]
    assert [found.value for found in Register(puts).candidates(EXACT)] == [b"new", b"late", b"last"]
