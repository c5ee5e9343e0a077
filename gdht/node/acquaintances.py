"""Whom a node remembers across restarts: written down beside its records, and looked for once it is in a ring again.

The note is text. Its first line: the version of its format, `alone` (the node was the whole ring by right) or `ring`,
and how many of the peers were so near that they held the same records. Then, for each peer, a line of identifier and
address.
"""

import logging
import re
from itertools import chain, zip_longest
from typing import NamedTuple

from gdht.core.ident import ident_hex
from gdht.core.messages import P2pAck, P2pPing
from gdht.core.peer import Peer
from gdht.errors import StoreError
from gdht.node.ask import ask_each
from gdht.node.lost import LOST_MAX
from gdht.node.runtime import Runtime
from gdht.node.state import CONTACTS_MAX, NodeState

log = logging.getLogger(__name__)

NOTE = "peers"
FORMAT = "1"
HEAD = re.compile(rf"{FORMAT} (alone|ring) ([0-9]{{1,3}})")
LINE = re.compile(r"([0-9a-f]{64}) ([!-~]{1,255})")
NOTE_BYTES_MAX = 32_768
"""More than CONTACTS_MAX peers with the longest addresses take."""

REMEMBER_INTERVALS = 5
"""How soon the note is written again, in stabilize intervals."""

MEET_MAX = 4
"""Of how many remembered peers that are members it is found out in which ring; the others stand for each other."""


class Memory(NamedTuple):
    """What a node knew in its last run.

    alone: it was the whole ring by right, so it may be that again. near_count: the first so many peers held the same
    records.
    """

    peers: tuple[Peer, ...]
    near_count: int
    alone: bool

    @property
    def near(self) -> tuple[Peer, ...]:
        """Those who held the same records."""
        return self.peers[: self.near_count]


NOTHING = Memory((), 0, alone=False)


# Writing down ---------------------------------------------------------------------------------------------------------


def remember(rt: Runtime, node: NodeState) -> None:
    """Write down whom we know if that has changed, and not for the second time in a short while. Switches: no.

    That we are alone now, or no longer, is written at once: it decides who may start a ring.
    Raises: StoreError.
    """
    if not node.is_member or node.awaits_others:
        return  # what we knew before is worth more
    due_s = node.remembered_at_s + REMEMBER_INTERVALS * node.config.stabilize_interval
    if rt.now() >= due_s or _says_alone(node.store.note(NOTE)) != _is_whole_ring(node):
        write_memory(node)
        node.remembered_at_s = rt.now()


def remember_at_once(node: NodeState) -> None:
    """We are alone now, or no longer: write that down, so that it is durable before whatever is stored from now on.

    Else, after a crash of all, we would take ourselves for the whole ring, and know of nobody to look for; or wait for
    those who have left for good. Where it cannot be written, `remember` tries again. Switches: no.
    """
    if node.ring.alone and not node.founder:
        return  # cut off, not alone by right: what we knew before is worth more
    if node.awaits_others and not _says_alone(node.store.note(NOTE)):
        return  # and so it is while we wait for those of our last run
    try:
        write_memory(node)
    except StoreError as error:
        log.warning("whether we are alone is not written down yet: %s", error)


def write_memory(node: NodeState) -> None:
    """Write down whom we know, if that has changed. Switches: no. Raises: StoreError."""
    content = _pack(what_we_know(node))
    if content != node.store.note(NOTE):
        node.store.write_note(NOTE, content)


def what_we_know(node: NodeState) -> Memory:
    """What is worth remembering now. Switches: no."""
    ring, replicas = node.ring, node.config.max_replication - 1
    near = {peer.ident for peer in (*ring.successors[:replicas], *ring.predecessors[:replicas])}
    return Memory(known_peers(node), len(near), _is_whole_ring(node))


def _is_whole_ring(node: NodeState) -> bool:
    return node.ring.alone and node.founder


def known_peers(node: NodeState) -> tuple[Peer, ...]:
    """Those who may know the ring should we lose it: neighbours, the nearest first, fingers, lost peers.

    Switches: no.
    """
    ring = node.ring
    neighbours = chain.from_iterable(zip_longest(ring.successors, ring.predecessors))
    known = (*neighbours, *(finger.peer for finger in ring.fingers), *node.lost.peers)
    by_ident = {peer.ident: peer for peer in known if peer is not None and peer.ident != node.me.ident}
    return tuple(by_ident.values())[:CONTACTS_MAX]


# Recalling ------------------------------------------------------------------------------------------------------------


def recall(node: NodeState) -> Memory:
    """What was written down last; nothing, with a line in the log, when it cannot be read. Switches: no."""
    content = node.store.note(NOTE)
    try:
        return _unpack(content) if content else NOTHING
    except ValueError as error:
        log.warning("the peers of the last run cannot be read and are ignored: %s", error)
        return NOTHING


def _pack(memory: Memory) -> bytes:
    lines = [f"{FORMAT} {'alone' if memory.alone else 'ring'} {memory.near_count}"]
    lines += [f"{ident_hex(peer.ident)} {peer.address}" for peer in memory.peers]
    return "\n".join(lines).encode("ascii")


def _says_alone(content: bytes) -> bool:
    return content.startswith(f"{FORMAT} alone".encode("ascii"))


def _unpack(content: bytes) -> Memory:
    """Raises: ValueError."""
    if len(content) > NOTE_BYTES_MAX:
        raise ValueError(f"{len(content)} bytes, at most {NOTE_BYTES_MAX} expected")
    head, *lines = content.decode("ascii").split("\n")
    match = HEAD.fullmatch(head)
    if match is None:
        raise ValueError(f"unknown format {head[:40]!r}")
    if len(lines) > CONTACTS_MAX:
        raise ValueError(f"{len(lines)} peers, at most {CONTACTS_MAX} expected")
    return Memory(tuple(map(_unpack_peer, lines)), int(match[2]), match[1] == "alone")


def _unpack_peer(line: str) -> Peer:
    match = LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"not a peer: {line[:100]!r}")
    return Peer(int(match[1], 16), match[2])


# Looking for them -----------------------------------------------------------------------------------------------------


def find_again(rt: Runtime, node: NodeState) -> None:
    """In a ring again, see who of those we remember is a member too, and whether of the same ring. Switches: yes.

    After all nodes were started anew, there may be several rings. Those who are no members are asked again later, as
    lost peers.
    """
    contacts, node.contacts = node.contacts, ()
    answered = _members(rt, node, contacts)
    gone = [peer for peer in contacts if peer not in answered]
    for peer in gone[:LOST_MAX]:
        node.lost.add(peer, rt.now())
    if contacts:
        log.info("remembered peers: members=%d others=%d", len(answered), len(gone))
    strangers = [peer for peer in answered if peer not in (*node.ring.successors, *node.ring.predecessors)]
    for peer in rt.rng.sample(strangers, min(len(strangers), MEET_MAX)):
        node.meet(peer)
        rt.sleep(node.config.stabilize_interval)  # maintenance takes one at a time


def _members(rt: Runtime, node: NodeState, peers: tuple[Peer, ...]) -> list[Peer]:
    """Those who say that they are in a ring."""
    outcomes = ask_each(rt, node, [(peer, P2pPing()) for peer in peers])
    return [peer for peer, outcome in outcomes if isinstance(outcome, P2pAck)]
