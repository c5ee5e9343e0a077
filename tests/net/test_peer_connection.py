"""One connection of another node: requests are answered in order, most of them at once; what is none ends it."""

import struct
import tracemalloc
from time import perf_counter

import gevent
import pytest

from gdht.config import DhtConfig
from gdht.core.messages import (
    VALUE_BYTES_MAX,
    ErrorReason,
    FailureReason,
    P2pAck,
    P2pFailure,
    P2pGet,
    P2pGetNeighbours,
    P2pPing,
    P2pPut,
    P2pReplyNeighbours,
    P2pSuccess,
)
from gdht.core.peer import Peer
from gdht.core.records import NO_VERSION, Record, Version
from gdht.errors import StoreError
from gdht.net import peer_connection
from gdht.net.stream import Stream
from gdht.node.express import OwnRecords
from gdht.node.express import intake as intake_of
from gdht.node.handlers import handle
from gdht.node.state import NodeState
from gdht.node.status import State
from gdht.store import durable
from gdht.store.durable import DurableStore
from gdht.store.layout import RECORD_OVERHEAD_BYTES
from gdht.wire.codec import encode_p2p
from tests.net.conftest import read_answers
from tests.store.disks import FAILURE, Aside, DictDisk


def test_malformed_frames_are_answered_up_to_them_and_closed(serve_peers, greeted, stats):
    client, decoder = greeted(serve_peers())
    client.send(encode_p2p(P2pPing(), 1), struct.pack(">IHBBI", 1 << 31, 668, 1, 0, 2), b"x" * 100_000)
    (ack, (request_id, error)) = read_answers(client, decoder, 2)
    assert ack == (1, P2pAck())
    assert (request_id, error.reason) == (0, ErrorReason.MALFORMED)
    assert client.read_all() == b""
    assert stats.peer_rejected == {"too_large": 1}


def test_an_answer_without_a_question_is_malformed(serve_peers, greeted, stats):
    client, decoder = greeted(serve_peers())
    client.send(encode_p2p(P2pReplyNeighbours((), ()), 1))
    assert read_answers(client, decoder, 1)[0][1].reason == ErrorReason.MALFORMED
    assert stats.peer_rejected == {"type": 1}


def test_requests_before_an_answer_without_a_question_are_answered(serve_peers, greeted, node):
    client, decoder = greeted(serve_peers())
    client.send(*(encode_p2p(message, number) for number, message in enumerate((P2pPing(), P2pAck(), P2pPing()), 5)))
    (ack, (request_id, error)) = decoder.feed(client.read_all())
    assert ack == (5, P2pAck())
    assert (request_id, error.reason) == (0, ErrorReason.MALFORMED)
    assert len(node.requests) == 1


def test_a_bug_in_a_handler_is_an_internal_error_of_that_request_only(serve_peers, greeted, node, stats, caplog):
    node.answer = lambda _sender, request: P2pAck() if isinstance(request, P2pPing) else 1 / 0
    client, decoder = greeted(serve_peers())
    client.send(encode_p2p(P2pGetNeighbours(), 1), encode_p2p(P2pPing(), 2))
    ((_id, error), ack) = read_answers(client, decoder, 2)
    assert error.reason == ErrorReason.INTERNAL
    assert ack == (2, P2pAck())
    assert stats.rpc_received_requests["p2p_get_neighbours", "error"] == 1
    assert "ZeroDivisionError" in caplog.text


def test_the_sender_is_who_hello_said(serve_peers, greeted, node):
    client, decoder = greeted(serve_peers())
    client.send(encode_p2p(P2pPing(), 1))
    read_answers(client, decoder, 1)
    assert node.requests == [(Peer(1, "127.0.0.1:1"), P2pPing())]


def test_a_connection_without_requests_is_closed_after_a_while(serve_peers, greeted, stats, monkeypatch, caplog):
    monkeypatch.setattr(peer_connection, "QUIET_S_MAX", 0.2)
    server = serve_peers()
    (silent, _), (asking, decoder) = greeted(server), greeted(server)
    reading = gevent.spawn(silent.read_all)
    for number in range(1, 100):
        asking.send(encode_p2p(P2pPing(), number))
        assert read_answers(asking, decoder, 1) == [(number, P2pAck())]
        gevent.sleep(0.01)
        if number > 40 and reading.ready():
            break
    assert reading.get(block=False) == b""
    assert stats.peer_connections["inbound"] == 1
    assert not caplog.messages


