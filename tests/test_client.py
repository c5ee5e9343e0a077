"""The client against a server that does exactly what a test tells it to, and mostly the wrong thing."""

import socket
import threading
import time
from contextlib import suppress

import pytest

from gdht.client import Client, hash_key
from gdht.client.aio import AsyncClient
from gdht.core.messages import DhtFailure, DhtGet, DhtPut, DhtSuccess
from gdht.errors import ClientDisconnected, ClientError, ClientTimeout, PutFailed
from gdht.wire.codec import encode_dht
from tests.scripted import (
    FAILURE_VECTOR,
    GET_VECTOR,
    KEY,
    OTHER_KEY,
    STORED,
    SUCCESS_VECTOR,
    WAIT_S,
    Conversation,
    ScriptedServer,
    answers,
)

# Requests and answers -------------------------------------------------------------------------------------------------


def test_get_sends_the_golden_frame_and_returns_the_value() -> None:
    received = bytearray()

    def step(conversation: Conversation) -> None:
        while len(received) < len(GET_VECTOR):
            received.extend(conversation.socket.recv(100))
        conversation.socket.sendall(SUCCESS_VECTOR)

    with ScriptedServer(step) as server, Client(server.address) as client:
        assert client.get(KEY) == b"hello"
    assert received == GET_VECTOR


def test_a_value_that_is_not_there_is_none() -> None:
    with ScriptedServer(answers(FAILURE_VECTOR)) as server, Client(server.address) as client:
        assert client.get(KEY) is None


def test_an_empty_value_is_not_none() -> None:
    with ScriptedServer(answers(STORED)) as server, Client(server.address) as client:
        assert client.get(KEY) == b""


@pytest.mark.parametrize("cut", [1, 2, 4, 36, 40])
def test_an_answer_in_two_fragments_is_put_together(cut: int) -> None:
    with (
        ScriptedServer(answers(SUCCESS_VECTOR[:cut], SUCCESS_VECTOR[cut:])) as server,
        Client(server.address) as client,
    ):
        assert client.get(KEY) == b"hello"


def test_an_answer_byte_by_byte_is_put_together() -> None:
    parts = [bytes([byte]) for byte in SUCCESS_VECTOR]
    with ScriptedServer(answers(*parts)) as server, Client(server.address) as client:
        assert client.get(KEY) == b"hello"


def test_the_longest_value_goes_both_ways() -> None:
    value = bytes(range(256)) * 255 + bytes(215)
    assert len(value) == 65495
    requests: list[DhtPut | DhtGet] = []

    def step(conversation: Conversation) -> None:
        requests.append(conversation.answer(STORED))
        conversation.answer(encode_dht(DhtSuccess(KEY, value)))

    with ScriptedServer(step) as server, Client(server.address) as client:
        client.put(KEY, value)
        assert client.get(KEY) == value
    assert requests == [DhtPut(0, 0, 1, KEY, value)]


def test_put_sets_the_reserved_bit_and_waits_for_the_answer() -> None:
    requests: list[DhtPut | DhtGet] = []
    with (
        ScriptedServer(lambda conversation: requests.append(conversation.answer(STORED))) as server,
        Client(server.address) as client,
    ):
        client.put(KEY, b"hello", ttl_s=60, replication=2)
    assert requests == [DhtPut(60, 2, 1, KEY, b"hello")]


def test_a_put_that_the_quorum_did_not_store_fails() -> None:
    with (
        ScriptedServer(answers(FAILURE_VECTOR)) as server,
        Client(server.address) as client,
        pytest.raises(PutFailed, match="write quorum"),
    ):
        client.put(KEY, b"hello")


def test_put_nowait_asks_for_no_answer_and_a_get_follows_on_the_same_connection() -> None:
    requests: list[DhtPut | DhtGet] = []

    def step(conversation: Conversation) -> None:
        requests.append(conversation.read())
        requests.append(conversation.answer(SUCCESS_VECTOR))

    with ScriptedServer(step) as server, Client(server.address) as client:
        client.put_nowait(KEY, b"hello", ttl_s=3600, replication=2)
        assert client.get(KEY) == b"hello"
    assert requests == [DhtPut(3600, 2, 0, KEY, b"hello"), DhtGet(KEY)]
    assert server.connections == 1


