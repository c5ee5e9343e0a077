"""Finding the ring: through the members that we remember, and those that the configuration lists.

A node asks all that it remembers, from its last run or from before it lost them, and all on its list, again and again
until one that is a member lets it in. Only when none of them is a member may it start a ring itself:

- when it is *appointed*, as its list is empty or it stands first there: at once, but if it comes back and remembers a
  ring, as soon as all that were near it answer that they are in none, or after HOLD_INTERVALS;
- when it was the whole ring by right as its last run ended (the others had left in good order): at once;
- else after REFOUND_INTERVALS, when it remembers a ring, others answer that they look for one too, and it is the first
  of those that remember one. So a ring that was killed as a whole comes back without the node all lists begin with.

Never otherwise. Who hears from nobody may be cut off from a ring that is well, and must not serve beside it; a newcomer
that nobody appointed knows of no ring to bring back. Nor does a node start one beside a ring that it merely could not
get into, for a dead node on the way. Should two nodes start one each all the same, as they could not hear each other,
the members of both look for those they remember (`gdht.node.acquaintances`), and the rings merge.

Who starts a ring again is not sure of its records until those that were near it are back, or AWAIT_INTERVALS are over.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from gdht.core.messages import P2pAck, P2pGetStatus, P2pPing, P2pReplyStatus
from gdht.core.peer import Peer
from gdht.errors import CallTimeout, GdhtError, LookupFailed, PeerSilent, RemoteError
from gdht.node.acquaintances import NOTHING, Memory, recall
from gdht.node.ask import ask_each
from gdht.node.lookup import trail_of
from gdht.node.lost import LOST_MAX
from gdht.node.membership import found_ring, join, refuse_twin
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState
from gdht.node.status import State

log = logging.getLogger(__name__)

RETRY_S_MIN = 0.2
RETRY_S_SOON = 1.0
RETRY_S_MAX = 5.0
RETRY_SHARE = 0.1
"""The pause between two rounds doubles from RETRY_S_MIN to RETRY_S_SOON, or a stabilize interval if longer; then
it grows to RETRY_S_MAX, as this share of the time we have looked.
"""

SAY_AGAIN_S = 5.0
"""How often the log repeats why a node is not in the ring yet."""

HOLD_INTERVALS = 3
"""How long an appointed node that comes back waits for those that were near it, in stabilize intervals."""

REFOUND_INTERVALS = 6
"""How long a node looks for a member before it asks whether all others look for one too, in stabilize intervals."""

AWAIT_INTERVALS = 30
"""How long a node that was started again waits for those near it before it trusts the others' records."""

OUTSIDE = (State.STARTING.value, State.JOINING.value, State.ISOLATED.value)
"""What a node says of itself that is in no ring."""


@dataclass
class Attempt:
    """What one round brings.

    appointed: it is ours to start a ring when nobody is in one. met_member: somebody, at least, is. outside: those we
    remember who answer that they are in none. silent: the addresses from which nothing was heard.
    """

    appointed: bool
    met_member: bool = False
    outside: list[Peer] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def note(self, address: str, error: str) -> None:
        """Remember why one contact was of no use."""
        self.errors.append(error if address in error else f"{address}: {error}")


def enter_ring(rt: Runtime, node: NodeState) -> None:
    """Become a member, however long it takes. Switches: yes."""
    memory = NOTHING if node.joins else recall(node)
    if node.state is State.STARTING:
        node.state = State.JOINING
        node.contacts = memory.peers
    node.awaited, node.awaited_until_s = memory.near, math.inf
    interval_s = node.config.stabilize_interval
    pause_s, since_s = RETRY_S_MIN, rt.now()
    said, said_at_s = "", -math.inf
    while True:
        attempt = try_to_enter(rt, node)
        if not node.is_member and not attempt.met_member:
            start_ring(rt, node, attempt, memory, (rt.now() - since_s) / interval_s)
        if node.is_member:
            break
        why = f"{node.join_error}; trying again in {pause_s:.1f} s"
        if why != said or rt.now() >= said_at_s + SAY_AGAIN_S:
            log.warning("not in the ring yet: %s", why)
            said, said_at_s = why, rt.now()
        rt.sleep(pause_s * rt.rng.uniform(0.8, 1.2))
        longest_s = max(interval_s, RETRY_S_SOON, RETRY_SHARE * (rt.now() - since_s))
        pause_s = min(2 * pause_s, longest_s, RETRY_S_MAX)
    node.awaited_until_s = rt.now() + AWAIT_INTERVALS * interval_s


# Starting a ring ------------------------------------------------------------------------------------------------------


