"""A node of kademlia (PyPI): one that waits to be asked, or one that asks.

Usage: python -m peers.kademlia_node --ksize K [--bootstrap PORT] [--asks]. Prints `ready PORT` once it has joined,
then takes the commands of `driving`, and `{"do": "copies"}`: how many values it holds.

What it is given to be at its best: sockets that hold many datagrams (with the system's default it loses most of them
under load, and waits five seconds for each), and no log. A node with --asks keeps no values itself, so that its gets
go over the network; a `set` stores on `ksize` nodes, and succeeds when one of them has it.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import socket
import sys
import time
from typing import Any

from kademlia.network import Server
from kademlia.storage import ForgetfulStorage
from peers.driving import Tally, say
from records import key, value

RECEIVE_BYTES = 16 << 20
SO_RCVBUFFORCE = 33  # beyond the system's limit, for root


class NoStorage(ForgetfulStorage):
    """Keeps nothing."""

    def __setitem__(self, key: bytes, value: object) -> None:
        pass


def enlarge_buffer(node: Server) -> None:
    """Room for the datagrams that come while the loop is busy."""
    sock = node.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    with contextlib.suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)


async def put(node: Server, number: int, tally: Tally) -> None:
    """One `set`."""
    started_s = time.perf_counter()
    tally.count(started_s, bool(await node.set(key(number), value(key(number)))))


async def get(node: Server, number: int, tally: Tally) -> None:
    """One `get`."""
    started_s = time.perf_counter()
    found = await node.get(key(number))
    tally.count(started_s, found is not None, found in (None, value(key(number))))


async def drive(node: Server, command: dict[str, Any]) -> str:
    """Keep so many requests in flight; the result."""
    tally = Tally(command)
    request = put if command["do"] == "put" else get

    async def ask() -> None:
        while (number := tally.next()) is not None:
            await request(node, number, tally)

    await asyncio.gather(*(ask() for _ in range(tally.in_flight)))
    return tally.result()


async def read_commands() -> asyncio.StreamReader:
    """Standard input, for the event loop."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    return reader


async def serve(options: argparse.Namespace) -> None:
    """Join, then do what is asked until standard input ends."""
    node = Server(ksize=options.ksize, storage=NoStorage() if options.asks else None)
    await node.listen(0, interface="127.0.0.1")
    enlarge_buffer(node)
    if options.bootstrap:
        await node.bootstrap([("127.0.0.1", options.bootstrap)])
    say(f"ready {node.transport.get_extra_info('sockname')[1]}")
    reader = await read_commands()
    while line := await reader.readline():
        command = json.loads(line)
        say(str(len(node.storage.data)) if command["do"] == "copies" else await drive(node, command))


def main() -> None:
    """Serve, and drive when told to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ksize", type=int, required=True)
    parser.add_argument("--bootstrap", type=int)
    parser.add_argument("--asks", action="store_true")
    logging.disable(logging.CRITICAL)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
