"""Calls to peers: one shared connection each, outcomes for every way in which a peer can fail."""

import random
import socket as stdlib_socket

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from gdht.config import Address
from gdht.core.messages import (
    ErrorReason,
    P2pAck,
    P2pError,
    P2pFailure,
    P2pGet,
    P2pGetSuccessor,
    P2pNotify,
    P2pPing,
    P2pPut,
    P2pReplyNeighbours,
    P2pReplySuccessor,
    P2pSuccess,
)
from gdht.core.peer import Peer
from gdht.core.records import NO_VERSION
from gdht.errors import CallTimeout, PeerSilent, PeerUnreachable, RemoteError, RemoteProtocolError
from gdht.net import connection
from gdht.net import pool as pool_module
from gdht.net.calls import Refused, Rejected, Reset
from gdht.net.pool import BACKOFF_S_MAX, BACKOFF_S_MIN, Backoff
from gdht.wire.codec import P2pDecoder, encode_p2p

T = 5.0


def peer_of(server, ident=7):
    return Peer(ident, str(server.address))


def put(key, value=b"v"):
    return P2pPut(key, 1000, 1, NO_VERSION, False, value)


def greeting(hello, answer=None, seen=None):
    """How a scripted peer talks: says HELLO, then answers each request with `answer(request_id, request)` bytes."""

    def talk(sock):
        decoder = P2pDecoder()
        while data := sock.recv(65536):
            for request_id, message in decoder.feed(data):
                if request_id == 0:
                    sock.sendall(encode_p2p(hello, 0))
                    continue
                if seen is not None:
                    seen.append(message)
                if answer is not None and (reply := answer(request_id, message)) is not None:
                    sock.sendall(reply)

    return talk


# Answers --------------------------------------------------------------------------------------------------------------


def test_a_call_brings_the_answer_and_says_who_asked(rt, pool, serve_peers, node, tools):
    peer = peer_of(serve_peers())
    assert rt.call(peer, P2pPing(), T) == P2pAck()
    assert rt.call(peer, put(tools.key(1)), T) == P2pSuccess(tools.key(1), 1000, 1, NO_VERSION, b"v")
    assert node.requests[0] == (Peer(1, "127.0.0.1:1"), P2pPing())
    assert pool.stats.rpc_sent_requests == {("p2p_ping", "ok"): 1, ("p2p_put", "ok"): 1}
    assert pool.stats.rpc_sent_duration["p2p_ping"].count == 1
    assert pool.stats.peer_connections == {"outbound": 1}


def test_many_calls_to_many_peers_share_one_connection_each(rt, serve_peers, stats, tools):
    peers = [peer_of(serve_peers(ident), ident) for ident in (7, 8, 9)]
    requests = [(peers[number % 3], put(tools.key(number))) for number in range(600)]
    outcomes = dict(rt.calls(requests, T))
    assert [outcomes[number].key for number in range(600)] == [request.key for _peer, request in requests]
    assert stats.peer_connections == {"inbound": 3}


def test_answers_may_come_in_any_order(rt, fake_peer, hello, tools):
    held = []

    def answer(request_id, request):
        held.insert(0, encode_p2p(P2pSuccess(request.key, 1, 1, NO_VERSION, b""), request_id))
        return b"".join(held) if len(held) == 5 else None

    fake = fake_peer(greeting(hello(7), answer))
    outcomes = list(rt.calls([(fake.peer, P2pGet(tools.key(number), False)) for number in range(5)], T))
    assert [(index, outcome.key) for index, outcome in outcomes] == [(n, tools.key(n)) for n in reversed(range(5))]


def test_frames_of_one_turn_leave_in_one_send(rt, fake_peer, hello):
    reads = []

    def talk(sock):
        decoder = P2pDecoder()
        while data := sock.recv(1 << 20):
            messages = decoder.feed(data)
            reads.append(len(messages))
            replies = [encode_p2p(P2pAck() if i else hello(7), i) for i, _message in messages]
            sock.sendall(b"".join(replies))

    fake = fake_peer(talk)
    for _ in range(2):  # while it opens, and when it is open
        assert len(list(rt.calls([(fake.peer, P2pPing())] * 100, T))) == 100
    assert reads == [1, 100, 100]


