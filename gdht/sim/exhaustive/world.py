"""All nodes of an exhaustive exploration together: what may happen next, and what must hold.

A world is the tuple of its nodes, clockwise, each as a number that stands for a `Local`. Nodes are described from
their own places, so turning the circle turns the tuple, and all turns of a world are one state: the protocol sees only
the cyclic order of identifiers, never where zero lies. (`tests/sim/test_exhaustive.py` runs steps at every turn.)

One move is one query, as in the proof: a node calls, the called one answers at that moment, and the caller goes on to
its next call or the end of its step. Where answers are `late`, it goes on in a move of its own, so that others see its
old pointers meanwhile and the answer grows old. Between two moves anybody else may move, fail or join. Which of its
steps an idle node takes is left open, so every order of the maintenance task's rounds is among the histories.
"""

from collections.abc import Iterator
from itertools import combinations, product
from typing import NamedTuple

from gdht.core.ident import IDENTS
from gdht.core.invariant import (
    Member,
    Violation,
    check_ideal,
    check_safety,
    is_grown,
    may_fail,
    principal_violations,
)
from gdht.core.messages import Reply
from gdht.sim.exhaustive.node import (
    ABSENT,
    DEAD,
    PERIODIC,
    Answered,
    Ask,
    Core,
    Ending,
    Life,
    Local,
    NodeRunner,
    Outcome,
    Step,
    Steps,
)

Places = tuple[int, ...]
"""The number of each node's `Local`, clockwise."""

World = tuple[int, ...]
"""Places turned so that they come first in order, and at the end 1 once the ring has grown, else 0."""

Option = tuple[Step | None, int, int]
"""What one node may do: the step to begin (None: go on), its number having begun, whom it calls (offset; 0: nobody)."""

Exchange = tuple[Ending | None, int, int]
"""What comes of a call: how it ended with a dead node, the caller and the called one afterwards."""


class Move(NamedTuple):
    """Something that may happen. place: whose move it is; other: whom it calls, None for nobody.

    step: what it begins, None when it goes on with a step. fails: it stops for ever.
    """

    place: int
    step: Step | None
    other: int | None
    ending: Ending | None
    places: Places
    fails: bool = False


class Facts(NamedTuple):
    """What follows from the pointers of all members, whoever waits for what.

    few_principals: what is wrong besides once the ring has grown. may_fail: by place, before and after it has grown.
    """

    violations: tuple[Violation, ...]
    few_principals: tuple[Violation, ...]
    grown: bool
    ideal: bool
    may_fail: tuple[tuple[bool, ...], tuple[bool, ...]]


