"""Requests that take one round trip: which way they go, that their order holds, and what happens when it is no trip."""

from types import SimpleNamespace

import gevent
import pytest

from gdht.core.messages import (
    DhtFailure,
    DhtSuccess,
    FailureReason,
    P2pFailure,
    P2pGet,
    P2pPing,
    P2pPut,
    P2pSuccess,
    RecordCopy,
)
from gdht.core.peer import Peer
from gdht.core.records import NO_VERSION, Record
from gdht.errors import CallTimeout
from gdht.net.admission import UNDER_WAY_MAX, Admission
from gdht.net.api_connection import UNSENT_BYTES_MAX
from gdht.net.api_server import ApiServer
from gdht.net.calls import Call
from gdht.net.express import Express
from gdht.net.listener import open_socket
from gdht.net.runtime import GeventRuntime
from gdht.net.stream import Stream
from gdht.node.express import OwnRecords, PutPlan
from gdht.node.later import Later
from gdht.node.replication.get import GetOutcome
from gdht.node.replication.put import PutOutcome
from gdht.wire.codec import encode_dht
from tests.net.conftest import LOOPBACK, FakeNode

TIMEOUT_S = 0.3


def success(key, value=b""):
    return encode_dht(DhtSuccess(key, value))


def failure(key):
    return encode_dht(DhtFailure(key))


class Ping(Call):
    """A call of which nobody wants to know what became."""

    request = P2pPing()

    def take(self, outcome):
        pass


class OwnStore:
    """Of a store, what `OwnRecords` asks."""

    def __init__(self, values: dict[bytes, bytes]) -> None:
        self._values = values

    def value(self, key, _now_s):
        return self._values.get(key)

    def held(self, key):
        value = self._values.get(key)
        return None if value is None else Record(key, value, NO_VERSION, 60.0, 1)


class Gateway(FakeNode):
    """A node that owns nothing. owner: whom it takes for the owner of all. disk: commits that own writes wait for."""

    def __init__(self, me: Peer) -> None:
        super().__init__()
        self.me = me
        self.owner: Peer | None = None
        self.replicas: tuple[Peer, ...] = ()
        self.long_way: list[object] = []
        self.answered: list[Peer] = []
        self.own: dict[bytes, bytes] = {}
        self.patience_s = 60.0
        self.disk: list[object] | None = None

    def try_get(self, key):
        return GetOutcome("success", self.own[key]) if key in self.own else None

    def try_put(self, key, value, ttl_s, replication):
        return None

    def own_records(self):
        return OwnRecords(1, 0, OwnStore(self.own), 0.0)

    def plan_get(self, key):
        return self.owner

    def plan_put(self, key, value, ttl_s, replication):
        if self.owner is None:
            return None
        return PutPlan(RecordCopy(key, 1000, 1, NO_VERSION, value), (self.owner, *self.replicas), 0)

    def judge_put(self, plan, outcomes):
        stored = sum(isinstance(outcome, P2pSuccess) for outcome in outcomes)
        return PutOutcome("success", stored, stored) if stored == len(outcomes) else None

    def finish_get(self, key, asked):
        self.long_way.append(asked)
        self._wait(key)
        return GetOutcome("success", b"found the long way")

    def finish_put(self, begun):
        self.long_way.append(begun)
        self._wait(begun.copy.key)
        return PutOutcome("success", 1, 1)

    def now_s(self):
        return 0.0

    def note_answer(self, peer, seconds, reads):
        self.answered.append(peer)

    def is_late(self, owner, seconds):
        return seconds > self.patience_s

    def note_overload(self, operation, key, detail):
        self.log.append((f"overload {operation}", key, detail))

    def handle(self, sender, request):
        answer = super().handle(sender, request)
        if self.disk is None:
            return answer
        commit = SimpleNamespace(when_ended=self.disk.append)
        return Later(commit, answer, lambda error: P2pFailure(request.key, FailureReason.STORE_FAILED, str(error)))


