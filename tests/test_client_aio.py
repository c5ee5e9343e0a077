"""The asyncio client: coroutines that share a connection, are cancelled, wait too long, and lose their node."""

import asyncio
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from typing import Any

import pytest

from gdht.client import hash_key
from gdht.client.aio import AsyncClient
from gdht.client.aio_connection import IN_FLIGHT_MAX, JOINED_BYTES_MAX, UNSENT_BYTES_MAX, AioConnection
from gdht.client.requests import make_put
from gdht.config import Address
from gdht.core.messages import VALUE_BYTES_MAX, DhtFailure, DhtGet, DhtPut, DhtSuccess
from gdht.errors import ClientDisconnected, ClientError, ClientTimeout, PutFailed
from gdht.wire.codec import encode_dht
from tests.scripted import (
    FAILURE_VECTOR,
    KEY,
    OTHER_KEY,
    SUCCESS_VECTOR,
    WAIT_S,
    Conversation,
    DictServer,
    ScriptedServer,
    Step,
    answers,
)

KEYS = [bytes([number]) * 32 for number in range(10)]
VALUES = {key: key[:3] for key in KEYS}


@pytest.fixture(autouse=True)
def _in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients begin with the first address."""
    monkeypatch.setattr(random, "randrange", lambda count: 0)


def with_client(*addresses: str, run: Callable[[AsyncClient], Awaitable[Any]], timeout_s: float = 5.0) -> Any:
    """Run a coroutine with a client, in a loop of its own."""

    async def whole() -> Any:
        async with AsyncClient(*addresses, timeout_s=timeout_s) as client:
            return await run(client)

    return asyncio.run(whole())


async def reach(event: threading.Event) -> None:
    """Wait for what a server's thread does."""
    assert await asyncio.to_thread(event.wait, WAIT_S)


def answer_to(key: bytes) -> bytes:
    return encode_dht(DhtSuccess(key, VALUES[key]))


# Requests and answers -------------------------------------------------------------------------------------------------


def test_what_is_put_is_what_get_returns() -> None:
    async def run(client: AsyncClient) -> None:
        await client.put(KEY, b"hello", ttl_s=60, replication=2)
        assert await client.get(KEY) == b"hello"
        assert await client.get(OTHER_KEY) is None

    with DictServer() as server:
        with_client(server.address, run=run)
    assert server.requests == [DhtPut(60, 2, 1, KEY, b"hello"), DhtGet(KEY), DhtGet(OTHER_KEY)]
    assert server.connections == 1


def test_a_refused_put_names_the_node_and_the_key() -> None:
    with (
        ScriptedServer(answers(FAILURE_VECTOR)) as server,
        pytest.raises(PutFailed, match=f"^{server.address}: the write quorum did not store the value$") as failed,
    ):
        with_client(server.address, run=lambda client: client.put(KEY, b"x"))
    assert failed.value.keys == (KEY,)


def test_a_get_that_begins_after_put_nowait_sees_it() -> None:
    async def run(client: AsyncClient) -> None:
        for number in range(200):
            await client.put_nowait(KEY, b"%d" % number)
        assert await client.get(KEY) == b"199"

    with DictServer() as server:
        with_client(server.address, run=run)
    assert server.connections == 1


def test_wrong_arguments_are_refused_before_anything_is_sent() -> None:
    async def run(client: AsyncClient) -> None:
        with pytest.raises(ValueError, match="32 bytes"):
            await client.get(b"short")
        with pytest.raises(ValueError, match="at most 65,495 bytes"):
            await client.put_many([(KEY, b"x"), (KEY, bytes(65496))])
        with pytest.raises(ValueError, match="ttl_s"):
            await client.put_nowait(KEY, b"x", ttl_s=65536)
        with pytest.raises(TypeError, match="a value is bytes, not str"):
            await client.put_many([(KEY, b"x"), (KEY, "x")])

    with DictServer() as server:
        with_client(server.address, run=run)
    assert server.connections == 0
    with pytest.raises(ValueError, match="above 0"):
        AsyncClient("127.0.0.1:7001", timeout_s=0)
    with pytest.raises(ValueError, match="host:port"):
        AsyncClient("nowhere")


