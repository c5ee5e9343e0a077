"""Calls over the simulated network: real frames, and every way in which no answer comes."""

from random import Random

import pytest

from gdht.core.ident import hash_ident
from gdht.core.messages import ErrorReason, P2pAck, P2pPing
from gdht.core.peer import Peer
from gdht.errors import CallTimeout, PeerUnreachable, RemoteError
from gdht.node.stats import Stats
from gdht.sim.delays import constant, exponential, lognormal, uniform
from gdht.sim.endpoint import Endpoint
from gdht.sim.network import Network, NetworkOptions
from gdht.sim.runtime import SimRuntime
from gdht.sim.scheduler import Scheduler
from gdht.sim.trace import Trace

DELAY_S = 0.1
TIMEOUT_S = 2.0
CALM = NetworkOptions(delay=constant(DELAY_S))


class World:
    """Nodes that answer pings and remember who pinged."""

    def __init__(self, scheduler: Scheduler, seed: int = 1, **options) -> None:
        self.scheduler = scheduler
        self.network = Network(scheduler, seed, NetworkOptions(**{"delay": constant(DELAY_S)} | options), Trace())
        self.peers = {}
        self.processes = {}
        self.runtimes = {}
        self.pinged = []
        self.stats = {}

    def start(self, name: str, ring: str = "default", ident: int | None = None) -> Peer:
        peer = Peer(hash_ident(name.encode()) if ident is None else ident, f"{name}:6000")
        self.peers[name] = peer
        process = self.scheduler.process(name)
        endpoint = Endpoint(self.network, process, peer, ring)

        def handle(sender: Peer, request: P2pPing) -> P2pAck:
            self.pinged.append((name, sender))
            return P2pAck()

        self.stats[name] = Stats()
        endpoint.serve(handle, self.stats[name])
        self.processes[name] = process
        self.runtimes[name] = SimRuntime(process, endpoint, Random(f"1/{name}"))
        return peer

    def ping(self, source: str, target: Peer):
        """The reply or the error, and the seconds that it took."""
        start = self.scheduler.now
        runtime = self.runtimes[source]

        def run():
            try:
                return runtime.call(target, P2pPing(), TIMEOUT_S), self.scheduler.now - start
            except (CallTimeout, PeerUnreachable, RemoteError) as error:
                return error, self.scheduler.now - start

        return self.scheduler.run_task(self.processes[source], run, 60.0)


@pytest.fixture
def scheduler():
    with Scheduler("seed 1") as scheduler:
        yield scheduler


@pytest.fixture
def world(scheduler) -> World:
    return World(scheduler)


def test_a_call_takes_one_round_trip_and_tells_the_receiver_who_asks(world):
    a, b = world.start("a"), world.start("b")
    assert world.ping("a", b) == (P2pAck(), pytest.approx(2 * DELAY_S))
    assert world.pinged == [("b", a)]


def test_hello_is_exchanged_once_per_link(world):
    world.start("a")
    b = world.start("b")
    world.ping("a", b)
    world.ping("a", b)
    kinds = [line.split()[2] for line in world.network.trace.tail]
    assert kinds == ["HELLO", "P2pPing", "HELLO", "P2pAck", "P2pPing", "P2pAck"]


def test_a_node_of_another_ring_is_refused(world):
    world.start("a", ring="red")
    error, _ = world.ping("a", world.start("b", ring="blue"))
    assert isinstance(error, RemoteError)
    assert (error.reason, error.retriable) == (ErrorReason.RING, False)
    assert world.pinged == []


def test_somebody_else_at_the_address_is_unreachable(world):
    world.start("a")
    b = world.start("b")
    error, _ = world.ping("a", Peer(b.ident + 1, b.address))
    assert isinstance(error, PeerUnreachable)


def test_a_node_may_call_itself(world):
    assert world.ping("a", world.start("a"))[0] == P2pAck()


def test_somebody_with_our_identifier_is_refused(world):
    world.start("a")
    b = world.start("b", ident=world.peers["a"].ident)
    error, _ = world.ping("a", b)
    assert isinstance(error, RemoteError)
    assert error.reason == ErrorReason.IDENT


def test_a_dead_node_may_refuse_at_once(scheduler):
    world = World(scheduler, refusal=1.0)
    world.start("a")
    b = world.start("b")
    world.processes["b"].kill()
    error, seconds = world.ping("a", b)
    assert isinstance(error, PeerUnreachable)
    assert seconds == pytest.approx(2 * DELAY_S)


def test_a_dead_node_may_be_silent_until_the_deadline(scheduler):
    world = World(scheduler, refusal=0.0)
    world.start("a")
    error, seconds = world.ping("a", Peer(1, "nobody:6000"))
    assert isinstance(error, CallTimeout)
    assert seconds == pytest.approx(TIMEOUT_S)


