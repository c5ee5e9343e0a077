"""The asyncio client: what `gdht.client.Client` does, for coroutines, which share one connection by pipelining."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Self, TypeVar

from gdht.client.addresses import Addresses, Attempts, parse_addresses
from gdht.client.aio_connection import IN_FLIGHT_MAX, AioConnection, dial
from gdht.client.blocking import TIMEOUT_S
from gdht.client.requests import (
    Answer,
    Items,
    Request,
    check_stored,
    check_timeout,
    is_refusal,
    make_get,
    make_put,
    make_puts,
    value_of,
)
from gdht.config import Address
from gdht.errors import ClientDisconnected, ClientError

T = TypeVar("T")

CLOSED = "the client is closed"


class AsyncClient:
    """Puts and gets through the API ports of one or several nodes of a ring, on one connection at a time.

    addresses: each `host:port`, `[ipv6]:port`, a name or a literal, or a list of such. timeout_s: for each whole
    request, waiting for room and connecting included. Any number of coroutines of one event loop may share a client;
    up to 128 requests are under way at once. A coroutine that is cancelled disturbs none of the others; what it
    asked for may be carried out all the same.

    With several addresses, one that refuses, breaks off, or owes an answer for half of `timeout_s`, is given up for
    another one and left alone for a while; what has no answer is sent again, puts too. `gdht.client.Client` says what
    that means.

    >>> async def greet():  # doctest: +SKIP
    ...     async with AsyncClient("127.0.0.1:7001", "127.0.0.1:7002") as client:
    ...         await client.put(hash_key("motd"), b"hello", ttl_s=3600)
    ...         return await client.get(hash_key("motd"))
    """

    def __init__(self, *addresses: str | Iterable[str], timeout_s: float = TIMEOUT_S) -> None:
        """Raises: ValueError, TypeError if an address or timeout_s is none or does not fit, or there is no address."""
        check_timeout(timeout_s)
        self._addresses = Addresses(parse_addresses(addresses))
        self._timeout_s = timeout_s
        self._silence_s = timeout_s / 2 if len(self._addresses) > 1 else timeout_s
        self._dialling = asyncio.Lock()
        self._connection: AioConnection | None = None
        self._opened: set[AioConnection] = set()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection for good; requests under way, and all later ones, raise ClientError."""
        self._is_closed = True
        for connection in self._opened.copy():
            await connection.close(ClientError(CLOSED))

    # One value -------------------------------------------------------------------------------------------------------

    async def put(self, key: bytes, value: bytes, ttl_s: int = 0, replication: int = 0) -> None:
        """Store a value and wait until the write quorum holds it.

        Arguments and errors as for `gdht.client.Client.put`.
        """
        answer, name = await self._ask(make_put(key, value, ttl_s, replication))
        check_stored(name, [answer])

    async def put_nowait(self, key: bytes, value: bytes, ttl_s: int = 0, replication: int = 0) -> None:
        """Send a value and do not ask what became of it: the silent, best-effort PUT of the protocol.

        It waits only for a connection, and for a node that reads too slowly. A `get` that begins afterwards sees it, as
        long as the connection lasts. Raises: ClientTimeout (no node reads), ClientDisconnected, ValueError and
        TypeError.
        """
        request = make_put(key, value, ttl_s, replication, reserved=0)
        await self._carry_out(key, lambda connection: connection.tell(request))

    async def get(self, key: bytes) -> bytes | None:
        """The value of a key; None: there is no such value, or the node could not find out.

        Errors as of `gdht.client.Client.get`.
        """
        answer, _ = await self._ask(make_get(key))
        return value_of(answer)

    # Many values -----------------------------------------------------------------------------------------------------

    async def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """The values of many keys, in the order of the keys, each as `get` has it; many are asked for at once.

        `timeout_s` is for each of them, from when it is its turn.
        Raises: as `get`; the error's `keys` are those without an answer.
        """
        return [value_of(answer) for answer in (await self._carry_out_all([make_get(key) for key in keys]))[0]]

    async def put_many(self, items: Items, ttl_s: int = 0, replication: int = 0) -> None:
        """Store many values, a mapping or pairs of key and value, and wait until write quorums hold all of them.

        A key should stand there once. What comes later in `items` is stored also when something before it was refused.
        Raises: as `put`; the error's `keys` are those of which it is not known that they are stored, in their order.
        """
        answers, name = await self._carry_out_all(make_puts(items, ttl_s, replication))
        check_stored(name, answers)

    async def _carry_out_all(self, requests: Sequence[Request]) -> tuple[list[Answer], str]:
        """The answers in order, and who gave the last one. Raises: ClientError."""
        answers: list[Answer | None] = [None] * len(requests)
        names: list[str] = [""]
        failures: list[ClientError] = []
        places = iter(range(len(requests)))

        async def work() -> None:
            for place in places:
                if failures:
                    return
                try:
                    answers[place], names[0] = await self._ask(requests[place])
                except ClientError as error:
                    failures.append(error)

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(IN_FLIGHT_MAX, len(requests))):
                workers.create_task(work())
        if failures:
            pairs = zip(requests, answers, strict=True)
            failures[0].keys = tuple(
                request.key for request, answer in pairs if answer is None or is_refusal(request, answer)
            )
            raise failures[0]
        return [answer for answer in answers if answer is not None], names[0]

    # How it is done --------------------------------------------------------------------------------------------------

    async def _ask(self, request: Request) -> tuple[Answer, str]:
        """The answer, and who gave it. Raises: ClientError."""
        answer, address = await self._carry_out(request.key, lambda connection: connection.ask(request))
        self._addresses.worked(address)
        return answer, str(address)

    async def _carry_out(
        self, key: bytes, act: Callable[[AioConnection], Coroutine[None, None, T]]
    ) -> tuple[T, Address]:
        """Act on a connection, and on another one when that fails. Raises: ClientError."""
        attempts = Attempts(self._addresses, self._timeout_s, _now_s())
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    connection, is_new = await self._connected(attempts)
                    try:
                        return await act(connection), connection.address
                    except ClientError as error:
                        # Of a connection that others had used before, the failure may be none of ours.
                        was_used = not is_new and (isinstance(error, ClientDisconnected) or len(self._addresses) == 1)
                        attempts.failed(connection.address, error, _now_s(), was_used=was_used)
        except TimeoutError as error:
            silent = attempts.out_of_time()
            silent.keys = (key,)
            raise silent from error
        except ClientError as error:
            error.keys = (key,)
            raise

    async def _connected(self, attempts: Attempts) -> tuple[AioConnection, bool]:
        """A connection in order, and whether it is new; one coroutine at a time opens one. Raises: ClientError."""
        if self._connection is not None and self._connection.failure is None:
            return self._connection, False
        async with self._dialling:
            while self._connection is None or self._connection.failure is not None:
                if self._is_closed:
                    raise ClientError(CLOSED)
                address = attempts.pick(_now_s())
                try:
                    return await self._dial(address, attempts), True
                except TimeoutError:
                    attempts.failed(address, attempts.silent(address), _now_s())
                except ClientError as error:
                    attempts.failed(address, error, _now_s())
            return self._connection, False

    async def _dial(self, address: Address, attempts: Attempts) -> AioConnection:
        attempts.start(_now_s())
        async with asyncio.timeout_at(attempts.until_s):
            connection = await dial(address, self._silence_s)
        self._opened = {one for one in self._opened if not one.ended.is_set()} | {connection}
        self._connection = connection
        if self._is_closed:  # meanwhile
            await connection.close(ClientError(CLOSED))
        return connection


def _now_s() -> float:
    return asyncio.get_running_loop().time()
