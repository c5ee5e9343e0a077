"""The blocking client with many requests under way: batches on one connection, and threads that share a pool."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gdht.client import Client, aio_connection, connection, hash_key
from gdht.client.blocking import CONNECTIONS_MAX
from gdht.client.connection import IN_FLIGHT_MAX
from gdht.client.requests import make_get, make_put
from gdht.core.messages import VALUE_BYTES_MAX, DhtGet, DhtSuccess
from gdht.errors import ClientTimeout, PutFailed
from gdht.net.api_connection import PENDING_MAX
from gdht.wire.codec import encode_dht
from tests.scripted import KEY, WAIT_S, Conversation, DictServer, ScriptedServer

MANY = {hash_key(f"key {number}"): b"%d" % number for number in range(1000)}


@pytest.fixture
def server() -> Iterator[DictServer]:
    with DictServer() as running:
        yield running


# Batches --------------------------------------------------------------------------------------------------------------


def test_many_values_are_stored_and_come_back_in_the_order_of_the_keys(server: DictServer) -> None:
    with Client(server.address) as client:
        client.put_many(MANY, ttl_s=60, replication=2)
        assert client.get_many(reversed(MANY)) == [MANY[key] for key in reversed(MANY)]
    assert [request for request in server.requests if not isinstance(request, DhtGet)] == [
        make_put(key, value, 60, 2) for key, value in MANY.items()
    ]
    assert server.connections == 1


def test_puts_may_be_pairs_and_the_last_of_equal_keys_wins(server: DictServer) -> None:
    with Client(server.address) as client:
        client.put_many((KEY, b"%d" % number) for number in range(10))
        assert client.get(KEY) == b"9"


def test_a_key_without_a_value_is_none_in_its_place(server: DictServer) -> None:
    first, second, third = list(MANY)[:3]
    server.values = {first: b"1", third: b""}
    with Client(server.address) as client:
        assert client.get_many([third, second, first, third]) == [b"", None, b"1", b""]


def test_refused_puts_are_named_and_the_others_stored(server: DictServer) -> None:
    server.refused = set(list(MANY)[::100])
    with Client(server.address) as client, pytest.raises(PutFailed, match="did not store 10 of 1000 values") as failed:
        client.put_many(MANY)
    assert failed.value.keys == tuple(list(MANY)[::100])
    assert len(server.values) == 990


def test_nothing_to_do_needs_no_connection(free_address: str) -> None:
    client = Client(free_address)
    assert client.get_many([]) == []
    client.put_many({})


def test_one_wrong_item_is_refused_before_anything_is_sent(server: DictServer) -> None:
    with Client(server.address) as client:
        with pytest.raises(ValueError, match="32 bytes"):
            client.get_many([KEY, b"short"])
        with pytest.raises(ValueError, match="at most 65,495 bytes"):
            client.put_many([(KEY, b"x"), (KEY, bytes(65496))])
        with pytest.raises(TypeError, match="a value is bytes, not str"):
            client.put_many({KEY: b"x", hash_key("other"): "x"})
    assert server.connections == 0


def test_no_more_requests_are_under_way_than_may_be() -> None:
    seen: list[int] = []

    def counts_then_answers(conversation: Conversation) -> None:
        requests = [conversation.read() for _ in range(IN_FLIGHT_MAX)]
        conversation.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            conversation.read()
        conversation.socket.settimeout(WAIT_S)
        seen.append(len(requests))
        for _ in MANY:
            request = requests.pop(0) if requests else conversation.read()
            conversation.socket.sendall(encode_dht(DhtSuccess(request.key, MANY[request.key])))

    with ScriptedServer(counts_then_answers) as server, Client(server.address) as client:
        assert client.get_many(MANY) == list(MANY.values())
    assert seen == [IN_FLIGHT_MAX]


def test_as_many_requests_again_as_a_node_takes_at_once_are_on_their_way_to_it() -> None:
    assert aio_connection.IN_FLIGHT_MAX == IN_FLIGHT_MAX == 2 * PENDING_MAX


def test_neither_side_blocks_the_other_when_all_buffers_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IN_FLIGHT_MAX", 1000)
    big = bytes(VALUE_BYTES_MAX)
    requests = [make_get(KEY) if number % 2 else make_put(KEY, big, 0, 0) for number in range(1000)]

    def one_after_the_other(conversation: Conversation) -> None:
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            conversation.socket.setsockopt(socket.SOL_SOCKET, buffer, 1 << 17)
        for _ in requests:
            is_get = isinstance(conversation.read(), DhtGet)
            conversation.socket.sendall(encode_dht(DhtSuccess(KEY, big if is_get else b"")))

    with ScriptedServer(one_after_the_other) as server, Client(server.address) as client:
        answers = client._carry_out(requests).answers
    assert [len(answer.value) for answer in answers if isinstance(answer, DhtSuccess)] == [0, VALUE_BYTES_MAX] * 500


def test_the_time_limit_of_a_batch_is_for_each_answer_after_the_one_before() -> None:
    keys = list(MANY)[:8]

    def slowly(conversation: Conversation) -> None:
        for _ in keys:
            key = conversation.read().key
            conversation.over.wait(0.1)
            conversation.socket.sendall(encode_dht(DhtSuccess(key, b"x")))

    with ScriptedServer(slowly) as server, Client(server.address, timeout_s=0.4) as client:
        began_s = time.monotonic()
        assert client.get_many(keys) == [b"x"] * 8
        assert time.monotonic() - began_s > 0.7


def test_bytes_that_are_no_whole_answer_do_not_lengthen_the_time() -> None:
    def trickle(conversation: Conversation) -> None:
        key = conversation.read().key
        frame = encode_dht(DhtSuccess(key, bytes(1000)))
        try:
            for byte in frame:
                conversation.socket.sendall(bytes([byte]))
                conversation.over.wait(0.05)
        except OSError:  # the client has had enough, as it should
            pass

    with ScriptedServer(trickle) as server, Client(server.address, timeout_s=0.3) as client:
        began_s = time.monotonic()
        with pytest.raises(ClientTimeout):
            client.get_many([KEY, KEY])
        assert time.monotonic() - began_s < 2


# Threads --------------------------------------------------------------------------------------------------------------


def in_threads(count: int, work: Callable[[int], object]) -> list[BaseException]:
    """Run it in so many threads at once, each with its number; what they raised."""
    raised: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_threads_share_a_bounded_number_of_connections_and_each_gets_its_own_answers(server: DictServer) -> None:
    with Client(server.address, max_connections=4) as client:

        def ask(number: int) -> None:
            for turn in range(30):
                key, value = hash_key(f"{number}"), b"%d %d" % (number, turn)
                client.put(key, value)
                assert client.get_many([key, KEY, key]) == [value, None, value]

        assert in_threads(12, ask) == []
    assert 1 < server.connections <= 4


def test_as_many_requests_as_connections_are_under_way_at_once() -> None:
    all_asked = threading.Barrier(4, timeout=WAIT_S)

    class Slow(DictServer):
        def _answer(self, request):
            all_asked.wait()
            return super()._answer(request)

    with Slow({KEY: b"hello"}) as server, Client(server.address, max_connections=4) as client:
        assert in_threads(4, lambda _: client.get(KEY)) == []
    assert server.connections == 4


def test_the_connections_of_a_pool_are_spread_over_the_addresses() -> None:
    all_asked = threading.Barrier(6, timeout=WAIT_S)

    class Slow(DictServer):
        def _answer(self, request):
            all_asked.wait()
            return super()._answer(request)

    with Slow({KEY: b"1"}) as first, Slow({KEY: b"1"}) as second, Slow({KEY: b"1"}) as third:
        with Client(first.address, second.address, third.address, max_connections=6) as client:
            assert in_threads(6, lambda _: client.get(KEY)) == []
        assert [one.connections for one in (first, second, third)] == [2, 2, 2]


def test_a_node_that_stops_is_noticed_by_no_thread_of_a_pool() -> None:
    values = {KEY: b"hello"}
    under_way = threading.Semaphore(0)
    with (
        DictServer(values) as first,
        DictServer(values) as second,
        Client(first.address, second.address, max_connections=4) as client,
    ):

        def ask(number: int) -> None:
            for _ in range(300):
                assert client.get(KEY) == b"hello"
                under_way.release()

        stopper = threading.Thread(target=lambda: (under_way.acquire(timeout=WAIT_S), first.stop()))
        stopper.start()
        assert in_threads(4, ask) == []
        stopper.join()


def test_idle_connections_to_an_address_that_fell_silent_cost_nobody_else_time() -> None:
    all_asked = threading.Barrier(4, timeout=WAIT_S)
    silent, over = threading.Event(), threading.Event()

    class FallsSilent(DictServer):
        def _answer(self, request):
            if silent.is_set():
                over.wait(WAIT_S)
            elif request.key == KEY:
                all_asked.wait()
            return super()._answer(request)

    with FallsSilent() as first, FallsSilent() as second:
        with Client(first.address, second.address, timeout_s=1.0, max_connections=4) as client:
            assert in_threads(4, lambda _: client.get(KEY)) == []
            assert (first.open_now, second.open_now) == (2, 2)
            second._answer = lambda request: DictServer._answer(second, request)
            silent.set()
            began_s = time.monotonic()
            for number in range(4):
                client.get(hash_key(f"{number}"))
            assert time.monotonic() - began_s < 0.9  # one of them waited for half a second
        over.set()


def test_closing_ends_idle_connections_at_once_and_one_in_use_after_its_request() -> None:
    asked, closed = threading.Event(), threading.Event()

    class Waits(DictServer):
        def _answer(self, request):
            if request.key == KEY:
                asked.set()
                assert closed.wait(WAIT_S)
            return super()._answer(request)

    with Waits({KEY: b"hello"}) as server:
        client = Client(server.address, max_connections=2)
        got: list[bytes | None] = []
        waiting = threading.Thread(target=lambda: got.append(client.get(KEY)))
        waiting.start()
        assert asked.wait(WAIT_S)
        client.get(hash_key("other"))
        client.close()
        until(lambda: server.open_now == 1)
        closed.set()
        waiting.join()
        assert got == [b"hello"]
        until(lambda: server.open_now == 0)


def until(condition: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.01)


@pytest.mark.parametrize("number", [0, -1, CONNECTIONS_MAX + 1])
def test_a_number_of_connections_that_cannot_be_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=f"max_connections is 1 to {CONNECTIONS_MAX}, not {number}"):
        Client("127.0.0.1:7001", max_connections=number)