def test_a_batch_may_be_left_early_and_the_rest_goes_on(rt, pool, serve_peers, tools):
    peer = peer_of(serve_peers())
    for _index, _outcome in rt.calls([(peer, P2pPing())] * 10, T):
        break
    tools.wait_for(lambda: pool.stats.rpc_sent_requests["p2p_ping", "ok"] == 10)


def test_calling_ourselves_works(serve_peers, make_pool):
    from gdht.net.runtime import GeventRuntime

    server = serve_peers(ident=7)
    rt = GeventRuntime(make_pool(ident=7, address=str(server.address)))
    assert rt.identify(str(server.address), T) == peer_of(server)
    assert rt.call(peer_of(server), P2pPing(), T) == P2pAck()


def test_ipv6_peers_are_called(rt, serve_peers):
    assert rt.call(peer_of(serve_peers(address=Address("::1", 0))), P2pPing(), T) == P2pAck()


def test_the_addresses_of_a_name_are_tried_in_turn(rt, serve_peers, free_port, monkeypatch):
    server = serve_peers()
    dead, live = ("127.0.0.1", free_port), ("127.0.0.1", server.address.port)
    found = [(socket.AF_INET6, 1, 6, "", ("::1", free_port)), (socket.AF_INET, 1, 6, "", dead)]
    found.append((socket.AF_INET, 1, 6, "", live))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    assert rt.identify("node.example:1", T) == peer_of(server)
    assert rt.call(Peer(7, "node.example:1"), P2pPing(), T) == P2pAck()


# Peers that fail ------------------------------------------------------------------------------------------------------


def test_nobody_at_the_address_is_unreachable_and_left_alone_for_a_while(rt, pool, free_port):
    peer = Peer(7, f"127.0.0.1:{free_port}")
    with pytest.raises(Refused, match="connection refused"):
        rt.call(peer, P2pPing(), T)
    with pytest.raises(PeerUnreachable, match="connection refused"):
        rt.call(peer, P2pPing(), T)
    assert pool.stats.rpc_sent_requests == {("p2p_ping", "refused"): 2}


def test_within_the_back_off_nothing_is_dialled_and_after_it_the_peer_is_found_again(
    rt, serve_peers, free_port, monkeypatch
):
    peer = Peer(7, f"127.0.0.1:{free_port}")
    with pytest.raises(Refused):
        rt.call(peer, P2pPing(), T)
    serve_peers(address=Address("127.0.0.1", free_port))
    with pytest.raises(Refused):
        rt.call(peer, P2pPing(), T)
    gevent.sleep(BACKOFF_S_MIN)
    assert rt.call(peer, P2pPing(), T) == P2pAck()


def test_the_back_off_doubles_to_its_bound_with_jitter():
    backoff, rng = Backoff(), random.Random(1)
    delays = [backoff.failed(Refused("no"), 0.0, rng) for _ in range(10)]
    bounds = [min(BACKOFF_S_MIN * 2**step, BACKOFF_S_MAX) for step in range(10)]
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))


def test_an_unknown_name_is_unreachable(rt):
    with pytest.raises(PeerSilent, match="nowhere"):
        rt.call(Peer(7, "nowhere.invalid:1"), P2pPing(), T)


def test_no_answer_is_a_timeout_and_the_late_answer_is_dropped(rt, pool, fake_peer, hello, tools):
    late = []

    def answer(request_id, _request):
        late.append(encode_p2p(P2pAck(), request_id))
        return b"".join(late) if len(late) == 2 else None

    fake = fake_peer(greeting(hello(7), answer))
    with pytest.raises(CallTimeout, match=r"did not answer within 0\.1 s"):
        rt.call(fake.peer, P2pPing(), 0.1)
    assert rt.call(fake.peer, P2pPing(), T) == P2pAck()
    assert pool.stats.rpc_timeouts == {"p2p_ping": 1}
    assert pool.stats.rpc_sent_requests == {("p2p_ping", "timeout"): 1, ("p2p_ping", "ok"): 1}


