"""A connected socket as every part of `net` uses it: reads switch and always let others run, writes never switch.

Whoever reads gives a function that takes what has come. The event loop calls it read after read, which costs no switch
of greenlets, until it leaves something to do: that is for the reader, which may wait.

What is written within one turn of the event loop leaves in one send. What the kernel does not take at once is sent by
a watcher; when it does not move for `send_timeout_s`, the stream is aborted and its reader hears of it.
"""

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any, TypeVar

import gevent
from gevent import get_hub
from gevent.event import Event
from gevent.hub import Waiter

from gdht.net.turn import TURN_S_MAX, this_turn
from gdht.node.stats import Stats

READ, WRITE = 1, 2
"""The events of `loop.io`."""

Left = TypeVar("Left")
"""What a function that takes a read leaves to do."""

_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


def tune(sock: socket.socket) -> None:
    """Small frames leave at once, and a peer that vanished without a word is noticed within about a minute."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in _KEEPALIVE:
        if hasattr(socket, option):  # not every system has all of them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)


def read_buffer(size: int) -> memoryview:
    """Room for one read, to be shared by all streams of one owner: nothing stays in it across a switch."""
    return memoryview(bytearray(size))


class Stream:
    """One connection. Read by a single greenlet; written from anywhere, the event loop's callbacks included.

    plane: `api` or `p2p`, the label of the byte counters. unsent_bytes: written, but not taken by the kernel yet.
    input_ended: `stop_reading` was called, so the end of the input says nothing about the other side.
    """

    __slots__ = (
        "_blocked",
        "_buffer",
        "_closed",
        "_drained",
        "_error",
        "_frames",
        "_hub",
        "_input_taken",
        "_plane",
        "_readable",
        "_reader",
        "_rest",
        "_scheduled",
        "_send_timeout_s",
        "_sock",
        "_stats",
        "_take",
        "_timer",
        "_turn",
        "_writable",
        "input_ended",
        "unsent_bytes",
    )

    def __init__(
        self, sock: socket.socket, buffer: memoryview, plane: str, stats: Stats, send_timeout_s: float
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._buffer = buffer
        self._plane = plane
        self._stats = stats
        self._send_timeout_s = send_timeout_s
        self._hub = get_hub()
        self._turn = this_turn()
        self._readable = self._hub.loop.io(sock.fileno(), READ)
        self._writable: Any = None
        self._timer: Any = None
        self._frames: list[bytes] = []
        self._rest = memoryview(b"")
        self._scheduled = False
        self._blocked = False
        self._closed = False
        self._error = OSError(errno.ECONNABORTED, "connection closed here")
        self._drained: Event | None = None
        self.unsent_bytes = 0
        self.input_ended = False
        self._input_taken = False
        self._reader: Waiter | None = None
        self._take: Callable[[bytes], Any] = bytes

    def read(self) -> bytes:
        """The next bytes, or none at the end of the stream. Switches: yes, even when there is something to read.

        Raises: OSError when the connection broke or was closed here.
        """
        return self.read_all(bytes) or b""

    def read_all(self, take: Callable[[bytes], Left | None]) -> Left | None:
        """Have the event loop give each read to `take`, until it leaves something to do; None at the end of the stream.

        take: must not switch; None when it leaves nothing. Switches: yes, even when there is something to read.
        Raises: OSError when the connection broke or was closed here; whatever `take` raises.
        """
        self._raise_if_closed()
        if self._input_taken:
            return None
        self._take = take
        self._reader = Waiter(self._hub)
        self._readable.start(self._on_readable)
        try:
            left: Left | None = self._reader.get()
            return left
        finally:
            self._reader, self._take = None, bytes  # what refers to what refers to us would be garbage
            if not self._closed:
                self._readable.stop()

    def _on_readable(self, was_put_off: bool = False) -> None:
        """Called by the event loop. In a turn that is long already, the read is put off to the next."""
        if not was_put_off and perf_counter() - self._turn.began_s > TURN_S_MAX:
            self._readable.stop()
            self._turn.put_off(self._resume)
            return
        try:
            size = self._sock.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self._tell_reader(error=error)
            return
        self._input_taken = self.input_ended or not size
        self._stats.network_received_bytes[self._plane] += size
        try:
            left = self._take(bytes(self._buffer[:size])) if size else None
        except Exception as error:  # noqa: BLE001  (the reader's to deal with)
            self._tell_reader(error=error)
        else:
            if left is not None or self._input_taken:
                self._tell_reader(left)

    def _resume(self) -> None:
        if self._reader is not None and not self._closed:
            self._readable.start(self._on_readable)
            self._on_readable(was_put_off=True)

    def _tell_reader(self, left: object = None, error: Exception | None = None) -> None:
        """Have the reader go on, at once. Called by the event loop."""
        reader, self._reader = self._reader, None
        if reader is None:
            return
        self._readable.stop()
        if error is None:
            reader.switch(left)
        else:
            reader.throw(error)

    def write(self, data: bytes) -> None:
        """Send it with all else that is written in this turn of the loop. Switches: no. A no-op once closed."""
        if self._closed:
            return
        self._frames.append(data)
        self.unsent_bytes += len(data)
        if not self._scheduled:
            self._scheduled = True
            self._turn.at_end(self.flush)

    def flush_at_end(self) -> None:
        """Send what is held with all else that is written in this turn of the loop. Switches: no."""
        if not self._scheduled:
            self._scheduled = True
            self._turn.at_end(self.flush)

    def hold(self, data: bytes) -> None:
        """Send it with the next `flush`, which the caller owes. Switches: no. A no-op once closed."""
        if not self._closed:
            self._frames.append(data)
            self.unsent_bytes += len(data)

    def write_now(self, data: bytes) -> None:
        """Send it, and what was written before it, at once. Switches: no. A no-op once closed."""
        if not data or self._closed:
            return
        self.unsent_bytes += len(data)
        if self._frames or self._blocked:
            self._frames.append(data)
            self.flush()
        else:
            self._send(data)

    def flush(self) -> None:
        """Send what is written but not sent, as far as the kernel takes it. Switches: no."""
        self._scheduled = False  # or will be called once more, in vain
        if self._closed or self._blocked or not self._frames:
            return
        data = self._frames[0] if len(self._frames) == 1 else b"".join(self._frames)
        self._frames.clear()
        self._send(data)

    def wait_unsent(self, bytes_max: int) -> None:
        """Wait until no more than this many bytes are unsent. Switches: when there are more.

        Raises: OSError when the connection broke or was closed here.
        """
        self.flush()
        self._raise_if_closed()
        while self.unsent_bytes > bytes_max:
            if self._drained is None:
                self._drained = Event()
            self._drained.clear()
            self._drained.wait()
            self._raise_if_closed()

    def stop_reading(self) -> None:
        """End the input: the reader gets one more read of what has arrived, then the end. Switches: no."""
        if not self._closed:
            self.input_ended = True  # what is still sent arrives all the same, so the kernel alone would never say so
            _shutdown(self._sock, socket.SHUT_RD)

    def close(self) -> None:
        """Close at once; unsent bytes are lost. Switches: no."""
        self.abort(self._error)

    def abort(self, error: OSError) -> None:
        """Close at once; whoever reads or waits gets this error. Switches: no."""
        if self._closed:
            return
        self._closed = True
        self._error = error
        self._frames.clear()
        self._unblock()
        if self._writable is not None:
            self._writable.close()
            self._timer.close()
        self._readable.stop()
        self._hub.loop.run_callback(self._end, error)
        if self._drained is not None:
            self._drained.set()

    def _end(self, error: OSError) -> None:
        """Called by the event loop, when nothing of this turn uses the socket any more."""
        self._readable.close()
        self._sock.close()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.throw(error)

    def close_gently(self, timeout_s: float) -> None:
        """Send what is unsent, say so, and take no notice of what still comes in; then close. Switches: yes.

        Closing a socket with unread input makes the kernel throw away output that the other side has not got yet.
        """
        try:
            with suppress(OSError), gevent.Timeout(timeout_s, False):  # gone: nothing left to be gentle about
                self.wait_unsent(0)
                _shutdown(self._sock, socket.SHUT_WR)
                while self.read():
                    pass
        finally:
            self.close()

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise OSError(self._error.errno, self._error.strerror) from self._error

    def _send(self, data: bytes | memoryview) -> None:
        """Send as much as the kernel takes; a watcher sends the rest."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.abort(error)
            return
        self.unsent_bytes -= sent
        self._stats.network_sent_bytes[self._plane] += sent
        if sent < len(data):
            self._block(memoryview(data)[sent:])

    def _block(self, rest: memoryview) -> None:
        """The kernel's buffer is full: go on when it has room."""
        self._rest = rest
        if self._blocked:
            return
        self._blocked = True
        if self._writable is None:
            self._writable = self._hub.loop.io(self._sock.fileno(), WRITE)
            self._timer = self._hub.loop.timer(self._send_timeout_s, self._send_timeout_s)
        self._writable.start(self._on_writable)
        self._timer.again(self._on_send_timeout, update=True)

    def _unblock(self) -> None:
        if self._blocked:
            self._blocked = False
            self._rest = memoryview(b"")
            self._writable.stop()
            self._timer.stop()

    def _on_writable(self) -> None:
        before = self.unsent_bytes
        rest, self._rest = self._rest, memoryview(b"")
        self._send(rest)
        if self._closed or self.unsent_bytes == before:
            return
        if self._rest:
            self._timer.again(self._on_send_timeout, update=True)  # starting it anew would leave it what was left
        else:
            self._unblock()
            self.flush()
        if self._drained is not None:
            self._drained.set()

    def _on_send_timeout(self) -> None:
        self.abort(OSError(errno.ETIMEDOUT, "the other side does not read"))


def _shutdown(sock: socket.socket, how: int) -> None:
    with suppress(OSError):  # not connected any more: as shut as it gets
        sock.shutdown(how)
