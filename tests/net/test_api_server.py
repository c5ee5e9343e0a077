"""The client API port, over real sockets, with a node that is a dictionary."""

import resource
import struct
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import gevent
import pytest

from gdht.config import Address
from gdht.core.messages import VALUE_BYTES_MAX, DhtFailure, DhtSuccess
from gdht.net import api_connection
from gdht.net.api_server import ApiServer
from gdht.net.listener import ListenerState
from gdht.node.replication.get import GetOutcome
from gdht.wire.codec import encode_dht


def success(key, value=b""):
    return encode_dht(DhtSuccess(key, value))


def failure(key):
    return encode_dht(DhtFailure(key))


# Answers and their order ----------------------------------------------------------------------------------------------


def test_a_get_sees_the_put_before_it_and_the_put_is_silent(serve_api, dial, tools):
    client, key = dial(serve_api()), tools.key(1)
    client.send(tools.put(key, b"hello"), tools.get(key), tools.get(tools.key(2)))
    client.end()
    assert client.read_all() == success(key, b"hello") + failure(tools.key(2))


def test_a_put_with_the_reserved_bit_is_answered(serve_api, dial, tools):
    client, key = dial(serve_api()), tools.key(1)
    client.send(tools.put(key, b"hello", answered=True))
    assert client.read(36) == success(key)


@pytest.mark.parametrize("slow_s", [None, 0.0])
def test_a_thousand_requests_in_one_write_are_answered_in_order(serve_api, dial, tools, node, slow_s):
    keys = [tools.key(number) for number in range(1000)]
    if slow_s is not None:
        node.slow = dict.fromkeys(keys, slow_s)
    client = dial(serve_api())
    client.send(*(tools.put(key, key[-2:]) + tools.get(key) for key in keys))
    client.end()
    assert client.read_all() == b"".join(success(key, key[-2:]) for key in keys)


def test_fast_and_slow_requests_are_answered_in_the_order_they_came(serve_api, dial, tools, node):
    keys = [tools.key(number) for number in range(60)]
    node.values = {key: key[-1:] for key in keys}
    node.slow = {key: (59 - number) / 1000 for number, key in enumerate(keys) if number % 3}
    client = dial(serve_api())
    client.send(*map(tools.get, keys))
    client.end()
    assert client.read_all() == b"".join(success(key, key[-1:]) for key in keys)
    assert [key for _get, key in node.log] != keys, "they did not overlap"


def test_a_fast_request_does_not_overtake_a_slow_one_of_the_same_key(serve_api, dial, tools, node):
    key, other = tools.key(1), tools.key(2)
    node.slow[key] = 0.05
    client = dial(serve_api())
    client.send(tools.put(key, b"1"), tools.get(other), tools.get(key), tools.put(key, b"2"), tools.get(key))
    tools.wait_for(lambda: node.running)
    node.slow.clear()  # what follows could be answered at once
    client.send(tools.get(key), tools.put(key, b"3"), tools.get(key))
    client.end()
    expected = [failure(other), *(success(key, value) for value in (b"1", b"2", b"2", b"3"))]
    assert client.read_all() == b"".join(expected)
    assert node.log[0] == ("get", other)


def test_slow_requests_overlap_up_to_a_bound(serve_api, dial, tools, node):
    keys = [tools.key(number) for number in range(300)]
    node.slow = dict.fromkeys(keys, 0.01)
    client = dial(serve_api())
    client.send(*map(tools.get, keys))
    client.end()
    assert client.read_all() == b"".join(map(failure, keys))
    assert node.running_max == api_connection.IN_FLIGHT_MAX


def test_a_silent_slow_put_holds_no_answer_back(serve_api, dial, tools, node):
    node.slow[tools.key(1)] = 0.3
    client = dial(serve_api())
    client.send(tools.put(tools.key(1), b"x"), tools.get(tools.key(2)))
    assert client.read(36) == failure(tools.key(2))
    assert node.running == 1


def test_values_of_every_size_pass(serve_api, dial, tools):
    client, key = dial(serve_api()), tools.key(1)
    for value in (b"", b"x", bytes(VALUE_BYTES_MAX)):
        client.send(tools.put(key, value), tools.get(key))
        assert client.read(36 + len(value)) == success(key, value)


