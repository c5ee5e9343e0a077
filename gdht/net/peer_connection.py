"""One inbound connection of another node, once HELLO is over: requests in, answers out, most of them at once.

GETs to the owner and PUTs, which are most of what comes, are answered a whole read at a time, as far as nothing is out
of the ordinary. All else is decoded and given to `node.handle`.
"""

import errno
import logging
from collections.abc import Sequence
from functools import partial
from time import monotonic, perf_counter
from typing import Protocol

from gevent import get_hub

from gdht.core.messages import METHODS, ErrorReason, P2pError, P2pGet, P2pPut, P2pSuccess, Reply, Request
from gdht.core.peer import Peer
from gdht.errors import RemoteProtocolError, StoreError
from gdht.net.pool import IDLE_S_MAX
from gdht.net.stream import Stream
from gdht.net.turn import this_turn
from gdht.node.express import Intake, OwnRecords
from gdht.node.later import Answer, Later
from gdht.node.stats import Stats
from gdht.wire.codec import BrokenStream, P2pDecoder, UnknownMessage, encode_p2p
from gdht.wire.express import (
    OWNER_GET_BYTES,
    PUT_BYTES,
    RECEIPT_BYTES,
    begins_with_put,
    owner_gets_in_front,
    puts_in_front,
    receipts_in,
    success_frame,
    value_frame,
)

log = logging.getLogger(__name__)

UNSENT_BYTES_MAX = 1024 * 1024
"""Nothing more is read from a peer that has so many bytes of answers to take."""
TURN_S = 0.005
"""How long requests are answered before others get to run."""
QUIET_S_MAX = 2 * IDLE_S_MAX
"""A connection that brought no request for so long is closed; an honest peer would have closed it long before."""
QUIET_LOOKS = 10
"""How often in that time it is looked at."""

GET, PUT = METHODS[P2pGet], METHODS[P2pPut]

Received = Sequence[tuple[int, object]]
"""Request ids and messages, as the decoder gives them."""


class PeerNode(Protocol):
    """What answers other nodes' requests: a Node. Nothing here switches."""

    def handle(self, sender: Peer, request: Request) -> Answer: ...
    def own_records(self) -> OwnRecords | None: ...
    def intake(self) -> Intake | None: ...