def test_a_lost_message_is_a_timeout_at_the_deadline(scheduler):
    world = World(scheduler, loss=1.0)
    world.start("a")
    error, seconds = world.ping("a", world.start("b"))
    assert isinstance(error, CallTimeout)
    assert seconds == pytest.approx(TIMEOUT_S)
    assert world.pinged == []


def test_about_the_given_share_of_messages_is_lost(scheduler):
    world = World(scheduler, loss=0.25)
    world.start("a")
    b = world.start("b")
    answered = sum(world.ping("a", b)[0] == P2pAck() for _ in range(400))
    assert 0.5 < answered / 400 < 0.62  # 0.75 squared is 0.5625


def test_a_crash_before_the_request_arrives_brings_no_answer(world):
    world.start("a")
    b = world.start("b")
    world.scheduler.after(DELAY_S / 2, lambda _: world.processes["b"].kill(), None, None)
    assert isinstance(world.ping("a", b)[0], CallTimeout | PeerUnreachable)
    assert world.pinged == []


def test_an_answer_for_an_earlier_run_of_the_asker_is_dropped(world):
    world.start("a")
    b = world.start("b")
    world.scheduler.after(DELAY_S * 1.5, lambda _: world.processes["a"].kill(), None, None)
    assert world.ping("a", b) is None
    world.start("a")
    world.scheduler.run_for(10.0)
    assert world.ping("a", b)[0] == P2pAck()


def test_a_restarted_node_is_greeted_anew(world):
    world.start("a")
    b = world.start("b")
    world.ping("a", b)
    world.processes["b"].kill()
    world.start("b")
    assert world.ping("a", b)[0] == P2pAck()


def test_a_cut_link_carries_nothing_one_way(world):
    a, b = world.start("a"), world.start("b")
    world.network.cut("a:6000", "b:6000")
    assert isinstance(world.ping("a", b)[0], CallTimeout)
    assert world.pinged == []
    assert isinstance(world.ping("b", a)[0], CallTimeout)
    assert world.pinged == [("a", b)]  # the request came through, its answer did not
    world.network.mend("a:6000", "b:6000")
    assert world.ping("a", b)[0] == P2pAck()


def test_a_partition_parts_groups_until_it_heals(world):
    world.start("a")
    b, c = world.start("b"), world.start("c")
    world.network.partition(["a:6000", "b:6000"])
    assert world.ping("a", b)[0] == P2pAck()
    assert isinstance(world.ping("a", c)[0], CallTimeout)
    world.network.heal()
    assert world.ping("a", c)[0] == P2pAck()


def test_a_paused_node_answers_late(world):
    world.start("a")
    b = world.start("b")
    world.processes["b"].pause()
    world.scheduler.after(1.0, lambda _: world.processes["b"].unpause(), None, None)
    assert world.ping("a", b) == (P2pAck(), pytest.approx(1.0 + DELAY_S))


def test_a_resumed_node_runs_its_due_timers_before_the_answers_that_waited(world):
    """The deadline has passed although the answer is there: what a stopped process sees when it goes on."""
    world.start("a")
    b = world.start("b")
    world.scheduler.after(DELAY_S / 2, lambda _: world.processes["a"].pause(), None, None)
    world.scheduler.after(TIMEOUT_S + 1.0, lambda _: world.processes["a"].unpause(), None, None)
    error, seconds = world.ping("a", b)
    assert isinstance(error, CallTimeout)
    assert seconds == pytest.approx(TIMEOUT_S + 1.0)
    assert len(world.pinged) == 1


def test_a_clogged_link_keeps_messages_until_it_is_unclogged(world):
    a, b = world.start("a"), world.start("b")
    world.network.clog("a:6000", "b:6000")
    assert world.network.clogged == [("a:6000", "b:6000")]
    world.scheduler.after(1.0, lambda _: world.network.unclog("a:6000", "b:6000"), None, None)
    assert world.ping("a", b) == (P2pAck(), pytest.approx(1.0 + 2 * DELAY_S))
    assert world.network.clogged == []
    world.network.clog("a:6000", "b:6000")
    error, _ = world.ping("b", a)
    assert isinstance(error, CallTimeout)  # asked, but the answer waits
    assert world.pinged == [("b", a), ("a", b)]


def test_links_are_clogged_and_unclogged_one_by_one_in_any_order(scheduler):
    world = World(scheduler)
    peers = [world.start(name) for name in "abcd"]
    links = [("a:6000", peer.address) for peer in peers[1:]]
    for link in links:
        world.network.clog(*link)
    order = Random(5).sample(links, 3)
    for second, link in enumerate(order, 1):
        scheduler.after(0.3 * second, lambda _, link=link: world.network.unclog(*link), None, None)
    runtime = world.runtimes["a"]

    def run() -> list[int]:
        return [index for index, _ in runtime.calls([(peer, P2pPing()) for peer in peers[1:]], TIMEOUT_S)]

    arrived = scheduler.run_task(world.processes["a"], run, 60.0)
    assert [links[index] for index in arrived] == order


