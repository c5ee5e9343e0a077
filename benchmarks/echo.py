"""The raw gevent server to compare with: answers each request with as many bytes as a node would, and does no more.

Usage: echo.py REQUEST_BYTES ANSWER_HEX. Prints its port. Big reads, one send per read: what gevent can do at best
with a greenlet per connection.
"""

import sys

from gevent.server import StreamServer
from gevent.socket import socket

READ_BYTES = 1 << 18


def serve(request_bytes: int, answer: bytes) -> StreamServer:
    """A server that sends `answer` once per `request_bytes` received."""

    def handle(sock: socket, _address: object) -> None:
        received = 0
        while data := sock.recv(READ_BYTES):
            received += len(data)
            requests, received = divmod(received, request_bytes)
            if requests:
                sock.sendall(answer * requests)

    return StreamServer(("127.0.0.1", 0), handle, backlog=1024)


if __name__ == "__main__":
    server = serve(int(sys.argv[1]), bytes.fromhex(sys.argv[2]))
    server.start()
    print(server.server_port, flush=True)
    server.serve_forever()
