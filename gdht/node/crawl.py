"""Asking many nodes for their status: from list to list, many at once, each node once, within bounds.

A node that does not answer quickly is put aside while the others are asked, and asked once more with the others that
were put aside. So a few dead or slow ones do not take the time of all.
"""

from collections.abc import Iterable

from gdht.core.messages import P2pGetStatus, P2pReplyStatus
from gdht.core.peer import Peer
from gdht.errors import CallTimeout
from gdht.node.handlers import own_status
from gdht.node.pace import paced
from gdht.node.runtime import Outcome, Runtime
from gdht.node.state import NodeState
from gdht.node.status import MEMBER_STATES, WalkedNode

CRAWL_S_MAX = 5.0
"""What is not known by then is left out."""

QUICK_S = 0.25
"""How long a node is waited for before it is put aside."""

SLOW_S_MAX = 1.0
"""How long it is waited for the second time, at the most; then it counts as silent."""

WAVE_MAX = 64
"""How many nodes are asked at once."""


def is_member(status: P2pReplyStatus) -> bool:
    """Whether a node says that it is in the ring."""
    return status.state in {state.value for state in MEMBER_STATES}


def is_alone(status: P2pReplyStatus) -> bool:
    """Whether a node says that it is a ring of its own."""
    return is_member(status) and not status.successors and not status.predecessors


class Crawl:
    """What is known and whom to ask next. told: by identifier, what was heard of each node that was asked."""

    def __init__(self, node: NodeState, nodes_max: int) -> None:
        self.told = {node.me.ident: WalkedNode(node.me, own_status(node))}
        self._me = node.me.ident
        self._nodes_max = nodes_max
        self._heard_of = {node.me}
        self._fresh: list[Peer] = []
        self._slow: list[Peer] = []
        self._slow_s = min(SLOW_S_MAX, node.config.call_timeout)
        self._refused = False

    @property
    def cut_short(self) -> bool:
        """Whether there were nodes that the bounds did not allow to ask."""
        return self._refused or bool(self._fresh or self._slow)

    def hear_of(self, peers: Iterable[Peer]) -> None:
        """These are to be asked too, as far as the bound on nodes allows."""
        for peer in peers:
            if peer.ident == self._me or peer in self._heard_of:
                continue
            if len(self._heard_of) >= self._nodes_max:
                self._refused = True
                return
            self._heard_of.add(peer)
            self._fresh.append(peer)

    def run(self, rt: Runtime, deadline_s: float) -> None:
        """Ask everybody, and everybody they name as successors, until `deadline_s` by `rt.now()`. Switches: yes."""
        while (self._fresh or self._slow) and (left_s := deadline_s - rt.now()) > 0:
            last = not self._fresh
            queue, patience_s = (self._slow, self._slow_s) if last else (self._fresh, QUICK_S)
            wave, queue[:] = queue[:WAVE_MAX], queue[WAVE_MAX:]
            asked = rt.calls([(peer, P2pGetStatus()) for peer in wave], min(patience_s, left_s))
            for index, outcome in paced(rt, asked):
                self._take(wave[index], outcome, last=last)

    def _take(self, peer: Peer, outcome: Outcome, *, last: bool) -> None:
        if isinstance(outcome, P2pReplyStatus):
            self.told[peer.ident] = WalkedNode(peer, outcome)
            self.hear_of(outcome.successors)
        elif isinstance(outcome, CallTimeout) and not last:
            self._slow.append(peer)
        else:  # an older address of a node that did answer does not count
            self.told.setdefault(peer.ident, WalkedNode(peer, None, str(outcome)))


def crawl(rt: Runtime, node: NodeState, nodes_max: int, deadline_s: float) -> Crawl:
    """Ask all nodes along the successor lists, at most `nodes_max` with ourselves. Switches: yes."""
    found = Crawl(node, nodes_max)
    found.hear_of(node.ring.successors)
    found.run(rt, deadline_s)
    return found
