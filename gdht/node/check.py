"""Is the ring right? What the pointers of all nodes met say when they are laid side by side.

A look at the ring is no snapshot: nodes join and leave while it lasts. So what is wrong is looked at once more a moment
later, and only what is wrong both times is reported. Source of the invariants: Zave 2017, sections 4 and 5.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gdht.core.invariant import (
    Member,
    Violation,
    check_ideal,
    list_violations,
    live_successor_violations,
    principal_violations,
    ring_violations,
    short_name,
    short_names,
)
from gdht.core.messages import P2pGetNeighbours, P2pGetStatus, P2pReplyNeighbours, P2pReplyStatus
from gdht.core.peer import Peer
from gdht.core.ring import Ring
from gdht.node.ask import ask_each
from gdht.node.crawl import CRAWL_S_MAX, Crawl, crawl, is_member
from gdht.node.inspect import walk_through
from gdht.node.pace import STEADY, Pace, pace, paced
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState
from gdht.node.status import RingCheck, Walk, WalkedNode

PAUSE_S_MAX = 2.0
"""Between two looks passes one stabilize interval, but no more than this: somebody waits for the answer."""

LOST_S_MAX = 0.5
"""How long to wait for the peers that this node lost; most of them are gone for good."""

NAMED_MAX = 3
"""How many of the nodes of a violation its detail names by address."""


@dataclass(frozen=True, slots=True)
class Look:
    """The ring as seen once. elsewhere: nodes this one had lost that are in a ring, by what they say, but not met."""

    walk: Walk
    told: Mapping[int, WalkedNode]
    elsewhere: tuple[WalkedNode, ...]
    cut_short: bool

    @property
    def complete(self) -> bool:
        """Whether the whole ring was seen."""
        return self.walk.complete and not self.cut_short


def check(rt: Runtime, node: NodeState, nodes_max: int) -> RingCheck:
    """Look at the ring, at most `nodes_max` nodes of it; name what is wrong, the weightiest first. Switches: yes."""
    started_s = rt.now()
    look = _look(rt, node, nodes_max)
    found = violations_of(look, node.ring.length, pace(rt))
    if found or not look.complete:
        rt.sleep(min(node.config.stabilize_interval, PAUSE_S_MAX))
        look = _look(rt, node, nodes_max)
        found = seen_before(violations_of(look, node.ring.length, pace(rt)), found)
    addresses = {one.peer.ident: one.peer.address for one in (*look.elsewhere, *look.told.values())}
    named = tuple(_with_addresses(violation, addresses) for violation in paced(rt, found))
    return RingCheck(len(look.walk.nodes), look.complete, named, rt.now() - started_s)


def seen_before(now: Iterable[Violation], earlier: Iterable[Violation]) -> list[Violation]:
    """Those that were seen earlier too: the same invariant, on some of the same nodes."""
    seen = {(violation.invariant, ident) for violation in earlier for ident in violation.nodes}
    return [violation for violation in now if any((violation.invariant, ident) in seen for ident in violation.nodes)]


def _look(rt: Runtime, node: NodeState, nodes_max: int) -> Look:
    deadline_s = rt.now() + CRAWL_S_MAX
    found = crawl(rt, node, nodes_max, deadline_s)
    walk = walk_through(node.me.ident, found.told, nodes_max)
    found.hear_of(_predecessors(found))  # leads to members that no successor list names
    found.run(rt, deadline_s)
    return Look(walk, found.told, _members_elsewhere(rt, node, found.told), found.cut_short)


def _members_elsewhere(rt: Runtime, node: NodeState, told: Mapping[int, WalkedNode]) -> tuple[WalkedNode, ...]:
    peers = [peer for peer in node.lost.peers if peer.ident not in told]
    asked = rt.calls([(peer, P2pGetStatus()) for peer in peers], min(LOST_S_MAX, node.config.call_timeout))
    heard = {index: reply for index, reply in asked if isinstance(reply, P2pReplyStatus) and is_member(reply)}
    return tuple(WalkedNode(peers[index], heard[index]) for index in sorted(heard))


def _predecessors(found: Crawl) -> list[Peer]:
    return [peer for one in found.told.values() if one.status for peer in one.status.predecessors[:1]]


# What is wrong --------------------------------------------------------------------------------------------------------


def violations_of(look: Look, length: int, turns: Pace = STEADY) -> list[Violation]:
    """What is wrong in one look, the weightiest first. Switches: as `turns` does.

    length: of successor lists; longer ones are cut to it.
    """
    members = _members(look.told, length)
    if look.cut_short:  # a part of the ring tells nothing of the whole
        parts: list[Callable[[], list[Violation]]] = [
            lambda: list_violations(members, length),
            lambda: _neighbour_violations(members),
            lambda: _node_violations(look.told, turns),
        ]
        return [violation for part in turns.over(parts) for violation in part()]
    safety: list[Callable[[], list[Violation]]] = [
        lambda: list_violations(members, length),
        lambda: live_successor_violations(members),
        lambda: ring_violations(members),
        lambda: principal_violations(members, length) if len(members) > length else [],
    ]
    found = [violation for part in turns.over(safety) for violation in part()]
    found = [violation if violation.nodes else violation._replace(nodes=tuple(members)) for violation in found]
    found += [*_second_ring_violations(look), *_node_violations(look.told, turns), *_walk_violations(look)]
    turns.step()
    return found + check_ideal(members, members, length)


def _members(told: Mapping[int, WalkedNode], length: int) -> dict[int, Member]:
    members = {}
    for ident, one in told.items():
        if one.status is not None and is_member(one.status):
            predecessor = one.status.predecessors[0].ident if one.status.predecessors else None
            members[ident] = Member(predecessor, tuple(peer.ident for peer in one.status.successors[:length]))
    return members


def _second_ring_violations(look: Look) -> list[Violation]:
    """There is one ring: nobody who was lost is in another."""
    here = look.walk.nodes[0].peer
    found = []
    for one in look.elsewhere:
        assert one.status is not None
        followers = short_names(peer.ident for peer in one.status.successors)
        detail = f"the second is a member but not met from the first; its successors are {followers}"
        found.append(Violation("one_ring", (here.ident, one.peer.ident), detail))
    return found


def _walk_violations(look: Look) -> list[Violation]:
    """Following first successors from here leads round the ring and back to here."""
    if look.walk.complete:
        return []
    here, last = look.walk.nodes[0].peer, look.walk.nodes[-1].peer
    nodes = (here.ident,) if here == last else (here.ident, last.ident)
    return [Violation("walk_closes", nodes, f"the walk ends after {_nodes(len(look.walk.nodes))}")]


def _nodes(number: int) -> str:
    return "1 node" if number == 1 else f"{number} nodes"


def _node_violations(told: Mapping[int, WalkedNode], turns: Pace) -> list[Violation]:
    """Every node that another one points at answers, and is a member."""
    pointing = _pointing(told, turns)
    silent = [
        Violation("all_answer", (ident, *pointing.get(ident, ())), one.error or "no answer")
        for ident, one in told.items()
        if one.status is None
    ]
    outside = [
        Violation("ideal_member", (ident, *pointing.get(ident, ())), f"the node is {one.status.state}")
        for ident, one in told.items()
        if one.status is not None and not is_member(one.status)
    ]
    return silent + outside


def _pointing(told: Mapping[int, WalkedNode], turns: Pace) -> dict[int, list[int]]:
    """By node, the members that have it among their successors or as their predecessor."""
    pointing: dict[int, list[int]] = {}
    for ident, one in turns.over(told.items()):
        if one.status is not None and is_member(one.status):
            for other in dict.fromkeys(peer.ident for peer in (*one.status.successors, *one.status.predecessors[:1])):
                pointing.setdefault(other, []).append(ident)
    return pointing


def _neighbour_violations(members: Mapping[int, Member]) -> list[Violation]:
    """Where only a part of the ring is known: a member's first successor has it as its predecessor."""
    return [
        Violation("ideal_predecessor", (ahead, ident), f"{short_name(theirs)} in place of {short_name(ident)}")
        for ident, member in members.items()
        for ahead in member.successors[:1]
        if ahead in members and (theirs := members[ahead].predecessor) != ident
    ]


