"""Where things stand in the drawing of the ring: pure geometry, in units of the SVG.

A turn is a place on the circle, 0 to 1, clockwise from the top: the identifier divided by 2^256. Coordinates have their
origin in the middle of the ring, x to the right, y down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin, sqrt

from gdht.core.ident import IDENTS

RADIUS = 200.0
BAND_RADIUS = 181.0
"""Where the arcs of ownership run, just inside the dots."""

CHORD_RADIUS = 172.0
"""Where chords to fingers begin and end."""

HALF_HEIGHT = 310.0
HALF_WIDTH = 400.0
GAP = 2.0
"""Free space between two dots."""

TRACKS_MAX = 12


@dataclass(frozen=True, slots=True)
class Label:
    """Where a text stands. anchor: start, middle or end. leader: a path from its dot, empty when they are close."""

    x: float
    y: float
    anchor: str
    leader: str


def turn_of(ident: int) -> float:
    """
    >>> turn_of(0), turn_of(1 << 254)
    (0.0, 0.25)
    """
    return ident / IDENTS


def point(turn: float, radius: float) -> tuple[float, float]:
    """
    >>> point(0.25, 10)
    (10.0, 0.0)
    """
    angle = 2 * pi * turn
    return round(radius * sin(angle), 2) + 0.0, round(-radius * cos(angle), 2) + 0.0


def dot_radius(nodes: int) -> float:
    """Dots shrink as the ring fills."""
    for nodes_max, radius in ((12, 11.0), (32, 8.5), (80, 6.0)):
        if nodes <= nodes_max:
            return radius
    return 4.2


def track_radius(track: int, dot: float) -> float:
    """The circle that a track's dots stand on; track 0 is the ring itself."""
    return RADIUS + track * (2 * dot + GAP)


def tracks(turns: Sequence[float], dot: float) -> list[int]:
    """For each dot the innermost track where it touches no other. turns: clockwise from any first one.

    So every dot keeps its true angle, and close neighbours are stacked outwards. Past TRACKS_MAX dots may overlap.
    """
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    chosen = []
    for turn in turns:
        offset = (turn - turns[0]) % 1.0
        for track in range(TRACKS_MAX):
            need = (2 * dot + GAP) / (2 * pi * track_radius(track, dot))
            if track not in last or (offset - last[track] >= need and first[track] + 1.0 - offset >= need):
                break
        first.setdefault(track, offset)
        last[track] = offset
        chosen.append(track)
    return chosen


def arc_path(start: float, end: float, radius: float) -> str:
    """The arc clockwise from one turn to another; the whole circle when they are the same."""
    span = (end - start) % 1.0 or 1.0
    if span == 1.0:
        half = start + 0.5
        return arc_path(start, half, radius) + arc_path(half, end, radius)
    (x1, y1), (x2, y2) = point(start, radius), point(end, radius)
    return f"M{x1:g} {y1:g}A{radius:g} {radius:g} 0 {int(span > 0.5)} 1 {x2:g} {y2:g}"


def chord_path(start: float, end: float) -> str:
    """A line between two places: bent inwards for neighbours, past the middle, where the texts are, for opposites."""
    (x1, y1), (x2, y2) = point(start, CHORD_RADIUS), point(end, CHORD_RADIUS)
    away = min((end - start) % 1.0, (start - end) % 1.0) * 2  # 0 for neighbours, 1 for opposites
    inwards, aside = 1.1 * away * (1 - away), 0.8 * away**2
    x = (x1 + x2) / 2 * (1 - inwards) + (y2 - y1) / 2 * aside
    y = (y1 + y2) / 2 * (1 - inwards) - (x2 - x1) / 2 * aside
    return f"M{x1:g} {y1:g}Q{x:.1f} {y:.1f} {x2:g} {y2:g}"


