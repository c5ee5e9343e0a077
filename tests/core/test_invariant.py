"""Every checker bites: a sound ring passes, and for each invariant a broken ring, made by hand, is found out."""

import pytest

from gdht.core.invariant import (
    Member,
    Members,
    check_ideal,
    check_safety,
    find_rings,
    is_grown,
    list_violations,
    live_successor_violations,
    may_fail,
    principal_violations,
    principals,
    ring_violations,
)

LENGTH = 2


def ideal(*idents: int, length: int = LENGTH) -> dict[int, Member]:
    """The ideal ring of some nodes, given in clockwise order."""
    count = len(idents)
    return {
        ident: Member(
            idents[index - 1] if count > 1 else None,
            tuple(idents[(index + step) % count] for step in range(1, min(length, count - 1) + 1)),
        )
        for index, ident in enumerate(idents)
    }


def with_successors(members: Members, ident: int, *successors: int) -> dict[int, Member]:
    return {**members, ident: Member(members[ident].predecessor, successors)}


def invariants(violations) -> set[str]:
    return {violation.invariant for violation in violations}


FIVE = ideal(10, 20, 30, 40, 50)


@pytest.mark.parametrize("count", range(9))
def test_an_ideal_ring_of_any_size_has_no_violation(count):
    members = ideal(*range(10, 10 * count + 10, 10))
    assert check_safety(members, LENGTH) == []
    assert is_grown(members, LENGTH) == (count > LENGTH)
    assert check_ideal(members, set(members), LENGTH) == []


def test_a_ring_of_one_leads_back_to_itself():
    assert find_rings(ideal(10)) == [[10]]


# The list -------------------------------------------------------------------------------------------------------------


def test_a_list_with_the_node_itself_is_found():
    assert invariants(list_violations(with_successors(FIVE, 10, 20, 10), LENGTH)) == {"list_self"}


def test_a_list_with_a_duplicate_is_found():
    assert invariants(list_violations(with_successors(FIVE, 10, 20, 20), LENGTH)) == {"list_order"}


def test_a_list_out_of_order_is_found():
    assert invariants(list_violations(with_successors(FIVE, 40, 10, 50), LENGTH)) == {"list_order"}


def test_a_list_that_is_too_long_is_found():
    assert invariants(list_violations(with_successors(FIVE, 10, 20, 30, 40), LENGTH)) == {"list_length"}


def test_a_list_may_wrap_and_may_name_the_dead():
    assert list_violations(with_successors(FIVE, 40, 45, 10), LENGTH) == []


# The two halves of the invariant --------------------------------------------------------------------------------------


def test_a_member_without_a_live_successor_is_found():
    violations = live_successor_violations(with_successors(FIVE, 10, 11, 12))
    assert [(v.invariant, v.nodes) for v in violations] == [("live_successor", (10,))]


def test_one_live_successor_is_enough():
    assert live_successor_violations(with_successors(FIVE, 10, 11, 20)) == []


def test_all_members_of_an_ideal_ring_are_principals():
    assert principals(FIVE) == [10, 20, 30, 40, 50]


def test_a_skipped_member_is_no_principal():
    assert principals(with_successors(FIVE, 10, 30, 40)) == [10, 30, 40, 50]
    assert principals(with_successors(FIVE, 40, 50, 20)) == [20, 30, 40, 50]


def test_entries_of_dead_nodes_skip_members_too():
    assert principals(with_successors(FIVE, 10, 25, 45)) == [10, 50]


def test_a_node_that_has_just_joined_is_skipped_and_skips_nobody():
    assert principals({**FIVE, 15: Member(10, (20, 30))}) == [10, 20, 30, 40, 50]


def test_a_loss_of_principals_is_found():
    assert invariants(principal_violations(with_successors(FIVE, 10, 25, 45), LENGTH)) == {"principals"}
    assert principal_violations(FIVE, LENGTH) == []


