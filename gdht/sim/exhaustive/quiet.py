"""What must come after quiet: from any world, without further joins and failures, the ideal ring within a few rounds.

In a round every node in turn ends the step that it is in, rectifies with everybody who notified it, stabilizes and
checks its predecessor, each step without a break. What the nodes do is then decided, so whatever leads to the same
world at the beginning of a round needs the same rounds from there.
"""

from gdht.sim.exhaustive.node import PERIODIC, Life, Step
from gdht.sim.exhaustive.world import Places, Space

ROUNDS_MAX = 30
"""When to stop waiting for the ideal ring; the slowest found needs far fewer."""


class Quiet:
    """How many rounds worlds are from the ideal ring."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._rounds: dict[Places, int | None] = {}

    def rounds(self, places: Places) -> int | None:
        """How many rounds it takes to the ideal ring, no node being in the middle of a step; None: too many."""
        path: list[Places] = []
        while places not in self._rounds and len(path) < ROUNDS_MAX:
            path.append(places)
            if self._is_settled(places):
                self._rounds[places] = 0
                break
            places = self._turned_first(self._round(places))
        rounds = self._rounds.get(places)
        for places in reversed(path):
            if places not in self._rounds:
                rounds = None if rounds is None else rounds + 1
                self._rounds[places] = rounds
        return self._rounds[path[0]] if path else rounds

    def _is_settled(self, places: Places) -> bool:
        return self._space.facts(places).ideal and not any(self._space.local(number).core.waiting for number in places)

    def _turned_first(self, places: Places) -> Places:
        return self._space.world(places, 1)[:-1]

    def _round(self, places: Places) -> Places:
        for place in range(len(places)):
            places = self._end_step(places, place)
            if self._space.local(places[place]).core.life is Life.MEMBER:
                for notifier in self._space.local(places[place]).notified:
                    places = self._run(places, place, Step("rectify", notifier))
                for step in PERIODIC:
                    places = self._run(places, place, step)
        return places

    def _run(self, places: Places, place: int, step: Step) -> Places:
        """The world after a whole step of one node."""
        for move in self._space.steps_at(places, place):
            if move.step == step:
                return self._end_step(move.places, place)
        return places

    def _end_step(self, places: Places, place: int) -> Places:
        while self._space.local(places[place]).core.waiting:
            places = next(self._space.steps_at(places, place)).places
        return places
