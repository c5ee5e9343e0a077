"""Moving records between two nodes: offered, sent and fetched in bounded batches, with pauses between them.

A record counts as handed on when the receiver has confirmed it, which it does when it is on its disk.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from gdht.core.messages import (
    RECORDS_PER_MESSAGE_MAX,
    Entry,
    P2pFetch,
    P2pOffer,
    P2pReplyFetch,
    P2pReplyOffer,
    P2pReplyTransfer,
    P2pTransfer,
    RecordCopy,
    Reply,
)
from gdht.core.peer import Peer
from gdht.errors import GdhtError, StoreError
from gdht.node.ask import ask
from gdht.node.pace import paced
from gdht.node.replication.copies import BATCH_BYTES_MAX, accept_copy, batches, is_needed, to_copy
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState

log = logging.getLogger(__name__)

Thing = TypeVar("Thing")

NO_GOOD = ("ttl", "too_large", "version")
"""Why a copy is refused that nobody should hold."""

MESSAGE_RECORDS_MAX = 100
"""How many records one message asks for or holds: taking them in keeps a node busy for a few milliseconds."""

MESSAGES_AT_ONCE = RECORDS_PER_MESSAGE_MAX // MESSAGE_RECORDS_MAX
"""How many such messages are under way at once, unless they would be larger together than one batch may be."""

PAUSE = 1.0
"""After each batch nothing is moved for as long as the batch took, times this: half of the time is for clients."""

PAUSE_S_MAX = 0.5
"""The longest such pause: what took longer waited for a far or slow peer, and kept nobody busy."""


def slices(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Cut entries into lists that fit one message."""
    part: list[Entry] = []
    for entry in entries:
        part.append(entry)
        if len(part) == RECORDS_PER_MESSAGE_MAX:
            yield part
            part = []
    if part:
        yield part


def offer(rt: Runtime, node: NodeState, peer: Peer, entries: list[Entry], reason: str) -> set[bytes]:
    """See to it that a peer holds these records; returns the keys for which it has confirmed that. Switches: yes.

    entries: as many as fit one message. reason: the label of `gdht_handoff_keys_total`. Raises: as `Runtime.call`.
    """
    reply = ask(rt, node, peer, P2pOffer(tuple(entries)))
    assert isinstance(reply, P2pReplyOffer)
    flagged = list(zip(entries, reply.wanted, strict=False))
    confirmed = {entry.key for entry, wanted in flagged if not wanted}
    return confirmed | send(rt, node, peer, [entry.key for entry, wanted in flagged if wanted], reason)


def send(rt: Runtime, node: NodeState, peer: Peer, keys: Sequence[bytes], reason: str) -> set[bytes]:
    """Give a peer the records under these keys; returns those that it holds now, or that are over. Switches: yes.

    Raises: as `Runtime.call`.
    """
    confirmed = {key for key in paced(rt, keys) if not _is_wanted(node, key)}
    for batch in batches(paced(rt, _copies(node, keys))):
        began_s = rt.now()
        messages = _cut(batch)
        for index, reply in _replies(rt, node, peer, [P2pTransfer(copies) for copies in messages]):
            assert isinstance(reply, P2pReplyTransfer)
            taken = [copy for copy, held in zip(messages[index], reply.held, strict=False) if held]
            confirmed.update(copy.key for copy in taken)
            _count(node, taken, "sent", reason)
        pause(rt, began_s)
    return confirmed


def _cut(things: Sequence[Thing]) -> list[tuple[Thing, ...]]:
    """What goes into one message each."""
    firsts = range(0, len(things), MESSAGE_RECORDS_MAX)
    return [tuple(things[first : first + MESSAGE_RECORDS_MAX]) for first in firsts]


def _replies(
    rt: Runtime, node: NodeState, peer: Peer, requests: Sequence[P2pTransfer | P2pFetch]
) -> Iterator[tuple[int, Reply]]:
    """Ask one peer all this at once; the replies as they come in. Switches: yes. Raises: as `Runtime.call`."""
    calls = rt.calls([(peer, request) for request in requests], node.config.call_timeout)
    for index, outcome in paced(rt, calls):
        if isinstance(outcome, GdhtError):
            raise outcome
        yield index, outcome


def _is_wanted(node: NodeState, key: bytes) -> bool:
    record = node.store.held(key)
    return record is not None and is_needed(to_copy(record, node.clock.lives_s()))


def _copies(node: NodeState, keys: Sequence[bytes]) -> Iterator[RecordCopy]:
    """What is held under these keys and still needed, each as it is when its turn comes."""
    for key in keys:
        record = node.store.held(key)
        copy = to_copy(record, node.clock.lives_s()) if record else None
        if copy and is_needed(copy):
            yield copy


class Fetched(NamedTuple):
    """How many records came and were taken; how many were good, but our store had no room for them or no disk."""

    taken: int = 0
    refused: int = 0


def fetch(rt: Runtime, node: NodeState, peer: Peer, keys: Sequence[bytes], reason: str) -> Fetched:
    """Get the records under these keys from a peer. Switches: yes. Raises: as `Runtime.call`."""
    taken = refused = 0
    at_once = 1
    while keys:
        began_s = rt.now()
        messages = _cut(keys[: at_once * MESSAGE_RECORDS_MAX])
        rest: list[bytes] = []
        largest_bytes = 1
        for index, reply in _replies(rt, node, peer, [P2pFetch(asked) for asked in messages]):
            assert isinstance(reply, P2pReplyFetch)
            asked, wanted = messages[index], set(messages[index])
            fetched = _take(node, peer, [copy for copy in reply.records if copy.key in wanted], reason)
            taken, refused = taken + fetched.taken, refused + fetched.refused
            rest += asked[max(reply.asked, 1) :]
            largest_bytes = max(largest_bytes, sum(len(copy.value) for copy in reply.records))
        keys = [*rest, *keys[at_once * MESSAGE_RECORDS_MAX :]]
        at_once = max(min(BATCH_BYTES_MAX // largest_bytes, MESSAGES_AT_ONCE), 1)
        pause(rt, began_s)
    return Fetched(taken, refused)


def _take(node: NodeState, peer: Peer, copies: list[RecordCopy], reason: str) -> Fetched:
    taken: list[RecordCopy] = []
    refused = 0
    for copy in copies:
        try:
            accept_copy(node, copy, node.clock.lives_s())
            taken.append(copy)
        except StoreError as error:
            log.warning("copy refused from=%s error=%s", peer, error)
            refused += error.reason not in NO_GOOD
    _count(node, taken, "received", reason)
    return Fetched(len(taken), refused)


def _count(node: NodeState, copies: list[RecordCopy], direction: str, reason: str) -> None:
    node.stats.handoff_keys[direction, reason] += len(copies)
    node.stats.handoff_bytes[direction, reason] += sum(len(copy.value) for copy in copies)
    if node.handover and not node.handover.ended and node.handover.kind == reason:
        records = (node.store.held(copy.key) for copy in copies)
        node.handover.count(len(copies), sum(node.store.record_bytes(record) for record in records if record))


def pause(rt: Runtime, began_s: float) -> None:
    """Let clients have their turn, about as long as what began then has taken. Switches: yes."""
    rt.sleep(min((rt.now() - began_s) * PAUSE, PAUSE_S_MAX))
