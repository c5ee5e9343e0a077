"""The clients of `gdht.client` with real nodes: many values, and a node that is killed or stands still under them."""

import asyncio
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gdht.client import Client
from gdht.client.aio import AsyncClient
from tests.e2e.harness import SETTLE_S_MAX, Fleet, NodeProcess, wait_until

README = Path(__file__).parents[2] / "README.md"
TIMEOUT_S = 20.0
"""A node that stands still is given up after half of it; the others then need some seconds to go around it."""


def new_values(count: int) -> dict[bytes, bytes]:
    """Keys that nobody has used, with values of all lengths up to some kilobytes."""
    return {random.randbytes(32): random.randbytes(random.randrange(3000)) for _ in range(count)}


def addresses(nodes: list[NodeProcess]) -> list[str]:
    return [node.api for node in nodes]


def test_many_values_are_put_through_one_node_and_got_through_another(ring: list[NodeProcess]) -> None:
    values = new_values(2000)
    with Client(ring[0].api) as writer, Client(ring[1].api) as reader:
        writer.put_many(values, ttl_s=300)
        assert reader.get_many([*values, random.randbytes(32)]) == [*values.values(), None]


def test_the_longest_values_fill_the_buffers_of_both_sides_and_come_back(ring: list[NodeProcess]) -> None:
    values = {random.randbytes(32): random.randbytes(65_495) for _ in range(300)}
    with Client(addresses(ring)) as client:
        client.put_many(values, ttl_s=60)
        assert client.get_many(values) == list(values.values())


def test_threads_of_a_pool_see_their_own_puts_through_all_nodes(ring: list[NodeProcess]) -> None:
    wrong: list[object] = []
    with Client(addresses(ring), max_connections=5) as client:

        def work() -> None:
            for key, value in new_values(100).items():
                client.put(key, value, ttl_s=60)
                if client.get(key) != value:
                    wrong.append(key)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_coroutines_see_their_own_puts(ring: list[NodeProcess]) -> None:
    async def one(client: AsyncClient, key: bytes, value: bytes) -> None:
        await client.put(key, value, ttl_s=60)
        assert await client.get(key) == value

    async def run() -> None:
        values = new_values(500)
        async with AsyncClient(addresses(ring), timeout_s=30) as client:
            await asyncio.gather(*(one(client, *item) for item in values.items()))
            await client.put_many(values, ttl_s=60)
            assert await client.get_many([*values, bytes(32)]) == [*values.values(), None]

    asyncio.run(run())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_a_client_goes_on_with_another_node_when_its_own_is_gone(fleet: Fleet, number: signal.Signals) -> None:
    nodes = fleet.ring(3)
    values = new_values(400)
    with Client(nodes[0].api, nodes[1].api, timeout_s=TIMEOUT_S) as client:
        client.put_many(values, ttl_s=300)
        own = next(node for node in nodes[:2] if node.metrics()["gdht_api_connections"] == 1)
        own.signal(number)
        began_s = time.monotonic()
        got = client.get_many(values)  # None in it: the ring could not find out just now
        assert time.monotonic() - began_s < 3 * TIMEOUT_S
        assert set(got) - {None} <= set(values.values())
        wait_until(lambda: client.get_many(values) == [*values.values()], "every value is found again")


def test_coroutines_go_on_with_another_node_when_theirs_is_killed(fleet: Fleet) -> None:
    nodes = fleet.ring(3)
    values = new_values(3000)

    async def run() -> None:
        async with AsyncClient(nodes[0].api, nodes[1].api, timeout_s=TIMEOUT_S) as client:
            await client.put_many(values, ttl_s=300)
            own = next(node for node in nodes[:2] if node.metrics()["gdht_api_connections"] == 1)
            asked = asyncio.create_task(client.get_many(values))
            await asyncio.sleep(0.1)
            own.kill()
            assert set(await asked) - {None} <= set(values.values())
            ends_s = time.monotonic() + SETTLE_S_MAX
            while await client.get_many(values) != [*values.values()]:
                assert time.monotonic() < ends_s

    asyncio.run(run())


def test_the_programs_in_readme_run(ring: list[NodeProcess]) -> None:
    programs = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    printed = []
    for program in programs:
        for place, node in (("127.0.0.1:7001", ring[0]), ("127.0.0.1:7002", ring[1])):
            program = program.replace(place, node.api)
        command = [sys.executable, "-W", "error", "-c", program]
        printed.append(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)
    assert printed == ["b'hello ring'\n", ""]