def test_a_connection_that_stays_silent_is_replaced(rt, pool, fake_peer, hello):
    greeted = []

    def talk(sock):
        greeted.append(sock)
        greeting(hello(7), None if len(greeted) == 1 else lambda i, _request: encode_p2p(P2pAck(), i))(sock)

    fake = fake_peer(talk)
    for _ in range(3):
        with pytest.raises(CallTimeout):
            rt.call(fake.peer, P2pPing(), 0.05)
    gevent.sleep(0.01)
    assert rt.call(fake.peer, P2pPing(), T) == P2pAck()
    assert len(greeted) == 2


def test_silence_before_its_hello_is_not_held_against_a_peer(rt, pool, fake_peer, hello):
    may_talk, greeted = Event(), []

    def talk(sock):
        greeted.append(sock)
        may_talk.wait()
        greeting(hello(7), lambda i, request: None if isinstance(request, P2pPing) else encode_p2p(P2pAck(), i))(sock)

    fake = fake_peer(talk)
    for _ in range(3):
        with pytest.raises(CallTimeout):
            rt.call(fake.peer, P2pPing(), 0.05)
    may_talk.set()
    with pytest.raises(CallTimeout):
        rt.call(fake.peer, P2pPing(), 0.2)
    assert rt.call(fake.peer, P2pNotify(), T) == P2pAck()
    assert len(greeted) == 1


def test_a_connection_that_is_closed_as_hello_comes_stays_closed(rt, pool, serve_peers, stats, monkeypatch):
    greet, server = connection.greet, serve_peers()

    def closed_meanwhile(*how):
        greeted = greet(*how)
        pool._connections[peer_of(server)].close("closed in favour of another peer")
        return greeted

    monkeypatch.setattr(connection, "greet", closed_meanwhile)
    with pytest.raises(Reset):
        rt.call(peer_of(server), P2pPing(), T)
    gevent.sleep(0.05)
    assert pool.stats.peer_connections["outbound"] == 0
    assert stats.peer_connections["inbound"] == 0, "the other end is closed, too"


def test_request_ids_come_round_but_for_the_one_of_the_connection_itself(rt, pool, fake_peer, hello):
    ids = []

    def answer(request_id, _request):
        ids.append(request_id)
        return encode_p2p(P2pAck(), request_id)

    fake = fake_peer(greeting(hello(7), answer))
    rt.call(fake.peer, P2pPing(), T)
    pool._connections[fake.peer]._next_id = connection.REQUEST_IDS - 1
    for _ in range(2):
        rt.call(fake.peer, P2pPing(), T)
    assert ids == [1, connection.REQUEST_IDS - 1, 1]


def test_a_restarted_peer_is_reached_by_the_next_call(rt, pool, serve_peers, tools):
    server = serve_peers()
    rt.call(peer_of(server), P2pPing(), T)
    server.stop(0)
    serve_peers(address=server.address)
    assert rt.call(peer_of(server), P2pPing(), T) == P2pAck()
    assert pool.stats.rpc_sent_requests == {("p2p_ping", "ok"): 2}
    assert pool.stats.peer_connections == {"outbound": 1}


def test_a_call_on_a_connection_that_dies_is_sent_once_more_and_not_twice(rt, pool, fake_peer, hello):
    seen = []

    def answer(_request_id, request):
        if len(seen) == 1:
            return encode_p2p(P2pAck(), 1)
        raise gevent.GreenletExit

    def talk(sock):
        try:
            greeting(hello(7), answer, seen)(sock)
        finally:
            sock.close()

    fake = fake_peer(talk)
    assert rt.call(fake.peer, P2pPing(), T) == P2pAck()
    with pytest.raises(Reset, match="closed by the peer"):
        rt.call(fake.peer, P2pPing(), T)
    assert len(seen) == 3
    assert pool.stats.rpc_sent_requests == {("p2p_ping", "ok"): 1, ("p2p_ping", "reset"): 1}


