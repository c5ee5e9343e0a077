"""The checks that follow changes say exactly what the whole checks say, whatever changes."""

from random import Random

import pytest

from gdht.core.invariant import Member, check_safety, is_grown, principal_violations, principals
from gdht.sim.watch import PrincipalCount, SafetyWatch

LENGTH = 3


def some_list(rng: Random, order: list[int], ident: int) -> tuple[int, ...]:
    """A successor list: mostly what an ideal one is, else with gaps or out of order."""
    others = sorted((other for other in order if other != ident), key=lambda other: (other - ident) % 1000)
    if rng.random() < 0.2 and others:
        others = sorted(rng.sample(others, rng.randint(1, len(others))), key=lambda other: (other - ident) % 1000)
    if rng.random() < 0.05:
        rng.shuffle(others)
    return tuple(others[: LENGTH if rng.random() < 0.9 else rng.randint(0, LENGTH)])


def some_change(rng: Random, members: dict[int, Member], idents: list[int]) -> tuple[int, Member | None]:
    """A member that comes, goes or points elsewhere."""
    ident = rng.choice(idents)
    if ident in members and rng.random() < 0.15:
        return ident, None
    return ident, Member(None, some_list(rng, [*members, ident], ident))


def changed(members: dict[int, Member], ident: int, after: Member | None) -> dict[int, Member]:
    rest = {other: member for other, member in members.items() if other != ident}
    return rest | {ident: after} if after else rest


def watching(members: dict[int, Member]) -> SafetyWatch:
    watch = SafetyWatch(members, LENGTH)
    for ident, member in members.items():
        watch.changed(ident, None, member)
    return watch


@pytest.mark.parametrize("seed", range(20))
def test_a_change_is_judged_as_the_whole_ring_is(seed):
    rng = Random(seed)
    idents = rng.sample(range(1000), 12)
    members: dict[int, Member] = {}
    watch, safe, broken = watching(members), 0, 0
    for _ in range(400):
        ident, after = some_change(rng, members, idents)
        before = members.get(ident)
        now = changed(members, ident, after)
        expected = check_safety(now, LENGTH)
        kept = dict(members)
        members.clear()
        members.update(now)
        assert watch.changed(ident, before, after) == expected
        if expected:  # a run would end here; go on from the safe ring before
            members.clear()
            members.update(kept)
            watch = watching(members)
        safe, broken = safe + (not expected), broken + bool(expected)
    assert safe > 100
    assert broken > 0


@pytest.mark.parametrize("seed", range(20))
def test_principals_are_counted_as_the_whole_check_finds_them(seed):
    rng = Random(seed)
    idents = rng.sample(range(1000), 12)
    members: dict[int, Member] = {}
    count = PrincipalCount(LENGTH)
    for _ in range(200):
        ident, after = some_change(rng, members, idents)
        members = changed(members, ident, after)
        count.update(ident, after)
        assert count.enough == (len(principals(members)) > LENGTH)
        assert count.grown == is_grown(members, LENGTH)
        assert count.members == members


@pytest.mark.parametrize("seed", range(20))
def test_who_is_leaving_is_not_counted_as_a_principal_but_skips_others(seed):
    rng = Random(seed)
    idents = rng.sample(range(1000), 12)
    members: dict[int, Member] = {}
    count, leaving = PrincipalCount(LENGTH), set()
    for _ in range(200):
        ident, after = some_change(rng, members, idents)
        members = changed(members, ident, after)
        count.update(ident, after)
        if rng.random() < 0.1:
            leaver = rng.choice(idents)
            leaving.add(leaver)
            count.leaves(leaver)
        if rng.random() < 0.1:
            gone = rng.choice(idents)
            members.pop(gone, None)
            leaving.discard(gone)
            count.gone(gone)
        assert count.enough == (not principal_violations(members, LENGTH, leaving))
