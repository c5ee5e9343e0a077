"""One node under exhaustive exploration: the real steps, stopped at each call and later taken up with its outcome.

A step that waits for an answer cannot be copied as a greenlet, but it can be repeated: it is kept as data (the step,
the pointers it began with, the outcomes of its calls so far) and run again from its beginning, on a fresh `NodeState`
under a Runtime that gives those outcomes and stops the step at the first call beyond them.

Every node is described from its own place: a peer is an offset, the number of places clockwise from the node to it.
The protocol compares identifiers only by their cyclic order, so offsets mean the same wherever the node lies, and two
worlds that differ by a turn of the circle are one (`gdht.sim.exhaustive.world`).

Left out, as no step that moves a pointer of the protocol reads it: fingers, all but the way of a joining node's lookup,
which may begin at any member here and so ends wherever fingers could lead it; hearsay predecessors beyond the first,
which only place records; who owns what elsewhere; records, journal, counters, and the node's own lag, which is none.
Departed and lost peers are left out with goodbyes and merging. An identifier joins once: what comes back is another
node.
"""

from collections.abc import Callable
from enum import Enum
from random import Random
from typing import Any, NamedTuple, NoReturn

from gdht.config import DhtConfig
from gdht.core.ident import IDENTS
from gdht.core.invariant import Member
from gdht.core.messages import ErrorReason, P2pAck, P2pError, P2pNotify, P2pPing, P2pReplySuccessor, Reply, Request
from gdht.core.peer import Peer
from gdht.core.ring import Ring
from gdht.errors import CallTimeout, GdhtError, PeerUnreachable, RemoteError
from gdht.node import membership
from gdht.node.handlers import handle
from gdht.node.later import Later
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState
from gdht.node.status import State
from gdht.store.memory import MemoryStore

EPOCH_S = 1_700_000_000.0


class Life(Enum):
    """What an identifier of the circle is."""

    ABSENT = "absent"
    JOINING = "joining"
    MEMBER = "member"
    ISOLATED = "isolated"
    DEAD = "dead"


class Ending(Enum):
    """How a call to a dead node ends: its host refuses the connection, or says nothing."""

    REFUSED = "refused"
    SILENT = "silent"


Outcome = Reply | Ending


class Step(NamedTuple):
    """A step of the protocol. peer: the contact of a join, the notifier of a rectify, else 0."""

    name: str
    peer: int = 0


class Ask(NamedTuple):
    """A call under way. kind: the request's type; two empty requests are equal as tuples."""

    target: int
    kind: str
    request: Request


class Halted(NamedTuple):
    """A step that waits for an answer, and what runs it again up to here."""

    ask: Ask
    step: Step
    began: Member
    outcomes: tuple[Outcome, ...]


class Fork(NamedTuple):
    """A step that waits for an answer that can only be yes or no, as what comes of it either way.

    Two steps with the same future are the same, whatever brought them here. refused: by the host, or by a node that
    is no member; to the steps that is the same.
    """

    ask: Ask
    answered: "Core"
    refused: "Core"
    silent: "Core"


class Answered(NamedTuple):
    """A step whose answer is on its way: given, but not read yet. Until then the node shows its old pointers."""

    ask: Ask
    waiting: Halted | Fork
    outcome: Outcome


class Core(NamedTuple):
    """What a node's own steps decide: its life, its pointers by offset, and the step that waits, if any."""

    life: Life
    pointers: Member
    waiting: Halted | Fork | Answered | None = None


class Local(NamedTuple):
    """One node. notified: the offsets of those that it must still rectify with."""

    core: Core
    notified: tuple[int, ...] = ()


NOWHERE = Member(None, ())
ABSENT = Local(Core(Life.ABSENT, NOWHERE))
DEAD = Local(Core(Life.DEAD, NOWHERE))


class Steps(NamedTuple):
    """The functions of a ring maintenance protocol; gdht's own unless told otherwise."""

    join: Callable[[Runtime, NodeState, Peer], None] = membership.join
    stabilize: Callable[[Runtime, NodeState], None] = membership.stabilize
    rectify: Callable[[Runtime, NodeState, Peer], None] = membership.rectify
    check_predecessor: Callable[[Runtime, NodeState], None] = membership.check_predecessor