def test_a_request_that_fails_is_answered_as_a_failure_and_the_next_one_is_served(
    serve_api, dial, tools, node, stats, caplog
):
    broken, good = tools.key(1), tools.key(2)
    node.slow = {broken: 0, good: 0}
    node.get = lambda key: GetOutcome("success", b"v") if key == good else 1 / 0
    client = dial(serve_api())
    client.send(tools.get(broken), tools.get(good))
    assert client.read(36 + 37) == failure(broken) + success(good, b"v")
    assert stats.api_requests["get", "error"] == 1
    assert "get failed" in caplog.text


# How bytes arrive -----------------------------------------------------------------------------------------------------


def test_requests_may_come_byte_by_byte(serve_api, dial, tools):
    client, key = dial(serve_api()), tools.key(1)
    for byte in tools.put(key, b"hello") + tools.get(key):
        client.send(bytes([byte]))
        gevent.sleep(0)
    assert client.read(41) == success(key, b"hello")


def test_after_the_clients_end_everything_received_is_answered(serve_api, dial, tools, node):
    keys = [tools.key(number) for number in range(10)]
    node.slow = dict.fromkeys(keys, 0.05)
    client = dial(serve_api())
    client.send(*map(tools.get, keys))
    client.end()
    assert client.read_all() == b"".join(map(failure, keys))


def test_a_put_is_carried_out_though_its_client_has_gone(serve_api, dial, tools, node):
    key = tools.key(1)
    node.slow[key] = 0.05
    client = dial(serve_api())
    client.send(tools.put(key, b"a"), tools.put(key, b"b"), tools.get(key))
    client.sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: closing resets the connection
    tools.wait_for(lambda: node.running)
    client.sock.close()
    tools.wait_for(lambda: node.values.get(key) == b"b")


# Bad input ------------------------------------------------------------------------------------------------------------