@pytest.fixture
def gateway(stack, pool, stats, serve_peers):
    """An API server whose requests go to two peers that are served by `node`; both connections are open."""
    peers = [Peer(ident, str(serve_peers(ident=ident).address)) for ident in (7, 8)]
    for peer in peers:
        GeventRuntime(pool).call(peer, P2pPing(), 5.0)
    node = Gateway(Peer(1, "127.0.0.1:1"))
    node.owner = peers[0]
    admission = Admission()
    express = Express(node, pool, stats, TIMEOUT_S, admission)
    server = ApiServer(open_socket(LOOPBACK, "api_address"), 100, stats, node, admission, express)
    server.start()
    stack.callback(server.stop, 0)
    return SimpleNamespace(node=node, peers=peers, server=server, express=express, pool=pool, address=server.address)


def answer_with(node, answer):
    """Have the peers answer GETs with `answer(key)`, and all else as before."""
    usual = node.handle

    def handle(sender, request):
        return answer(request.key) if isinstance(request, P2pGet) else usual(sender, request)

    node.answer = handle
    node.handle = handle


# The express way ------------------------------------------------------------------------------------------------------


def test_a_get_is_one_call_to_the_owner_and_no_worker(gateway, dial, tools, node, stats):
    key = tools.key(1)
    node.values[key] = b"hello"
    client = dial(gateway)
    client.send(tools.get(key))
    assert client.read(41) == success(key, b"hello")
    assert [request for _, request in node.requests[2:]] == [P2pGet(key, True)]
    assert gateway.node.log == gateway.node.long_way == []
    assert stats.api_requests == {("get", "success"): 1}
    assert stats.route_cache["hit"] == 1


def test_a_put_is_one_call_to_each_replica(gateway, dial, tools, node, stats):
    gateway.node.replicas = (gateway.peers[1],)
    key = tools.key(1)
    client = dial(gateway)
    client.send(tools.put(key, b"v", answered=True))
    assert client.read(36) == success(key)
    writes = [request for _, request in node.requests if isinstance(request, P2pPut)]
    assert sorted(write.as_owner for write in writes) == [False, True]
    assert stats.api_requests == {("put", "success"): 1}


def test_hundreds_of_pipelined_requests_are_answered_in_their_order(gateway, dial, tools, node):
    keys = [tools.key(number) for number in range(500)]
    node.values = {key: key[-2:] for key in keys}
    client = dial(gateway)
    client.send(*map(tools.get, keys))
    client.end()
    assert client.read_all() == b"".join(success(key, key[-2:]) for key in keys)
    assert gateway.node.long_way == []


def test_many_requests_to_one_peer_leave_in_few_writes(gateway, dial, tools, node, pool):
    keys = [tools.key(number) for number in range(64)]
    node.values = dict.fromkeys(keys, b"v")
    client = dial(gateway)
    stream = pool._connections[gateway.peers[0]]._stream
    sent, send = [], stream._send
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            type(stream), "_send", lambda self, data: sent.append(self is stream) or send.__func__(self, data)
        )
        client.send(*map(tools.get, keys))
        assert client.read(37 * 64) == b"".join(success(key, b"v") for key in keys)
    assert sum(sent) < 16


def test_gets_of_the_same_key_overlap(gateway, dial, tools, node):
    key = tools.key(1)
    node.values[key] = b"v"
    client = dial(gateway)
    client.send(tools.get(key) * 100)
    assert client.read(37 * 100) == success(key, b"v") * 100
    assert gateway.node.log == gateway.node.long_way == []


def test_what_is_answered_here_does_not_overtake_what_is_not_known_yet(gateway, dial, tools, node, stats):
    """The second GET of a key is answered, the first has gone the long way: what follows waits for that."""
    key, own = tools.key(1), tools.key(2)
    gateway.node.own[own] = b"own"
    gateway.node.slow[key] = 0.05
    replies = iter([P2pFailure(key, FailureReason.NOT_RESPONSIBLE, ""), P2pSuccess(key, 1, 1, NO_VERSION, b"second")])
    answer_with(node, lambda _key: next(replies))
    client = dial(gateway)
    client.send(tools.get(own), tools.get(key), tools.get(key))
    assert client.read(39) == success(own, b"own")
    tools.wait_for(lambda: gateway.node.running and stats.api_requests["get", "success"] == 2)
    client.send(tools.get(own))
    expected = success(key, b"found the long way") + success(key, b"second") + success(own, b"own")
    assert client.read(len(expected)) == expected


