"""A raw gevent server that sends back what it receives: the most that a greenlet per connection gives.

Prints `ready HOST:PORT`.
"""

from gevent.hub import get_hub
from gevent.server import StreamServer
from gevent.socket import socket

READ_BYTES = 1 << 16
"""Big, but below what the allocator takes from the system anew for each read."""

BACKLOG = 1024


def handle(sock: socket, _address: object) -> None:
    """One connection; it waits before it reads, as in `dict`."""
    wait, readable, recv, send = get_hub().wait, sock._read_event, sock._sock.recv, sock._sock.send
    while True:
        wait(readable)
        if not (data := recv(READ_BYTES)):
            return
        sent = send(data)
        if sent < len(data):
            sock.sendall(data[sent:])


if __name__ == "__main__":
    server = StreamServer(("127.0.0.1", 0), handle, backlog=BACKLOG)
    server.start()
    print(f"ready 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