def test_bytes_that_make_no_request_do_not_keep_a_connection(serve_peers, greeted, monkeypatch):
    monkeypatch.setattr(peer_connection, "QUIET_S_MAX", 0.1)
    client, _decoder = greeted(serve_peers())

    def trickle():
        for byte in struct.pack(">IHBBI", 1000, 999, 1, 0, 4) + bytes(900):
            client.send(bytes([byte]))
            gevent.sleep(0.005)

    with pytest.raises(OSError, match=r"reset|pipe"):
        trickle()


def test_a_long_batch_is_answered_in_order_and_lets_others_run(serve_peers, greeted, node):
    def slowly(_sender, _request):
        started_s = perf_counter()
        while perf_counter() - started_s < 0.002:
            pass
        return P2pAck()

    node.answer = slowly
    server = serve_peers()
    (busy, decoder), (other, other_decoder) = greeted(server), greeted(server)
    busy.send(*(encode_p2p(P2pPing(), number) for number in range(1, 201)))
    gevent.sleep(0.005)
    other.send(encode_p2p(P2pPing(), 1))
    assert read_answers(other, other_decoder, 1) == [(1, P2pAck())]
    assert len(node.requests) < 100
    assert [number for number, _ack in read_answers(busy, decoder, 200)] == list(range(1, 201))


# Writes that are taken in a read at a time ----------------------------------------------------------------------------


class FakeIntake:
    """Takes in all but what is odd; raises for what is in `broken`. commit: what has to end first."""

    def __init__(self):
        self.broken = set()
        self.odd = set()
        self.taken = []
        self.commit = None

    def take(self, copy, as_owner):
        if copy.key in self.broken:
            raise ZeroDivisionError
        if copy.key in self.odd:
            return None
        self.taken.append((copy, as_owner))
        return P2pSuccess(copy.key, copy.ttl_ms, copy.replication, copy.version, b"", 0, as_owner)

    def refused(self, key, error):
        return P2pFailure(key, FailureReason.STORE_FAILED, str(error))


class FakeCommit:
    def __init__(self):
        self.waiting = []

    def when_ended(self, run):
        self.waiting.append(run)


@pytest.fixture
def intake(node):
    """The node takes in what nothing is odd of, and says of all else that it was asked singly."""
    taking = FakeIntake()
    node.intake = lambda: taking
    node.answer = lambda _sender, request: P2pFailure(request.key, 1, "asked singly")
    return taking


@pytest.fixture
def sent(monkeypatch):
    """How many bytes each send of a connection was of; the clients of these tests have plain sockets."""
    sizes, send = [], Stream._send
    monkeypatch.setattr(Stream, "_send", lambda self, data: (sizes.append(len(data)), send(self, data)))
    return sizes


def put(tools, number, as_owner=False):
    return encode_p2p(P2pPut(tools.key(number), 1000, 2, NO_VERSION, as_owner, b"%d" % number), number)


def test_writes_are_taken_in_and_answered_in_order_in_one_send(serve_peers, greeted, intake, node, tools, stats, sent):
    client, decoder = greeted(serve_peers())
    sent.clear()
    client.send(put(tools, 1, as_owner=True), put(tools, 2), put(tools, 3))
    found = read_answers(client, decoder, 3)
    assert [(number, answer.key, answer.view) for number, answer in found] == [
        (1, tools.key(1), 1),
        (2, tools.key(2), 0),
        (3, tools.key(3), 0),
    ]
    assert [(copy.value, as_owner) for copy, as_owner in intake.taken] == [(b"1", True), (b"2", False), (b"3", False)]
    assert stats.rpc_received_requests == {("p2p_put", "ok"): 3}
    assert node.requests == []
    assert len(sent) == 1


@pytest.mark.parametrize("kind", ["odd", "broken"])
def test_from_a_write_that_takes_more_on_all_are_asked_singly(serve_peers, greeted, intake, node, tools, stats, kind):
    getattr(intake, kind).add(tools.key(2))
    client, decoder = greeted(serve_peers())
    client.send(put(tools, 1), put(tools, 2), put(tools, 3), encode_p2p(P2pPing(), 9)[:5])
    found = read_answers(client, decoder, 3)
    assert [type(answer).__name__ for _, answer in found] == ["P2pSuccess", "P2pFailure", "P2pFailure"]
    assert [request.key for _, request in node.requests] == [tools.key(2), tools.key(3)]
    assert stats.rpc_received_requests == {("p2p_put", "ok"): 3}