PERIODIC = (Step("stabilize"), Step("check_predecessor"))


class _Asked(BaseException):
    """A step came to a call whose outcome is not known yet. No GdhtError: no step may catch it."""

    def __init__(self, ask: tuple[Peer, Request]) -> None:
        super().__init__()
        self.peer, self.request = ask


class _Signal:
    """A wake-up that nobody waits for."""

    def set(self) -> None:
        pass

    def wait(self, timeout_s: float) -> bool:
        raise NotImplementedError("no step waits for a signal")


class ScriptedRuntime:
    """Implements `gdht.node.runtime.Runtime` for one step: its calls end as told, the first beyond that stops it."""

    def __init__(self, outcomes: tuple[Outcome, ...] = ()) -> None:
        self.rng = Random(0)
        self.boot = ""
        self._outcomes = iter(outcomes)
        self._now_s = 0.0

    def now(self) -> float:
        """Seconds: time passes only while a call times out."""
        return self._now_s

    def wall(self) -> float:
        """Seconds since the epoch."""
        return EPOCH_S + self._now_s

    def signal(self) -> _Signal:
        """A new wake-up."""
        return _Signal()

    def call(self, peer: Peer, request: Request, timeout_s: float) -> Reply:
        """The next outcome of the script."""
        outcome = next(self._outcomes, None)
        if outcome is None:
            raise _Asked((peer, request))
        if outcome is Ending.REFUSED:
            raise PeerUnreachable(f"{peer}: connection refused")
        if outcome is Ending.SILENT:
            self._now_s += timeout_s
            raise CallTimeout(f"{peer} did not answer")
        if isinstance(outcome, P2pError):
            raise RemoteError(outcome.reason, outcome.detail, retriable=ErrorReason(outcome.reason).retriable)
        assert not isinstance(outcome, Ending)
        return outcome

    def _not_a_step(self, *_: object) -> NoReturn:
        raise NotImplementedError("a maintenance step makes one call after the other and nothing else")

    sleep = spawn = calls = identify = _not_a_step