def test_a_get_waits_for_the_put_before_it_and_a_put_for_the_get(gateway, dial, tools, node):
    """The later one of the same key goes the long way, after the first; another key does not wait."""
    key, other = tools.key(1), tools.key(2)
    node.values[other] = b"other"
    client = dial(gateway)
    gateway.node.values[key] = b"as it was"  # what the long way finds
    client.send(tools.put(key, b"new", answered=True), tools.get(key), tools.get(other))
    assert client.read(36 + 45 + 41) == success(key) + success(key, b"as it was") + success(other, b"other")
    assert gateway.node.log == [("get", key)]
    client.send(tools.get(other), tools.put(other, b"x", answered=True))
    assert client.read(41 + 36) == success(other, b"other") + success(other)
    assert gateway.node.log == [("get", key), ("put", other)]


# The long way ---------------------------------------------------------------------------------------------------------


def test_without_an_open_connection_to_the_owner_it_is_the_long_way(gateway, dial, tools, node):
    gateway.node.owner = Peer(9, "127.0.0.1:9")
    gateway.node.values[tools.key(1)] = b"v"
    client = dial(gateway)
    client.send(tools.get(tools.key(1)))
    assert client.read(37) == success(tools.key(1), b"v")
    assert gateway.node.log == [("get", tools.key(1))]


def test_what_an_owner_says_that_is_no_value_goes_on_from_there(gateway, dial, tools, node):
    refusals = [
        P2pFailure(tools.key(1), FailureReason.NOT_RESPONSIBLE, ""),
        P2pSuccess(tools.key(1), 0, 3, NO_VERSION, b"", 5000),  # a tombstone
    ]
    client = dial(gateway)
    for refusal in refusals:
        answer_with(node, lambda _key, refusal=refusal: refusal)
        client.send(tools.get(tools.key(1)))
        assert client.read(36 + 18) == success(tools.key(1), b"found the long way")
    assert [(asked.owner, asked.reply) for asked in gateway.node.long_way] == [
        (gateway.node.owner, refusal) for refusal in refusals
    ]


def test_an_owner_that_dies_with_requests_under_way_answers_none_and_none_is_lost(
    gateway, dial, tools, node, stack, fake_peer, hello, pool
):
    """Its connection breaks: what was under way is sent once more, in vain, and goes the long way."""
    from tests.net.test_pool import greeting

    seen = []
    dying = fake_peer(greeting(hello(ident=9), seen=seen))
    peer = Peer(9, str(dying.address))
    pool.submit(Ping(peer, 5.0, pool.stats))
    tools.wait_for(lambda: pool.ready(peer))
    gateway.node.owner = peer
    client = dial(gateway)
    client.send(*(tools.get(tools.key(number)) for number in range(10)))
    tools.wait_for(lambda: len(seen) == 11)
    pool._connections[peer]._stream.abort(ConnectionResetError(104, "reset"))
    pool._connections.get(peer) and pool._connections[peer].close("gone")
    assert client.read(54 * 10) == b"".join(success(tools.key(n), b"found the long way") for n in range(10))


def test_silence_ends_when_the_time_is_over_and_goes_the_long_way(gateway, dial, tools, node):
    answer_with(node, lambda key: Later(SimpleNamespace(when_ended=lambda _: None), None, None))
    client = dial(gateway)
    client.send(tools.get(tools.key(1)))
    gevent.sleep(TIMEOUT_S / 2)
    gateway.express.tend()
    assert gateway.node.long_way == []
    gevent.sleep(TIMEOUT_S)
    gateway.express.tend()
    assert client.read(54) == success(tools.key(1), b"found the long way")
    assert isinstance(gateway.node.long_way[0].reply, CallTimeout)


