"""A whole node in this process: what is opened when it starts, in which order it leaves, and what signals do."""

import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from enum import Enum
from typing import Any

import gevent
from gevent.event import Event

from gdht.config import Address, Config
from gdht.core.ident import ident_hex
from gdht.core.peer import Peer
from gdht.errors import StoreError
from gdht.net import garbage
from gdht.net.admin_server import AdminServer, WsgiApp
from gdht.net.admission import Admission
from gdht.net.api_server import ApiServer
from gdht.net.disk import DiskThread
from gdht.net.express import TEND_S, Express
from gdht.net.hello import our_hello
from gdht.net.identity import node_ident
from gdht.net.limits import allow_open_files
from gdht.net.listener import Listener, bound_address, open_socket
from gdht.net.peer_server import PeerServer
from gdht.net.pool import CONNECTIONS_MAX, Pool
from gdht.net.pulse import Pulse
from gdht.net.runtime import GeventRuntime
from gdht.net.turn import this_turn
from gdht.node.later import made_durable
from gdht.node.node import Node
from gdht.node.owner_note import try_again, write_identity
from gdht.node.stats import Stats
from gdht.node.status import Check, NodeStatus, Share, State
from gdht.store.opening import open_store

log = logging.getLogger(__name__)

HEARTBEAT_S = 0.25
STUCK_S = 5.0
"""The event loop is stuck when the heart has not beaten for so long."""
ANNOUNCE_S = 0.02
TEND_POOL_S = 15.0
TRY_STORE_S = 5.0

API_STOP_S, HAND_OVER_S, GOODBYE_S, PEER_STOP_S, ADMIN_STOP_S = 2.0, 4.0, 1.5, 0.5, 0.5
"""How the 10 s of leaving are shared out; each listener's own cut-off takes up to half a second more.

GOODBYE_S is for the calls under way when the time for handing over ends, and for saying goodbye.
"""

STOP_S, CLOSE_S_MIN = 9.0, 0.5
"""The disk gets what the others have left of the former to take the last writes, and no less than the latter."""

ADMIN_LINGER_S = 1.5
"""After a leave that was asked for through the admin port, it still answers for so long: how that ended."""
SIGNAL_S_MAX = 10.0
"""A signal ends a leave that was given more time than this."""

CreateApp = Callable[[Callable[[], NodeStatus], Any, Any, str, Callable[[], None]], WsgiApp]
"""Makes the admin application from a status, a node to ask, what can be told to act, the token, and what lets others
run."""


