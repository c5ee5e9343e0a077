"""Which address a client tries when, on a clock of the test's own."""

import random

import pytest

from gdht.client.addresses import (
    ADDRESSES_MAX,
    REST_S,
    REST_S_MAX,
    REST_SPREAD,
    Addresses,
    Attempts,
    parse_addresses,
)
from gdht.config import Address
from gdht.errors import ClientDisconnected, ClientError, ClientTimeout

A, B, C = (Address("127.0.0.1", port) for port in (7001, 7002, 7003))
REFUSED = ClientDisconnected("refused")


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Addresses:
    """Three addresses, beginning with the first; rests are as long as they can be."""
    monkeypatch.setattr(random, "randrange", lambda count: 0)
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    return Addresses([A, B, C])


# The list -------------------------------------------------------------------------------------------------------------


def test_addresses_are_given_one_by_one_or_in_lists_and_count_once() -> None:
    assert parse_addresses(["127.0.0.1:7001", ["127.0.0.1:7002", "127.0.0.1:7001"]]) == [A, B]
    assert parse_addresses([(f"127.0.0.1:{port}" for port in (7001, 7002, 7003))]) == [A, B, C]


@pytest.mark.parametrize("given", [[], [[]], [[f"127.0.0.1:{port}" for port in range(1, ADDRESSES_MAX + 2)]]])
def test_no_address_and_too_many_are_refused(given: list[list[str]]) -> None:
    with pytest.raises(ValueError, match=f"needs 1 to {ADDRESSES_MAX} addresses, not {len(given and given[0])}"):
        parse_addresses(given)


# The order ------------------------------------------------------------------------------------------------------------


def test_well_addresses_take_turns(three: Addresses) -> None:
    assert [three.pick((), 0.0) for _ in range(5)] == [A, B, C, A, B]


def test_clients_do_not_all_begin_at_the_same_address() -> None:
    assert {Addresses([A, B, C]).pick((), 0.0) for _ in range(200)} == {A, B, C}


def test_what_was_tried_is_not_picked_again(three: Addresses) -> None:
    assert three.pick({A}, 0.0) == B
    assert three.pick({A, B, C}, 0.0) is None


def test_an_address_that_failed_is_left_alone_while_others_are_well(three: Addresses) -> None:
    three.failed(A, now_s=100.0)
    assert {three.pick((), 100.0 + REST_S - 0.01) for _ in range(6)} == {B, C}


def test_after_its_rest_it_has_its_turn_again_and_one_attempt_at_a_time(three: Addresses) -> None:
    three.failed(A, now_s=100.0)
    later_s = 100.0 + REST_S
    assert [three.pick((), later_s) for _ in range(4)] == [A, B, C, B]


def test_an_address_that_works_again_has_every_turn(three: Addresses) -> None:
    three.failed(A, now_s=100.0)
    three.worked(A)
    assert [three.pick((), 100.0) for _ in range(4)] == [A, B, C, A]


def test_when_all_rest_the_one_whose_rest_ends_first_is_tried_all_the_same(three: Addresses) -> None:
    for address, at_s in ((B, 100.0), (A, 100.1), (C, 100.2)):
        three.failed(address, at_s)
    assert three.pick((), 100.2) == B
    assert three.pick({B}, 100.2) == A


@pytest.mark.parametrize(
    ("failures", "rest_s"), [(1, REST_S), (2, 2 * REST_S), (5, 16 * REST_S), (7, REST_S_MAX), (1000, REST_S_MAX)]
)
def test_rests_double_up_to_a_bound(three: Addresses, failures: int, rest_s: float) -> None:
    fail_in_a_row(three, failures)
    assert {three.pick((), 100.0 + rest_s - 0.01) for _ in range(4)} == {B, C}
    assert A in {three.pick((), 100.0 + rest_s) for _ in range(3)}


def fail_in_a_row(addresses: Addresses, failures: int) -> None:
    """Try the first one so many times, the last time at 100 s."""
    for _ in range(failures):
        assert addresses.pick({B, C}, 100.0) == A
        addresses.failed(A, now_s=100.0)


def test_what_fails_together_counts_as_one_failure(three: Addresses) -> None:
    for _ in range(10):
        three.failed(A, now_s=100.0)
    assert A in {three.pick((), 100.0 + REST_S) for _ in range(3)}