def start_ring(rt: Runtime, node: NodeState, attempt: Attempt, memory: Memory, waited_intervals: float) -> None:
    """Start a ring if that is ours to do by the rules above, as nobody we reach is in one. Switches: yes."""
    all_heard = all(peer in attempt.outside for peer in memory.near)
    if memory.alone or (attempt.appointed and (all_heard or waited_intervals >= HOLD_INTERVALS)):
        _found(rt, node, attempt.outside)
    elif waited_intervals >= REFOUND_INTERVALS:
        if memory.peers:
            node.state = State.ISOLATED
        refound(rt, node, attempt.outside)


def refound(rt: Runtime, node: NodeState, outside: Sequence[Peer]) -> None:
    """Start the ring again when all that is left of it is isolated, and we are the first among those. Switches: yes.

    outside: those who said a moment ago that they are in no ring; not all of them may be isolated.
    """
    if node.state is not State.ISOLATED:
        return
    states: dict[Peer, str] = {}
    for peer, outcome in ask_each(rt, node, [(peer, P2pGetStatus()) for peer in outside]):
        if isinstance(outcome, P2pReplyStatus):
            states[peer] = outcome.state
    ring_lives = any(state not in OUTSIDE for state in states.values())
    isolated = [peer for peer, state in states.items() if state == State.ISOLATED.value]
    if states and not ring_lives and all(node.me.ident < peer.ident for peer in isolated):
        log.warning("no member answers, but %d nodes that look for one: starting the ring again", len(states))
        _found(rt, node, outside)


def _found(rt: Runtime, node: NodeState, outside: Sequence[Peer]) -> None:
    """Be the first member. Those we know may start a ring of their own, so they are looked for."""
    node.awaited = node.awaited or tuple(outside)
    found_ring(node)
    for peer in node.contacts[:LOST_MAX]:
        node.lost.add(peer, rt.now())


# One round ------------------------------------------------------------------------------------------------------------


def try_to_enter(rt: Runtime, node: NodeState) -> Attempt:
    """Go through all contacts once. Switches: yes. Leaves the reasons in `join_error` when nobody lets us in."""
    attempt = Attempt(appointed=not node.config.bootstrap)
    if not (_join_through_remembered(rt, node, attempt) or _join_through_listed(rt, node, attempt)):
        node.join_error = "; ".join(attempt.errors)
    return attempt


def _join_through_remembered(rt: Runtime, node: NodeState, attempt: Attempt) -> bool:
    """Join through the first that answers and lets us in; all are asked at once."""
    others = [peer for peer in node.contacts if peer.ident != node.me.ident]
    for peer, outcome in ask_each(rt, node, [(peer, P2pPing()) for peer in others]):
        if isinstance(outcome, P2pAck):
            if _join_through(rt, node, peer, attempt):
                return True
        elif isinstance(outcome, RemoteError):
            attempt.outside.append(peer)
        elif isinstance(outcome, CallTimeout | PeerSilent):
            attempt.silent.append(peer.address)
    if others:
        attempt.errors.append(f"of {len(others)} remembered peers {len(attempt.outside)} answer, from outside")
    return False


def _join_through_listed(rt: Runtime, node: NodeState, attempt: Attempt) -> bool:
    """Join through the first that answers and lets us in, one after the other; see whether we stand first there."""
    for index, address in enumerate(map(str, node.config.bootstrap)):
        contact = _identify(rt, node, address, attempt)
        if contact is None:
            continue
        if contact.ident == node.me.ident:
            attempt.appointed |= index == 0
        elif _join_through(rt, node, contact, attempt):
            return True
    return False


def _own_addresses(node: NodeState) -> tuple[str, str]:
    return node.me.address, str(node.config.p2p_address)


def _identify(rt: Runtime, node: NodeState, address: str, attempt: Attempt) -> Peer | None:
    """Who answers at a listed address; ourselves without a call when it is our own.

    None when nobody does; nor is one asked again that was silent a moment ago.
    """
    if address in _own_addresses(node):
        return node.me
    if address in attempt.silent:
        attempt.note(address, "silent")
        return None
    try:
        contact = rt.identify(address, node.config.call_timeout)
        refuse_twin(node, (contact,))
    except GdhtError as error:
        attempt.note(address, str(error))
        return None
    return contact


def _join_through(rt: Runtime, node: NodeState, contact: Peer, attempt: Attempt) -> bool:
    try:
        join(rt, node, contact)
    except LookupFailed as error:
        trail = trail_of(error)
        reasons = [hop.error for hop in trail if hop.error]
        attempt.met_member |= len(reasons) < len(trail)
        attempt.note(contact.address, reasons[-1] if reasons else str(error))
    except GdhtError as error:
        attempt.met_member = True
        attempt.note(contact.address, str(error))
    else:
        return True
    return False
