"""What happened to a node's pointers and why: the last few changes, for people who ask what the ring has been doing."""

from collections import deque
from enum import Enum
from typing import NamedTuple

from gdht.core.peer import Peer
from gdht.core.ring import Ring

EVENTS_MAX = 500
"""How many events are kept; older ones are forgotten."""


class Cause(Enum):
    """Why a pointer changed."""

    JOINED = "joined"
    PULLED = "pulled from the successor"
    CLOSER_SUCCESSOR = "closer successor"
    SUCCESSOR_LOST = "successor lost"
    NOTIFIED = "notified"
    PREDECESSOR_LOST = "predecessor lost"
    PULLED_FROM_PREDECESSOR = "pulled from the predecessor"
    FINGER_FIXED = "finger fixed"
    FINGER_LOST = "finger lost"
    GOODBYE = "goodbye"
    ISOLATED = "isolated"
    MERGED = "merged with another ring"


class Event(NamedTuple):
    """One change.

    number: 1 for the first of this process, then one more each. wall_s: seconds since the epoch. pointer: successor
    (the first), successors (the rest of the list), predecessor, fingers (before: those gone; after: those new) or state
    (before and after empty; cause: the state entered).
    """

    number: int
    wall_s: float
    pointer: str
    before: tuple[Peer, ...]
    after: tuple[Peer, ...]
    cause: str


class Journal:
    """The last `events_max` events of one node."""

    def __init__(self, events_max: int = EVENTS_MAX) -> None:
        self._events: deque[Event] = deque(maxlen=events_max)
        self._number = 0

    def ring_changed(self, wall_s: float, old: Ring, new: Ring, cause: Cause) -> None:
        """Write down what differs between two states of the pointers. wall_s: seconds since the epoch."""
        if old.predecessor != new.predecessor:
            self._note(wall_s, "predecessor", old.predecessors[:1], new.predecessors[:1], cause.value)
        if old.successors[:1] != new.successors[:1]:
            self._note(wall_s, "successor", old.successors[:1], new.successors[:1], cause.value)
        elif old.successors != new.successors:
            self._note(wall_s, "successors", old.successors[1:], new.successors[1:], cause.value)
        if old.fingers != new.fingers:
            before, after = ({finger.peer: None for finger in ring.fingers} for ring in (old, new))
            gone = tuple(peer for peer in before if peer not in after)
            found = tuple(peer for peer in after if peer not in before)
            if gone or found:
                self._note(wall_s, "fingers", gone, found, cause.value)

    def state_changed(self, wall_s: float, state: str) -> None:
        """Write down a state entered."""
        self._note(wall_s, "state", (), (), state)

    def since(self, number: int) -> tuple[Event, ...]:
        """The events after that number, oldest first, as far as they are still remembered; 0: all of them."""
        return tuple(event for event in self._events if event.number > number)

    def _note(self, wall_s: float, pointer: str, before: tuple[Peer, ...], after: tuple[Peer, ...], cause: str) -> None:
        self._number += 1
        self._events.append(Event(self._number, wall_s, pointer, before, after, cause))