# Wrong use ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"", b"x" * 31, b"x" * 33])
def test_a_key_that_is_not_32_bytes_is_refused_before_anything_is_sent(key: bytes, free_address: str) -> None:
    client = Client(free_address)
    for request in (lambda: client.get(key), lambda: client.put(key, b""), lambda: client.put_nowait(key, b"")):
        with pytest.raises(ValueError, match=f"32 bytes, not {len(key)}"):
            request()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((b"x" * 65496, 0, 0), "at most 65,495 bytes, not 65,496"),
        ((b"", 65536, 0), "ttl_s is 0 to 65535, not 65536"),
        ((b"", -1, 0), "ttl_s"),
        ((b"", 0, 256), "replication is 0 to 255, not 256"),
        ((b"", 0, -1), "replication"),
    ],
)
def test_what_does_not_fit_a_put_is_refused(arguments: tuple[bytes, int, int], message: str, free_address: str) -> None:
    client = Client(free_address)
    for put in (client.put, client.put_nowait):
        with pytest.raises(ValueError, match=message):
            put(KEY, *arguments)


@pytest.mark.parametrize(
    ("key", "arguments", "message"),
    [
        (KEY, ("x", 0, 0), "a value is bytes, not str"),
        (KEY, (None, 0, 0), "a value is bytes, not NoneType"),
        (KEY, (b"", 1.5, 0), r"ttl_s is a whole number, not 1\.5"),
        (KEY, (b"", 0, "3"), "replication is a whole number, not '3'"),
        ("k" * 32, (b"", 0, 0), "a key is bytes, not str"),
    ],
)
def test_what_is_of_the_wrong_type_is_refused_before_anything_is_sent(key, arguments, message, free_address) -> None:
    client = Client(free_address)
    for put in (client.put, client.put_nowait):
        with pytest.raises(TypeError, match=message):
            put(key, *arguments)


def test_anything_that_is_bytes_is_a_key_and_a_value() -> None:
    requests: list[DhtPut | DhtGet] = []

    def step(conversation: Conversation) -> None:
        requests.append(conversation.answer(STORED))

    with ScriptedServer(step) as server, Client(server.address) as client:
        client.put(memoryview(KEY), bytearray(b"x"))  # type: ignore[arg-type]
    assert requests == [DhtPut(0, 0, 1, KEY, b"x")]


@pytest.mark.parametrize("address", ["", "localhost", "127.0.0.1:99999", "::1:80", "http://127.0.0.1:7001"])
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        Client(address)


@pytest.mark.parametrize("make", [Client, AsyncClient])
@pytest.mark.parametrize("address", [b"127.0.0.1:7001", [b"127.0.0.1:7001"], 7001, None])
def test_an_address_that_is_no_text_is_refused_at_once(make, address: object) -> None:
    with pytest.raises(TypeError, match=r"an address is a text as '127\.0\.0\.1:7001', not"):
        make(address)


@pytest.mark.parametrize("make", [Client, AsyncClient])
def test_a_timeout_is_a_number_of_seconds_above_zero(make) -> None:
    for timeout_s in (0, -1, float("inf"), float("nan"), 1e7):
        with pytest.raises(ValueError, match="above 0 and at most 1,000,000, not"):
            make("127.0.0.1:7001", timeout_s=timeout_s)
    for timeout_s in ("5", None):
        with pytest.raises(TypeError, match="timeout_s is a number of seconds, not"):
            make("127.0.0.1:7001", timeout_s=timeout_s)


def test_hash_key_is_sha256_of_text_and_bytes_alike() -> None:
    assert hash_key("").hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert hash_key("ключ") == hash_key("ключ".encode())
    assert hash_key("\udcff") == hash_key(b"\xff")  # how the command line hands us bytes that are no text