def test_a_ring_has_grown_once_lists_are_full_and_principals_enough():
    assert is_grown(ideal(10, 20, 30), LENGTH)
    assert not is_grown(ideal(10, 20), LENGTH)
    assert not is_grown(with_successors(FIVE, 10, 20), LENGTH)
    assert not is_grown(with_successors(FIVE, 10, 25, 45), LENGTH)


# The ring -------------------------------------------------------------------------------------------------------------


def test_no_ring_at_all_is_found():
    broken = {10: Member(None, (20,)), 20: Member(10, (30,))}
    assert invariants(ring_violations(broken)) == {"at_least_one_ring", "connected_appendages"}


def test_two_rings_are_found():
    assert invariants(ring_violations({**ideal(10, 20), **ideal(30, 40)})) == {"at_most_one_ring"}


def test_a_member_alone_beside_a_ring_is_a_second_ring():
    assert invariants(ring_violations({**ideal(10, 20), 30: Member(None, ())})) == {"at_most_one_ring"}


def test_a_member_alone_whom_all_others_lead_to_is_the_ring():
    assert ring_violations({10: Member(None, ()), 20: Member(10, (10,)), 30: Member(10, (20, 10))}) == []


def test_a_ring_that_goes_round_twice_is_found():
    loopy = {10: Member(40, (30,)), 30: Member(10, (20,)), 20: Member(30, (40,)), 40: Member(20, (10,))}
    assert invariants(ring_violations(loopy)) == {"ordered_ring"}


def test_an_appendage_that_leads_to_no_ring_is_found():
    broken = {**FIVE, 15: Member(None, (16,)), 12: Member(None, (15,))}
    assert invariants(ring_violations(broken)) == {"connected_appendages"}


def test_an_appendage_of_many_nodes_is_allowed():
    assert ring_violations({**FIVE, 12: Member(None, (15,)), 15: Member(None, (17, 20)), 17: Member(10, (20,))}) == []


# The ideal ring -------------------------------------------------------------------------------------------------------


def test_a_live_node_outside_the_ring_is_not_ideal():
    assert invariants(check_ideal(FIVE, {*FIVE, 60}, LENGTH)) == {
        "ideal_member",
        "ideal_successors",  # of 40 and 50, which should name it
        "ideal_predecessor",  # of 10
    }


def test_a_short_list_is_not_ideal():
    assert invariants(check_ideal(with_successors(FIVE, 10, 20), set(FIVE), LENGTH)) == {"ideal_successors"}


@pytest.mark.parametrize("predecessor", [None, 30, 45])
def test_a_wrong_predecessor_is_not_ideal(predecessor):
    members = {**FIVE, 50: Member(predecessor, FIVE[50].successors)}
    assert invariants(check_ideal(members, set(FIVE), LENGTH)) == {"ideal_predecessor"}


# The assumption of the proof ------------------------------------------------------------------------------------------


def test_nobody_may_fail_when_principals_are_few():
    four, three = ideal(10, 20, 30, 40), ideal(10, 20, 30)
    assert all(may_fail(four, {ident}, LENGTH, grown=True) for ident in four)
    assert not any(may_fail(three, {ident}, LENGTH, grown=True) for ident in three)


def test_the_last_live_successor_of_somebody_may_not_fail():
    members = with_successors(ideal(10, 20, 30, 40, 50, 60, 70), 10, 15, 20)
    assert not may_fail(members, {20}, LENGTH, grown=True)
    assert may_fail(members, {40}, LENGTH, grown=True)


def test_a_node_that_is_no_member_may_fail():
    assert may_fail(ideal(10, 20, 30), {99}, LENGTH, grown=True)


def test_a_violation_names_invariant_nodes_and_detail():
    (violation,) = live_successor_violations({1 << 255: Member(None, (5,))})
    assert str(violation) == "live_successor [80000000]: all gone: 00000000"
