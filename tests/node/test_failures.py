"""The requests that did not succeed, as a node remembers them."""

import pytest

from gdht.node.failures import FAILURES_MAX, NOT_FOUND_MAX, Failures

KEY, OTHER = bytes(32), bytes([1] * 32)


@pytest.fixture
def failures():
    return Failures()


def note(failures, key=KEY, result="timeout", operation="get"):
    failures.note(1.5, operation, key, result, "nobody answered", 0.25, 1, 3)


def test_what_was_noted_is_told(failures):
    note(failures, operation="put", result="quorum")
    assert failures.all() == ((1, 1.5, "put", KEY, "quorum", "nobody answered", 1, 3, 0.25),)


def test_all_are_told_in_the_order_they_came(failures):
    for result in ("timeout", "not_found", "quorum", "not_found"):
        note(failures, result=result)
    assert [(one.number, one.result) for one in failures.all()] == [
        (1, "timeout"), (2, "not_found"), (3, "quorum"), (4, "not_found"),
    ]  # fmt: skip


def test_those_of_one_key_are_told_apart(failures):
    for key in (KEY, OTHER, KEY):
        note(failures, key)
    assert [one.number for one in failures.of(KEY)] == [1, 3]


def test_the_oldest_are_forgotten(failures):
    for _ in range(FAILURES_MAX + 5):
        note(failures)
    numbers = [one.number for one in failures.all()]
    assert (len(numbers), numbers[0]) == (FAILURES_MAX, 6)


def test_gets_that_find_nothing_do_not_crowd_real_failures_out(failures):
    note(failures, result="error")
    for _ in range(NOT_FOUND_MAX + 5):
        note(failures, result="not_found")
    assert failures.all()[0].result == "error"
    assert len(failures.all()) == 1 + NOT_FOUND_MAX