MALFORMED = {
    "size below the header": (struct.pack(">HH", 3, 651), "size"),
    "size below the type's minimum": (struct.pack(">HH", 35, 650), "size"),
    "size does not fit the type": (struct.pack(">HH", 37, 651), "size"),
    "unknown type": (struct.pack(">HH", 36, 655), "type"),
    "an answer": (struct.pack(">HH", 36, 653), "type"),
    "a peer-to-peer type": (struct.pack(">HH", 36, 660), "type"),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "type"),
    "4 GiB": (b"\xff\xff\xff\xff" * 4, "type"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_input_is_answered_up_to_it_counted_and_logged(serve_api, dial, tools, node, stats, caplog, case):
    garbage, reason = MALFORMED[case]
    node.slow[tools.key(2)] = 0.02
    server = serve_api()
    client, bystander = dial(server), dial(server)
    client.send(tools.get(tools.key(1)), tools.get(tools.key(2)), garbage, b"more" * 10_000)
    assert client.read_all() == failure(tools.key(1)) + failure(tools.key(2))
    assert stats.api_malformed_messages == {reason: 1}
    assert [f"client={client.address}" in line for line in caplog.messages] == [True]
    bystander.send(tools.get(tools.key(1)))
    assert bystander.read(36) == failure(tools.key(1))


def test_a_stream_that_ends_within_a_message_is_truncated(serve_api, dial, tools, stats):
    client = dial(serve_api())
    client.send(tools.get(tools.key(1)), tools.get(tools.key(2))[:-1])
    client.end()
    assert client.read_all() == failure(tools.key(1))
    assert stats.api_malformed_messages == {"truncated": 1}


def test_the_log_of_strangers_is_limited(serve_api, dial, caplog, monkeypatch):
    """All within one second, as the log's clock has it."""
    server = serve_api()
    monkeypatch.setattr(server.stranger_log, "_now", lambda: 0.0)
    for _ in range(60):
        client = dial(server)
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.read_all() == b""
    assert sum("reason=type" in line for line in caplog.messages) == 50


# Bounds ---------------------------------------------------------------------------------------------------------------


def test_connections_over_the_limit_are_closed_at_once(serve_api, dial, tools, stats):
    server = serve_api(connections_max=2)
    clients = [dial(server), dial(server)]
    tools.wait_for(lambda: stats.api_connections == 2)
    assert dial(server).read_all() == b""
    assert stats.api_accepted_connections == {"accepted": 2, "rejected": 1}
    clients[0].sock.close()
    tools.wait_for(lambda: stats.api_connections == 1)
    newcomer = dial(server)
    newcomer.send(tools.get(tools.key(1)))
    assert newcomer.read(36) == failure(tools.key(1))


@pytest.mark.parametrize("slow", [False, True])
def test_a_client_that_does_not_read_is_not_read_from_and_dropped_in_the_end(
    serve_api, dial, tools, node, stats, monkeypatch, slow
):
    monkeypatch.setattr(ApiServer, "send_timeout_s", 0.3)
    key = tools.key(1)
    node.values[key] = bytes(VALUE_BYTES_MAX)
    if slow:
        node.slow[key] = 0.0
    client = dial(serve_api())
    client.sock.settimeout(5)
    requests = tools.get(key) * 100
    with pytest.raises(OSError, match=r"reset|pipe"):
        client.send(*[requests] * 10_000)
    tools.wait_for(lambda: stats.api_connections == 0)
    assert len(node.log) < 1000


def resident_kib():
    """How much memory this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 10


def test_two_thousand_idle_connections_are_cheap(serve_api, dial, tools, stats):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 4200:
        pytest.skip("not enough open files allowed")
    server = serve_api(connections_max=2000)
    before_kib = resident_kib()
    clients = [dial(server) for _ in range(2000)]
    tools.wait_for(lambda: stats.api_connections == 2000)
    assert (resident_kib() - before_kib) / 2000 < 40, "KiB for both ends of a connection"
    clients[-1].send(tools.get(tools.key(1)))
    assert clients[-1].read(36) == failure(tools.key(1))


# Life -----------------------------------------------------------------------------------------------------------------


def test_stopping_finishes_what_was_received_and_closes_idle_connections(serve_api, dial, tools, node):
    server = serve_api()
    idle, busy = dial(server), dial(server)
    keys = [tools.key(number) for number in range(5)]
    node.slow = dict.fromkeys(keys, 0.1)
    busy.send(*map(tools.get, keys))
    tools.wait_for(lambda: node.running)
    stopping = gevent.spawn(server.stop, 5)
    assert idle.read_all() == b""
    assert busy.read_all() == b"".join(map(failure, keys))
    stopping.join()
    assert server.state is ListenerState.STOPPED
    with pytest.raises(ConnectionRefusedError):
        dial(server)


def test_stopping_cuts_off_at_its_deadline(serve_api, dial, tools, node):
    server = serve_api()
    client = dial(server)
    node.slow[tools.key(1)] = 30
    client.send(tools.get(tools.key(1)))
    tools.wait_for(lambda: node.running)
    with gevent.Timeout(3):
        server.stop(0.1)
    assert client.read_all() == b""


def test_ipv6_is_served(serve_api, dial, tools):
    server = serve_api(address=Address("::1", 0))
    assert str(server.address).startswith("[::1]:")
    client = dial(server)
    client.send(tools.get(tools.key(1)))
    assert client.read(36) == failure(tools.key(1))


def test_requests_bytes_and_durations_are_counted(serve_api, dial, tools, node, stats):
    client, slow = dial(serve_api()), tools.key(9)
    node.slow[slow] = 0.02
    client.send(tools.put(tools.key(1), b"x"), tools.get(tools.key(1)), tools.get(tools.key(2)), tools.get(slow))
    assert len(client.read(37 + 36 + 36)) == 109
    assert stats.api_requests == {("put", "success"): 1, ("get", "success"): 1, ("get", "not_found"): 2}
    counted = SimpleNamespace(**{word: stats.api_request_duration[word].count for word in ("get", "put")})
    assert counted == SimpleNamespace(get=3, put=1)
    assert stats.api_request_duration["get"].total > 0.02
    assert stats.network_received_bytes == {"api": 41 + 3 * 36}
    assert stats.network_sent_bytes == {"api": 109}


def test_stopping_does_not_wait_for_a_client_that_never_stops_asking(serve_api, dial, tools, stats):
    server = serve_api()
    client, request = dial(server), tools.get(tools.key(1))

    def ask_for_ever():
        with suppress(OSError):
            client.send(request * 10)
            while client.read(360):
                client.send(request * 10)

    asking = gevent.spawn(ask_for_ever)
    tools.wait_for(lambda: stats.api_requests["get", "not_found"] > 100)
    with gevent.Timeout(1):
        server.stop(5)
    asking.get(timeout=5)


def test_a_message_that_stopping_cuts_short_is_not_held_against_the_client(serve_api, dial, tools, stats):
    server = serve_api()
    client = dial(server)
    client.send(tools.get(tools.key(1)), tools.get(tools.key(2))[:9])
    assert client.read(36) == failure(tools.key(1))
    server.stop(1)
    assert client.read_all() == b""
    assert not stats.api_malformed_messages