def test_writes_wait_for_their_commit_together(serve_peers, greeted, intake, tools, stats):
    commit = intake.commit = FakeCommit()
    client, decoder = greeted(serve_peers())
    client.send(put(tools, 1), put(tools, 2))
    tools.wait_for(lambda: len(intake.taken) == 2)
    gevent.sleep(0.05)
    assert stats.rpc_received_requests == {}
    for run in commit.waiting:
        run(None)
    assert [number for number, answer in read_answers(client, decoder, 2) if isinstance(answer, P2pSuccess)] == [1, 2]
    assert stats.rpc_received_requests == {("p2p_put", "ok"): 2}


def test_writes_whose_commit_failed_are_refused_each(serve_peers, greeted, intake, tools, stats):
    commit = intake.commit = FakeCommit()
    client, decoder = greeted(serve_peers())
    client.send(put(tools, 1), put(tools, 2))
    tools.wait_for(lambda: len(intake.taken) == 2)
    for run in commit.waiting:
        run(StoreError("disk", "gone"))
    found = read_answers(client, decoder, 2)
    assert [(number, answer.reason, answer.detail) for number, answer in found] == [
        (number, FailureReason.STORE_FAILED, "gone") for number in (1, 2)
    ]
    assert stats.rpc_received_requests == {("p2p_put", "ok"): 2}, "a FAILURE is an answer, too"


def test_a_write_cut_in_two_is_taken_when_it_is_whole(serve_peers, greeted, intake, tools):
    client, decoder = greeted(serve_peers())
    frames = put(tools, 1) + put(tools, 2)
    for piece in (frames[:120], frames[120:]):
        client.send(piece)
        gevent.sleep(0.01)
    assert [number for number, _ in read_answers(client, decoder, 2)] == [1, 2]


def test_what_does_not_fit_into_a_turn_is_asked_singly(serve_peers, greeted, intake, node, tools, monkeypatch):
    monkeypatch.setattr(peer_connection, "TURN_S", 0.0)
    client, decoder = greeted(serve_peers())
    client.send(put(tools, 1), put(tools, 2), put(tools, 3))
    assert [number for number, _ in read_answers(client, decoder, 3)] == [1, 2, 3]
    assert [copy.key for copy, _ in intake.taken] == [tools.key(1)]
    assert [request.key for _, request in node.requests] == [tools.key(2), tools.key(3)]


def test_a_node_that_takes_nothing_in_at_once_is_asked_for_each(serve_peers, greeted, intake, node, tools):
    node.intake = lambda: None
    client, decoder = greeted(serve_peers())
    client.send(put(tools, 1), put(tools, 2))
    assert [answer.detail for _, answer in read_answers(client, decoder, 2)] == ["asked singly"] * 2


# The same with a real node and a disk ---------------------------------------------------------------------------------


@pytest.fixture
def aside():
    """What the disk has to do, when the test says so."""
    return Aside()


@pytest.fixture
def lone(node, rt, aside):
    """The node is alone in its ring, with room for six small records on a disk. Its state."""
    store = DurableStore(DictDisk(), 6 * RECORD_OVERHEAD_BYTES + 100, aside)
    state = NodeState(rt, Peer(7, "127.0.0.1:7"), DhtConfig(), store)
    state.state = State.ACTIVE
    aside.end_all()
    node.intake = lambda: intake_of(state)
    node.answer = lambda sender, request: handle(state, sender, request, state.clock.lives_s())
    return state


def write(tools, number, **fields):
    """A P2pPut as the lone node takes it in at once, unless the fields say otherwise."""
    put = P2pPut(tools.key(number), 60_000, 3, Version(number, 1), True, b"%d" % number)
    return encode_p2p(put._replace(**fields), number)


def test_receipts_leave_in_one_send_once_the_disk_has_all_writes(
    serve_peers, greeted, lone, aside, node, tools, stats, sent
):
    client, decoder = greeted(serve_peers())
    sent.clear()
    client.send(*(write(tools, number) for number in (1, 2, 3)))
    tools.wait_for(lambda: lone.store.count == 3)
    gevent.sleep(0.05)
    assert (sent, stats.rpc_received_requests) == ([], {})
    aside.end_all()
    found = read_answers(client, decoder, 3)
    assert [(number, answer.version.stamp) for number, answer in found] == [(1, 1), (2, 2), (3, 3)]
    assert len(sent) == 1
    assert node.requests == []
    assert stats.rpc_received_requests == {("p2p_put", "ok"): 3}


