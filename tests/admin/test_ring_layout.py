"""The geometry of the drawing."""

import random
from itertools import combinations, pairwise
from math import dist, pi

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdht.admin import ring_layout as layout

turns = st.floats(0, 1, exclude_max=True)


def test_the_circle_starts_at_the_top_and_runs_clockwise():
    assert [layout.point(turn, 100) for turn in (0, 0.25, 0.5, 0.75)] == [(0, -100), (100, 0), (0, 100), (-100, 0)]
    assert layout.turn_of(0) == 0
    assert layout.turn_of(3 << 254) == 0.75


@pytest.mark.parametrize("nodes", [1, 2, 8, 24, 64, 200])
@pytest.mark.parametrize("seed", range(5))
def test_no_dot_touches_another(nodes, seed):
    rng = random.Random(seed)
    places = sorted(rng.random() for _ in range(nodes))
    dot = layout.dot_radius(nodes)
    tracks = layout.tracks(places, dot)
    dots = [layout.point(turn, layout.track_radius(track, dot)) for turn, track in zip(places, tracks, strict=True)]
    assert max(tracks) < layout.TRACKS_MAX
    # The widest shape reaches 1.08 of the dot's radius.
    assert all(dist(a, b) >= 2 * 1.08 * dot for a, b in combinations(dots, 2))
    assert all(max(abs(x), abs(y)) <= layout.HALF_HEIGHT for x, y in dots)


def test_dots_keep_their_angle_and_close_ones_stack_outwards():
    assert layout.tracks([0.0, 0.001, 0.002, 0.5], 10) == [0, 1, 2, 0]
    assert layout.tracks([0.5, 0.999, 0.0001], 10) == [0, 0, 1]


@given(st.lists(st.floats(-300, 300), max_size=30), st.floats(5, 40))
def test_labels_are_pushed_apart_in_order_and_stay_inside(wanted, height):
    wanted = sorted(wanted)
    placed = layout.push_apart(wanted, height, 300)
    height = min(height, 600 / max(1, len(wanted)))
    assert all(below - above >= height - 1e-6 for above, below in pairwise(placed))
    assert all(-300 - 1e-6 <= y <= 300 + height for y in placed)


@given(st.lists(st.floats(-250, 250), max_size=10))
def test_labels_that_have_room_stay_where_they_are(wanted):
    wanted = sorted(wanted)
    if all(below - above >= 20 for above, below in pairwise(wanted)):
        assert layout.push_apart(wanted, 20, 300) == pytest.approx(wanted)


@given(st.lists(turns, min_size=1, max_size=24, unique=True))
def test_no_label_covers_another(places):
    places.sort()
    dots = [layout.point(turn, layout.RADIUS) for turn in places]
    labels = layout.spread_labels(places, dots, layout.RADIUS + 20, 18)
    for side in ("start", "end"):
        ys = sorted(label.y for label in labels if label.anchor == side)
        assert all(below - above >= 17.8 for above, below in pairwise(ys))
    assert all(label.x >= 0 if label.anchor == "start" else label.x < 0 for label in labels)


def test_an_arc_of_everything_is_a_whole_circle():
    assert layout.arc_path(0.25, 0.25, 10) == "M10 0A10 10 0 0 1 -10 0M-10 0A10 10 0 0 1 10 0"


def test_an_arc_takes_the_long_way_when_it_must():
    assert layout.arc_path(0.75, 0.25, 10) == "M-10 0A10 10 0 0 1 10 0"
    assert layout.arc_path(0.0, 0.75, 10) == "M0 -10A10 10 0 1 1 -10 0"


def test_roles_differ_by_shape():
    roles = ("this", "predecessor", "successor", "finger", "silent", "other")
    assert len({layout.shape_path(role, 10) for role in roles}) == len(roles)


def test_the_share_of_a_dot_of_the_circle_is_what_it_needs():
    dot, gap = 10, layout.GAP
    room = int(2 * pi * layout.RADIUS / (2 * dot + gap))
    assert layout.tracks([i / room for i in range(room)], dot) == [0] * room
