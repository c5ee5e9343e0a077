"""What every Runtime promises, asked of both: the simulated one, and gevent's on real loopback sockets."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from random import Random
from typing import Any, TypeVar

import gevent
import pytest

from gdht.config import Address
from gdht.core.messages import (
    ErrorReason,
    FailureReason,
    P2pAck,
    P2pError,
    P2pFailure,
    P2pGet,
    P2pPing,
    P2pPut,
    P2pReplyNeighbours,
    P2pSuccess,
    Reply,
    Request,
)
from gdht.core.peer import Peer
from gdht.core.records import NO_VERSION
from gdht.errors import CallError, CallTimeout, PeerUnreachable, RemoteError, RemoteProtocolError, StoreError
from gdht.net.hello import our_hello
from gdht.net.listener import open_socket
from gdht.net.peer_server import PeerServer
from gdht.net.pool import Pool
from gdht.net.runtime import GeventRuntime
from gdht.node.later import Answer, Later
from gdht.node.runtime import Runtime
from gdht.node.stats import Stats
from gdht.sim.endpoint import Endpoint
from gdht.sim.network import Network, NetworkOptions, constant
from gdht.sim.runtime import SimRuntime
from gdht.sim.scheduler import Scheduler
from gdht.sim.trace import Trace

T = TypeVar("T")
Handler = Callable[[Peer, Request], Answer]

ME = Peer(1, "127.0.0.1:1")
RING = "test"
KEY = bytes(range(32))
SHORT_S = 0.15
"""A deadline that is to pass."""
LONG_S = 5.0
"""A deadline that is not to pass."""
LATE_S = 1.0
"""How late a wake-up on a busy machine may be."""
RUN_S = 30.0


def answer_ping(_sender: Peer, _request: Request) -> Reply:
    return P2pAck()


class Answering:
    """What a P2P port asks, answered by one function."""

    def __init__(self, handle: Handler) -> None:
        self.handle = handle

    def own_records(self) -> None:
        return None

    def intake(self) -> None:
        return None


class SimWorld:
    """A node's simulated runtime and the peers around it."""

    def __init__(self, stack: ExitStack) -> None:
        self._scheduler = stack.enter_context(Scheduler("the contract"))
        self._network = Network(self._scheduler, 1, NetworkOptions(constant(0.001), refusal=1.0), Trace())
        self._process = self._scheduler.process("me")
        self.stats = Stats()
        endpoint = Endpoint(self._network, self._process, ME, RING)
        endpoint.serve(answer_ping, self.stats)
        self.rt: Runtime = SimRuntime(self._process, endpoint, Random(1))

    def run(self, work: Callable[[], T]) -> T:
        """Run something as a task of the node, to its end."""
        result = self._scheduler.run_task(self._process, lambda: (work(),), RUN_S)
        assert result is not None, "it did not end"
        return result[0]

    def serve(self, ident: int, handler: Handler, ring: str = RING) -> Peer:
        """A peer that answers."""
        peer = Peer(ident, f"10.0.0.{ident}:6000")
        process = self._scheduler.process(peer.address)
        Endpoint(self._network, process, peer, ring).serve(handler, Stats())
        return peer

    def silent(self, ident: int) -> Peer:
        """A peer that can be reached and says nothing."""
        peer = self.serve(ident, answer_ping)
        self._network.cut(peer.address, ME.address)
        return peer

    def nobody(self, ident: int) -> Peer:
        """A peer that does not run."""
        return Peer(ident, f"10.0.0.{ident}:6000")


class GeventWorld:
    """A node's real runtime and the peers around it, on loopback sockets."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.stats = Stats()
        pool = Pool(our_hello(RING, ME), self.stats)
        stack.callback(gevent.sleep, 0)  # closing takes one turn of the loop
        stack.callback(pool.close)
        self.rt: Runtime = GeventRuntime(pool)

    def run(self, work: Callable[[], T]) -> T:
        """Run something as a task of the node, to its end."""
        result: T = gevent.spawn(work).get(timeout=RUN_S)
        return result

    def serve(self, ident: int, handler: Handler, ring: str = RING) -> Peer:
        """A peer that answers."""
        sock = open_socket(Address("127.0.0.1", 0), "p2p_address")
        peer = Peer(ident, str(Address(*sock.getsockname())))
        server = PeerServer(sock, 10, Stats(), our_hello(ring, peer), Answering(handler))
        server.start()
        self._stack.callback(server.stop, 0)
        return peer

    def silent(self, ident: int) -> Peer:
        """A peer that can be reached and says nothing: the kernel accepts for it."""
        listener = socket.create_server(("127.0.0.1", 0))
        self._stack.callback(listener.close)
        return Peer(ident, str(Address(*listener.getsockname())))

    def nobody(self, ident: int) -> Peer:
        """A peer that does not run: its port was free a moment ago."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return Peer(ident, str(Address(*listener.getsockname())))