@pytest.mark.parametrize("step", [1, 7, 40])
def test_answers_in_fragments_are_put_together(step: int) -> None:
    def in_pieces(conversation: Conversation) -> None:
        keys = [conversation.read().key for _ in KEYS]
        stream = b"".join(map(answer_to, keys))
        for start in range(0, len(stream), step):
            conversation.socket.sendall(stream[start : start + step])

    with ScriptedServer(in_pieces) as server:
        assert with_client(server.address, run=lambda client: client.get_many(KEYS)) == list(VALUES.values())


# Many at once ---------------------------------------------------------------------------------------------------------


def test_many_coroutines_share_one_connection_and_each_gets_its_own_answer() -> None:
    async def one(client: AsyncClient, number: int) -> None:
        key = hash_key(f"{number}")
        await client.put(key, b"%d" % number)
        assert await client.get(key) == b"%d" % number

    async def run(client: AsyncClient) -> None:
        await asyncio.gather(*(one(client, number) for number in range(500)))

    with DictServer() as server:
        with_client(server.address, run=run)
    assert server.connections == 1


def test_requests_do_not_wait_for_the_answers_before_them() -> None:
    def all_then_answers(conversation: Conversation) -> None:
        keys = [conversation.read().key for _ in KEYS]
        conversation.socket.sendall(b"".join(map(answer_to, keys)))

    async def run(client: AsyncClient) -> None:
        assert await asyncio.gather(*map(client.get, KEYS)) == list(VALUES.values())

    with ScriptedServer(all_then_answers) as server:
        with_client(server.address, run=run)


def test_no_more_requests_are_under_way_than_may_be_even_when_their_waiters_are_gone() -> None:
    asked, cancelled = threading.Event(), threading.Event()

    def counts(conversation: Conversation) -> None:
        keys = [conversation.read().key for _ in range(IN_FLIGHT_MAX)]
        asked.set()
        assert cancelled.wait(WAIT_S)
        conversation.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            conversation.read()
        conversation.socket.settimeout(WAIT_S)
        for key in keys:
            conversation.socket.sendall(encode_dht(DhtSuccess(key, b"late")))
        conversation.answer(SUCCESS_VECTOR)

    async def run(client: AsyncClient) -> None:
        gone = [asyncio.create_task(client.get(OTHER_KEY)) for _ in range(IN_FLIGHT_MAX)]
        await reach(asked)
        for task in gone:
            task.cancel()
        last = asyncio.create_task(client.get(KEY))
        await asyncio.wait(gone)
        cancelled.set()
        assert await last == b"hello"

    with ScriptedServer(counts) as server:
        with_client(server.address, run=run)


def test_many_values_are_stored_and_come_back_in_the_order_of_the_keys() -> None:
    many = {hash_key(f"{number}"): b"%d" % number for number in range(1000)}

    async def run(client: AsyncClient) -> None:
        assert await client.get_many([]) == []
        await client.put_many(many, ttl_s=60)
        assert await client.get_many([*reversed(many), KEY]) == [*reversed(many.values()), None]

    with DictServer() as server:
        with_client(server.address, run=run)
    assert server.connections == 1


def test_refused_puts_are_named_and_the_others_stored() -> None:
    with DictServer() as server:
        server.refused = {KEYS[3], KEYS[8]}
        with pytest.raises(PutFailed, match="did not store 2 of 10 values") as failed:
            with_client(server.address, run=lambda client: client.put_many(VALUES))
    assert failed.value.keys == (KEYS[3], KEYS[8])
    assert len(server.values) == 8


def test_neither_side_blocks_the_other_when_all_buffers_are_full() -> None:
    big = bytes(VALUE_BYTES_MAX)

    def one_after_the_other(conversation: Conversation) -> None:
        for _ in range(1000):
            is_get = isinstance(conversation.read(), DhtGet)
            conversation.socket.sendall(encode_dht(DhtSuccess(KEY, big if is_get else b"")))

    async def run(client: AsyncClient) -> None:
        asked = [client.put(KEY, big) if number % 2 else client.get(KEY) for number in range(1000)]
        assert [*await asyncio.gather(*asked)] == [big, None] * 500

    with ScriptedServer(one_after_the_other) as server:
        with_client(server.address, run=run)