def test_rests_are_spread_so_that_not_all_clients_come_back_at_once() -> None:
    over = []
    for _ in range(200):
        addresses = Addresses([A, B])
        addresses.failed(A, now_s=100.0)
        picks = [
            {addresses.pick((), 100.0 + part * REST_S) for _ in range(2)} for part in (1 - REST_SPREAD - 0.01, 0.75)
        ]
        assert A not in picks[0]
        over.append(A in picks[1])
    assert 50 < sum(over) < 150  # at three quarters of the longest rest, half of them


# One request's way ----------------------------------------------------------------------------------------------------


def test_each_attempt_gets_half_of_what_is_left_and_the_last_one_all(three: Addresses) -> None:
    attempts = Attempts(three, timeout_s=8.0, now_s=100.0)
    ends_s = []
    now_s = 100.0
    for address in (A, B, C):
        assert attempts.pick(now_s) == address
        attempts.start(now_s)
        ends_s.append(attempts.until_s)
        now_s = attempts.until_s
        if address != C:
            attempts.failed(address, attempts.silent(address), now_s)
    assert ends_s == [104.0, 106.0, 108.0]


def test_a_time_too_short_to_be_shared_is_not(three: Addresses) -> None:
    attempts = Attempts(three, timeout_s=0.06, now_s=100.0)
    attempts.start(100.0)
    assert attempts.until_s == pytest.approx(100.06)


def test_when_all_have_failed_the_error_tells_of_each(three: Addresses) -> None:
    attempts = Attempts(three, timeout_s=8.0, now_s=0.0)
    attempts.failed(A, ClientDisconnected("a: refused"), 0.0)
    attempts.failed(B, ClientError("b: nonsense"), 0.0)
    with pytest.raises(ClientDisconnected, match=r"^a: refused; b: nonsense; c: refused$"):
        attempts.failed(C, ClientDisconnected("c: refused"), 0.0)


def test_where_one_was_silent_the_request_may_have_been_carried_out_so_it_is_a_timeout(three: Addresses) -> None:
    attempts = Attempts(three, timeout_s=8.0, now_s=0.0)
    attempts.start(0.0)
    attempts.failed(A, attempts.silent(A), 4.0)
    attempts.failed(B, REFUSED, 4.0)
    with pytest.raises(ClientTimeout, match=r"7001 did not answer within 4 s; refused"):
        attempts.failed(C, REFUSED, 4.0)


def test_the_end_of_all_time_names_all_addresses_and_what_failed_before(three: Addresses) -> None:
    attempts = Attempts(three, timeout_s=8.0, now_s=0.0)
    attempts.failed(A, ClientDisconnected("a: refused"), 0.0)
    assert str(attempts.out_of_time()) == f"{A}, {B}, {C} did not answer within 8 s; a: refused"


def test_no_attempt_begins_after_the_end(three: Addresses) -> None:
    attempts = Attempts(three, timeout_s=8.0, now_s=0.0)
    with pytest.raises(ClientDisconnected):
        attempts.failed(A, REFUSED, 8.0)


def test_a_connection_that_had_been_in_use_may_break_once_without_its_address_being_given_up() -> None:
    attempts = Attempts(Addresses([A]), timeout_s=8.0, now_s=0.0)
    attempts.failed(A, REFUSED, 0.0, was_used=True)
    assert attempts.pick(0.0) == A
    with pytest.raises(ClientDisconnected):
        attempts.failed(A, REFUSED, 0.0, was_used=True)


def test_there_is_one_attempt_more_than_addresses_at_the_most(three: Addresses) -> None:
    attempts = Attempts(three, timeout_s=8.0, now_s=0.0)
    for _ in range(3):
        attempts.failed(A, REFUSED, 0.0, was_used=True)
    with pytest.raises(ClientDisconnected):
        attempts.failed(A, REFUSED, 0.0, was_used=True)


def test_an_answer_gives_the_next_one_all_the_time_and_every_address_again(three: Addresses) -> None:
    attempts = Attempts(three, timeout_s=8.0, now_s=0.0)
    attempts.failed(A, REFUSED, 0.0)
    attempts.failed(B, REFUSED, 0.0)
    attempts.progressed(C, 7.0)
    assert (attempts.deadline_s, attempts.until_s) == (15.0, 11.0)
    attempts.failed(C, REFUSED, 7.0)
    attempts.failed(A, REFUSED, 7.0)
    assert attempts.pick(7.0) == B
