"""The blocking client with several addresses: whom it turns to when one refuses, breaks off, or says nothing."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from gdht.client import Client
from gdht.core.messages import DhtGet, DhtPut, DhtSuccess
from gdht.errors import ClientDisconnected, ClientError, ClientTimeout, PutFailed
from gdht.wire.codec import encode_dht
from tests.scripted import (
    FAILURE_VECTOR,
    KEY,
    SUCCESS_VECTOR,
    WAIT_S,
    Conversation,
    DictServer,
    ScriptedServer,
    Step,
    answers,
)


@pytest.fixture(autouse=True)
def _in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients begin with the first address."""
    monkeypatch.setattr(random, "randrange", lambda count: 0)


@pytest.fixture
def well() -> Iterator[DictServer]:
    """A node that has a value and takes others."""
    with DictServer({KEY: b"hello"}) as server:
        yield server


def half_an_answer(conversation: Conversation) -> None:
    conversation.answer(SUCCESS_VECTOR[:10])


def nonsense(conversation: Conversation) -> None:
    conversation.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    conversation.wait_for_close()


# One request ----------------------------------------------------------------------------------------------------------


def test_an_address_that_refuses_is_passed_over(free_address: str, well: DictServer) -> None:
    with Client(free_address, well.address) as client:
        assert client.get(KEY) == b"hello"


def test_addresses_may_come_in_a_list(free_address: str, well: DictServer) -> None:
    with Client([free_address, well.address]) as client:
        assert client.get(KEY) == b"hello"


@pytest.mark.parametrize("broken", [Conversation.read, half_an_answer, nonsense])
def test_a_get_that_breaks_off_is_asked_elsewhere(broken: Step, well: DictServer) -> None:
    with ScriptedServer(broken) as server, Client(server.address, well.address) as client:
        assert client.get(KEY) == b"hello"
    assert well.requests == [DhtGet(KEY)]


def test_a_put_without_an_answer_yet_is_sent_again_elsewhere_as_it_was(well: DictServer) -> None:
    first: list[DhtPut | DhtGet] = []
    breaks_off: Step = lambda conversation: first.append(conversation.read())  # noqa: E731
    with ScriptedServer(breaks_off) as server, Client(server.address, well.address) as client:
        client.put(KEY, b"new", ttl_s=60, replication=2)
    assert first == well.requests == [DhtPut(60, 2, 1, KEY, b"new")]


def test_a_silent_address_has_half_of_the_time_and_the_next_one_the_rest(well: DictServer) -> None:
    with (
        ScriptedServer(Conversation.wait_until_closed) as silent,
        Client(silent.address, well.address, timeout_s=0.6) as client,
    ):
        began_s = time.monotonic()
        assert client.get(KEY) == b"hello"
        assert 0.25 < time.monotonic() - began_s < 0.6


def test_an_address_where_nobody_takes_connections_is_silent_too(well: DictServer) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as queued:
        port = listener.getsockname()[1]
        for _ in range(2):  # what the kernel takes by itself; it drops the rest
            waiting = queued.enter_context(closing(socket.socket()))
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        with Client(f"127.0.0.1:{port}", well.address, timeout_s=0.6) as client:
            began_s = time.monotonic()
            assert client.get(KEY) == b"hello"
            assert time.monotonic() - began_s > 0.25


def test_put_nowait_goes_elsewhere_too(free_address: str, well: DictServer) -> None:
    with Client(free_address, well.address) as client:
        client.put_nowait(KEY, b"new")
        assert client.get(KEY) == b"new"


def test_an_answer_is_an_answer_and_nobody_else_is_asked(well: DictServer) -> None:
    with (
        ScriptedServer(lambda conversation: [conversation.answer(FAILURE_VECTOR) for _ in range(2)]) as first,
        Client(first.address, well.address) as client,
    ):
        assert client.get(KEY) is None
        with pytest.raises(PutFailed) as failed:
            client.put(KEY, b"x")
    assert failed.value.keys == (KEY,)
    assert well.requests == []


# The dead one ---------------------------------------------------------------------------------------------------------


def test_an_address_that_was_silent_costs_the_next_requests_no_time(well: DictServer) -> None:
    with (
        ScriptedServer(Conversation.wait_until_closed) as silent,
        Client(silent.address, well.address, timeout_s=0.6) as client,
    ):
        client.get(KEY)
        began_s = time.monotonic()
        for _ in range(5):
            client.close()  # so that each opens a connection
            client.get(KEY)
        assert time.monotonic() - began_s < 0.25
    assert silent.connections == 1


def test_an_address_that_is_there_again_is_used_again(well: DictServer) -> None:
    def back(conversation: Conversation) -> None:
        conversation.answer(SUCCESS_VECTOR)
        returned.set()

    returned = threading.Event()
    with ScriptedServer(Conversation.read, back) as server, Client(server.address, well.address) as client:
        ends_s = time.monotonic() + WAIT_S
        while not returned.is_set():
            assert client.get(KEY) == b"hello"
            client.close()
            returned.wait(0.05)
            assert time.monotonic() < ends_s