# Cancellation ---------------------------------------------------------------------------------------------------------


def test_a_cancelled_waiter_does_not_upset_the_order_of_the_others() -> None:
    asked, cancelled = threading.Event(), threading.Event()

    def answers_late(conversation: Conversation) -> None:
        keys = [conversation.read().key for _ in range(3)]
        asked.set()
        assert cancelled.wait(WAIT_S)
        conversation.socket.sendall(b"".join(map(answer_to, keys)))
        conversation.answer(answer_to(KEYS[3]))

    async def run(client: AsyncClient) -> None:
        first, second, third = (asyncio.create_task(client.get(key)) for key in KEYS[:3])
        await reach(asked)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        cancelled.set()
        assert (await first, await third) == (VALUES[KEYS[0]], VALUES[KEYS[2]])
        assert await client.get(KEYS[3]) == VALUES[KEYS[3]]

    with ScriptedServer(answers_late) as server:
        with_client(server.address, run=run)


def test_when_the_coroutine_that_connects_is_cancelled_another_one_connects() -> None:
    async def run(client: AsyncClient) -> None:
        first, second = (asyncio.create_task(client.get(KEY)) for _ in range(2))
        await asyncio.sleep(0)  # both have begun, the first to connect
        first.cancel()
        assert await second == b"hello"
        with pytest.raises(asyncio.CancelledError):
            await first

    with DictServer({KEY: b"hello"}) as server:
        with_client(server.address, run=run)


# Time limits ----------------------------------------------------------------------------------------------------------


def test_a_silent_node_runs_into_the_timeout_and_the_next_request_gets_a_new_connection() -> None:
    async def run(client: AsyncClient) -> None:
        began_s = time.monotonic()
        with pytest.raises(ClientTimeout, match=rf"{server.address} did not answer within 0\.3 s") as failed:
            await client.get(OTHER_KEY)
        assert failed.value.keys == (OTHER_KEY,)
        assert 0.25 < time.monotonic() - began_s < 2
        assert await client.get(KEY) == b"hello"

    with ScriptedServer(Conversation.wait_until_closed, answers(SUCCESS_VECTOR)) as server:
        with_client(server.address, run=run, timeout_s=0.3)


def test_a_node_that_does_not_read_runs_into_the_timeout() -> None:
    async def fill(client: AsyncClient) -> None:
        for _ in range(1000):
            await client.put_nowait(KEY, bytes(VALUE_BYTES_MAX))

    async def run(client: AsyncClient) -> None:
        with pytest.raises(ClientTimeout):
            await fill(client)

    with ScriptedServer(Conversation.stall) as server:
        with_client(server.address, run=run, timeout_s=0.3)


def test_those_that_wait_for_a_node_to_read_do_not_all_write_when_it_does() -> None:
    class Unread(asyncio.Transport):
        """A socket whose other side takes nothing."""

        held_bytes = 0

        def write(self, data: Any) -> None:
            self.held_bytes += len(data)
            if self.held_bytes > UNSENT_BYTES_MAX:
                connection.pause_writing()

        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
            assert high == UNSENT_BYTES_MAX

    async def fill() -> int:
        nonlocal connection
        connection = AioConnection(Address("127.0.0.1", 1), 5.0)
        connection.connection_made(transport := Unread())
        connection.pause_writing()
        told = [asyncio.create_task(connection.tell(make_put(KEY, bytes(30_000), 0, 0, reserved=0))) for _ in range(99)]
        await asyncio.sleep(0)
        connection.resume_writing()
        await asyncio.sleep(0.01)
        assert 0 < sum(task.done() for task in told) < 99
        for task in told:
            task.cancel()
        return transport.held_bytes

    connection: AioConnection
    assert UNSENT_BYTES_MAX < asyncio.run(fill()) < UNSENT_BYTES_MAX + 2 * JOINED_BYTES_MAX