def _with_addresses(violation: Violation, addresses: Mapping[int, str]) -> Violation:
    """The same with the addresses of its nodes in front: people know those."""
    names = [addresses.get(ident, short_name(ident)) for ident in violation.nodes]
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return violation._replace(detail=f"{', '.join(names[:NAMED_MAX])}{more}: {violation.detail}")


# Nearby ---------------------------------------------------------------------------------------------------------------


def check_nearby(rt: Runtime, node: NodeState) -> bool:
    """Whether this node and its neighbours agree, and no second ring is suspected; at most r + 1 calls. Switches: yes.

    A single look: while nodes come and go it may say no of a ring that is right a moment later.
    """
    if not node.is_member or node.lost.second_ring:
        return False
    ring = node.ring
    peers = {peer.ident: peer for peer in (*ring.successors, *ring.predecessors[:1])}
    asked = ask_each(rt, node, [(peer, P2pGetNeighbours()) for peer in peers.values()])
    told = {peer.ident: reply for peer, reply in asked if isinstance(reply, P2pReplyNeighbours)}
    return len(told) == len(peers) and _agree(ring, told)


def _agree(ring: Ring, told: Mapping[int, P2pReplyNeighbours]) -> bool:
    """Whether what a node's neighbours told fits its own pointers."""
    if any(told[peer.ident].successors[:1] != (ring.me,) for peer in ring.predecessors[:1]):
        return False
    before, onward = ring.me, ring.successors
    while onward:
        peer, *rest = onward
        onward = tuple(rest)
        if told[peer.ident].predecessors[:1] != (before,) or told[peer.ident].successors[: len(onward)] != onward:
            return False
        before = peer
    return True