def test_an_error_frame_is_raised_with_its_reason(rt, pool, serve_peers, node):
    node.answer = lambda _sender, _request: P2pError(ErrorReason.NOT_JOINED, "joining")
    with pytest.raises(RemoteError, match="not_joined: joining") as caught:
        rt.call(peer_of(serve_peers()), P2pPing(), T)
    assert caught.value.retriable
    assert pool.stats.rpc_sent_requests == {("p2p_ping", "remote_error"): 1}


@pytest.mark.parametrize(
    ("asked", "reply"),
    [
        pytest.param(P2pPing(), P2pReplyNeighbours((), ()), id="kind"),
        pytest.param(P2pGet(bytes(32), True), P2pSuccess(b"\1" * 32, 1, 1, NO_VERSION, b""), id="key"),
        pytest.param(P2pGet(bytes(32), True), P2pFailure(b"\1" * 32, 1, ""), id="failure-key"),
        pytest.param(P2pGetSuccessor(5, False), P2pReplySuccessor(6, True, ()), id="place"),
    ],
)
def test_an_answer_that_does_not_fit_closes_the_connection(rt, pool, fake_peer, hello, asked, reply):
    fake = fake_peer(greeting(hello(7), lambda i, _request: encode_p2p(reply, i)))
    words = f"{type(reply).__name__} is no answer to this {type(asked).__name__}"
    with pytest.raises(RemoteProtocolError, match=words):
        rt.call(fake.peer, asked, T)
    assert pool.stats.peer_connections["outbound"] == 0


def test_bytes_that_are_no_frames_close_the_connection(rt, pool, fake_peer, hello):
    fake = fake_peer(greeting(hello(7), lambda _id, _request: b"\xff" * 100))
    outcomes = [outcome for _index, outcome in rt.calls([(fake.peer, P2pPing())] * 3, T)]
    assert [type(outcome) for outcome in outcomes] == [connection.BrokenStream] * 3


# HELLO ----------------------------------------------------------------------------------------------------------------


def test_another_node_at_the_address_is_unreachable(rt, serve_peers):
    server = serve_peers(ident=8)
    with pytest.raises(Refused, match="another node answers at"):
        rt.call(peer_of(server, 7), P2pPing(), T)
    assert rt.call(peer_of(server, 8), P2pPing(), T) == P2pAck()


def test_another_ring_is_a_remote_error(rt, serve_peers):
    server = serve_peers(ring="other")
    for ask in (lambda: rt.identify(str(server.address), T), lambda: rt.call(peer_of(server), P2pPing(), T)):
        with pytest.raises(RemoteError) as caught:
            ask()
        assert caught.value.reason is ErrorReason.RING


def test_a_peer_that_accepts_any_ring_is_refused_by_us(rt, fake_peer, hello):
    with pytest.raises(RemoteError, match="ring 'other' is not ring 'test'"):
        rt.identify(str(fake_peer(greeting(hello(7, ring="other"))).address), T)