# A server that misbehaves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no answer"),
        (bytes.fromhex("0003028d") + KEY, "no answer: size"),
        (bytes.fromhex("0023028d") + KEY, "no answer: size"),
        (GET_VECTOR, "no answer: type"),
        (encode_dht(DhtFailure(OTHER_KEY)), "another key"),
        (encode_dht(DhtSuccess(OTHER_KEY, b"hello")), "another key"),
        (SUCCESS_VECTOR + SUCCESS_VECTOR, "more than one answer"),
        (SUCCESS_VECTOR + b"\0", "more than one answer"),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error_and_closes_the_connection(answer: bytes, message: str) -> None:
    def wrong(conversation: Conversation) -> None:
        conversation.answer(answer)
        conversation.wait_for_close()

    with ScriptedServer(wrong, answers(SUCCESS_VECTOR)) as server, Client(server.address) as client:
        with pytest.raises(ClientError, match=message):
            client.get(KEY)
        assert client.get(KEY) == b"hello"


def test_a_value_in_answer_to_a_put_is_an_error() -> None:
    with (
        ScriptedServer(answers(SUCCESS_VECTOR)) as server,
        Client(server.address) as client,
        pytest.raises(ClientError, match="answered a put with a value of 5 bytes"),
    ):
        client.put(KEY, b"hello")


@pytest.mark.parametrize("sent", [b"", SUCCESS_VECTOR[:3], SUCCESS_VECTOR[:-1]])
def test_a_server_that_stops_talking_runs_into_the_timeout_and_the_next_request_gets_a_new_connection(
    sent: bytes,
) -> None:
    def silent(conversation: Conversation) -> None:
        conversation.answer(sent)
        conversation.wait_for_close()

    with ScriptedServer(silent, answers(SUCCESS_VECTOR)) as server, Client(server.address, timeout_s=0.2) as client:
        began = time.monotonic()
        with pytest.raises(ClientTimeout, match=r"did not answer within 0\.2 s"):
            client.get(KEY)
        assert 0.15 < time.monotonic() - began < 2
        assert client.get(KEY) == b"hello"


def test_the_timeout_is_for_the_whole_request_however_often_bytes_arrive() -> None:
    def trickle(conversation: Conversation) -> None:
        conversation.read()
        try:
            for byte in encode_dht(DhtSuccess(KEY, bytes(1000))):
                conversation.socket.sendall(bytes([byte]))
                conversation.over.wait(0.05)
        except OSError:  # the client has had enough, as it should
            pass

    with ScriptedServer(trickle) as server, Client(server.address, timeout_s=0.3) as client:
        began = time.monotonic()
        with pytest.raises(ClientTimeout):
            client.get(KEY)
        assert time.monotonic() - began < 2


def test_put_nowait_to_a_server_that_does_not_read_runs_into_the_timeout() -> None:
    with ScriptedServer(Conversation.stall) as server, Client(server.address, timeout_s=0.3) as client:

        def fill() -> None:
            for _ in range(1000):
                client.put_nowait(KEY, bytes(65495))

        with pytest.raises(ClientTimeout):
            fill()


def test_nobody_listening_is_told_apart_from_a_timeout(free_address: str) -> None:
    with Client(free_address) as client, pytest.raises(ClientDisconnected, match=r"cannot reach .* refused"):
        client.get(KEY)


def test_a_name_without_address_is_named() -> None:
    with (
        Client("no-such-host.invalid:7001") as client,
        pytest.raises(ClientDisconnected, match=r"no-such-host\.invalid"),
    ):
        client.get(KEY)


# Reconnecting ---------------------------------------------------------------------------------------------------------


def test_an_idle_connection_that_died_is_opened_anew() -> None:
    requests: list[DhtPut | DhtGet] = []
    closed = threading.Event()

    def dies_idle(conversation: Conversation) -> None:
        conversation.answer(SUCCESS_VECTOR)
        conversation.socket.close()
        closed.set()

    def second(conversation: Conversation) -> None:
        requests.append(conversation.read())
        requests.append(conversation.answer(SUCCESS_VECTOR))

    with ScriptedServer(dies_idle, second) as server, Client(server.address) as client:
        client.get(KEY)
        assert closed.wait(WAIT_S)
        client.put_nowait(KEY, b"x")
        assert client.get(KEY) == b"hello"
    assert requests == [DhtPut(0, 0, 0, KEY, b"x"), DhtGet(KEY)]


