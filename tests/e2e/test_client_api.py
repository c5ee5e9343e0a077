"""The client API as its specification has it, byte by byte, on a ring whose limits are low enough to be met."""

import random
import time

import pytest

from tests.e2e.handmade import (
    ANSWER_WANTED,
    FAILURE,
    SUCCESS,
    VALUE_BYTES_MAX,
    failure_frame,
    get_frame,
    put_frame,
    success_frame,
)
from tests.e2e.harness import (
    DEFAULT_TTL_S,
    REPLICATION,
    REPLICATION_MAX,
    TTL_S_MAX,
    Fleet,
    NodeProcess,
    keys_of,
    owners,
)

LATE_S = 0.15
"""How long after its end a life may be found to be over."""
SLOW_TRIES = 3


def new_key() -> bytes:
    """A key that nobody has used."""
    return random.randbytes(32)


def present(nodes: list[NodeProcess], key: bytes) -> list[dict[str, object]]:
    """The copies of a key that nodes say they hold."""
    return [one for one in nodes[0].json(f"keys/{key.hex()}")["nodes"] if one["present"]]


# Order ----------------------------------------------------------------------------------------------------------------


def test_the_vectors_of_the_specification_are_understood_and_sent_to_the_byte(ring: list[NodeProcess]) -> None:
    key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    for node in ring:
        with node.connect() as client:
            client.send(bytes.fromhex("0024028b" + "ff" + key[2:]))
            assert client.read_bytes(36).hex() == "0024028d" + "ff" + key[2:]
            client.send(bytes.fromhex("002d028a0e100200" + key + "68656c6c6f"))
            client.send(bytes.fromhex("0024028b" + key))
            assert client.read_bytes(41).hex() == "0029028c" + key + "68656c6c6f"


def test_a_get_sees_the_silent_put_before_it_on_its_connection(ring: list[NodeProcess]) -> None:
    for node in ring:
        with node.connect() as client:
            for number in range(50):
                key, value = new_key(), b"%d" % number
                client.send(put_frame(key, value))
                client.send(get_frame(key))
                assert client.read() == (SUCCESS, key, value)


def test_a_get_sees_the_last_of_several_puts_of_one_key(ring: list[NodeProcess]) -> None:
    for node in ring:
        with node.connect() as client:
            key = new_key()
            client.send(b"".join(put_frame(key, b"%d" % number) for number in range(20)) + get_frame(key))
            assert client.read() == (SUCCESS, key, b"19")


def test_a_later_put_through_another_node_wins_everywhere(ring: list[NodeProcess]) -> None:
    key = new_key()
    for round_number in range(10):
        for writer in ring:
            value = b"%d through %s" % (round_number, writer.name.encode())
            with writer.connect() as client:
                assert client.put(key, value)
            for reader in ring:
                with reader.connect() as client:
                    assert client.get(key) == value


def test_a_thousand_requests_in_one_write_are_answered_in_their_order(ring: list[NodeProcess]) -> None:
    sent, expected = bytearray(), bytearray()
    for number in range(250):
        key, value, absent = new_key(), b"value %d" % number, new_key()
        sent += put_frame(key, value) + get_frame(key) + get_frame(absent)
        sent += put_frame(absent, value, reserved=ANSWER_WANTED)
        expected += success_frame(key, value) + failure_frame(absent) + success_frame(absent)
    with ring[1].connect() as client:
        client.send(sent)
        assert client.read_bytes(len(expected)) == expected


def test_requests_delivered_byte_by_byte_are_answered(ring: list[NodeProcess]) -> None:
    key, absent = new_key(), new_key()
    with ring[2].connect() as client:
        for byte in put_frame(key, b"in drops") + get_frame(key) + get_frame(absent):
            client.send(bytes((byte,)))
            time.sleep(0.0005)  # so that each is a delivery of its own
        assert client.read_bytes(80) == success_frame(key, b"in drops") + failure_frame(absent)


def test_a_client_that_has_ended_its_sending_still_gets_all_answers(ring: list[NodeProcess]) -> None:
    keys = [new_key() for _ in range(100)]
    with ring[3].connect() as client:
        client.send(b"".join(put_frame(key, key[:5]) + get_frame(key) for key in keys))
        client.end_sending()
        assert client.read_to_end() == b"".join(success_frame(key, key[:5]) for key in keys)


def test_a_slow_reader_gets_every_byte_of_what_it_asked_for(ring: list[NodeProcess]) -> None:
    key, value = new_key(), random.randbytes(60_000)
    with ring[0].connect() as client:
        assert client.put(key, value)
        client.send(get_frame(key) * 300)  # 18 MB of answers: far more than the buffers between us hold
        time.sleep(0.3)
        with ring[0].connect() as other:
            assert other.get(key) == value  # the node is not held up
        for _ in range(300):
            assert client.read() == (SUCCESS, key, value)


# Values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1400, VALUE_BYTES_MAX])
def test_values_of_every_size_come_back_through_every_node(ring: list[NodeProcess], size: int) -> None:
    for owner in ring:
        key, value = next(keys_of(ring, owner)), random.randbytes(size)
        with ring[0].connect() as client:
            assert client.put(key, value)
        for node in ring:
            with node.connect() as client:
                assert client.get(key) == value


