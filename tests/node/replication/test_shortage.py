"""The account of under-replicated records: counted once, and since they were first noticed."""

from gdht.node.replication.shortage import Shortage

A, B = b"a" * 32, b"b" * 32


def test_at_first_nothing_is_short():
    shortage = Shortage()
    assert (shortage.count, shortage.oldest_s(5.0)) == (0, 0.0)


def test_the_oldest_is_the_first_that_is_still_short():
    shortage = Shortage()
    shortage.update(10.0, {A: 2})
    shortage.update(20.0, {A: 2, B: 2})
    assert (shortage.count, shortage.oldest_s(25.0)) == (2, 15.0)
    shortage.update(30.0, {B: 2})
    assert (shortage.count, shortage.oldest_s(35.0)) == (1, 15.0)


def test_those_among_all_are_not_counted_twice():
    shortage = Shortage()
    shortage.update(10.0, {A: 2, B: 3}, all_from=3, counted=5)
    assert shortage.count == 6


def test_one_that_was_named_stays_as_old_among_all():
    shortage = Shortage()
    shortage.update(10.0, {A: 3})
    shortage.update(20.0, {}, all_from=2, counted=4)
    assert shortage.oldest_s(25.0) == 15.0


def test_one_with_too_few_copies_to_be_among_all_does_not_make_them_old():
    shortage = Shortage()
    shortage.update(10.0, {A: 2})
    shortage.update(20.0, {}, all_from=3, counted=4)
    assert shortage.oldest_s(25.0) == 5.0


def test_one_that_was_among_all_stays_as_old_when_named():
    shortage = Shortage()
    shortage.update(10.0, {}, all_from=3, counted=4)
    shortage.update(20.0, {A: 3, B: 2})
    assert shortage.oldest_s(25.0) == 15.0
    shortage.update(30.0, {B: 2})
    assert shortage.oldest_s(35.0) == 15.0


def test_all_of_nothing_is_nothing():
    shortage = Shortage()
    shortage.update(10.0, {}, all_from=2, counted=0)
    assert (shortage.count, shortage.oldest_s(20.0)) == (0, 0.0)