def test_a_late_owner_is_not_waited_for_alone_and_whoever_is_sooner_answers(gateway, dial, tools, node):
    """The long way asks the replicas; when the owner answers before them, its answer counts, and once."""
    late = []
    answer_with(
        node, lambda key: Later(SimpleNamespace(when_ended=late.append), P2pSuccess(key, 1, 1, NO_VERSION, b"o"), 0)
    )
    gateway.node.patience_s = 0.01
    client = dial(gateway)
    client.send(tools.get(tools.key(1)))
    tools.wait_for(lambda: late)
    gateway.express.tend()
    gevent.sleep(0.02)
    gateway.express.tend()
    assert client.read(54) == success(tools.key(1), b"found the long way")
    assert [asked.reply for asked in gateway.node.long_way] == [None]
    gateway.node.slow[tools.key(2)] = 0.1
    client.send(tools.get(tools.key(2)))
    tools.wait_for(lambda: len(late) == 2)
    gevent.sleep(0.02)
    gateway.express.tend()
    tools.wait_for(lambda: gateway.node.running)
    late[1](None)
    assert client.read(37) == success(tools.key(2), b"o")
    tools.wait_for(lambda: not gateway.node.running)
    late[0](None)
    client.send(tools.get(tools.key(3)))
    client.end()
    gateway.express.tend()
    tools.wait_for(lambda: len(late) == 3)
    late[2](None)
    assert client.read_all() == success(tools.key(3), b"o")
    assert gateway.server._admission.under_way == 0


def test_when_two_owners_are_late_at_once_it_is_not_them_who_are_slow(gateway, dial, tools, node):
    late = []
    commit = SimpleNamespace(when_ended=late.append)
    answer_with(node, lambda key: Later(commit, P2pSuccess(key, 1, 1, NO_VERSION, b"o"), None))
    gateway.node.patience_s = 0.01
    client = dial(gateway)
    for number, owner in enumerate(gateway.peers):
        gateway.node.owner = owner
        client.send(tools.get(tools.key(number)))
        tools.wait_for(lambda number=number: len(late) == number + 1)
    gevent.sleep(0.02)
    gateway.express.tend()
    for answer in late:
        answer(None)
    assert client.read(74) == success(tools.key(0), b"o") + success(tools.key(1), b"o")
    assert gateway.node.long_way == []


def test_a_put_that_one_replica_refuses_goes_on_with_all_that_was_heard(gateway, dial, tools, node):
    gateway.node.replicas = (gateway.peers[1],)
    key = tools.key(1)
    full = P2pFailure(key, FailureReason.STORE_FULL, "full")
    node.answer = lambda _sender, request: P2pSuccess(key, 1, 1, NO_VERSION, b"") if request.as_owner else full
    client = dial(gateway)
    client.send(tools.put(key, b"v", answered=True))
    assert client.read(36) == success(key)
    (begun,) = gateway.node.long_way
    assert begun.peers == (gateway.peers[0], gateway.peers[1])
    assert [type(outcome) for outcome in begun.outcomes] == [P2pSuccess, P2pFailure]


def test_our_own_replica_is_waited_for_until_it_is_on_the_disk(gateway, dial, tools, node):
    gateway.node.replicas = (gateway.node.me,)
    gateway.node.disk = []
    client = dial(gateway)
    client.send(tools.put(tools.key(1), b"v", answered=True), tools.get(tools.key(2)))
    tools.wait_for(lambda: gateway.node.disk)
    gevent.sleep(0.05)
    gateway.express.tend()
    with gevent.Timeout(0.05, False):
        assert client.read(1) == b"", "nothing is answered before the put is durable"
    gateway.node.disk.pop()(None)
    assert client.read(36) == success(tools.key(1))
    assert gateway.node.long_way == []


