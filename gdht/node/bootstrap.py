"""Finding the ring: through the members that the configuration lists, and those we still remember.

Tried again for as long as it takes. A node with an empty list starts a ring of its own; so does one that stands first
in the list itself, when none of the others is a member; and of nodes that are all isolated, the first.
"""

import logging
from dataclasses import dataclass, field

from gdht.core.messages import P2pAck, P2pGetStatus, P2pPing, P2pReplyStatus
from gdht.core.peer import Peer
from gdht.errors import GdhtError, LookupFailed
from gdht.node.ask import ask_each
from gdht.node.lookup import trail_of
from gdht.node.membership import found_ring, join, refuse_twin
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState
from gdht.node.status import State

log = logging.getLogger(__name__)

RETRY_S_MIN = 0.2
RETRY_S_MAX = 5.0
"""The pause between two rounds through the list doubles from the one to the other."""

REFOUND_INTERVALS = 10
"""How long a node looks for a member before it asks whether all others look for one too, in stabilize intervals."""

OUTSIDE = (State.STARTING.value, State.JOINING.value, State.ISOLATED.value)
"""What a node says of itself that is in no ring."""


def enter_ring(rt: Runtime, node: NodeState) -> None:
    """Become a member, however long it takes. Switches: yes."""
    if node.state is State.STARTING:
        node.state = State.JOINING
    pause_s, since_s = RETRY_S_MIN, rt.now()
    while True:
        try_to_enter(rt, node)
        if not node.is_member and rt.now() - since_s >= REFOUND_INTERVALS * node.config.stabilize_interval:
            refound(rt, node)
        if node.is_member:
            break
        log.warning("not in the ring yet: %s; trying again in %.1f s", node.join_error, pause_s)
        rt.sleep(pause_s * rt.rng.uniform(0.8, 1.2))
        pause_s = min(2 * pause_s, RETRY_S_MAX)
    for peer in node.contacts if node.founder else ():
        node.lost.add(peer, rt.now())
    node.contacts = ()


def refound(rt: Runtime, node: NodeState) -> None:
    """Start the ring again when all that is left of it is isolated, and we are the first among those. Switches: yes.

    Others must answer that they are in no ring either: a node that hears from nobody may be cut off from a ring that is
    well, and must not serve beside it. Should two nodes start one each, those merge.
    """
    if node.state is not State.ISOLATED:
        return
    others = [peer for peer in node.contacts if peer.ident != node.me.ident]
    states: dict[Peer, str] = {}
    for peer, outcome in ask_each(rt, node, [(peer, P2pGetStatus()) for peer in others]):
        if isinstance(outcome, P2pReplyStatus):
            states[peer] = outcome.state
    ring_lives = any(state not in OUTSIDE for state in states.values())
    isolated = [peer for peer, state in states.items() if state == State.ISOLATED.value]
    if states and not ring_lives and all(node.me.ident < peer.ident for peer in isolated):
        log.warning("no member answers, but %d nodes that look for one: starting the ring again", len(states))
        found_ring(node)


@dataclass
class Attempt:
    """What one round through the contacts brought. met_member: one of them, at least, was in a ring."""

    errors: list[str] = field(default_factory=list)
    met_member: bool = False

    def note(self, address: str, error: str) -> None:
        """Remember why one contact was of no use."""
        self.errors.append(error if address in error else f"{address}: {error}")


def try_to_enter(rt: Runtime, node: NodeState) -> None:
    """Go through all contacts once; start a ring if that is ours to do. Leaves the reasons in `join_error`.

    Where there is a ring that we could not get into, for a dead node on the way, no other one is started beside it.
    """
    attempt = Attempt()
    others = [peer for peer in node.contacts if peer.ident != node.me.ident]
    for peer, outcome in list(ask_each(rt, node, [(peer, P2pPing()) for peer in others])):
        if not isinstance(outcome, P2pAck):
            attempt.note(peer.address, str(outcome))
        elif _join_through(rt, node, peer, attempt):
            return
    listed_first = not node.config.bootstrap
    for index, address in enumerate(map(str, node.config.bootstrap)):
        contact = _identify(rt, node, address, attempt)
        if contact is None:
            continue
        if contact.ident == node.me.ident:
            listed_first |= index == 0
        elif _join_through(rt, node, contact, attempt):
            return
    node.join_error = "; ".join(attempt.errors)
    if listed_first and not attempt.met_member:
        found_ring(node)


def _own_addresses(node: NodeState) -> tuple[str, str]:
    return node.me.address, str(node.config.p2p_address)


def _identify(rt: Runtime, node: NodeState, address: str, attempt: Attempt) -> Peer | None:
    """Who answers at a listed address; ourselves without a call when it is our own."""
    if address in _own_addresses(node):
        return node.me
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
