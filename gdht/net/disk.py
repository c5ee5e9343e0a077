"""A node's store in its own process: the thread that waits for the disk, and whose records lie there."""

import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import gevent
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from gdht.core.ident import ident_hex
from gdht.core.peer import Peer
from gdht.errors import StoreError
from gdht.node.stats import Stats
from gdht.node.storage import Store

log = logging.getLogger(__name__)

SWITCH_S = 0.0005
"""How long the thread may keep the loop's thread from running, instead of Python's 5 ms."""

IDENTITY_NOTE = "identity"


class DiskThread:
    """One thread for one store, whose work names being resolved elsewhere cannot hold up."""

    def __init__(self) -> None:
        self.stats = Stats()
        self._pool = ThreadPool(1)
        sys.setswitchinterval(SWITCH_S)

    def run_aside(self, work: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        """Have `work` run in the thread, then `done` in a greenlet. Switches: no, with one work at a time."""
        self._pool.spawn(_caught, work).rawlink(partial(self._ended, time.monotonic(), done))

    def _ended(self, began_s: float, done: Callable[[Exception | None], None], result: AsyncResult) -> None:
        """Called in the hub, which must not wait for anything."""
        failure: Exception | None = result.value
        self.stats.store_commits["error" if failure else "ok"] += 1
        self.stats.store_commit_duration.observe(time.monotonic() - began_s)
        gevent.spawn(done, failure)

    def close(self) -> None:
        """Let the thread end. Switches: until it has."""
        self._pool.kill()


def _caught(work: Callable[[], None]) -> Exception | None:
    try:
        work()
    except Exception as error:  # noqa: BLE001  (the store tells what it is)
        return error
    return None


def write_identity(store: Store, me: Peer) -> None:
    """Note whose store it is, and say so when it was another node's. Switches: no."""
    ours = {"ident": ident_hex(me.ident), "address": me.address}
    note = store.note(IDENTITY_NOTE)
    before = json.loads(note) if note else ours
    if before["ident"] != ours["ident"]:
        log.warning(
            "the store was node %s's at %s; what is not ours of it is handed on", before["ident"], before["address"]
        )
    try:
        store.write_note(IDENTITY_NOTE, json.dumps(ours).encode())
    except StoreError as error:
        log.warning("writes are refused: %s", error)


def try_again(store: Store) -> None:
    """Write something that changes nothing to a store that failed: its error goes when this succeeds. Switches: no."""
    if store.error:
        with suppress(StoreError):
            store.write_note(IDENTITY_NOTE, store.note(IDENTITY_NOTE))