def test_a_disk_of_our_own_that_hangs_is_given_up_like_a_silent_peer(gateway, dial, tools, node):
    gateway.node.replicas = (gateway.node.me,)
    gateway.node.disk = []
    client = dial(gateway)
    client.send(tools.put(tools.key(1), b"v", answered=True))
    tools.wait_for(lambda: gateway.node.disk)
    gevent.sleep(TIMEOUT_S)
    gateway.express.tend()
    assert client.read(36) == success(tools.key(1))
    (begun,) = gateway.node.long_way
    assert [type(outcome) for outcome in begun.outcomes] == [P2pSuccess, CallTimeout]
    gateway.node.disk.pop()(None)  # too late: nobody is there to hear it


# Too much -------------------------------------------------------------------------------------------------------------


def room_for_one_peer(gateway, monkeypatch, calls):
    """Have only so many calls wait for a peer that says nothing."""
    monkeypatch.setattr("gdht.net.admission.ONE_PEER_SHARE", calls / UNDER_WAY_MAX)
    gateway.express.timeout_s = 60.0
    admission = gateway.server._admission
    admission.one_peer_max = calls
    return admission


def own_all(gateway, values):
    """Have the gateway own the whole circle, and hold these values."""
    gateway.node.own = values
    records = OwnRecords(1, 1, OwnStore(values), 0.0)
    gateway.node.own_records = lambda: records


def test_a_record_that_cannot_be_read_costs_no_other_answer(gateway, dial, tools):
    class Broken(dict):
        def get(self, key, default=None):
            if key == bad:
                raise OSError("Input/output error")
            return super().get(key, default)

        __contains__ = get

    good, bad = tools.key(1), tools.key(2)
    own_all(gateway, Broken({good: b"v"}))
    client = dial(gateway)
    client.send(tools.get(good), tools.get(bad), tools.get(good))
    assert client.read(2 * 37 + 36) == success(good, b"v") + success(bad) + success(good, b"v")


def test_no_more_answers_are_made_at_once_than_may_wait(gateway, dial, tools, monkeypatch):
    held, hold = [], Stream.hold
    monkeypatch.setattr(Stream, "hold", lambda stream, frame: (held.append(len(frame)), hold(stream, frame)))
    key, value = tools.key(1), bytes(60_000)
    own_all(gateway, {key: value})
    client = dial(gateway)
    client.send(tools.get(key) * 64)
    assert client.read(64 * (36 + len(value))) == success(key, value) * 64
    assert max(held) < UNSENT_BYTES_MAX + 2 * len(value)


def test_a_put_waits_for_every_earlier_get_of_its_key(gateway, dial, tools, node):
    """Also when a later one of these has its answer already."""
    late, key = [], tools.key(1)
    slow = Later(SimpleNamespace(when_ended=late.append), P2pSuccess(key, 1, 1, NO_VERSION, b"old"), 0)
    answers = iter([slow, P2pSuccess(key, 1, 1, NO_VERSION, b"old")])
    answer_with(node, lambda _key: next(answers))
    gateway.express.timeout_s = 60.0
    client = dial(gateway)
    client.send(tools.get(key), tools.get(key), tools.put(key, b"new", answered=True))
    tools.wait_for(lambda: gateway.server._admission.under_way == 2)
    gevent.sleep(0.05)
    assert not [request for _, request in node.requests if isinstance(request, P2pPut)]
    late[0](None)
    assert client.read(2 * 39 + 36) == success(key, b"old") * 2 + success(key)


def test_a_put_whose_copy_here_cannot_be_written_or_judged_takes_the_long_way(gateway, dial, tools, caplog):
    gateway.node.replicas = (gateway.node.me,)

    def broken(_sender, _request):
        raise OSError("Input/output error")

    gateway.node.handle = broken
    client = dial(gateway)
    client.send(tools.put(tools.key(1), b"v", answered=True))
    assert client.read(36) == success(tools.key(1))
    assert len(gateway.node.long_way) == 1
    assert gateway.server._admission.under_way == 0
    assert "Input/output error" in caplog.text