def test_the_only_address_is_tried_again_at_once(free_address: str) -> None:
    with ScriptedServer(Conversation.read, answers(SUCCESS_VECTOR)) as server, Client(server.address) as client:
        with pytest.raises(ClientDisconnected):
            client.get(KEY)
        assert client.get(KEY) == b"hello"


# When nobody is left --------------------------------------------------------------------------------------------------


def test_when_all_fail_the_error_says_what_and_where_of_each_and_for_which_key(free_address: str) -> None:
    with (
        ScriptedServer(Conversation.read) as server,
        Client(free_address, server.address) as client,
        pytest.raises(ClientDisconnected) as failed,
    ):
        client.get(KEY)
    parts = [f"cannot reach {free_address}: Connection refused", f"{server.address} closed the connection"]
    assert str(failed.value) == f"{parts[0]}; {parts[1]} without an answer"
    assert failed.value.keys == (KEY,)


def test_all_are_silent_within_the_time_of_one_request() -> None:
    with (
        ScriptedServer(Conversation.wait_until_closed) as first,
        ScriptedServer(Conversation.wait_until_closed) as second,
        Client(first.address, second.address, timeout_s=0.4) as client,
    ):
        began_s = time.monotonic()
        with pytest.raises(ClientTimeout, match=rf"{first.address} did not .* 0\.2 s; {second.address} did not"):
            client.put(KEY, b"x")
        assert 0.35 < time.monotonic() - began_s < 1


# Batches --------------------------------------------------------------------------------------------------------------

KEYS = [bytes([number]) * 32 for number in range(10)]
VALUES = {key: key[:3] for key in KEYS}


def answers_so_many(count: int, *then: Step) -> Step:
    """Answers the first requests of a batch, the rest not."""

    def step(conversation: Conversation) -> None:
        for _ in range(count):
            key = conversation.read().key
            conversation.socket.sendall(encode_dht(DhtSuccess(key, VALUES[key])))
        for act in then:
            act(conversation)

    return step


def test_a_batch_that_is_cut_goes_on_elsewhere_with_what_has_no_answer() -> None:
    with (
        DictServer(VALUES) as well,
        ScriptedServer(answers_so_many(3)) as cut,
        Client(cut.address, well.address) as client,
    ):
        assert client.get_many(KEYS) == [VALUES[key] for key in KEYS]
    assert cut.connections == 1
    assert [request.key for request in well.requests] == KEYS[3:]


def test_a_batch_that_is_cut_goes_on_at_the_same_address_when_there_is_no_other() -> None:
    with ScriptedServer(answers_so_many(3), answers_so_many(7)) as server, Client(server.address) as client:
        assert client.get_many(KEYS) == [VALUES[key] for key in KEYS]
    assert server.connections == 2


def test_a_batch_that_nobody_finishes_says_which_keys_have_no_answer() -> None:
    silent_then = answers_so_many(3, Conversation.wait_until_closed)
    with (
        ScriptedServer(silent_then) as server,
        Client(server.address, timeout_s=0.3) as client,
        pytest.raises(ClientTimeout, match=r"did not answer within 0\.3 s") as failed,
    ):
        client.get_many(KEYS)
    assert failed.value.keys == tuple(KEYS[3:])


def test_a_batch_of_puts_is_finished_elsewhere_and_says_what_was_refused_where() -> None:
    def one_stored_one_refused(conversation: Conversation) -> None:
        conversation.answer(encode_dht(DhtSuccess(KEYS[0], b"")))
        conversation.answer(FAILURE_VECTOR.replace(KEY, KEYS[1]))

    with (
        DictServer() as well,
        ScriptedServer(one_stored_one_refused) as cut,
        Client(cut.address, well.address) as client,
    ):
        well.refused = {KEYS[7]}
        with pytest.raises(
            PutFailed, match=f"did not store 2 of 10 values, the first that of hex:{KEYS[1].hex()}"
        ) as failed:
            client.put_many(VALUES)
    assert failed.value.keys == (KEYS[1], KEYS[7])
    assert set(well.values) == set(KEYS[2:]) - {KEYS[7]}


def test_a_batch_of_puts_that_breaks_off_names_the_refused_and_the_unanswered(free_address: str) -> None:
    def refuses_one(conversation: Conversation) -> None:
        conversation.answer(encode_dht(DhtSuccess(KEYS[0], b"")))
        conversation.answer(FAILURE_VECTOR.replace(KEY, KEYS[1]))
        conversation.answer(encode_dht(DhtSuccess(KEYS[2], b"")))

    with (
        ScriptedServer(refuses_one, Conversation.read) as server,
        Client(server.address) as client,
        pytest.raises(ClientDisconnected) as failed,
    ):
        client.put_many(VALUES)
    assert failed.value.keys == (KEYS[1], *KEYS[3:])


def test_nonsense_in_the_middle_of_a_batch_is_told_when_nobody_else_is_there() -> None:
    with (
        ScriptedServer(answers_so_many(3, nonsense)) as server,
        Client(server.address) as client,
        pytest.raises(ClientError, match="no answer") as failed,
    ):
        client.get_many(KEYS)
    assert set(KEYS[3:]) <= set(failed.value.keys)
