"""The blocking client: put and get from any program, one value or many, on plain sockets of the standard library."""

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from gdht.client.addresses import Addresses, Attempts, parse_addresses
from gdht.client.connection import Connection
from gdht.client.pool import Pool, Turn
from gdht.client.protocol import Batch
from gdht.client.requests import Items, Request, check_stored, check_timeout, make_get, make_put, make_puts, value_of
from gdht.errors import ClientError, ClientTimeout

TIMEOUT_S = 5.0
CONNECTIONS_MAX = 1024


class Client:
    """Puts and gets through the API ports of one or several nodes of a ring, on connections that last.

    addresses: each `host:port`, `[ipv6]:port`, a name or a literal, or a list of such. timeout_s: for each whole
    request, connecting included. max_connections: how many requests of several threads may be under way at once; with
    the default of 1 they wait for one another. Processes may not share a client: make one after a fork.

    With several addresses, connections go to them in turn, beginning anywhere. An address that refuses, breaks off, or
    is silent for half of the time that is left, is given up for another one, and left alone for half a second, then
    for longer and longer, as long as others answer. The request is sent again: a get does no harm, and neither does
    a put, which stores the same value once more and begins its life anew. But know that a node that was only silent
    may still carry out the first one later: then that value wins over what was put under the same key in between.

    FAILURE is an answer, also of a node that is not in the ring yet or has lost it: no other address is asked then. A
    put that needs a node that stands still is answered only after two `call_timeout`s of the nodes (2 x 2 s).

    A connection that turns out dead after lying idle is opened anew, once; values of `put_nowait` that were still on
    their way are then lost. After a timeout the connection is closed, since answers would be out of step.

    >>> client = Client("127.0.0.1:7001", "127.0.0.1:7002", timeout_s=2.0)
    >>> with client:  # doctest: +SKIP
    ...     client.put(hash_key("motd"), b"hello", ttl_s=3600)
    ...     client.get(hash_key("motd"))
    b'hello'
    """

    def __init__(self, *addresses: str | Iterable[str], timeout_s: float = TIMEOUT_S, max_connections: int = 1) -> None:
        """Raises: ValueError, TypeError if an address or a number is none or does not fit, or there is no address."""
        check_timeout(timeout_s)
        if not isinstance(max_connections, int):
            raise TypeError(f"max_connections is a whole number, not {max_connections!r}")
        if not 1 <= max_connections <= CONNECTIONS_MAX:
            raise ValueError(f"max_connections is 1 to {CONNECTIONS_MAX}, not {max_connections}")
        self._addresses = Addresses(parse_addresses(addresses))
        self._timeout_s = timeout_s
        self._pool = Pool(max_connections)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, those in use after their request; a later request opens a new one."""
        self._pool.close()

    # One value -------------------------------------------------------------------------------------------------------

    def put(self, key: bytes, value: bytes, ttl_s: int = 0, replication: int = 0) -> None:
        """Store a value and wait until the write quorum holds it.

        key: 32 bytes, see `hash_key`. value: 0 to 65,495 bytes. ttl_s: 0 to 65,535, 0 for the node's default.
        replication: 0 to 255 nodes, 0 for the node's default. The node cuts both to its own limits.
        Raises: PutFailed, ClientTimeout (it may be stored all the same: put it again), ClientDisconnected,
        ClientError (the answer made no sense); before anything is sent, ValueError and TypeError.
        """
        batch = self._carry_out([make_put(key, value, ttl_s, replication)])
        check_stored(batch.answered_by, batch.answers)

    def put_nowait(self, key: bytes, value: bytes, ttl_s: int = 0, replication: int = 0) -> None:
        """Send a value and do not ask what became of it: the silent, best-effort PUT of the protocol.

        Arguments as for `put`. A later `get` on the same connection sees it: with `max_connections` 1, and as long as
        that connection lasts.
        Raises: ClientTimeout (no node reads), ClientDisconnected, ValueError, TypeError.
        """
        self._carry_out([make_put(key, value, ttl_s, replication, reserved=0)])

    def get(self, key: bytes) -> bytes | None:
        """The value of a key; None: there is no such value, or the node could not find out.

        key: 32 bytes, see `hash_key`.
        Raises: ClientTimeout, ClientDisconnected, ClientError (the answer made no sense), ValueError, TypeError.
        """
        return value_of(self._carry_out([make_get(key)]).answers[0])

    # Many values -----------------------------------------------------------------------------------------------------

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """The values of many keys, in the order of the keys, each as `get` has it; asked for in one go.

        Many requests are under way at once on one connection. The client's `timeout_s` is for each answer after the one
        before.
        Raises: as `get`; the error's `keys` are those without an answer.
        """
        return [value_of(answer) for answer in self._carry_out([make_get(key) for key in keys]).answers]

    def put_many(self, items: Items, ttl_s: int = 0, replication: int = 0) -> None:
        """Store many values, a mapping or pairs of key and value, and wait until write quorums hold all of them.

        Arguments as for `put`, all checked before anything is sent; time limit as for `get_many`. What comes later in
        `items` is stored also when something before it was refused.
        Raises: as `put`; the error's `keys` are those of which it is not known that they are stored, in their order.
        """
        batch = self._carry_out(make_puts(items, ttl_s, replication))
        check_stored(batch.answered_by, batch.answers)

    # How it is done --------------------------------------------------------------------------------------------------

    def _carry_out(self, requests: Sequence[Request]) -> Batch:
        """Send requests and take their answers, whatever number of connections that needs. Raises: ClientError."""
        batch = Batch(requests)
        if not requests:
            return batch
        timeout_s = self._timeout_s
        attempts = Attempts(self._addresses, timeout_s, time.monotonic())
        try:
            with self._pool.turn(timeout_s) as turn:
                while not self._attempt(turn, batch, attempts):
                    pass
        except TimeoutError as error:
            waited = f"{self._addresses}: other threads' requests took all of {timeout_s:g} s"
            raise ClientTimeout(waited, batch.failed_keys) from error
        except ClientError as error:
            error.keys = tuple(batch.failed_keys)
            raise
        return batch

    def _attempt(self, turn: Turn, batch: Batch, attempts: Attempts) -> bool:
        """Try on one connection; False when that failed and another one may do better. Raises: ClientError."""
        connection = turn.connection or turn.take_idle()
        address = connection.address if connection else attempts.pick(time.monotonic())
        attempts.start(time.monotonic())
        try:
            if connection is None:
                connection = turn.connection = Connection(address, attempts.until_s)
            connection.exchange(batch, attempts)
        except TimeoutError:
            failure: ClientError = attempts.silent(address)
        except ClientError as error:
            failure = error
        else:
            return True
        turn.drop()
        was_used = connection is not None and connection.broke_between_answers(failure)
        if not was_used:
            self._pool.forget(address)
        attempts.failed(address, failure, time.monotonic(), was_used=was_used)
        return False