def shape_path(role: str, r: float) -> str:
    """The outline of a dot, about the origin and within 1.08 r, so that roles differ by shape and not by colour alone.

    To be filled by the even-odd rule.
    """
    if role == "predecessor":  # a triangle
        return _polygon((0, -1.08 * r), (0.94 * r, 0.54 * r), (-0.94 * r, 0.54 * r))
    if role == "successor":  # a square
        return _polygon((-0.76 * r, -0.76 * r), (0.76 * r, -0.76 * r), (0.76 * r, 0.76 * r), (-0.76 * r, 0.76 * r))
    if role == "finger":  # a diamond
        return _polygon((0, -1.05 * r), (1.05 * r, 0), (0, 1.05 * r), (-1.05 * r, 0))
    if role == "silent":  # a cross
        s = f"{0.6 * r:.2f}"
        return f"M-{s} -{s}L{s} {s}M{s} -{s}L-{s} {s}"
    if role == "this":  # a target
        return _circle(1.08 * r) + _circle(0.8 * r) + _circle(0.5 * r)
    return _circle(0.8 * r)


def _polygon(*corners: tuple[float, float]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in corners) + "Z"


def _circle(r: float) -> str:
    return f"M0 {-r:.2f}A{r:.2f} {r:.2f} 0 1 1 0 {r:.2f}A{r:.2f} {r:.2f} 0 1 1 0 {-r:.2f}Z"


def plain_label(turn: float, dot: tuple[float, float], radius: float) -> Label:
    """A label straight outwards from its dot."""
    x, y = point(turn, radius)
    return Label(x, y, _anchor(x), "") if abs(x) >= 12 else Label(dot[0], y, "middle", "")


def spread_labels(
    turns: Sequence[float], dots: Sequence[tuple[float, float]], radius: float, height: float
) -> list[Label]:
    """Labels of the given height around the ring, pushed apart until none covers another.

    radius: where a label of no height would begin. dots: where the dots of those turns stand. Each half, right and
    left, keeps its order from top to bottom.
    """
    labels: dict[int, Label] = {}
    places = [point(turn, radius) for turn in turns]
    stretch = 1 + (height / 2 - 4) / radius  # above and below the ring it is the height that needs room
    for side in (1, -1):
        half = [i for i, (x, _) in enumerate(places) if (x >= 0) == (side > 0)]
        half.sort(key=lambda i: places[i][1])
        wanted = [places[i][1] * stretch for i in half]
        for i, y in zip(half, push_apart(wanted, height, HALF_HEIGHT - height / 2), strict=True):
            x = side * max(sqrt(max(0.0, radius**2 - y**2)), 0.9 * abs(dots[i][0]), 6.0)
            labels[i] = Label(round(x, 1), round(y, 1), _anchor(x), _leader(dots[i], x, y))
    return [labels[i] for i in range(len(turns))]


def characters_max(label: Label, character: float) -> int:
    """How many characters of a given width there is room for beside a label's place."""
    return int((HALF_WIDTH - abs(label.x)) / character)


def push_apart(wanted: Sequence[float], height: float, limit: float) -> list[float]:
    """Places at least `height` apart within [-limit, limit], as near as may be to the wanted ones, which ascend.

    Neighbours that are too close form a group around their mean; groups that meet are joined.

    >>> push_apart([0.0, 1.0, 50.0], 10, 100)
    [-4.5, 5.5, 50.0]
    """
    if not wanted:
        return []
    height = min(height, 2 * limit / len(wanted))
    groups: list[tuple[float, int]] = []  # sum of (wanted - height * place in group), members
    for y in wanted:
        total, size = y, 1
        while groups and _end(*groups[-1], height, limit) > _start(total, size, height, limit):
            before, members = groups.pop()
            total, size = before + total - size * members * height, members + size
        groups.append((total, size))
    return [_start(*group, height, limit) + i * height for group in groups for i in range(group[1])]


def _start(total: float, size: int, height: float, limit: float) -> float:
    return max(-limit, min(limit - (size - 1) * height, total / size))


def _end(total: float, size: int, height: float, limit: float) -> float:
    return _start(total, size, height, limit) + size * height


def _anchor(x: float) -> str:
    return "start" if x >= 0 else "end"


def _leader(dot: tuple[float, float], x: float, y: float) -> str:
    x -= 4 if x >= 0 else -4
    if (dot[0] - x) ** 2 + (dot[1] - y) ** 2 < 28**2:
        return ""
    return f"M{dot[0]:g} {dot[1]:g}L{x:.1f} {y:.1f}"