class PeerConnection:
    """Serves one peer. decoder: has read its HELLO. sender: who it is."""

    def __init__(self, stream: Stream, decoder: P2pDecoder, sender: Peer, node: PeerNode, stats: Stats) -> None:
        self._stream = stream
        self._decoder = decoder
        self._sender = sender
        self._node = node
        self._stats = stats
        self._heard_s = monotonic()

    def serve(self, messages: Received) -> None:
        """Answer what came with HELLO, then read after read, until nothing was asked for too long. Switches: yes.

        Raises: OSError, RemoteProtocolError.
        """
        timer = get_hub().loop.timer(QUIET_S_MAX / QUIET_LOOKS, QUIET_S_MAX / QUIET_LOOKS)
        timer.start(self._look)
        left: Received | None = messages
        try:
            while left is not None:
                self._answer_rest(left)
                left = self._stream.read_all(self._take_read)
            if not self._stream.input_ended:
                self._decoder.eof()
            self._stream.wait_unsent(0)
        except BrokenStream as error:
            self._answer_rest(error.before)
            raise
        finally:
            timer.close()

    def _look(self) -> None:
        if monotonic() - self._heard_s >= QUIET_S_MAX:
            self._stream.abort(OSError(errno.ETIMEDOUT, f"no request for {QUIET_S_MAX:g} s"))

    def _take_read(self, data: bytes) -> Received | None:
        """Answer what has come; what takes another turn, or waits for the peer to read, is left. Switches: no."""
        left: Received = []
        if self._decoder.is_between_frames and (answered := self._answer_in_front(data)):
            data = data[answered:]
            self._heard_s = monotonic()
        if data and (messages := self._decoder.feed(data)):
            self._heard_s = monotonic()  # bytes alone do not keep a connection
            left = self._answer(messages)
        return left if left or self._stream.unsent_bytes > UNSENT_BYTES_MAX else None

    def _answer_in_front(self, data: bytes) -> int:
        """Answer the requests in front that are as most are; how many bytes of `data` they take. Switches: no."""
        return self._answer_puts(data) if begins_with_put(data) else self._answer_gets(data)

    def _answer_gets(self, data: bytes) -> int:
        """Answer the GETs in front that ask us for what we surely own and have; how many bytes of `data` they are.

        It ends, too, where that takes long or fills much memory.
        """
        gets = owner_gets_in_front(data)
        own = self._node.own_records() if gets else None
        if own is None:
            return 0
        ends_s = perf_counter() + TURN_S
        record_of, now_s, frames = own.record, own.now_s, []
        frames_bytes = 0
        try:
            for request_id, key in gets:
                record = record_of(key)
                if record is None:
                    break
                frame = value_frame(request_id, record, now_s)
                frames.append(frame)
                frames_bytes += len(frame)
                if frames_bytes > UNSENT_BYTES_MAX or perf_counter() > ends_s:
                    break
        except Exception:  # a bug of ours, or of the disk's: `handle` meets it again, and fails this request only
            log.debug("peer=%s not answered at once", self._sender, exc_info=True)
        if frames:
            self._stats.rpc_received_requests[GET, "ok"] += len(frames)
            self._stream.write_now(frames[0] if len(frames) == 1 else b"".join(frames))
        return len(frames) * OWNER_GET_BYTES

    def _answer_puts(self, data: bytes) -> int:
        """Take in the writes in front and answer them, for up to TURN_S; how many bytes of `data` they are.

        The answers wait for the disk together.
        """
        puts = puts_in_front(data)
        intake = self._node.intake() if puts else None
        if intake is None:
            return 0
        ends_s = perf_counter() + TURN_S
        frames: list[bytes] = []
        taken = 0
        try:
            for request_id, copy, as_owner in puts:
                receipt = intake.take(copy, as_owner)
                if receipt is None:
                    break
                frames.append(success_frame(request_id, receipt))
                taken += PUT_BYTES + len(copy.value)
                if perf_counter() > ends_s:
                    break
        except Exception:  # the store's refusal, or a bug of ours: `handle` meets it again, and answers
            log.debug("peer=%s not stored at once", self._sender, exc_info=True)
        if frames:
            commit = intake.commit
            receipts = frames[0] if len(frames) == 1 else b"".join(frames)
            if commit is None:
                self._stats.rpc_received_requests[PUT, "ok"] += len(frames)
                self._stream.write_now(receipts)
            else:
                commit.when_ended(partial(self._tell_stored, intake, receipts))
        return taken

    def _tell_stored(self, intake: Intake, receipts: bytes, error: StoreError | None) -> None:
        """Send the receipts, or say that nothing was stored after all. Switches: no.

        There may be many to tell, after a long time: so each has the receipts and no more.
        """
        if error is None:
            self._stats.rpc_received_requests[PUT, "ok"] += len(receipts) // RECEIPT_BYTES
            self._stream.write(receipts)
        else:
            for request_id, key in receipts_in(receipts):
                self._stream.write(self._frame(PUT, request_id, intake.refused(key, error)))

    def _answer_rest(self, messages: Received) -> None:
        """Answer what one turn has left, in as many as it takes. Switches: maybe. Raises: OSError."""
        self._stream.wait_unsent(UNSENT_BYTES_MAX)
        while messages:
            this_turn().let_others_run()
            messages = self._answer(messages)
            self._stream.wait_unsent(UNSENT_BYTES_MAX)

    def _answer(self, messages: Received) -> Received:
        """Answer requests in one send, until that takes long or fills much memory; what is left. Switches: no.

        Raises: RemoteProtocolError.
        """
        ends_s = perf_counter() + TURN_S
        frames: list[bytes] = []
        frames_bytes = 0
        try:
            for request_id, message in messages:
                frame = self._answer_one(request_id, message)
                frames.append(frame)
                frames_bytes += len(frame)
                if frames_bytes > UNSENT_BYTES_MAX or perf_counter() > ends_s:
                    break
        finally:  # the next message may be no request
            self._stream.write_now(b"".join(frames))
        return messages[len(frames) :] if len(frames) < len(messages) else []

    def _answer_one(self, request_id: int, message: object) -> bytes:
        """The frame that answers one request, empty when it follows later. Raises: RemoteProtocolError: it is none."""
        method = METHODS.get(type(message))
        if method is None:
            return self._refuse(request_id, message)
        try:
            answer = self._node.handle(self._sender, message)  # type: ignore[arg-type]  # METHODS has requests
        except Exception:
            log.exception("peer=%s %s failed", self._sender, method)  # a bug of ours: this request only
            answer = P2pError(ErrorReason.INTERNAL, "the request failed here")
        if type(answer) is P2pSuccess:
            self._stats.rpc_received_requests[method, "ok"] += 1
            return success_frame(request_id, answer)
        if isinstance(answer, Later):
            answer.when_ready(lambda reply: self._stream.write(self._frame(method, request_id, reply)))
            return b""
        return self._frame(method, request_id, answer)

    def _refuse(self, request_id: int, message: object) -> bytes:
        """The frame that answers what is no request of this version. Raises: RemoteProtocolError: of no version."""
        if not isinstance(message, UnknownMessage):
            raise RemoteProtocolError("type", f"{type(message).__name__} is not a request")
        self._stats.rpc_received_requests["unknown", "unsupported"] += 1
        detail = f"message type {message.type_number} is not known here"
        return encode_p2p(P2pError(ErrorReason.UNSUPPORTED, detail), request_id)

    def _frame(self, method: str, request_id: int, reply: Reply) -> bytes:
        self._stats.rpc_received_requests[method, "error" if isinstance(reply, P2pError) else "ok"] += 1
        return encode_p2p(reply, request_id)