def test_a_request_for_which_no_way_can_be_planned_fails_alone(gateway, dial, tools, node, stats):
    def broken(_key):
        raise OSError("Input/output error")

    gateway.node.plan_get = broken
    client = dial(gateway)
    client.send(tools.get(tools.key(1)), tools.put(tools.key(2), b"v", answered=True))
    assert client.read(2 * 36) == failure(tools.key(1)) + success(tools.key(2))
    assert stats.api_requests == {("get", "error"): 1, ("put", "success"): 1}
    assert gateway.server._admission.under_way == 0


def stand_still(gateway, dial, tools, node, gets):
    """Have the owner take so many GETs of a client, the first keys, and stand still; the client, and what ends each."""
    late = []
    answer_with(
        node, lambda key: Later(SimpleNamespace(when_ended=late.append), P2pSuccess(key, 1, 1, NO_VERSION, b"o"), 0)
    )
    client = dial(gateway)
    client.send(*(tools.get(tools.key(number)) for number in range(gets)))
    tools.wait_for(lambda: len(late) == gets)
    tools.wait_for(gateway.pool.ready(gateway.node.owner).stands_still)
    return client, late


def test_what_is_more_than_a_node_can_take_is_refused_at_once_and_counted(gateway, dial, tools, stats):
    gateway.server._admission = Admission(under_way_max=5)
    gateway.node.owner = None
    gateway.node.slow = {tools.key(number): 0.1 for number in range(8)}
    client = dial(gateway)
    client.send(*(tools.get(tools.key(number)) for number in range(8)))
    assert client.read(36 * 8) == b"".join(failure(tools.key(number)) for number in range(8))
    assert stats.api_requests == {("get", "not_found"): 5, ("get", "overload"): 3}
    assert [entry for entry in gateway.node.log if "overload" in entry[0]] == [
        ("overload get", tools.key(number), "too many requests") for number in (5, 6, 7)
    ]
    client.send(tools.get(tools.key(9)))
    assert client.read(36) == failure(tools.key(9))
    assert stats.api_requests["get", "not_found"] == 6, "served again at once"
    assert gateway.server._admission.under_way == 0


@pytest.mark.parametrize("operation", ["get", "put"])
def test_what_waits_for_one_peer_that_stands_still_leaves_room_for_what_needs_others(
    gateway, dial, tools, node, stats, operation, monkeypatch
):
    admission = room_for_one_peer(gateway, monkeypatch, 3)
    client, late = stand_still(gateway, dial, tools, node, 4)
    more, other = dial(gateway), dial(gateway)
    ask = tools.get if operation == "get" else lambda key: tools.put(key, b"v", answered=True)
    more.send(ask(tools.key(4)), ask(tools.key(4)), ask(tools.key(5)))
    assert more.read(3 * 36) == failure(tools.key(4)) * 2 + failure(tools.key(5))
    assert stats.api_requests[operation, "overload"] == 3
    assert [(what, why) for what, _, why in gateway.node.log] == [
        (f"overload {operation}", "too many requests for a node that does not answer")
    ] * 3
    assert admission.under_way == 4
    gateway.node.owner = gateway.peers[1]
    other.send(tools.put(tools.key(6), b"v", answered=True))
    assert other.read(36) == success(tools.key(6))
    for ended in late:
        ended(None)
    assert client.read(4 * 37) == b"".join(success(tools.key(number), b"o") for number in range(4))


def test_a_put_is_refused_for_a_replica_that_stands_still_as_for_an_owner(
    gateway, dial, tools, node, stats, monkeypatch
):
    room_for_one_peer(gateway, monkeypatch, 3)
    stand_still(gateway, dial, tools, node, 4)
    gateway.node.owner, gateway.node.replicas = gateway.peers[1], (gateway.peers[0],)
    client = dial(gateway)
    client.send(tools.put(tools.key(5), b"v", answered=True))
    assert client.read(36) == failure(tools.key(5))
    assert stats.api_requests == {("put", "overload"): 1}
    assert not [request for _, request in node.requests if isinstance(request, P2pPut)], "none of them was asked"


