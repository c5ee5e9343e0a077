"""The exploration: breadth first over the worlds of a small ring, and the shortest history to what is wrong."""

from collections.abc import Iterable
from itertools import islice, pairwise
from math import ceil
from time import monotonic
from typing import NamedTuple

from gdht.sim.exhaustive.node import Answered, Fork, Halted, Local
from gdht.sim.exhaustive.quiet import Quiet
from gdht.sim.exhaustive.world import Move, Places, Space, World

QUIET_STATES_MAX = 20_000
"""Quiet is tried from at most so many states: every state of a small exploration, else every so manieth."""

DEPTH_MAX = 1_000


class Exploration(NamedTuple):
    """What an exploration found.

    members: how many were in the ring at the start. depth: moves from there. complete: nothing lies beyond.
    violations: how many states are violated; what comes after them is not explored. quiet_states: from how many quiet
    was tried; rounds_max: the most rounds that one of them is from the ideal ring, None: one never gets there.
    history: the shortest one to what is wrong, for people; empty when all is well.
    """

    nodes: int
    length: int
    members: int
    depth: int
    complete: bool
    states: int
    transitions: int
    violations: int
    quiet_states: int
    rounds_max: int | None
    seconds: float
    history: tuple[str, ...]

    @property
    def well(self) -> bool:
        """Whether nothing was found."""
        return not self.violations and self.rounds_max is not None


def explore(space: Space, members: int = 1, depth: int = DEPTH_MAX) -> Exploration:
    """Explore breadth first from the ideal rings of so many members, at most `depth` moves deep."""
    started_s = monotonic()
    search = Search(space, members)
    while search.frontier and search.depth < depth:
        search.deepen()
    tried = list(islice(search.parents, 0, None, ceil(len(search.parents) / QUIET_STATES_MAX)))
    rounds_max, stuck = slowest(space, tried)
    wrong = [*search.violated, *([] if stuck is None else [stuck])]
    return Exploration(
        space.nodes,
        space.length,
        members,
        search.depth,
        not search.frontier,
        len(search.parents),
        search.transitions,
        len(search.violated),
        len(tried),
        rounds_max,
        monotonic() - started_s,
        search.history(wrong[0]) if wrong else (),
    )


class Search:
    """A breadth-first search. parents: every state found, with the one it was found from."""

    def __init__(self, space: Space, members: int) -> None:
        self.depth = 0
        self.transitions = 0
        self.frontier = space.start(members)
        self.parents: dict[World, World | None] = dict.fromkeys(self.frontier)
        self.violated: list[World] = []
        self._space = space

    def deepen(self) -> None:
        """Go one move further from everything found last."""
        space, parents = self._space, self.parents
        frontier: list[World] = []
        for world in self.frontier:
            grown = world[-1]
            for move in space.moves(world[:-1], grown):
                self.transitions += 1
                after = space.world(move.places, grown)
                if after not in parents:
                    parents[after] = world
                    (self.violated if space.violations(after) else frontier).append(after)
        self.frontier = frontier
        self.depth += 1

    def history(self, end: World) -> tuple[str, ...]:
        """The moves that lead to a state, what its nodes then are, and what is wrong with it."""
        path = [end]
        while (parent := self.parents[path[-1]]) is not None:
            path.append(parent)
        path.reverse()
        places: Places = path[0][:-1]
        lines: list[str] = []
        for before, after in pairwise(path):
            move = next(
                m for m in self._space.moves(places, before[-1]) if self._space.world(m.places, before[-1]) == after
            )
            places = move.places
            lines.append(f"{len(lines) + 1:3}. {told(self._space, move)}")
        wrong = self._space.violations(end) or ("no ideal ring after quiet",)
        return (*lines, *nodes_of(self._space, places), *map(str, wrong))


def slowest(space: Space, worlds: Iterable[World]) -> tuple[int | None, World | None]:
    """The most rounds that any of these is from the ideal ring; None and the first that never gets there."""
    quiet = Quiet(space)
    rounds_max = 0
    for world in worlds:
        if not space.violations(world):
            rounds = quiet.rounds(world[:-1])
            if rounds is None:
                return None, world
            rounds_max = max(rounds_max, rounds)
    return rounds_max, None


# For people -----------------------------------------------------------------------------------------------------------


VERBS = {
    "join": "joins",
    "stabilize": "stabilizes",
    "rectify": "rectifies",
    "check_predecessor": "checks its predecessor",
}


def told(space: Space, move: Move) -> str:
    """A move in words."""
    if move.fails:
        return f"{move.place} fails"
    what = "goes on"
    if move.step is not None:
        what = VERBS[move.step.name]
        if move.step.peer:
            what += f" with {(move.place + move.step.peer) % space.nodes}"
    asked = "" if move.other is None else f", asks {move.other}" + (f": {move.ending.value}" if move.ending else "")
    local = space.local(move.places[move.place])
    waiting = local.core.waiting
    if isinstance(waiting, Answered):
        asked += ", the answer is on its way"
    waits = f", then waits for {waiting.ask.kind}" if isinstance(waiting, Halted | Fork) else ""
    return f"{move.place} {what}{asked}{waits}: {pointers_of(space, move.place, local)}"


def nodes_of(space: Space, places: Places) -> list[str]:
    """What every node is, one line each."""
    locals_ = [space.local(number) for number in places]
    return [
        f"  {place} {local.core.life.value} {pointers_of(space, place, local)}" for place, local in enumerate(locals_)
    ]


def pointers_of(space: Space, place: int, local: Local) -> str:
    """A node's pointers and who notified it, by places."""
    pointers = local.core.pointers
    before = "-" if pointers.predecessor is None else f"{(place + pointers.predecessor) % space.nodes}"
    after, notified = (
        " ".join(str((place + offset) % space.nodes) for offset in offsets)
        for offsets in (pointers.successors, local.notified)
    )
    return f"{before} < {place} < {after or '-'}" + (f" (notified by {notified})" if notified else "")
