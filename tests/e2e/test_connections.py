"""Very many connections to one node, and more than it takes."""

import random
import socket
from contextlib import ExitStack

import pytest

from tests.e2e.handmade import ApiSocket, dial, get_frame, put_frame, read_to_end
from tests.e2e.harness import Fleet, allow_open_files, wait_until

IDLE = 2000
FILES_WANTED = IDLE + 300
MEMORY_PER_CONNECTION_MAX = 48 << 10
LOW_FILE_LIMIT = ("sh", "-c", 'ulimit -Sn 256; exec "$@"', "sh")
"""Begins a program with a soft limit of 256 open files, as a careless service manager would."""


def test_two_thousand_idle_connections_cost_little_and_do_not_hinder_a_client(fleet: Fleet) -> None:
    if not allow_open_files(FILES_WANTED):
        pytest.skip("this machine does not let one process have so many files open")
    node = fleet.start("--max-connections", str(IDLE + 1), prefix=LOW_FILE_LIMIT)
    memory_before = node.memory_bytes
    with ExitStack() as opened:
        idle = [opened.enter_context(dial(node.api)) for _ in range(IDLE)]
        client = opened.enter_context(node.connect())
        keys = [random.randbytes(32) for _ in range(500)]
        client.put_all((key, b"x") for key in keys)
        assert len(client.get_all(keys)) == len(keys)
        assert node.metrics()["gdht_api_connections"] == IDLE + 1
        assert node.memory_bytes - memory_before < (IDLE + 1) * MEMORY_PER_CONNECTION_MAX

        with dial(node.api) as surplus:  # one over the limit: closed at once, without a reset
            assert surplus.recv(1) == b""
        assert node.metrics()['gdht_api_accepted_connections_total{result="rejected"}'] == 1
        assert client.get(keys[0]) == b"x"

        for sock in idle[::400]:  # those that lay idle are served all the same
            sock.sendall(get_frame(keys[1]))
            assert sock.recv(37)[4:36] == keys[1]
        idle.pop().close()

        def served() -> bool:
            with dial(node.api) as sock:
                try:
                    sock.sendall(get_frame(keys[2]))
                    return sock.recv(37)[4:36] == keys[2]
                except ConnectionError:
                    return False

        assert wait_until(served, "the place of one that left is free again")
    wait_until(lambda: node.metrics()["gdht_api_connections"] == 0, "all connections are let go")


def test_connections_that_break_in_the_middle_leave_nothing_behind(fleet: Fleet) -> None:
    node = fleet.start()
    key = random.randbytes(32)
    for _ in range(100):
        client = ApiSocket(node.api)
        client.send(put_frame(key, bytes(1000)) + get_frame(key) * 50 + get_frame(key)[:9])
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close with a reset
        client.close()
    wait_until(lambda: node.metrics()["gdht_api_connections"] == 0, "all connections are let go")
    with node.connect() as client:
        assert client.get(key) == bytes(1000)


def test_a_connection_to_the_p2p_port_that_says_nothing_is_closed(fleet: Fleet) -> None:
    node = fleet.start()
    with dial(node.p2p) as silent, dial(node.p2p) as slow:
        slow.sendall(b"\0\0\0\x3d")
        assert read_to_end(silent) == b""
        assert read_to_end(slow) == b""