class NodeRunner:
    """Runs steps and handlers of a node that lies at offset 0 of a circle of `nodes` places, with lists of `length`.

    base: where offset 0 lies on the circle of identifiers; nothing may depend on it.
    """

    def __init__(self, nodes: int, length: int, steps: Steps, base: int = 0) -> None:
        self.nodes = nodes
        self._steps = steps
        self._config = DhtConfig(successor_list_length=length, max_replication=length + 1)
        self._peers = [
            Peer((base + IDENTS * offset // nodes) % IDENTS, f"10.0.0.{offset}:6000") for offset in range(nodes)
        ]
        self._offsets = {peer.ident: offset for offset, peer in enumerate(self._peers)}
        self._store = MemoryStore(0)

    def begin(self, local: Local, step: Step) -> Local:
        """The node after it has begun a step: it waits for the first answer, or the step is over already."""
        notified = local.notified
        if step.name == "rectify":
            notified = tuple(offset for offset in notified if offset != step.peer)
        return Local(self._run(step, local.core.life, local.core.pointers, ()), notified)

    def receive(self, local: Local, outcome: Outcome) -> Local:
        """The node while the answer that it waits for is on its way; after it, when that moves none of its pointers."""
        resumed = self.resume(local, outcome)
        before, after = local.core, resumed.core
        if before.pointers == after.pointers and after.life in (before.life, Life.ABSENT):
            return resumed
        assert isinstance(before.waiting, Halted | Fork)
        return local._replace(core=before._replace(waiting=Answered(before.waiting.ask, before.waiting, outcome)))

    def read(self, local: Local) -> Local:
        """The node after it has read the answer that was on its way."""
        answered = local.core.waiting
        assert isinstance(answered, Answered)
        return self.resume(local._replace(core=local.core._replace(waiting=answered.waiting)), answered.outcome)

    def resume(self, local: Local, outcome: Outcome) -> Local:
        """The node after it has read the answer that it waits for."""
        waiting = local.core.waiting
        assert isinstance(waiting, Halted | Fork)
        if isinstance(waiting, Halted):
            life = local.core.life
            core = self._run(waiting.step, life, waiting.began, (*waiting.outcomes, outcome))
        elif outcome is Ending.SILENT:
            core = waiting.silent
        else:
            core = waiting.answered if isinstance(outcome, P2pAck) else waiting.refused
        return Local(core, local.notified)

    def answer(self, local: Local, sender: int, request: Request) -> tuple[Reply, Local]:
        """What a living node answers to the one at offset `sender`, and what it is afterwards."""
        core = local.core
        node = self._node(ScriptedRuntime(), core.life, core.pointers)
        node.notified = {self._peers[offset].ident: self._peers[offset] for offset in local.notified}
        ring = node.ring
        reply = handle(node, self._peers[sender], request, EPOCH_S)
        assert node.ring is ring, "a handler moves no pointers"
        assert not isinstance(reply, Later), "ring maintenance writes nothing"
        if isinstance(reply, P2pReplySuccessor):
            reply = reply._replace(start=reply.ident)  # where the owner's arc begins is left out
        return reply, Local(core, tuple(sorted(self._offsets[ident] for ident in node.notified)))

    def turned(self, message: Any, by: int) -> Any:
        """A message as the node sees it that lies `by` places before the one that wrote it."""
        if isinstance(message, Peer):
            return self._peers[(self._offsets[message.ident] + by) % self.nodes]
        if isinstance(message, tuple):
            parts = [self.turned(part, by) for part in message]
            return type(message)(*parts) if hasattr(message, "_fields") else tuple(parts)
        if type(message) is int and message in self._offsets:
            return self._peers[(self._offsets[message] + by) % self.nodes].ident
        return message

    # Running the real code --------------------------------------------------------------------------------------------

    def _run(self, step: Step, life: Life, began: Member, outcomes: tuple[Outcome, ...]) -> Core:
        """Run a step from its beginning with the outcomes known so far."""
        runtime = ScriptedRuntime(outcomes)
        node = self._node(runtime, life, began)
        arguments = [self._peers[step.peer]] if step.peer else []
        try:
            getattr(self._steps, step.name)(runtime, node, *arguments)
        except _Asked as asked:
            ask = Ask(self._offsets[asked.peer.ident], type(asked.request).__name__, asked.request)
        except GdhtError:
            return self._core(node, Life.ABSENT)
        else:
            return self._core(node, Life.ABSENT)
        core = self._core(node, Life.JOINING)
        if isinstance(ask.request, P2pNotify | P2pPing):
            ends = (P2pAck(), Ending.REFUSED, Ending.SILENT)
            return core._replace(waiting=Fork(ask, *(self._run(step, life, began, (*outcomes, end)) for end in ends)))
        return core._replace(waiting=Halted(ask, step, began, outcomes))

    def _node(self, runtime: ScriptedRuntime, life: Life, pointers: Member) -> NodeState:
        me = self._peers[0]
        node = NodeState(runtime, me, self._config, self._store)
        node.state = State.ACTIVE if life is Life.MEMBER else State.JOINING
        predecessors = () if pointers.predecessor is None else (self._peers[pointers.predecessor],)
        successors = tuple(self._peers[offset] for offset in pointers.successors)
        node.ring = Ring(me, self._config.successor_list_length, predecessors, successors)
        node.founder = node.is_member and node.ring.alone
        return node

    def _core(self, node: NodeState, outside: Life) -> Core:
        """What has become of a node. outside: what it is when it is no member."""
        life = Life.MEMBER if node.is_member else Life.ISOLATED if node.state is State.ISOLATED else outside
        predecessor = node.ring.predecessor
        successors = tuple(self._offsets[peer.ident] for peer in node.ring.successors)
        return Core(life, Member(self._offsets[predecessor.ident] if predecessor else None, successors))
