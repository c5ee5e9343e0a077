"""The signals that ask a process to end: heard by a thread, which ends it at the second one if the loop stands still.

The loop reads from the store, and a disk that hangs may hold it there. So the thread is the only one that the system
gives the signals to; what it calls then needs no interpreter, and only notes the number in a pipe.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import gevent

log = logging.getLogger(__name__)

NUMBERS = (signal.SIGTERM, signal.SIGINT)

GRACE_S = 1.0
"""How long the loop has after a second signal to end the process in its own way."""


@contextmanager
def heard_signals(tell: Callable[[], None]) -> Iterator[None]:
    """Have `tell` called in the hub for each signal, where it must not wait. In the main thread only. Switches: no."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    loop, is_over = gevent.get_hub().loop, Event()
    thread = Thread(
        target=_listen, args=(reader, lambda: loop.run_callback_threadsafe(tell), is_over), name="signals", daemon=True
    )
    thread.start()
    file_before = signal.set_wakeup_fd(writer)
    handlers_before = [(number, signal.signal(number, _do_nothing)) for number in NUMBERS]
    mask_before = signal.pthread_sigmask(
        signal.SIG_BLOCK, NUMBERS
    )  # threads that are started from here on have it, too
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask_before)
        for number, handler in handlers_before:
            signal.signal(number, handler)
        signal.set_wakeup_fd(file_before)
        is_over.set()
        os.close(writer)
        thread.join()


def _listen(reader: int, tell: Callable[[], None], is_over: Event) -> None:
    """In the thread, until nobody writes any more."""
    heard = 0
    while number := os.read(reader, 1):
        if number[0] not in NUMBERS:
            continue
        heard += 1
        tell()
        if heard > 1 and not is_over.wait(GRACE_S):
            log.error("stopped at once, while the event loop stood still")
            logging.shutdown()
            os._exit(1)
    os.close(reader)


def _do_nothing(_number: int, _frame: object) -> None:
    """Be a handler: without one no number is noted."""