def test_a_key_that_nobody_put_is_answered_with_failure(ring: list[NodeProcess]) -> None:
    for node in ring:
        with node.connect() as client:
            key = new_key()
            client.send(get_frame(key))
            assert client.read() == (FAILURE, key, b"")


# The reserved byte ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reserved", [0x01, 0x03, 0x81, 0xFF])
def test_a_put_is_answered_when_bit_0_of_reserved_is_set_whatever_the_others_are(
    ring: list[NodeProcess], reserved: int
) -> None:
    for owner in ring:
        key = next(keys_of(ring, owner))
        with ring[0].connect() as client:
            client.send(put_frame(key, b"told", reserved=reserved))
            assert client.read() == (SUCCESS, key, b"")
            assert client.get(key) == b"told"


@pytest.mark.parametrize("reserved", [0x00, 0x02, 0x80, 0xFE])
def test_a_put_without_bit_0_of_reserved_is_stored_in_silence(ring: list[NodeProcess], reserved: int) -> None:
    for owner in ring:
        key = next(keys_of(ring, owner))
        with ring[0].connect() as client:
            client.send(put_frame(key, b"untold", reserved=reserved) + get_frame(key))
            client.end_sending()
            assert client.read_to_end() == success_frame(key, b"untold")


def test_a_put_that_no_node_has_room_for_fails_aloud_or_in_silence_as_asked(fleet: Fleet) -> None:
    node = fleet.start("--max-store-bytes", "1000")
    key, fits = new_key(), new_key()
    with node.connect() as client:
        client.send(put_frame(key, bytes(1000), reserved=ANSWER_WANTED))
        assert client.read() == (FAILURE, key, b"")
        client.send(put_frame(key, bytes(1000)) + get_frame(key))
        assert client.read() == (FAILURE, key, b"")
        assert client.put(fits, b"small")
        assert client.get(fits) == b"small"
    assert node.metrics()['gdht_api_requests_total{operation="put",result="quorum"}'] == 2


# Time to live and replication -----------------------------------------------------------------------------------------


def test_a_value_with_ttl_1_is_there_after_half_a_second_and_gone_after_the_second(ring: list[NodeProcess]) -> None:
    clients = [node.connect() for node in ring]
    for _ in range(SLOW_TRIES):
        keys = [next(keys_of(ring, owner)) for owner in ring]
        sent_at_s = time.monotonic()
        clients[0].put_all(((key, b"brief") for key in keys), ttl=1)
        stored_at_s = time.monotonic()
        time.sleep(max(sent_at_s + 0.5 - time.monotonic(), 0))
        seen = [client.get_all(keys) for client in clients]
        seen_at_s = time.monotonic()
        time.sleep(max(stored_at_s + 1 + LATE_S - time.monotonic(), 0))
        assert [client.get_all(keys) for client in clients] == [{}] * len(clients)
        if seen_at_s < sent_at_s + 1:  # else the machine was too busy to tell
            break
    assert seen == [dict.fromkeys(keys, b"brief")] * len(clients)
    for client in clients:
        client.close()


def test_a_value_put_again_lives_by_its_newest_ttl(ring: list[NodeProcess]) -> None:
    key = new_key()
    with ring[0].connect() as client:
        assert client.put(key, b"brief", ttl=1)
        assert client.put(key, b"long", ttl=900)
        time.sleep(1.2)
        assert client.get(key) == b"long"


@pytest.mark.parametrize(
    ("asked_s", "given_s"), [(0, DEFAULT_TTL_S), (900, 900), (TTL_S_MAX + 1, TTL_S_MAX), (65535, TTL_S_MAX)]
)
def test_the_ttl_is_the_default_for_0_and_cut_to_the_limit(ring: list[NodeProcess], asked_s: int, given_s: int) -> None:
    key = new_key()
    with ring[1].connect() as client:
        assert client.put(key, b"x", ttl=asked_s)
    copies = present(ring, key)
    assert copies
    for copy in copies:
        assert given_s - 5 < float(str(copy["ttl_remaining_seconds"])) <= given_s


@pytest.mark.parametrize(
    ("asked", "given"), [(0, REPLICATION), (1, 1), (2, 2), (4, 4), (5, REPLICATION_MAX), (255, REPLICATION_MAX)]
)
def test_replication_is_the_default_for_0_and_cut_to_the_limit(ring: list[NodeProcess], asked: int, given: int) -> None:
    for owner in ring:
        key = next(keys_of(ring, owner))
        with ring[2].connect() as client:
            assert client.put(key, b"x", replication=asked)
        copies = present(ring, key)
        assert [copy["address"] for copy in copies] == [node.p2p for node in owners(ring, key)[:given]]
        assert [copy["role"] for copy in copies] == ["owner", *["replica"] * (given - 1)]


def test_connections_stay_open_between_requests_and_serve_again(ring: list[NodeProcess]) -> None:
    with ring[0].connect() as client:
        for _ in range(3):
            key = new_key()
            client.send(put_frame(key, b"again") + get_frame(key))
            assert client.read() == (SUCCESS, key, b"again")
            time.sleep(0.3)
        assert client.get(new_key()) is None