def test_a_stranger_at_the_address_is_a_protocol_error(rt, fake_peer):
    fake = fake_peer(lambda sock: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with pytest.raises(RemoteProtocolError):
        rt.identify(str(fake.address), T)


def test_somebody_who_says_nothing_times_out(rt, fake_peer):
    fake = fake_peer(lambda sock: sock.recv(10))
    with pytest.raises(CallTimeout):
        rt.identify(str(fake.address), 0.1)
    with pytest.raises(CallTimeout):
        rt.call(fake.peer, P2pPing(), 0.1)


def test_somebody_who_closes_at_once_is_unreachable(rt, fake_peer):
    with pytest.raises(Refused):
        rt.identify(str(fake_peer(lambda sock: sock.shutdown(socket.SHUT_RDWR)).address), T)


def test_identify_asks_nothing_but_the_name(rt, serve_peers, node):
    server = serve_peers(ident=9)
    assert rt.identify(str(server.address), T) == peer_of(server, 9)
    assert rt.identify(f"localhost:{server.address.port}", T) == peer_of(server, 9)
    assert node.requests == []


# Bounds ---------------------------------------------------------------------------------------------------------------


def test_more_requests_in_flight_than_allowed_are_rejected(rt, pool, fake_peer, hello, monkeypatch):
    monkeypatch.setattr(connection, "IN_FLIGHT_MAX", 10)
    fake = fake_peer(greeting(hello(7)))
    outcomes = [outcome for _index, outcome in rt.calls([(fake.peer, P2pPing())] * 15, 0.1)]
    assert [type(outcome) for outcome in outcomes] == [Rejected] * 5 + [CallTimeout] * 10
    assert "queue full" in str(outcomes[0])
    assert pool.stats.rpc_sent_requests["p2p_ping", "rejected"] == 5


def test_more_bytes_queued_than_allowed_are_rejected(rt, fake_peer, hello, tools, monkeypatch):
    monkeypatch.setattr(connection, "QUEUED_BYTES_MAX", 500_000)

    def talk(sock):
        sock.sendall(encode_p2p(hello(7), 0))
        gevent.sleep(60)  # and reads nothing

    fake = fake_peer(talk)
    requests = [(fake.peer, put(tools.key(number), bytes(50_000))) for number in range(100)]
    kinds = [type(outcome) for _index, outcome in rt.calls(requests, 0.2)]
    assert (kinds.count(Rejected), kinds.count(CallTimeout)) == (90, 10)


def test_the_connection_idle_for_longest_makes_room(rt, pool, serve_peers, monkeypatch):
    monkeypatch.setattr(pool_module, "CONNECTIONS_MAX", 2)
    peers = [peer_of(serve_peers(ident), ident) for ident in (7, 8, 9)]
    for peer in (*peers[:2], peers[0], peers[2]):
        rt.call(peer, P2pPing(), T)
    assert list(pool._connections) == [peers[0], peers[2]]
    assert pool.stats.peer_connections == {"outbound": 2}


def test_when_no_connection_is_idle_a_further_peer_is_rejected(rt, pool, fake_peer, hello, serve_peers, monkeypatch):
    monkeypatch.setattr(pool_module, "CONNECTIONS_MAX", 1)
    busy = rt.calls([(fake_peer(greeting(hello(7))).peer, P2pPing())], T)
    with pytest.raises(Rejected, match="none of them idle"):
        rt.call(peer_of(serve_peers(8), 8), P2pPing(), T)
    assert busy.within(0) is None


def test_idle_connections_are_closed_after_some_time(rt, pool, serve_peers, stats, tools, monkeypatch):
    peer = peer_of(serve_peers())
    rt.call(peer, P2pPing(), T)
    pool.close_idle()
    assert pool.stats.peer_connections["outbound"] == 1
    monkeypatch.setattr(pool_module, "IDLE_S_MAX", 0.0)
    pool.close_idle()
    assert pool.stats.peer_connections["outbound"] == 0
    tools.wait_for(lambda: stats.peer_connections["inbound"] == 0)
    assert rt.call(peer, P2pPing(), T) == P2pAck()


def test_a_closed_pool_ends_what_is_under_way_and_rejects_the_rest(rt, pool, fake_peer, hello):
    fake = fake_peer(greeting(hello(7)))
    gevent.spawn_later(0.05, pool.close)
    with pytest.raises(Reset, match="this node stops"):
        rt.call(fake.peer, P2pPing(), T)
    with pytest.raises(Rejected):
        rt.call(fake.peer, P2pPing(), T)


def test_sockets_are_set_up_for_small_frames_and_dead_peers(rt, pool, serve_peers):
    peer = peer_of(serve_peers())
    rt.call(peer, P2pPing(), T)
    sock = pool._connections[peer]._stream._sock
    assert sock.getsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY)
    assert sock.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE)