World = SimWorld | GeventWorld


@pytest.fixture(params=[SimWorld, GeventWorld], ids=["sim", "gevent"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with ExitStack() as stack:
        yield request.param(stack)


@pytest.fixture
def rt(world: World) -> Runtime:
    return world.rt


def outcome_of(work: Callable[[], Any]) -> Any:
    """What it returns or raises."""
    try:
        return work()
    except (CallError, RemoteError, RemoteProtocolError) as error:
        return error


def timed(rt: Runtime, work: Callable[[], T]) -> tuple[T, float]:
    start = rt.now()
    return work(), rt.now() - start


# Time and tasks -------------------------------------------------------------------------------------------------------


def test_sleep_lasts_as_long_as_told(world, rt):
    _, seconds = world.run(lambda: timed(rt, lambda: rt.sleep(SHORT_S)))
    assert SHORT_S - 0.01 <= seconds <= SHORT_S + LATE_S


def test_now_never_goes_back_and_wall_goes_with_it(world, rt):
    def work():
        times = []
        for _ in range(5):
            times.append((rt.now(), rt.wall()))
            rt.sleep(0.01)
        return times

    times = world.run(work)
    assert times == sorted(times)
    (now_1, wall_1), *_, (now_2, wall_2) = times
    assert now_2 > now_1
    assert wall_2 - wall_1 == pytest.approx(now_2 - now_1, abs=0.5)
    assert wall_1 > 1_500_000_000


def test_a_spawned_task_runs_beside_us_and_not_before_we_switch(world, rt):
    def work():
        ran = []
        rt.spawn(lambda: ran.append("task"), "task")
        ran.append("we")
        rt.sleep(0)
        rt.sleep(0)
        return ran

    assert world.run(work) == ["we", "task"]


def test_a_cancelled_task_stops_at_its_switch_and_cancel_does_not_switch(world, rt):
    def work():
        ran = []

        def run():
            ran.append("begun")
            rt.sleep(SHORT_S)
            ran.append("slept")

        task = rt.spawn(run, "sleeper")
        rt.sleep(0.01)
        task.cancel()
        ran.append("cancelled")
        rt.sleep(2 * SHORT_S)
        return ran

    assert world.run(work) == ["begun", "cancelled"]


def test_cancelling_an_ended_task_does_nothing(world, rt):
    def work():
        task = rt.spawn(lambda: None, "short")
        rt.sleep(0.01)
        task.cancel()
        task.cancel()
        return "well"

    assert world.run(work) == "well"


# Signals --------------------------------------------------------------------------------------------------------------


def test_a_signal_set_before_the_wait_counts_once(world, rt):
    def work():
        signal = rt.signal()
        signal.set()
        signal.set()
        return signal.wait(LONG_S), signal.wait(0.01)

    assert world.run(work) == (True, False)


def test_a_signal_wakes_its_waiter(world, rt):
    def work():
        signal = rt.signal()

        def setter():
            rt.sleep(0.02)
            signal.set()

        rt.spawn(setter, "setter")
        return timed(rt, lambda: signal.wait(LONG_S))

    woken, seconds = world.run(work)
    assert woken
    assert seconds < LONG_S


def test_a_wait_ends_in_vain_at_its_deadline(world, rt):
    woken, seconds = world.run(lambda: timed(rt, lambda: rt.signal().wait(SHORT_S)))
    assert not woken
    assert SHORT_S - 0.01 <= seconds <= SHORT_S + LATE_S


# One call -------------------------------------------------------------------------------------------------------------


def test_a_call_brings_the_reply_and_tells_the_peer_who_asks(world, rt):
    asked = []

    def handler(sender: Peer, request: Request) -> Reply:
        asked.append((sender, request))
        return P2pAck()

    peer = world.serve(7, handler)
    assert world.run(lambda: rt.call(peer, P2pPing(), LONG_S)) == P2pAck()
    assert asked == [(ME, P2pPing())]
    assert world.stats.rpc_sent_requests == {("p2p_ping", "ok"): 1}


def test_a_failure_is_a_reply(world, rt):
    failure = P2pFailure(KEY, FailureReason.NOT_FOUND, "")
    peer = world.serve(7, lambda sender, request: failure)
    assert world.run(lambda: rt.call(peer, P2pGet(KEY, as_owner=True), LONG_S)) == failure
    assert world.stats.rpc_sent_requests == {("p2p_get", "ok"): 1}


@pytest.mark.parametrize(
    ("reason", "retriable"),
    [(ErrorReason.OVERLOAD, True), (ErrorReason.NOT_JOINED, True), (ErrorReason.UNSUPPORTED, False), (4000, False)],
)
def test_an_error_frame_is_raised_with_its_reason(world, rt, reason, retriable):
    peer = world.serve(7, lambda sender, request: P2pError(reason, "so it is"))
    error = world.run(lambda: outcome_of(lambda: rt.call(peer, P2pPing(), LONG_S)))
    assert isinstance(error, RemoteError)
    assert (error.reason, error.detail, error.retriable) == (reason, "so it is", retriable)
    assert world.stats.rpc_sent_requests == {("p2p_ping", "remote_error"): 1}


def test_a_reply_that_does_not_fit_is_the_peers_fault(world, rt):
    peer = world.serve(7, lambda sender, request: P2pReplyNeighbours((), ()))
    assert isinstance(world.run(lambda: outcome_of(lambda: rt.call(peer, P2pPing(), LONG_S))), RemoteProtocolError)


def test_a_peer_that_does_not_run_is_unreachable_at_once(world, rt):
    peer = world.nobody(7)
    error, seconds = world.run(lambda: timed(rt, lambda: outcome_of(lambda: rt.call(peer, P2pPing(), LONG_S))))
    assert isinstance(error, PeerUnreachable)
    assert seconds < LONG_S
    assert world.stats.rpc_sent_requests == {("p2p_ping", "refused"): 1}


def test_a_silent_peer_is_a_timeout_at_the_deadline(world, rt):
    peer = world.silent(7)
    error, seconds = world.run(lambda: timed(rt, lambda: outcome_of(lambda: rt.call(peer, P2pPing(), SHORT_S))))
    assert isinstance(error, CallTimeout)
    assert SHORT_S - 0.01 <= seconds <= SHORT_S + LATE_S
    assert world.stats.rpc_timeouts == {"p2p_ping": 1}
    assert world.stats.rpc_sent_requests == {("p2p_ping", "timeout"): 1}


def test_somebody_else_at_the_peers_address_is_not_the_peer(world, rt):
    other = Peer(8, world.serve(7, answer_ping).address)
    assert isinstance(world.run(lambda: outcome_of(lambda: rt.call(other, P2pPing(), LONG_S))), PeerUnreachable)


def test_a_node_of_another_ring_refuses(world, rt):
    peer = world.serve(7, answer_ping, ring="other")
    error = world.run(lambda: outcome_of(lambda: rt.call(peer, P2pPing(), LONG_S)))
    assert isinstance(error, RemoteError)
    assert (error.reason, error.retriable) == (ErrorReason.RING, False)


# Many calls -----------------------------------------------------------------------------------------------------------


def test_calls_yield_every_outcome_with_its_index(world, rt):
    peers = [world.serve(7, answer_ping), world.nobody(8), world.silent(9), world.serve(10, answer_ping)]
    outcomes = world.run(lambda: list(rt.calls([(peer, P2pPing()) for peer in peers], SHORT_S)))
    assert {index: type(outcome) for index, outcome in outcomes}.keys() == {0, 1, 2, 3}
    by_index = dict(outcomes)
    assert by_index[0] == by_index[3] == P2pAck()
    assert isinstance(by_index[1], PeerUnreachable)
    assert isinstance(by_index[2], CallTimeout)
    assert outcomes[-1][0] == 2  # the deadline comes last


def test_no_calls_yield_nothing(world, rt):
    assert world.run(lambda: list(rt.calls([], LONG_S))) == []


def test_abandoned_calls_are_carried_out_all_the_same(world, rt):
    asked = []

    def handler(sender: Peer, request: Request) -> Reply:
        asked.append(request)
        return P2pAck()

    requests = [(world.serve(ident, handler), P2pPing()) for ident in (7, 8, 9)]

    def work():
        first = next(iter(rt.calls(requests, LONG_S)))
        rt.sleep(SHORT_S)
        return first

    assert world.run(work)[1] == P2pAck()
    assert len(asked) == 3
    assert world.stats.rpc_sent_requests == {("p2p_ping", "ok"): 3}


def test_an_outcome_that_is_there_in_time_is_told(world, rt):
    peer = world.serve(7, answer_ping)
    assert world.run(lambda: rt.calls([(peer, P2pPing())], LONG_S).within(LONG_S)) == (0, P2pAck())


def test_one_that_is_not_is_told_later(world, rt):
    def work():
        calls = rt.calls([(world.silent(7), P2pPing())], LATE_S)
        early, waited_s = timed(rt, lambda: calls.within(SHORT_S))
        return early, waited_s, list(calls)

    early, waited_s, [(index, outcome)] = world.run(work)
    assert early is None
    assert SHORT_S * 0.99 <= waited_s < LATE_S
    assert (index, type(outcome)) == (0, CallTimeout)


def test_others_can_be_asked_meanwhile_and_the_indices_go_on(world, rt):
    """Each has its own time from when it was asked."""
    silent, peers = world.silent(7), [world.serve(ident, answer_ping) for ident in (8, 9)]

    def work():
        calls = rt.calls([(silent, P2pPing())], 4 * SHORT_S)
        assert calls.within(SHORT_S) is None
        calls.ask([(peer, P2pPing()) for peer in (*peers, silent)])
        started_s = rt.now()
        outcomes = list(calls)
        return outcomes, rt.now() - started_s, calls.within(LONG_S)

    outcomes, waited_s, after = world.run(work)
    assert sorted(index for index, _ in outcomes[:2]) == [1, 2]
    assert [(index, type(outcome)) for index, outcome in outcomes[2:]] == [(0, CallTimeout), (3, CallTimeout)]
    assert waited_s >= 4 * SHORT_S * 0.99
    assert after is None


def test_nothing_is_waited_for_where_nothing_was_asked(world, rt):
    outcome, waited_s = world.run(lambda: timed(rt, lambda: rt.calls([], LONG_S).within(LONG_S)))
    assert outcome is None
    assert waited_s < LATE_S


# Replies that wait for a disk -----------------------------------------------------------------------------------------


class HandCommit:
    """A commit that ends when the test says so."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[StoreError | None], None]] = []

    def when_ended(self, run: Callable[[StoreError | None], None]) -> None:
        self._waiting.append(run)

    def end(self, error: StoreError | None) -> None:
        while self._waiting:
            self._waiting.pop()(error)


@pytest.mark.parametrize("error", [None, StoreError("disk", "no space left")], ids=["well", "failed"])
def test_a_reply_comes_when_what_it_says_is_on_the_disk_and_holds_nothing_else_up(world, rt, error):
    commit = HandCommit()
    stored, failed = P2pSuccess(KEY, 1, 1, NO_VERSION, b""), P2pFailure(KEY, FailureReason.STORE_FAILED, "")

    def handler(sender: Peer, request: Request) -> Answer:
        return P2pAck() if isinstance(request, P2pPing) else Later(commit, stored, lambda _: failed)

    peer = world.serve(7, handler)
    put = P2pPut(KEY, 1, 1, NO_VERSION, True, b"")

    def work():
        outcomes = rt.calls([(peer, put), (peer, P2pPing())], LONG_S)
        first = next(outcomes)
        rt.sleep(SHORT_S)
        commit.end(error)
        return first, next(outcomes)

    assert world.run(work) == ((1, P2pAck()), (0, failed if error else stored))


# Identify -------------------------------------------------------------------------------------------------------------


def test_identify_tells_who_answers(world, rt):
    peer = world.serve(7, answer_ping)
    assert world.run(lambda: rt.identify(peer.address, LONG_S)) == peer


def test_identify_of_a_node_of_another_ring_is_refused(world, rt):
    peer = world.serve(7, answer_ping, ring="other")
    error = world.run(lambda: outcome_of(lambda: rt.identify(peer.address, LONG_S)))
    assert isinstance(error, RemoteError)
    assert error.reason == ErrorReason.RING


@pytest.mark.parametrize(("kind", "expected"), [("nobody", PeerUnreachable), ("silent", CallTimeout)])
def test_identify_in_vain(world, rt, kind, expected):
    peer = getattr(world, kind)(7)
    assert isinstance(world.run(lambda: outcome_of(lambda: rt.identify(peer.address, SHORT_S))), expected)
