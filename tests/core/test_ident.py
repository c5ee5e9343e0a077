"""The circle: distances and interval tests, against a walk step by step on a small circle."""

from hypothesis import given
from hypothesis import strategies as st

from gdht.core.ident import (
    IDENT_BITS,
    IDENTS,
    distance,
    finger_start,
    hash_ident,
    ident_bytes,
    ident_hex,
    in_open,
    in_open_closed,
    key_ident,
)

SMALL = 8
STEP = IDENTS // SMALL
"""Place n of a circle of 8 is n * STEP on the real one: the same order, and the same wrap."""

anywhere = st.one_of(
    st.integers(0, IDENTS - 1), st.sampled_from([0, 1, 2, IDENTS // 2 - 1, IDENTS // 2, IDENTS - 2, IDENTS - 1])
)


def walk(a: int, b: int) -> list[int]:
    """The places met after a, clockwise, up to and with b; a whole turn when they are the same."""
    met = [(a + 1) % SMALL]
    while met[-1] != b:
        met.append((met[-1] + 1) % SMALL)
    return met


TRIPLES = [(x, a, b) for x in range(SMALL) for a in range(SMALL) for b in range(SMALL)]


def test_the_open_interval_is_what_a_walk_meets_before_its_end():
    for x, a, b in TRIPLES:
        assert in_open(x * STEP, a * STEP, b * STEP) == (x in walk(a, b)[:-1]), (x, a, b)


def test_the_half_open_interval_is_what_a_walk_meets():
    for x, a, b in TRIPLES:
        assert in_open_closed(x * STEP, a * STEP, b * STEP) == (x in walk(a, b)), (x, a, b)


def test_small_numbers_behave_like_any_others():
    for x, a, b in TRIPLES:
        assert in_open(x, a, b) == in_open(x * STEP, a * STEP, b * STEP)
        assert in_open_closed(x, a, b) == in_open_closed(x * STEP, a * STEP, b * STEP)


@given(anywhere, anywhere, anywhere)
def test_the_open_interval_is_a_comparison_of_distances(x, a, b):
    assert in_open(x, a, b) == (0 < distance(a, x) < (distance(a, b) or IDENTS))


@given(anywhere, anywhere, anywhere)
def test_the_half_open_interval_adds_its_end_alone(x, a, b):
    assert in_open_closed(x, a, b) == (in_open(x, a, b) or x == b)


@given(anywhere, anywhere, anywhere)
def test_an_interval_and_its_complement_share_the_circle(x, a, b):
    if a != b:
        assert in_open_closed(x, a, b) != in_open_closed(x, b, a)


@given(anywhere, anywhere, anywhere, anywhere)
def test_turning_the_circle_changes_no_answer(x, a, b, turn):
    turned = [(place + turn) % IDENTS for place in (x, a, b)]
    assert in_open(*turned) == in_open(x, a, b)
    assert in_open_closed(*turned) == in_open_closed(x, a, b)


@given(anywhere)
def test_an_interval_from_a_place_to_itself_is_the_whole_circle(a):
    assert not in_open(a, a, a)
    assert in_open_closed(a, a, a)
    assert in_open((a + 1) % IDENTS, a, a)


@given(anywhere, anywhere)
def test_there_and_back_is_one_turn(a, b):
    assert (a + distance(a, b)) % IDENTS == b
    assert distance(a, b) + distance(b, a) == (0 if a == b else IDENTS)


@given(anywhere)
def test_bytes_and_hex_name_the_same_place(ident):
    assert key_ident(ident_bytes(ident)) == ident
    assert ident_bytes(ident).hex() == ident_hex(ident)
    assert len(ident_bytes(ident)) * 8 == IDENT_BITS


@given(anywhere, anywhere)
def test_bytes_sort_as_the_numbers_do(a, b):
    assert (ident_bytes(a) < ident_bytes(b)) == (a < b)


@given(anywhere, st.integers(0, IDENT_BITS - 1))
def test_each_finger_starts_twice_as_far_away_as_the_one_before(ident, index):
    assert distance(ident, finger_start(ident, index)) == 1 << index


def test_identifiers_are_sha_256():
    assert ident_hex(hash_ident(b"abc")).startswith("ba7816bf8f01cfea414140de5dae2223")