@pytest.mark.parametrize("tombstone_ms", [0, 70_000], ids=["all taken in", "one handled, and those after it"])
def test_writes_that_the_disk_did_not_take_are_refused_and_counted_once_each(
    serve_peers, greeted, lone, aside, node, tools, stats, tombstone_ms
):
    client, decoder = greeted(serve_peers())
    client.send(write(tools, 1), write(tools, 2, tombstone_ms=tombstone_ms), write(tools, 3))
    tools.wait_for(lambda: lone.store.count == 3)
    assert len(node.requests) == (2 if tombstone_ms else 0)
    aside.end(FAILURE)
    found = read_answers(client, decoder, 3)
    assert [(number, answer.key, answer.reason) for number, answer in found] == [
        (number, tools.key(number), FailureReason.STORE_FAILED) for number in (1, 2, 3)
    ]
    assert lone.store.count == 0
    assert lone.stats.store_rejected_writes == {"disk": 3}
    assert stats.rpc_received_requests == {("p2p_put", "ok"): 3}


def test_a_write_out_of_the_ordinary_and_those_after_it_are_handled_and_wait_for_the_disk_too(
    serve_peers, greeted, lone, aside, node, tools, stats
):
    client, decoder = greeted(serve_peers())
    client.send(write(tools, 1), write(tools, 2, tombstone_ms=70_000), write(tools, 3))
    tools.wait_for(lambda: lone.store.count == 3)
    gevent.sleep(0.05)
    assert stats.rpc_received_requests == {}
    aside.end_all()
    assert [number for number, _ in read_answers(client, decoder, 3)] == [1, 2, 3]
    assert [request.key for _, request in node.requests] == [tools.key(2), tools.key(3)]
    assert stats.rpc_received_requests == {("p2p_put", "ok"): 3}


def test_a_write_for_which_there_is_no_room_is_refused_once_and_the_others_are_stored(
    serve_peers, greeted, lone, aside, tools, stats
):
    client, decoder = greeted(serve_peers())
    client.send(write(tools, 1), write(tools, 2, value=bytes(10_000)), write(tools, 3))
    tools.wait_for(lambda: lone.store.count == 2)
    aside.end_all()
    answers = dict(read_answers(client, decoder, 3))
    assert answers[2].reason == FailureReason.STORE_FULL
    assert {type(answers[1]), type(answers[3])} == {P2pSuccess}
    assert lone.stats.store_rejected_writes == {"full": 1}
    assert stats.rpc_received_requests == {("p2p_put", "ok"): 3}


def test_what_waits_for_a_disk_that_hangs_has_no_values_but_the_last(serve_peers, greeted, lone, aside, node, tools):
    lone.store.size_bytes_max = 1 << 20
    client, _decoder = greeted(serve_peers())
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(1, 201):
        client.send(write(tools, number, key=tools.key(1), value=bytes(10_000)))
        tools.wait_for(lambda number=number: (held := lone.store.held(tools.key(1))) and held.version.stamp == number)
    grown_bytes = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown_bytes < 50 * 10_000
    assert (node.requests, len(aside.works)) == ([], 1)


def test_writes_in_place_of_each_other_are_refused_when_too_many_wait_for_the_disk(
    serve_peers, greeted, lone, aside, tools, stats, monkeypatch
):
    monkeypatch.setattr(durable, "WAITING_WRITES_MAX", 3)
    client, decoder = greeted(serve_peers())
    client.send(*(write(tools, number, key=tools.key(1)) for number in range(1, 6)))
    refused = read_answers(client, decoder, 2)
    assert [(number, answer.reason) for number, answer in refused] == [
        (number, FailureReason.STORE_FAILED) for number in (4, 5)
    ]
    aside.end_all()
    assert [number for number, _ in read_answers(client, decoder, 3)] == [1, 2, 3]
    assert lone.store.held(tools.key(1)).version.stamp == 3
    assert lone.stats.store_rejected_writes == {"overload": 2}


# GETs that are answered from bytes to bytes ---------------------------------------------------------------------------


class OwnStore:
    """Of a store, what is asked of it for GETs that are answered at once. broken: it fails."""

    def __init__(self, values):
        self._values = values
        self.broken = False

    def value(self, key, now_s):
        raise AssertionError("peers are told more than a value")

    def held(self, key):
        if self.broken:
            raise ZeroDivisionError
        value = self._values.get(key)
        return None if value is None else Record(key, value, NO_VERSION, 60.0, 2)