def test_a_node_that_answers_slowly_is_not_silent() -> None:
    def slowly(conversation: Conversation) -> None:
        for _ in range(6):
            key = conversation.read().key
            conversation.over.wait(0.1)
            conversation.socket.sendall(answer_to(key))

    with ScriptedServer(slowly) as slow, DictServer() as other:
        got = with_client(slow.address, other.address, run=lambda c: c.get_many(KEYS[:6]), timeout_s=0.8)
    assert got == [VALUES[key] for key in KEYS[:6]]
    assert other.connections == 0


# Failing over ---------------------------------------------------------------------------------------------------------


def half_an_answer(conversation: Conversation) -> None:
    conversation.answer(SUCCESS_VECTOR[:10])


def nonsense(conversation: Conversation) -> None:
    conversation.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    conversation.wait_for_close()


@pytest.mark.parametrize("broken", [Conversation.read, half_an_answer, nonsense, lambda conversation: None])
def test_what_breaks_off_is_asked_elsewhere(broken: Step) -> None:
    async def run(client: AsyncClient) -> None:
        assert await client.get(KEY) == b"hello"
        await client.put(KEY, b"new")

    with ScriptedServer(broken) as server, DictServer({KEY: b"hello"}) as well:
        with_client(server.address, well.address, run=run)
    assert well.values == {KEY: b"new"}


def test_an_address_that_refuses_is_passed_over(free_address: str) -> None:
    with DictServer({KEY: b"hello"}) as well:
        assert with_client(free_address, well.address, run=lambda client: client.get(KEY)) == b"hello"


def test_an_address_of_a_name_that_takes_no_connection_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        ExitStack() as others,
        DictServer({KEY: b"hello"}) as server,
    ):
        for _ in range(3):
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", place)
            for place in (full.getsockname(), ("127.0.0.1", int(server.address.rpartition(":")[2])))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
        assert with_client("node.example:7001", run=lambda client: client.get(KEY), timeout_s=2.0) == b"hello"


def test_all_that_wait_for_a_silent_node_go_elsewhere_after_half_of_the_time() -> None:
    async def run(client: AsyncClient) -> None:
        began_s = time.monotonic()
        assert await asyncio.gather(*map(client.get, KEYS)) == list(VALUES.values())
        assert 0.25 < time.monotonic() - began_s < 0.6
        began_s = time.monotonic()
        assert await client.get(KEYS[0]) == VALUES[KEYS[0]]
        assert time.monotonic() - began_s < 0.25

    with ScriptedServer(Conversation.wait_until_closed) as silent, DictServer(VALUES) as well:
        with_client(silent.address, well.address, run=run, timeout_s=0.6)
    assert well.connections == 1


def test_what_is_under_way_when_a_node_stops_is_asked_elsewhere() -> None:
    values = {hash_key(f"{number}"): b"%d" % number for number in range(2000)}

    async def run(client: AsyncClient) -> None:
        asked = asyncio.create_task(client.get_many(values))
        while len(first.requests) < 300:
            await asyncio.sleep(0)
        await asyncio.to_thread(first.stop)
        assert await asked == list(values.values())

    with DictServer(values) as first, DictServer(values) as second:
        with_client(first.address, second.address, run=run)
    assert second.connections == 1


def test_those_that_wait_for_room_go_elsewhere_too() -> None:
    def breaks_when_full(conversation: Conversation) -> None:
        for _ in range(IN_FLIGHT_MAX):
            conversation.read()

    async def run(client: AsyncClient) -> None:
        asked = [client.get(KEY) for _ in range(3 * IN_FLIGHT_MAX)]
        assert await asyncio.gather(*asked) == [b"hello"] * len(asked)

    with ScriptedServer(breaks_when_full) as full, DictServer({KEY: b"hello"}) as well:
        with_client(full.address, well.address, run=run)


def test_the_only_node_gets_one_new_connection_when_a_used_one_breaks() -> None:
    async def run(client: AsyncClient) -> None:
        assert await client.get(KEY) == b"hello"
        assert await client.get(KEY) == b"hello"

    with ScriptedServer(answers(SUCCESS_VECTOR), answers(SUCCESS_VECTOR)) as server:
        with_client(server.address, run=run)
    assert server.connections == 2


