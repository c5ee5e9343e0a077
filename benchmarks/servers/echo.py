"""A raw gevent server that sends back what it receives: the most that a greenlet per connection gives.

Prints `ready HOST:PORT`.
"""

from gevent.server import StreamServer
from gevent.socket import socket

READ_BYTES = 1 << 18
BACKLOG = 1024


def handle(sock: socket, _address: object) -> None:
    """One connection. `send` comes first: it costs less than `sendall` and nearly always takes everything."""
    while data := sock.recv(READ_BYTES):
        sent = sock.send(data)
        if sent < len(data):
            sock.sendall(data[sent:])


if __name__ == "__main__":
    server = StreamServer(("127.0.0.1", 0), handle, backlog=BACKLOG)
    server.start()
    print(f"ready 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