@pytest.fixture
def owner(node, tools):
    """The node owns keys up to 10, and has 1, 2 and 3; of all else it says that it is not there. Its store."""
    store = OwnStore({tools.key(number): b"%d" % number for number in (1, 2, 3)})
    node.own_records = lambda: OwnRecords(0, 10, store, 59.0)
    node.answer = lambda _sender, request: P2pFailure(request.key, 1, "asked singly")
    return store


def get(tools, number, as_owner=True):
    return encode_p2p(P2pGet(tools.key(number), as_owner), number)


def test_what_the_owner_surely_has_is_answered_without_asking_for_each(serve_peers, greeted, owner, node, tools, stats):
    client, decoder = greeted(serve_peers())
    client.send(*(get(tools, number) for number in (1, 2, 3, 1)))
    found = read_answers(client, decoder, 4)
    assert [number for number, _ in found] == [1, 2, 3, 1]
    assert found[1][1] == P2pSuccess(tools.key(2), 1000, 2, NO_VERSION, b"2", 0)
    assert stats.rpc_received_requests == {("p2p_get", "ok"): 4}
    assert node.requests == []


@pytest.mark.parametrize(("number", "as_owner"), [(4, True), (11, True), (2, False)])
def test_all_else_is_asked_singly_in_order(serve_peers, greeted, owner, node, tools, number, as_owner):
    """What it lacks, what it does not own, and what it was not asked for as the owner."""
    client, decoder = greeted(serve_peers())
    client.send(get(tools, 1), get(tools, number, as_owner), get(tools, 3), encode_p2p(P2pGetNeighbours(), 9)[:5])
    found = read_answers(client, decoder, 3)
    assert [type(answer).__name__ for _, answer in found] == ["P2pSuccess", "P2pFailure", "P2pFailure"]
    assert [request.key for _, request in node.requests] == [tools.key(number), tools.key(3)]


def test_a_frame_cut_in_two_is_answered_when_it_is_whole(serve_peers, greeted, owner, tools):
    client, decoder = greeted(serve_peers())
    frames = get(tools, 1) + get(tools, 2)
    for piece in (frames[:50], frames[50:]):
        client.send(piece)
        gevent.sleep(0.01)
    answers = dict(read_answers(client, decoder, 2))
    assert answers[1].value == b"1"
    assert answers[2].detail == "asked singly"


def test_the_answers_to_one_read_are_not_all_made_before_the_peer_reads_them(serve_peers, greeted, node, tools):
    store = OwnStore({tools.key(1): bytes(VALUE_BYTES_MAX)})
    node.own_records = lambda: OwnRecords(0, 10, store, 59.0)
    node.answer = lambda _sender, request: P2pSuccess(request.key, 1000, 2, NO_VERSION, bytes(VALUE_BYTES_MAX), 0)
    server = serve_peers()
    client, decoder = greeted(server)
    (stream,) = server._streams
    frame = get(tools, 1)
    client.send(*(frame[:8] + number.to_bytes(4) + frame[12:] for number in range(500)))
    tools.wait_for(lambda: stream.unsent_bytes)
    gevent.sleep(0.05)
    assert stream.unsent_bytes <= 2 * (peer_connection.UNSENT_BYTES_MAX + VALUE_BYTES_MAX), "from bytes, and singly"
    assert [number for number, _ in read_answers(client, decoder, 500)] == list(range(500))


def test_a_slow_store_is_asked_for_a_turn_at_once(serve_peers, greeted, owner, node, tools, monkeypatch):
    monkeypatch.setattr(peer_connection, "TURN_S", 0.0)
    client, decoder = greeted(serve_peers())
    client.send(get(tools, 1), get(tools, 2), get(tools, 3))
    assert [number for number, _ in read_answers(client, decoder, 3)] == [1, 2, 3]
    assert [request.key for _, request in node.requests] == [tools.key(2), tools.key(3)]


def test_a_store_that_fails_fails_those_requests_only(serve_peers, greeted, owner, tools):
    client, decoder = greeted(serve_peers())
    owner.broken = True
    client.send(get(tools, 1), get(tools, 2))
    assert [answer.detail for _, answer in read_answers(client, decoder, 2)] == ["asked singly"] * 2