class DaemonState(Enum):
    """Where a daemon is in its life; it goes through these in order."""

    NEW = "new"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Daemon:
    """A node with its ports and its store. create_app: None for a daemon without an admin server."""

    def __init__(self, config: Config, create_app: CreateApp | None) -> None:
        self.state = DaemonState.NEW
        self._config = config
        self._create_app = create_app
        self._beat_s = time.monotonic()
        self._asked_to_stop = Event()
        self._hand_over_s: float | None = None
        self._ended = Event()
        self._signals = 0

    # Starting ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open all ports and the store, then join. Switches: no. Raises: ListenError, StoreError, ConfigError."""
        dht = self._config.dht
        allow_open_files(2 * dht.max_connections + CONNECTIONS_MAX)
        with ExitStack() as opened:
            p2p = opened.enter_context(open_socket(dht.p2p_address, "p2p_address"))
            api = opened.enter_context(open_socket(dht.api_address, "api_address"))
            admin = self._open_admin(opened)
            advertised = str(dht.advertise_address or bound_address(p2p))
            option = self._config.sources.get("hostkey", "hostkey")
            me = Peer(node_ident(self._config.hostkey, advertised, option), advertised)
            self._disk = DiskThread()
            self._store = open_store(dht.data_dir, dht.max_store_bytes, self._disk.run_aside, self._disk.soon)
            opened.pop_all()  # all is well: they stay open
        hello = our_hello(dht.ring, me)
        self._pool = Pool(hello, Stats())
        self._runtime = GeventRuntime(self._pool)
        self.node = Node(
            self._runtime,
            me,
            dht,
            self._store,
            api_address=str(bound_address(api)),
            admin_address=str(bound_address(admin)) if admin is not None else "",
        )
        self._pool.stats = self._disk.stats = self.node.stats  # nothing was counted before
        write_identity(self._store, me)
        self.peer_server = PeerServer(p2p, dht.max_connections, self.node.stats, hello, self.node)
        admission = Admission()
        self._express = Express(self.node, self._pool, self.node.stats, dht.call_timeout, admission)
        self.api_server = ApiServer(api, dht.max_connections, self.node.stats, self.node, admission, self._express)
        self.admin_server = self._make_admin(admin)
        garbage.settle()
        self._begin()

    def _open_admin(self, opened: ExitStack) -> socket.socket | None:
        address = self._config.admin.address
        if address is None or self._create_app is None:
            return None
        return opened.enter_context(open_socket(address, "admin address"))

    def _make_admin(self, sock: socket.socket | None) -> AdminServer | None:
        if sock is None or self._create_app is None:
            return None
        app = self._create_app(self.status, self.node, self, self._config.admin.token, this_turn().let_others_run)
        return AdminServer(sock, app)

    def _begin(self) -> None:
        self._pulse = Pulse(self.node.stats.event_loop_hold)
        self._pulse.start()
        self.peer_server.start()
        self.api_server.start()
        if self.admin_server is not None:
            self.admin_server.start()
        self._tasks = [
            self._runtime.spawn(self._beat, "heartbeat"),
            self._runtime.spawn(self._tend_calls, "tend_calls"),
            self._runtime.spawn(self._tend_pool, "close_idle"),
            self._runtime.spawn(self._tend_store, "try_store"),
            self._runtime.spawn(self._announce, "announce"),
        ]
        self.node.start()
        self.state = DaemonState.RUNNING
        log.info("listening node=%s p2p=%s api=%s", self.node.me, self.peer_server.address, self.api_server.address)

    def _announce(self) -> None:
        """Print the one line of standard output as soon as the node is in its ring, for scripts that wait for it.

        Listening alone would not do: a put through a node that has not joined fails.
        """
        while self.node.state is not State.ACTIVE:
            gevent.sleep(ANNOUNCE_S)
        try:
            sys.stdout.write(self.ready_line() + "\n")
            sys.stdout.flush()
        except OSError as error:
            log.warning("nobody reads the ready line: %s", error)

    def ready_line(self) -> str:
        """What `serve` prints; `admin=-` when there is no admin server."""
        admin: Address | str = self.admin_server.address if self.admin_server is not None else "-"
        return (
            f"gdht ready node={ident_hex(self.node.me.ident)} p2p={self.peer_server.address} "
            f"api={self.api_server.address} admin={admin}"
        )

    # Running -------------------------------------------------------------------------------------------------------

    def status(self) -> NodeStatus:
        """The node's snapshot with the checks of this process. Switches: no."""
        return replace(self.node.status(), live_checks=self._live_checks())

    def _live_checks(self) -> tuple[Check, ...]:
        silent_s = time.monotonic() - self._beat_s
        return (
            Check("event_loop", silent_s < STUCK_S, f"turned {silent_s:.2f} s ago"),
            _listening("api_listener", self.api_server, drained=self.node.draining),
            _listening("p2p_listener", self.peer_server, drained=False),
        )

    def _beat(self) -> None:
        while True:
            self._beat_s = time.monotonic()
            gevent.sleep(HEARTBEAT_S)
            self.node.stats.event_loop_lag.observe(max(time.monotonic() - self._beat_s - HEARTBEAT_S, 0.0))
            self.node.stats.event_loop_hold_max_s = self._pulse.beat()

    def _tend_calls(self) -> None:
        while True:
            self._express.wait_for_calls()
            gevent.sleep(TEND_S)
            self._express.tend()

    def _tend_pool(self) -> None:
        while True:
            gevent.sleep(TEND_POOL_S)
            self._pool.close_idle()

    def _tend_store(self) -> None:
        """Find out that the disk hangs or takes writes again, also when nobody writes, as who looks at readiness.

        It hangs when two looks find it at the same work, unless it is we who stood still in between.
        """
        before = None
        while True:
            looked_s = time.monotonic()
            gevent.sleep(TRY_STORE_S)
            now_s, since_s = time.monotonic(), self._disk.busy_since_s
            if since_s is None or since_s != before:
                try_again(self._store)
            elif now_s - looked_s < 2 * TRY_STORE_S:
                self._store.note_late(now_s - since_s)
            before = since_s

    # What the admin port may tell it to do -------------------------------------------------------------------------

    def drain(self) -> None:
        """Take no more clients, finish what they asked, and stay a member of the ring. Switches: no."""
        if self.state is DaemonState.RUNNING and not self.node.draining:
            log.info("draining node=%s", self.node.me)
            self.node.drain()
            self._runtime.spawn(lambda: self.api_server.stop(API_STOP_S), "drain")

    def leave(self, timeout_s: float) -> None:
        """Begin to leave, with so many seconds to hand the records over; then the process ends. Switches: no."""
        if not self._asked_to_stop.is_set():
            self._hand_over_s = timeout_s
            self._asked_to_stop.set()

    def plan_leave(self) -> tuple[Share, ...]:
        """Who would get which part of the records if the node left now. Switches: yes."""
        return self.node.plan_leave()

    # Stopping ------------------------------------------------------------------------------------------------------

    def serve_forever(self) -> None:
        """Start, and serve until SIGTERM or SIGINT; then leave. Switches: yes.

        A second signal ends it at once.
        Raises: ListenError, StoreError, ConfigError, SystemExit (1, after the second signal, or when stopping failed).
        """
        watchers = [gevent.signal_handler(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)]
        try:
            self.start()
            self._asked_to_stop.wait()
            leaving = gevent.spawn(self._try_to_stop)
            self._ended.wait()
            if not leaving.ready():
                log.warning("stopped at once, without leaving in good order")
            if not leaving.value:
                raise SystemExit(1)
        finally:
            for watcher in watchers:
                watcher.cancel()

    def _try_to_stop(self) -> bool:
        """Stop; whether all went well. Switches: yes."""
        try:
            self.stop()
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400  (the message says it all)
            return False
        except Exception:
            log.exception("stopping failed")
            return False
        finally:
            self._ended.set()
        return True

    def stop(self) -> None:
        """Finish what clients asked, hand the records over, leave the ring, close ports and store. Switches: yes.

        Up to 10 s, and longer only when `leave` was given longer. Raises: StoreError when the store could not be closed
        by then; nothing that was acknowledged is lost.
        """
        if self.state is not DaemonState.RUNNING:
            return
        self.state = DaemonState.STOPPING
        log.info("leaving node=%s", self.node.me)
        hand_over_s = HAND_OVER_S if self._hand_over_s is None else self._hand_over_s
        ends_at_s = time.monotonic() + STOP_S + max(hand_over_s - HAND_OVER_S, 0.0)
        self._leave_ring(hand_over_s)
        self._close_ports()
        try:
            self._close_store(max(ends_at_s - time.monotonic(), CLOSE_S_MIN))
        finally:
            self._pulse.stop()
            self.state = DaemonState.STOPPED
        log.info("left node=%s", self.node.me)

    def _leave_ring(self, hand_over_s: float) -> None:
        """Finish what clients asked, and hand the records over. Switches: yes."""
        self.node.drain()
        self.api_server.stop(API_STOP_S)
        try:
            with gevent.Timeout(hand_over_s + GOODBYE_S, False):
                self.node.leave(hand_over_s)
        except Exception:
            log.exception("leaving failed; the ports are closed all the same")
        self.node.stop()

    def _close_ports(self) -> None:
        """Close the ports that are still open, and end what runs beside the node. Switches: yes."""
        if self._hand_over_s is not None and self.admin_server is not None:
            gevent.sleep(ADMIN_LINGER_S)
        self.peer_server.stop(PEER_STOP_S)
        for task in self._tasks:
            task.cancel()
        self._pool.close()
        if self.admin_server is not None:
            self.admin_server.stop(ADMIN_STOP_S)

    def _close_store(self, within_s: float) -> None:
        """Make everything durable and let go of the files. Switches: yes. Raises: StoreError when the disk hangs.

        All that waits for the disk does so in its thread: a disk that hangs must hold neither the loop nor a signal.
        """
        ends_at_s = time.monotonic() + within_s
        while self._store.pending is not None and (left_s := ends_at_s - time.monotonic()) > 0:
            made_durable(self._runtime, self._store, left_s)
        is_durable = self._store.pending is None  # or refused, and whoever wrote it was told so
        outcome: list[Exception | None] = []
        if is_durable:
            self._disk.run_aside(self._store.close, outcome.append)
        self._disk.close(ends_at_s - time.monotonic())
        if outcome == [None]:
            return
        place = f"data_dir {self._config.dht.data_dir}"
        if outcome:
            raise StoreError("disk", f"{place} was not closed: {outcome[0]!r}")
        what = "all in it is durable" if is_durable else "the last writes are not durable, and were not acknowledged"
        raise StoreError("disk", f"the disk hangs: {place} could not be closed within {within_s:.1f} s; {what}")

    def _on_signal(self) -> None:
        self._signals += 1
        self._asked_to_stop.set()
        if self._signals > 1:
            self._ended.set()
        elif self._hand_over_s is not None:
            gevent.spawn_later(SIGNAL_S_MAX, self._ended.set)


def _listening(name: str, listener: Listener, *, drained: bool) -> Check:
    """Whether a port takes connections. drained: it is not meant to."""
    return Check(name, listener.accepting or drained, f"{listener.address} {listener.state.value}")