def test_healing_unclogs_everything(world):
    world.start("a")
    b = world.start("b")
    world.network.clog("a:6000", "b:6000")
    world.scheduler.after(0.5, lambda _: world.network.heal(), None, None)
    assert world.ping("a", b)[0] == P2pAck()


def test_what_comes_to_a_slow_node_queues_up(world):
    world.start("a")
    b = world.start("b")
    world.processes["b"].slow_down(0.25)
    assert world.ping("a", b) == (P2pAck(), pytest.approx(2 * DELAY_S + 0.25))
    runtime = world.runtimes["a"]

    def run() -> list[float]:
        start = world.scheduler.now
        return [world.scheduler.now - start for _ in runtime.calls([(b, P2pPing())] * 3, TIMEOUT_S)]

    waits = world.scheduler.run_task(world.processes["a"], run, 60.0)
    assert waits == pytest.approx([2 * DELAY_S + 0.25 * place for place in (1, 2, 3)])
    world.processes["b"].slow_down(0.0)
    assert world.ping("a", b) == (P2pAck(), pytest.approx(2 * DELAY_S))


# What becomes of connections ------------------------------------------------------------------------------------------


def reset_all(world: World) -> None:
    """From now on every request costs the connection it is sent on, while it is under way."""
    world.network.options = NetworkOptions(delay=constant(DELAY_S), reset=1.0)


def test_a_request_may_have_been_carried_out_though_its_connection_was_reset(scheduler):
    outcomes = []
    for seed in range(20):
        world = World(scheduler, seed, reset=1.0)
        world.start("a")
        error, _ = world.ping("a", world.start("b"))
        assert isinstance(error, PeerUnreachable)  # the connection was opened for this call: it is not tried again
        scheduler.run_for(DELAY_S)
        outcomes.append(len(world.pinged))
    assert {0, 1} == set(outcomes)


def test_a_request_on_a_connection_that_was_open_is_sent_once_more_after_a_reset(scheduler):
    carried_out = []
    for seed in range(20):
        world = World(scheduler, seed)
        world.start("a")
        b = world.start("b")
        world.ping("a", b)
        world.pinged.clear()
        reset_all(world)
        scheduler.after(DELAY_S * 0.9, lambda _, world=world: setattr(world.network, "options", CALM), None, None)
        assert world.ping("a", b)[0] == P2pAck()
        carried_out.append(len(world.pinged))
    assert set(carried_out) == {1, 2}


def test_a_reset_ends_every_call_under_way_on_that_connection(world):
    world.start("a")
    b, c = world.start("b"), world.start("c")
    for peer in (b, c):
        world.ping("a", peer)
    endpoint = world.network.listening("a:6000")
    runtime = world.runtimes["a"]
    connection = endpoint._connections["b:6000"]
    world.scheduler.after(DELAY_S / 2, endpoint.lose, connection, world.processes["a"])

    def run() -> list[int]:
        return [index for index, _ in runtime.calls([(b, P2pPing()), (b, P2pPing()), (c, P2pPing())], TIMEOUT_S)]

    assert world.scheduler.run_task(world.processes["a"], run, 60.0) == [2, 0, 1]  # those to b were sent again
    assert endpoint._connections["b:6000"] is not connection


def test_calls_are_counted_by_method_and_result_on_both_sides(world):
    world.start("a")
    world.ping("a", world.start("b"))
    world.ping("a", Peer(1, "nobody:6000"))
    sent = world.stats["a"].rpc_sent_requests
    assert sent["p2p_ping", "ok"] == 1
    assert sum(sent.values()) == 2
    assert world.stats["b"].rpc_received_requests == {("p2p_ping", "ok"): 1}
    assert world.stats["a"].rpc_sent_duration["p2p_ping"].count == 2


@pytest.mark.parametrize(
    ("delay", "mean_s"), [(constant(0.1), 0.1), (uniform(0.1, 0.3), 0.2), (exponential(0.05), 0.05)]
)
def test_delays_have_their_mean(delay, mean_s):
    rng = Random(3)
    assert sum(delay(rng) for _ in range(5000)) / 5000 == pytest.approx(mean_s, rel=0.05)


def test_a_lognormal_delay_has_a_heavy_tail():
    rng = Random(3)
    drawn = sorted(lognormal(0.05, 1.5)(rng) for _ in range(5000))
    assert drawn[2500] == pytest.approx(0.05, rel=0.1)
    assert drawn[4950] > 20 * drawn[2500]  # one in a hundred; with exponential delays it would be 7 times
