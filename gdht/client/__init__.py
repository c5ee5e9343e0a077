"""Clients of the API port: `Client`, which blocks, and in `gdht.client.aio` one for asyncio. Neither needs gevent.

What to ask and what answers mean is in `requests`, the bytes in `protocol`, whom to ask in `addresses`, all without
IO; `connection`, `pool` and `blocking` do it on plain sockets.
"""

from gdht.client.blocking import Client
from gdht.client.requests import REPLICATION_MAX, TIMEOUT_S_MAX, TTL_MAX_S, hash_key
from gdht.errors import ClientDisconnected, ClientError, ClientTimeout, PutFailed

__all__ = [
    "REPLICATION_MAX",
    "TIMEOUT_S_MAX",
    "TTL_MAX_S",
    "Client",
    "ClientDisconnected",
    "ClientError",
    "ClientTimeout",
    "PutFailed",
    "hash_key",
]
