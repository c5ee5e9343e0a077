"""What the journal writes down of a change, and what it keeps."""

import pytest

from gdht.core.fingers import Finger
from gdht.core.peer import Peer
from gdht.core.ring import Ring
from gdht.node.journal import EVENTS_MAX, Cause, Journal

ME = Peer(0, "a:1")


def at(ident):
    return Peer(ident, "a:1")


def ring(predecessor=None, successors=(), fingers=()):
    return Ring(
        ME,
        3,
        (at(predecessor),) if predecessor else (),
        tuple(map(at, successors)),
        tuple(Finger(8, at(f)) for f in fingers),
    )


@pytest.mark.parametrize(
    ("old", "new", "pointer", "before", "after"),
    [
        (ring(), ring(successors=[5]), "successor", [], [5]),
        (ring(successors=[5, 9]), ring(successors=[9]), "successor", [5], [9]),
        (ring(successors=[5, 9]), ring(successors=[5, 7]), "successors", [9], [7]),
        (ring(predecessor=90), ring(), "predecessor", [90], []),
        (ring(fingers=[300, 400]), ring(fingers=[300, 500]), "fingers", [400], [500]),
    ],
)
def test_a_change_is_told_with_what_was_before_and_after(old, new, pointer, before, after):
    journal = Journal()
    journal.ring_changed(17.5, old, new, Cause.JOINED)
    (event,) = journal.since(0)
    assert (event.number, event.wall_s, event.pointer, event.cause) == (1, 17.5, pointer, "joined")
    assert [peer.ident for peer in event.before] == before
    assert [peer.ident for peer in event.after] == after


def test_one_assignment_may_change_several_pointers():
    journal = Journal()
    journal.ring_changed(1.0, ring(), ring(90, [5]), Cause.JOINED)
    assert [event.pointer for event in journal.since(0)] == ["predecessor", "successor"]


def test_a_finger_that_only_serves_other_numbers_is_no_event():
    journal = Journal()
    moved = Ring(ME, 3, fingers=(Finger(9, at(300)),))
    journal.ring_changed(1.0, ring(fingers=[300]), moved, Cause.FINGER_FIXED)
    assert journal.since(0) == ()


def test_states_are_events_too():
    journal = Journal()
    journal.state_changed(2.0, "isolated")
    (event,) = journal.since(0)
    assert (event.pointer, event.cause, event.before, event.after) == ("state", "isolated", (), ())


def test_numbers_go_on_and_old_events_are_forgotten():
    journal = Journal()
    for number in range(EVENTS_MAX + 10):
        journal.state_changed(float(number), "active")
    events = journal.since(0)
    assert len(events) == EVENTS_MAX
    assert (events[0].number, events[-1].number) == (11, EVENTS_MAX + 10)
    assert [event.number for event in journal.since(EVENTS_MAX + 8)] == [EVENTS_MAX + 9, EVENTS_MAX + 10]
    assert journal.since(EVENTS_MAX + 10) == ()