def test_a_silent_put_that_is_refused_for_a_peer_takes_no_place_in_the_order(gateway, dial, tools, node, monkeypatch):
    room_for_one_peer(gateway, monkeypatch, 3)
    stand_still(gateway, dial, tools, node, 4)
    client = dial(gateway)
    client.send(tools.put(tools.key(5), b"v"), tools.get(tools.key(6)))
    assert client.read(36) == failure(tools.key(6))
    assert [why for why, *_ in gateway.node.log] == ["overload put", "overload get"]


def test_a_refusal_waits_for_the_answers_to_what_was_asked_before(gateway, dial, tools, node, monkeypatch):
    room_for_one_peer(gateway, monkeypatch, 3)
    client, late = stand_still(gateway, dial, tools, node, 4)
    client.send(tools.get(tools.key(5)))
    tools.wait_for(lambda: gateway.node.log)
    for ended in late:
        ended(None)
    answers = [success(tools.key(number), b"o") for number in range(4)]
    assert client.read(4 * 37 + 36) == b"".join(answers) + failure(tools.key(5))


def test_however_much_waits_for_a_peer_that_answers_no_more_than_others_is_refused(
    gateway, dial, tools, node, stats, monkeypatch
):
    """It is slow, as all are that have much to do; how much is taken then is decided by time."""
    room_for_one_peer(gateway, monkeypatch, 3)
    client, late = stand_still(gateway, dial, tools, node, 9)
    late.pop(0)(None)
    assert client.read(37) == success(tools.key(0), b"o")
    client.send(tools.get(tools.key(9)))
    tools.wait_for(lambda: len(late) == 9)
    for ended in late:
        ended(None)
    assert client.read(9 * 37) == b"".join(success(tools.key(number), b"o") for number in range(1, 10))
    assert stats.api_requests == {("get", "success"): 10}


def test_a_silent_put_that_is_refused_takes_no_place_in_the_order(gateway, dial, tools, node):
    gateway.server._admission = Admission(under_way_max=0)
    client = dial(gateway)
    client.send(tools.put(tools.key(1), b"v"), tools.put(tools.key(2), b"v", answered=True))
    assert client.read(36) == failure(tools.key(2))


@pytest.mark.parametrize("express", [True, False])
def test_a_client_that_goes_away_leaves_nothing_under_way(gateway, dial, tools, node, express):
    keys, late = [tools.key(number) for number in range(20)], []
    answer_with(
        node, lambda key: Later(SimpleNamespace(when_ended=late.append), P2pSuccess(key, 1, 1, NO_VERSION, b"o"), 0)
    )
    gateway.node.slow = dict.fromkeys(keys, 0.05)
    if not express:
        gateway.node.owner = None
    client = dial(gateway)
    client.send(*map(tools.get, keys), *(tools.put(key, b"v") for key in keys[:5]))
    tools.wait_for(lambda: gateway.server._admission.under_way == 25)
    client.sock.close()
    for ended in late:
        ended(None)
    tools.wait_for(lambda: gateway.server._admission.under_way == 0)
    assert len(late) == (20 if express else 0)


def test_when_much_is_asked_late_owners_are_waited_for_alone(gateway, dial, tools, node, monkeypatch):
    """To ask their replicas as well would be more of what there is too much of."""
    late = []
    answer_with(
        node, lambda key: Later(SimpleNamespace(when_ended=late.append), P2pSuccess(key, 1, 1, NO_VERSION, b"o"), 0)
    )
    gateway.node.patience_s = 0.01
    monkeypatch.setattr(gateway.server._admission, "_least", 0)
    client = dial(gateway)
    client.send(tools.get(tools.key(1)))
    tools.wait_for(lambda: late)
    gevent.sleep(0.02)
    gateway.express.tend()
    gevent.sleep(0.02)
    assert gateway.node.long_way == []
    late[0](None)
    assert client.read(37) == success(tools.key(1), b"o")