def test_when_nobody_is_left_the_error_tells_of_each(free_address: str) -> None:
    with ScriptedServer(Conversation.read) as server, pytest.raises(ClientDisconnected) as failed:
        with_client(free_address, server.address, run=lambda client: client.get(KEY))
    told = f"cannot reach {free_address}: Connection refused; {server.address} closed the connection without an answer"
    assert str(failed.value) == told


def test_a_name_without_address_is_named() -> None:
    with pytest.raises(ClientDisconnected, match=r"no-such-host\.invalid"):
        with_client("no-such-host.invalid:7001", run=lambda client: client.get(KEY))


def test_a_batch_that_nobody_finishes_says_which_keys_have_no_answer() -> None:
    def three_of_ten(conversation: Conversation) -> None:
        conversation.answer(answer_to(KEYS[0]))
        conversation.answer(encode_dht(DhtFailure(KEYS[1])))
        conversation.answer(encode_dht(DhtSuccess(KEYS[2], b"")))
        conversation.wait_until_closed()

    def run(many: Callable[[AsyncClient], Coroutine[Any, Any, object]]) -> tuple[bytes, ...]:
        with ScriptedServer(three_of_ten) as server, pytest.raises(ClientTimeout) as failed:
            with_client(server.address, run=many, timeout_s=0.3)
        return failed.value.keys

    assert run(lambda client: client.get_many(KEYS)) == tuple(KEYS[3:])

    def puts(conversation: Conversation) -> None:
        conversation.answer(encode_dht(DhtSuccess(KEYS[0], b"")))
        conversation.answer(encode_dht(DhtFailure(KEYS[1])))
        conversation.wait_until_closed()

    with ScriptedServer(puts) as server, pytest.raises(ClientTimeout) as failed:
        with_client(server.address, run=lambda client: client.put_many(VALUES), timeout_s=0.3)
    assert failed.value.keys == tuple(KEYS[1:])


# The end --------------------------------------------------------------------------------------------------------------


def test_closing_ends_what_is_under_way_and_what_comes_later() -> None:
    asked = threading.Event()

    def silent(conversation: Conversation) -> None:
        conversation.read()
        asked.set()
        conversation.wait_until_closed()

    async def run(client: AsyncClient) -> None:
        waiting = [asyncio.create_task(client.get(KEY)) for _ in range(3)]
        await reach(asked)
        await client.close()
        for task in waiting:
            with pytest.raises(ClientError, match="the client is closed"):
                await task
        with pytest.raises(ClientError, match="the client is closed"):
            await client.get(KEY)

    with ScriptedServer(silent) as server:
        with_client(server.address, run=run)
    assert server.connections == 1


def test_closing_while_connecting_leaves_no_connection_open() -> None:
    async def run(client: AsyncClient) -> None:
        waiting = asyncio.create_task(client.get(KEY))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(ClientError, match="closed"):
            await waiting
        async with asyncio.timeout(WAIT_S):
            while server.open_now or not server.connections:
                await asyncio.sleep(0.005)

    with DictServer({KEY: b"hello"}) as server:
        with_client(server.address, run=run)
    assert (server.connections, server.requests) == (1, [])


def test_what_was_put_without_waiting_is_sent_before_the_end() -> None:
    received: list[DhtPut | DhtGet] = []

    def reads_all(conversation: Conversation) -> None:
        received.extend(conversation.read() for _ in range(100))
        conversation.wait_for_close()

    async def run(client: AsyncClient) -> None:
        for _ in range(100):
            await client.put_nowait(KEY, bytes(30_000))

    with ScriptedServer(reads_all) as server:
        with_client(server.address, run=run)
    assert received == [DhtPut(0, 0, 0, KEY, bytes(30_000))] * 100


def test_a_node_that_reads_no_more_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdht.client.aio_connection.CLOSE_S_MAX", 0.2)

    async def run(client: AsyncClient) -> None:
        for _ in range(1000):
            try:
                async with asyncio.timeout(0.2):
                    await client.put_nowait(KEY, bytes(VALUE_BYTES_MAX))
            except TimeoutError:
                break
        began_s = time.monotonic()
        await client.close()
        assert time.monotonic() - began_s < 1

    with ScriptedServer(Conversation.stall) as server:
        with_client(server.address, run=run)