@pytest.mark.parametrize("request_name", ["get", "put"])
def test_a_used_connection_that_dies_without_an_answer_is_tried_once_more(request_name: str) -> None:
    def answers_once(conversation: Conversation) -> None:
        conversation.answer(STORED)
        conversation.read()

    with ScriptedServer(answers_once, answers(STORED)) as server, Client(server.address) as client:
        client.get(KEY)
        if request_name == "get":
            assert client.get(KEY) == b""
        else:
            client.put(KEY, b"x")
    assert server.connections == 2


def test_a_server_that_always_hangs_up_is_tried_only_twice() -> None:
    def answers_once(conversation: Conversation) -> None:
        conversation.answer(SUCCESS_VECTOR)
        conversation.read()

    with ScriptedServer(answers_once, Conversation.read) as server, Client(server.address) as client:
        client.get(KEY)
        with pytest.raises(ClientDisconnected, match="without an answer"):
            client.get(KEY)
    assert server.connections == 2


def test_a_fresh_connection_that_hangs_up_is_not_tried_again() -> None:
    with (
        ScriptedServer(Conversation.read) as server,
        Client(server.address) as client,
        pytest.raises(ClientDisconnected, match="without an answer"),
    ):
        client.get(KEY)
    assert server.connections == 1


def test_a_half_answer_and_a_hang_up_is_not_tried_again() -> None:
    def half(conversation: Conversation) -> None:
        conversation.answer(SUCCESS_VECTOR)
        conversation.answer(SUCCESS_VECTOR[:10])

    with ScriptedServer(half) as server, Client(server.address) as client:
        client.get(KEY)
        with pytest.raises(ClientDisconnected, match="in the middle"):
            client.get(KEY)
    assert server.connections == 1


def test_bytes_that_nobody_asked_for_do_not_become_the_next_answer() -> None:
    spoken = threading.Event()

    def talkative(conversation: Conversation) -> None:
        conversation.answer(FAILURE_VECTOR)
        conversation.socket.sendall(FAILURE_VECTOR)
        spoken.set()
        conversation.wait_for_close()

    with ScriptedServer(talkative, answers(SUCCESS_VECTOR)) as server, Client(server.address) as client:
        with suppress(ClientError):  # when both came in one segment
            assert client.get(KEY) is None
        assert spoken.wait(WAIT_S)
        assert client.get(KEY) == b"hello"


def test_a_closed_client_opens_a_new_connection_when_used_again() -> None:
    with ScriptedServer(answers(SUCCESS_VECTOR), answers(SUCCESS_VECTOR)) as server:
        with Client(server.address) as client:
            client.get(KEY)
        assert client.get(KEY) == b"hello"
        client.close()
        client.close()


# Where and who --------------------------------------------------------------------------------------------------------


def test_ipv6_literals_and_names_are_dialled() -> None:
    with ScriptedServer(answers(SUCCESS_VECTOR), family=socket.AF_INET6) as server, Client(server.address) as client:
        assert client.get(KEY) == b"hello"
    with ScriptedServer(answers(SUCCESS_VECTOR)) as server, Client(f"localhost:{server.port}") as client:
        assert client.get(KEY) == b"hello"


def test_threads_sharing_a_client_each_get_their_own_answer() -> None:
    threads, rounds = 8, 20

    def echo(conversation: Conversation) -> None:
        for _ in range(threads * rounds):
            request = conversation.read()
            conversation.socket.sendall(encode_dht(DhtSuccess(request.key, request.key[:1])))

    wrong: list[object] = []

    def ask(number: int) -> None:
        key = bytes([number]) * 32
        for _ in range(rounds):
            value = client.get(key)
            if value != bytes([number]):
                wrong.append(value)

    with ScriptedServer(echo) as server, Client(server.address) as client:
        workers = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert wrong == []


def test_waiting_for_another_thread_counts_towards_the_timeout() -> None:
    reached = threading.Event()

    def silent(conversation: Conversation) -> None:
        conversation.read()
        reached.set()
        conversation.stall()

    with ScriptedServer(silent) as server:
        client = Client(server.address, timeout_s=0.4)

        def ask_in_vain() -> None:
            with suppress(ClientTimeout):
                client.get(KEY)

        first = threading.Thread(target=ask_in_vain)
        first.start()
        assert reached.wait(WAIT_S)
        client._timeout_s = 0.05
        with pytest.raises(ClientTimeout, match="other threads"):
            client.get(KEY)
        first.join()
