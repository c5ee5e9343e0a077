"""One connection of the asyncio client: many coroutines' requests under way on it, each waiting for its own answer.

A coroutine that no longer waits leaves its place in the order behind: the answer to it comes all the same and is
dropped. A connection that has failed tells everybody who waits, once, and is of no more use.
"""

import asyncio
from collections import deque

from gdht.client.protocol import Pipeline, reason_of
from gdht.client.requests import Answer, Request, wants_answer
from gdht.config import Address
from gdht.errors import ClientDisconnected, ClientError, ClientTimeout

IN_FLIGHT_MAX = 128
"""Requests of one connection that wait for their answers; others wait for room. Twice as many as a node takes of one
connection while they wait for other nodes, so that the next ones are there when it reads on."""
UNSENT_BYTES_MAX = 1 << 18
"""Bytes of requests that wait for the socket; at more, no further request is made ready."""
JOINED_BYTES_MAX = 1 << 16
"""Requests of one turn of the loop leave together, in writes of about so many bytes."""
NEXT_ADDRESS_S = 0.25
"""So long the first address of a name has to itself; then the next one is tried beside it. Source: RFC 8305, 5."""
CLOSE_S_MAX = 2.0
"""How long the node may take, at the end, to read what it has not read."""


class AioConnection(asyncio.Protocol):
    """A connection, made by `dial`. silence_s: how long it may owe an answer, or not read, before it is given up."""

    def __init__(self, address: Address, silence_s: float) -> None:
        self.address = address
        self.failure: ClientError | None = None
        """Why it is of no more use; None while it is in order."""
        self.ended = asyncio.Event()
        """Set once the socket is closed."""
        self._loop = asyncio.get_running_loop()
        self._silence_s = silence_s
        self._pipeline = Pipeline(str(address))
        self._waiting: deque[asyncio.Future[Answer | ClientError]] = deque()
        self._room = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._writable = asyncio.Event()
        self._writable.set()
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._heard_s = 0.0
        self._watch: asyncio.TimerHandle | None = None

    # Requests ---------------------------------------------------------------------------------------------------------

    async def ask(self, request: Request) -> Answer:
        """Send a request and wait for its answer. Raises: ClientError."""
        assert wants_answer(request), "for all others there is `tell`"
        await self._room.acquire()  # given back when the answer comes, not when its waiter goes
        try:
            await self._until_writable()
        except BaseException:
            self._room.release()
            raise
        answer = self._loop.create_future()
        self._send(request)
        self._waiting.append(answer)
        outcome: Answer | ClientError = await answer
        if isinstance(outcome, ClientError):
            raise type(outcome)(str(outcome))  # each waiter his own, since they add to it
        return outcome

    async def tell(self, request: Request) -> None:
        """Send a request that gets no answer. Raises: ClientError."""
        await self._until_writable()
        self._send(request)

    async def _until_writable(self) -> None:
        while not self._writable.is_set():  # who was woken before us may have filled the room that there was
            await self._writable.wait()
        if self.failure is not None:
            raise type(self.failure)(str(self.failure))

    def _send(self, request: Request) -> None:
        if not self._is_owing():
            self._heard_s = self._loop.time()
        if not self._unsent:
            self._loop.call_soon(self._flush)
        frame = self._pipeline.send(request)
        self._unsent.append(frame)
        self._unsent_bytes += len(frame)
        if self._unsent_bytes >= JOINED_BYTES_MAX:
            self._flush()
        if self._watch is None:
            self._watch = self._loop.call_later(self._silence_s, self._look)

    def _flush(self) -> None:
        if self._unsent and self.failure is None:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()
        self._unsent_bytes = 0

    # What the loop tells ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=UNSENT_BYTES_MAX)

    def data_received(self, data: bytes) -> None:
        """Bytes have come: hand out the answers in them."""
        try:
            answers = self._pipeline.feed(data)
        except ClientError as error:
            self.fail(error)
            return
        for answer in answers:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(answer)
            self._room.release()
        if answers:
            self._heard_s = self._loop.time()

    def pause_writing(self) -> None:
        """The node reads too slowly for us."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has read again."""
        self._heard_s = self._loop.time()
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self.fail(self._pipeline.end(exc))
        if self._watch is not None:
            self._watch.cancel()
        self.ended.set()

    # Its end ----------------------------------------------------------------------------------------------------------

    async def close(self, error: ClientError) -> None:
        """Tell all who wait, send what was not to be answered, and close."""
        self._flush()
        self._tell_all(error)
        self._transport.close()
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await self.ended.wait()
        except TimeoutError:
            self._transport.abort()
            await self.ended.wait()

    def fail(self, error: ClientError) -> None:
        """Tell all who wait, and close at once. A second failure changes nothing."""
        self._tell_all(error)
        self._transport.abort()

    def _tell_all(self, error: ClientError) -> None:
        if self.failure is not None:
            return
        self.failure = error
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(error)
        self._waiting.clear()
        self._room.release()  # who waited for room sees the failure and makes room for the next
        self._writable.set()

    def _is_owing(self) -> bool:
        return bool(self._waiting) or not self._writable.is_set()

    def _look(self) -> None:
        """Give the connection up when it has owed us something for too long."""
        self._watch = None
        if not self._is_owing():
            return
        left_s = self._heard_s + self._silence_s - self._loop.time()
        if left_s <= 0:
            self.fail(ClientTimeout(f"{self.address} did not answer within {round(self._silence_s, 2):g} s"))
        else:
            self._watch = self._loop.call_later(left_s, self._look)


async def dial(address: Address, silence_s: float) -> AioConnection:
    """Open a connection, to whichever of a name's addresses takes it first. Raises: ClientDisconnected."""
    loop = asyncio.get_running_loop()
    try:
        _, connection = await loop.create_connection(
            lambda: AioConnection(address, silence_s),
            address.host,
            address.port,
            happy_eyeballs_delay=NEXT_ADDRESS_S,
        )
    except (OSError, UnicodeError) as error:
        raise ClientDisconnected(f"cannot reach {address}: {reason_of(error)}") from error
    return connection