class Space:
    """The worlds of `nodes` identifiers with successor lists of `length`.

    endings: how calls to the dead may end. A refusal alone reaches every state that silence does, since a peer that
    was silent is asked again before its silence counts, and asking the dead changes nothing. late: whether an answer
    that moves pointers may be read later than it is given.
    """

    def __init__(
        self,
        nodes: int,
        length: int,
        steps: Steps | None = None,
        endings: tuple[Ending, ...] = (Ending.REFUSED,),
        *,
        late: bool = False,
    ) -> None:
        self.nodes = nodes
        self.length = length
        self._endings = endings
        self._late = late
        self._runner = NodeRunner(nodes, length, steps or Steps())
        self._locals: list[Local] = []
        self._numbers: dict[Local, int] = {}
        self._pointers: list[int] = []
        self._pointer_numbers: dict[Member | None, int] = {None: 0}
        self._options: dict[int, tuple[Option, ...]] = {}
        self._exchanges: dict[tuple[int, int], tuple[Exchange, ...]] = {}
        self._answers: dict[tuple[int, Ask], tuple[Reply, int]] = {}
        self._resumed: dict[tuple[int, Outcome], int] = {}
        self._facts: dict[Places, Facts] = {}
        self._isolated: set[int] = set()
        self.absent = self._number(ABSENT)
        self.dead = self._number(DEAD)

    # Worlds -----------------------------------------------------------------------------------------------------------

    def start(self, members: int) -> list[World]:
        """The ideal rings of so many members, wherever they lie among the places; the others have not joined."""
        found: dict[World, None] = {}
        for taken in combinations(range(self.nodes), members):
            places = [self.absent] * self.nodes
            for index, place in enumerate(taken):
                others = [(other - place) % self.nodes for other in taken[index + 1 :] + taken[:index]]
                pointers = Member(others[-1] if others else None, tuple(others[: self.length]))
                places[place] = self._number(Local(Core(Life.MEMBER, pointers)))
            found[self.world(tuple(places), 0)] = None
        return list(found)

    def world(self, places: Places, grown: int) -> World:
        """The one world that stands for all turns of these places. grown: whether the ring had grown before.

        It has from when its pointers are what the proof begins with and no step waits that began before.
        """
        least = min(places)
        first = places.index(least)
        if places.count(least) == 1:
            places = places[first:] + places[:first]
        else:
            places = min(places[turn:] + places[:turn] for turn in range(self.nodes))
        if not grown and self.facts(places).grown:
            grown = int(not any(self._locals[number].core.waiting for number in places))
        return (*places, grown)

    def local(self, number: int) -> Local:
        """The node that a number stands for."""
        return self._locals[number]

    def violations(self, world: World) -> tuple[Violation, ...]:
        """What is wrong with a world. A member that isolates itself did so without need: losing all is found before."""
        facts = self.facts(world[:-1])
        found = facts.violations + (facts.few_principals if world[-1] else ())
        if self._isolated.intersection(world[:-1]):
            found += (Violation("isolated", (), "a member gave the ring up"),)
        return found

    # Moves ------------------------------------------------------------------------------------------------------------

    def moves(self, places: Places, grown: int) -> Iterator[Move]:
        """Everything that may happen next and changes anything."""
        may_fail = self._may_fail(places, grown)
        for place in range(self.nodes):
            yield from self.steps_at(places, place)
            if place in may_fail:
                yield Move(place, None, None, None, (*places[:place], self.dead, *places[place + 1 :]), fails=True)

    def _may_fail(self, places: Places, grown: int) -> list[int]:
        """The members whose failure the assumption allows, whichever of the answers on their way are read by then."""
        allowed = [place for place, may_fail in enumerate(self.facts(places).may_fail[grown]) if may_fail]
        if not self._late:
            return allowed
        either = [(number, self._read(number)) if self._is_late(number) else (number,) for number in places]
        failable = [self.facts(read).may_fail[grown] for read in product(*either)]
        return [place for place in allowed if all(may_fail[place] for may_fail in failable)]

    def steps_at(self, places: Places, place: int) -> Iterator[Move]:
        """The next move of one node: to go on with its step, or when it is idle, to begin any."""
        number = places[place]
        for step, begun, target in self._options_of(number):
            after = list(places)
            after[place] = begun
            if not target:
                yield Move(place, step, None, None, tuple(after))
                continue
            other = (place + target) % self.nodes
            called = places[other]
            for ending, caller, answerer in self._exchanges.get((begun, called)) or self._exchange(begun, called):
                if caller != number or answerer != called:
                    after[place], after[other] = caller, answerer
                    yield Move(place, step, other, ending, tuple(after))

    def _exchange(self, caller: int, called: int) -> tuple[Exchange, ...]:
        """What comes of the call that a node waits for. A newcomer asks members only: others would tell it nothing."""
        waiting = self._locals[caller].core.waiting
        assert waiting is not None
        exchanges: tuple[Exchange, ...]
        if called == self.dead:
            exchanges = tuple((ending, self._resume(caller, ending), called) for ending in self._endings)
        else:
            reply, answerer = self._answer(called, waiting.ask)
            exchanges = ((None, self._resume(caller, reply), answerer),)
        self._exchanges[caller, called] = exchanges
        return exchanges

    def _answer(self, called: int, ask: Ask) -> tuple[Reply, int]:
        """What a node answers, as the caller sees it, and the number of what it is afterwards."""
        key = called, ask
        if key not in self._answers:
            sender = self.nodes - ask.target
            request = self._runner.turned(ask.request, sender)
            reply, answerer = self._runner.answer(self._locals[called], sender, request)
            self._answers[key] = self._runner.turned(reply, ask.target), self._number(answerer)
        return self._answers[key]

    def _resume(self, caller: int, outcome: Outcome) -> int:
        key = caller, outcome
        if key not in self._resumed:
            go_on = self._runner.receive if self._late else self._runner.resume
            self._resumed[key] = self._number(go_on(self._locals[caller], outcome))
        return self._resumed[key]

    def _is_late(self, number: int) -> bool:
        return isinstance(self._locals[number].core.waiting, Answered)

    def _read(self, number: int) -> int:
        """The number of what a node is after it has read the answer that was on its way."""
        return self._number(self._runner.read(self._locals[number]))

    # Nodes ------------------------------------------------------------------------------------------------------------

    def _number(self, local: Local) -> int:
        """The number of a node, a new one when it was never met."""
        number = self._numbers.get(local)
        if number is None:
            number = self._numbers[local] = len(self._locals)
            self._locals.append(local)
            if local.core.life is Life.ISOLATED:
                self._isolated.add(number)
            seen = local.core.pointers if local.core.life is Life.MEMBER else None
            self._pointers.append(self._pointer_numbers.setdefault(seen, len(self._pointer_numbers)))
        return number

    def _options_of(self, number: int) -> tuple[Option, ...]:
        options = self._options.get(number)
        if options is None:
            options = self._options[number] = tuple(self._options_anew(number, self._locals[number]))
        return options

    def _options_anew(self, number: int, local: Local) -> Iterator[Option]:
        waiting = local.core.waiting
        if waiting is not None:
            yield (None, self._read(number), 0) if self._is_late(number) else (None, number, waiting.ask.target)
            return
        for step in first_steps(local, self.nodes):
            begun = self._runner.begin(local, step)
            if begun != local:
                yield step, self._number(begun), begun.core.waiting.ask.target if begun.core.waiting else 0

    # Checks -----------------------------------------------------------------------------------------------------------

    def facts(self, places: Places) -> Facts:
        """What follows from the pointers of all members."""
        key = tuple([self._pointers[number] for number in places])
        facts = self._facts.get(key)
        if facts is None:
            facts = self._facts[key] = self._facts_anew(places)
        return facts

    def _facts_anew(self, places: Places) -> Facts:
        idents = [IDENTS * place // self.nodes for place in range(self.nodes)]
        members = {
            idents[place]: self._absolute(idents, place, self._locals[number].core.pointers)
            for place, number in enumerate(places)
            if self._locals[number].core.life is Life.MEMBER
        }
        before, after = (
            tuple(ident in members and may_fail(members, {ident}, self.length, grown=grown) for ident in idents)
            for grown in (False, True)
        )
        return Facts(
            tuple(check_safety(members, self.length)),
            tuple(principal_violations(members, self.length)),
            is_grown(members, self.length),
            not check_ideal(members, members, self.length),
            (before, after),
        )

    def _absolute(self, idents: list[int], place: int, pointers: Member) -> Member:
        """A node's pointers by identifiers instead of offsets."""
        at = [*idents[place:], *idents[:place]]
        predecessor = None if pointers.predecessor is None else at[pointers.predecessor]
        return Member(predecessor, tuple(at[offset] for offset in pointers.successors))


def first_steps(local: Local, nodes: int) -> list[Step]:
    """The steps that an idle node may begin."""
    if local.core.life is Life.ABSENT:
        return [Step("join", offset) for offset in range(1, nodes)]
    if local.core.life is Life.MEMBER:
        return [*(Step("rectify", offset) for offset in local.notified), *PERIODIC]
    return []
