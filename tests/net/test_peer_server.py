"""The P2P port, over real sockets: HELLO, answers, and what is refused."""

import struct

import gevent
import pytest

from gdht.core.messages import (
    ErrorReason,
    P2pAck,
    P2pError,
    P2pGet,
    P2pPing,
    P2pSuccess,
)
from gdht.core.records import NO_VERSION
from gdht.net import peer_server
from gdht.wire.codec import encode_p2p
from tests.net.conftest import answers_in, read_answers


def test_requests_sent_along_with_hello_are_answered(serve_peers, dial, hello):
    client = dial(serve_peers())
    client.send(encode_p2p(hello(), 0), *(encode_p2p(P2pPing(), number) for number in range(1, 500)))
    client.end()
    answers = answers_in(client.read_all())
    assert answers[1:] == [(number, P2pAck()) for number in range(1, 500)]


def test_frames_may_come_byte_by_byte(serve_peers, greeted):
    client, decoder = greeted(serve_peers())
    for byte in encode_p2p(P2pPing(), 5) + encode_p2p(P2pPing(), 6):
        client.send(bytes([byte]))
        gevent.sleep(0)
    assert read_answers(client, decoder, 2) == [(5, P2pAck()), (6, P2pAck())]


def test_an_unknown_type_is_answered_as_unsupported_and_the_connection_goes_on(serve_peers, greeted, stats):
    client, decoder = greeted(serve_peers())
    client.send(struct.pack(">IHBBI", 3, 999, 1, 0, 4) + b"new", encode_p2p(P2pPing(), 5))
    (request_id, error), ack = read_answers(client, decoder, 2)
    assert (request_id, error.reason) == (4, ErrorReason.UNSUPPORTED)
    assert ack == (5, P2pAck())
    assert stats.rpc_received_requests == {("unknown", "unsupported"): 1, ("p2p_ping", "ok"): 1}


REFUSED_HELLOS = {
    "ring": ({"ring": "other"}, ErrorReason.RING),
    "our identifier at another address": ({"ident": 7}, ErrorReason.IDENT),
}


@pytest.mark.parametrize("case", REFUSED_HELLOS)
def test_hello_is_refused_with_a_reason(serve_peers, dial, hello, stats, caplog, case):
    said, reason = REFUSED_HELLOS[case]
    client = dial(serve_peers())
    client.send(encode_p2p(hello(**said), 0), encode_p2p(P2pPing(), 1))
    client.end()
    ((request_id, error),) = answers_in(client.read_all())
    assert (request_id, error.reason) == (0, reason)
    assert stats.peer_rejected == {reason.name.lower(): 1}
    assert len(caplog.messages) == 1


def test_a_version_that_nobody_here_speaks_is_refused(serve_peers, dial, hello):
    client = dial(serve_peers())
    client.send(encode_p2p(hello()._replace(version_min=2, version_max=9), 0))
    client.end()
    ((_id, error),) = answers_in(client.read_all())
    assert error.reason == ErrorReason.VERSION
    assert "2 to 9 offered" in error.detail


STRANGERS = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "random bytes": bytes(range(7, 250)),
    "4 GiB": b"\xff\xff\xff\xff",
    "no magic": struct.pack(">IHBBI", 50, 666, 1, 0, 0) + b"HTTP",
    "another first frame": encode_p2p(P2pPing(), 1),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_a_stranger_is_closed_without_a_word_counted_and_logged(serve_peers, dial, greeted, stats, caplog, case):
    server = serve_peers()
    bystander, decoder = greeted(server)
    client = dial(server)
    client.send(STRANGERS[case])
    assert client.read_all() == b""
    assert sum(stats.peer_rejected.values()) == 1
    assert [f"client={client.address}" in line for line in caplog.messages] == [True]
    bystander.send(encode_p2p(P2pPing(), 1))
    assert read_answers(bystander, decoder, 1) == [(1, P2pAck())]


def test_hello_must_come_in_time(serve_peers, dial, monkeypatch, stats):
    monkeypatch.setattr(peer_server, "HELLO_TIMEOUT_S", 0.05)
    assert dial(serve_peers()).read_all() == b""
    assert stats.peer_rejected == {"hello_timeout": 1}


def test_a_connection_that_is_only_opened_and_closed_is_no_offence(serve_peers, dial, tools, stats, caplog):
    client = dial(serve_peers())
    client.end()
    assert client.read_all() == b""
    assert not stats.peer_rejected
    assert not caplog.messages


def test_connections_over_the_limit_are_told_so(serve_peers, greeted, dial, stats):
    server = serve_peers(connections_max=1)
    greeted(server)
    client = dial(server)
    ((_id, error),) = answers_in(client.read_all())
    assert error == P2pError(ErrorReason.OVERLOAD, "too many connections")
    assert stats.peer_rejected == {"overload": 1}


def test_a_peer_that_does_not_read_is_dropped(serve_peers, greeted, node, stats, tools, monkeypatch):
    monkeypatch.setattr(peer_server.PeerServer, "send_timeout_s", 0.2)
    node.answer = lambda _sender, request: P2pSuccess(request.key, 1, 1, NO_VERSION, bytes(60_000))
    client, _decoder = greeted(serve_peers())
    requests = encode_p2p(P2pGet(tools.key(1), False), 1) * 10
    with pytest.raises(OSError, match=r"reset|pipe"):
        client.send(*[requests] * 10_000)
    tools.wait_for(lambda: stats.peer_connections["inbound"] == 0)
    assert stats.rpc_received_requests["p2p_get", "ok"] < 1000


def test_stopping_answers_what_was_received(serve_peers, greeted):
    server = serve_peers()
    client, decoder = greeted(server)
    client.send(encode_p2p(P2pPing(), 1))
    server.stop(1)
    assert read_answers(client, decoder, 1) == [(1, P2pAck())]
    assert client.read_all() == b""
