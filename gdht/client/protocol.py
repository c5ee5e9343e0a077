"""The client API as one connection of a client sees it: requests to bytes, bytes to answers in order; no IO.

A `Pipeline` belongs to one connection and ends with it. A `Batch` belongs to those who ask and may live through several
connections: what has no answer yet is sent again on the next one.
"""

import os
from collections import deque
from collections.abc import Sequence

from gdht.client.requests import Answer, Request, is_refusal, wants_answer
from gdht.core.ident import IDENT_BYTES
from gdht.core.messages import DhtFailure, DhtPut, DhtSuccess
from gdht.errors import ClientDisconnected, ClientError, RemoteProtocolError
from gdht.wire.codec import DhtDecoder, encode_dht
from gdht.wire.framing import DHT_HEADER

ANSWER_BYTES_MIN = DHT_HEADER.size + IDENT_BYTES
"""An answer without its value."""


class Pipeline:
    """The requests that are under way on one connection, in order, and the answers to them.

    name: whom it speaks to, for error messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._decoder = DhtDecoder(accepted=(DhtSuccess, DhtFailure))
        self._expected: deque[tuple[bytes, bool]] = deque()  # key, whether it was a put
        self._unread_bytes = 0
        self.has_answered = False
        """Whether there was ever an answer."""

    @property
    def in_flight(self) -> int:
        """How many answers are still to come."""
        return len(self._expected)

    @property
    def is_mid_answer(self) -> bool:
        """Whether some bytes of an answer have come, but not all."""
        return self._unread_bytes > 0

    def send(self, request: Request) -> bytes:
        """The bytes of a request; its answer is expected from now on, if it gets one."""
        frame = encode_dht(request)
        if wants_answer(request):
            self._expected.append((request.key, isinstance(request, DhtPut)))
        return frame

    def feed(self, data: bytes) -> list[Answer]:
        """The answers that `data` completes, in the order of the requests.

        Raises: ClientError when they make no sense: the connection is out of step and must be closed.
        """
        try:
            messages = self._decoder.feed(data)
        except RemoteProtocolError as error:
            raise ClientError(f"{self.name} sent what is no answer: {error}") from error
        answers = [self._check(message) for message in messages]
        values_bytes = sum(len(answer.value) for answer in answers if isinstance(answer, DhtSuccess))
        self._unread_bytes += len(data) - ANSWER_BYTES_MIN * len(answers) - values_bytes
        if self._unread_bytes and not self._expected:
            raise self._surplus()
        self.has_answered = self.has_answered or bool(answers)
        return answers

    def end(self, error: Exception | None = None) -> ClientDisconnected:
        """The error of a connection that has ended. error: what the system says of it, if anything."""
        when = " in the middle of its answer" if self.is_mid_answer else " without an answer"
        return ClientDisconnected(f"{self.name} closed the connection{f': {reason_of(error)}' if error else when}")

    def _check(self, message: object) -> Answer:
        assert isinstance(message, DhtSuccess | DhtFailure), "the decoder accepts nothing else"
        if not self._expected:
            raise self._surplus()
        key, is_put = self._expected.popleft()
        if message.key != key:
            raise ClientError(f"{self.name} answered for another key: {message.key.hex()}")
        if is_put and isinstance(message, DhtSuccess) and message.value:
            raise ClientError(f"{self.name} answered a put with a value of {len(message.value)} bytes")
        return message

    def _surplus(self) -> ClientError:
        return ClientError(f"{self.name} sent more than one answer to one request")


def reason_of(error: Exception) -> str:
    """What the system says, in its words for people."""
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error)


class Batch:
    """Requests that go out one after the other, and the answers that came so far."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = requests
        self._sent = 0
        self.answers: list[Answer] = []
        self.answered_by = ""
        """The name of who gave the last of the answers."""

    @property
    def has_more(self) -> bool:
        """Whether there is something left to send."""
        return self._sent < len(self._requests)

    @property
    def failed_keys(self) -> list[bytes]:
        """The keys of the requests without an answer, and of the puts that were refused."""
        answered, rest = self._requests[: len(self.answers)], self._requests[len(self.answers) :]
        pairs = zip(answered, self.answers, strict=True)
        refused = [request.key for request, answer in pairs if is_refusal(request, answer)]
        return refused + [request.key for request in rest]

    def rewind(self) -> None:
        """Begin again, on a new connection, with the first request that has no answer."""
        self._sent = len(self.answers)

    def next(self) -> Request:
        """The next request to send."""
        self._sent += 1
        return self._requests[self._sent - 1]

    def take(self, answers: Sequence[Answer], name: str) -> None:
        """Keep the answers to the next requests. name: who gave them."""
        self.answers += answers
        self.answered_by = name
