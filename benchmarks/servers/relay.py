"""The yardstick for rings: processes that each take clients and pass every request on to the one that owns its key.

Usage: relay.py NUMBER COUNT. Prints `ready api=HOST:PORT p2p=HOST:PORT`, reads one line with the p2p addresses of all
in order, then prints `joined`. Owners answer from a dict. One connection per pair of processes carries the requests of
both, each frame after a request id; big reads, one write per connection and turn of the event loop, no greenlet and no
event per request. The owner is known without asking: no routing, no lives, no copies, no failures.
"""

import sys
from collections.abc import Callable
from struct import Struct

import gevent
from gevent.hub import get_hub
from gevent.server import StreamServer
from gevent.socket import IPPROTO_TCP, TCP_NODELAY, create_connection, socket

READ_BYTES = 1 << 16
"""Big, but below what the allocator takes from the system anew for each read."""

BACKLOG = 1024
HEAD = Struct("!HH")
pack_head, unpack_head = HEAD.pack, HEAD.unpack_from
PEER_HEAD = Struct("!IHH")
unpack_peer_head = PEER_HEAD.unpack_from
NUMBER = Struct("!I")
pack_number = NUMBER.pack
IDS = 1 << 32
PUT, GET, SUCCESS, FAILURE = 650, 651, 652, 653
KEYED = HEAD.size + 32
"""Bytes of a message that is nothing but a key."""

PUT_KEY = 8
PUT_VALUE = PUT_KEY + 32
DONE = pack_head(KEYED, SUCCESS)
MISSING = pack_head(KEYED, FAILURE)


class Outbox:
    """What is to be written to one connection: all of one turn of the event loop goes out in one write."""

    def __init__(self, sock: socket) -> None:
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self.sock = sock
        self.pieces: list[bytes] = []
        self._scheduled = False

    def put(self, piece: bytes) -> None:
        """Write it at the end of this turn."""
        self.pieces.append(piece)
        if not self._scheduled:
            self._scheduled = True
            get_hub().loop.run_callback(self._flush)

    def _flush(self) -> None:
        data = b"".join(self.pieces)
        self.pieces.clear()
        try:
            sent = self.sock._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # it is closed, and its reader knows
        if sent < len(data):
            gevent.spawn(self._push, data[sent:])
        else:
            self._scheduled = False

    def _push(self, data: bytes) -> None:
        self.sock.sendall(data)
        self._flush()


class Client(Outbox):
    """One client: its answers go out in the order of its requests."""

    def __init__(self, sock: socket) -> None:
        super().__init__(sock)
        self.asked = 0
        self._answered = 0
        self._early: dict[int, bytes] = {}

    def take(self, turn: int, answer: bytes) -> None:
        """The answer to its request number `turn`."""
        if turn != self._answered:
            self._early[turn] = answer
            return
        self._answered += 1
        self.put(answer)
        while self._early and (early := self._early.pop(self._answered, None)) is not None:
            self._answered += 1
            self.put(early)


class Relay:
    """One process: its part of the keys, its connections to the others, and the requests it has passed on."""

    def __init__(self, number: int, count: int) -> None:
        self.number = number
        self.count = count
        self.peers: dict[int, Outbox] = {}
        self._values: dict[bytes, bytes] = {}
        self._asked: dict[int, tuple[Client, int]] = {}
        self._last_id = 0

    def answer(self, request: bytes) -> bytes:
        """What the owner says to a whole request."""
        if request[3] == GET & 0xFF:
            key = request[HEAD.size :]
            value = self._values.get(key)
            return MISSING + key if value is None else pack_head(KEYED + len(value), SUCCESS) + key + value
        key = request[PUT_KEY:PUT_VALUE]
        self._values[key] = request[PUT_VALUE:]
        return DONE + key

    def serve_client(self, sock: socket, _address: object) -> None:
        """Pass on what a client asks."""
        client = Client(sock)
        read_all(sock, lambda data: self._take_requests(client, data))

    def _take_requests(self, client: Client, data: bytes) -> int:
        start, end = 0, len(data)
        while end - start >= HEAD.size:
            size, kind = unpack_head(data, start)
            stop = start + size
            if stop > end:
                break
            if not (kind == GET and size == KEYED) and not (kind == PUT and size >= PUT_VALUE and data[start + 7] & 1):
                client.sock.close()
                break
            request = data[start:stop]
            owner = request[HEAD.size if kind == GET else PUT_KEY] % self.count
            if owner == self.number:
                client.take(client.asked, self.answer(request))
            else:
                self._last_id = request_id = (self._last_id + 1) % IDS
                self._asked[request_id] = (client, client.asked)
                self.peers[owner].put(pack_number(request_id) + request)
            client.asked += 1
            start = stop
        return start

    def serve_peer(self, peer: Outbox) -> None:
        """Answer what another process passes on, and hand its answers to our clients."""
        read_all(peer.sock, lambda data: self._take_frames(peer, data))

    def _take_frames(self, peer: Outbox, data: bytes) -> int:
        start, end = 0, len(data)
        while end - start >= PEER_HEAD.size:
            request_id, size, kind = unpack_peer_head(data, start)
            first = start + NUMBER.size
            stop = first + size
            if stop > end:
                break
            if kind >= SUCCESS:
                client, turn = self._asked.pop(request_id)
                client.take(turn, data[first:stop])
            else:
                peer.put(data[start:first] + self.answer(data[first:stop]))
            start = stop
        return start

    def accept_peer(self, sock: socket, _address: object) -> None:
        """Another process connects, and says its number first."""
        (number,) = NUMBER.unpack(sock.recv(NUMBER.size))
        self.peers[number] = Outbox(sock)
        self.serve_peer(self.peers[number])

    def join(self, addresses: list[str]) -> None:
        """Connect to those before us, and wait for those after us."""
        for number, address in enumerate(addresses[: self.number]):
            host, port = address.split(":")
            self.peers[number] = Outbox(create_connection((host, int(port))))
            self.peers[number].sock.sendall(pack_number(self.number))
            gevent.spawn(self.serve_peer, self.peers[number])
        while len(self.peers) < self.count - 1:
            gevent.sleep(0.01)


def read_all(sock: socket, take: Callable[[bytes], int]) -> None:
    """Read until the end, each time once there is something; `take` returns how many of the bytes it has dealt with."""
    wait, readable, recv = get_hub().wait, sock._read_event, sock._sock.recv
    rest = b""
    try:
        while True:
            wait(readable)
            if not (data := recv(READ_BYTES)):
                return
            data = rest + data if rest else data
            rest = data[take(data) :]
    except OSError:
        pass  # it went away


def listen(handle: Callable[[socket, object], None]) -> str:
    """Serve a free port; returns its address."""
    server = StreamServer(("127.0.0.1", 0), handle, backlog=BACKLOG)
    server.start()
    return f"127.0.0.1:{server.server_port}"


def main() -> None:
    """Serve until killed."""
    relay = Relay(int(sys.argv[1]), int(sys.argv[2]))
    print(f"ready api={listen(relay.serve_client)} p2p={listen(relay.accept_peer)}", flush=True)
    relay.join(sys.stdin.readline().split())
    print("joined", flush=True)
    gevent.wait()


if __name__ == "__main__":
    main()
