"""The processes of a local ring: starting them on a block of ports, and taking all of them down without orphans."""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gdht.cli.tables import counted
from gdht.config import PORT_MAX, Address
from gdht.errors import ListenError

NODES_MAX = 100
HOST = "127.0.0.1"
PORTS_PER_NODE = 10
"""Node i of a ring has P2P at base + 10 i, the API one above, the admin port two above; the rest stays free."""

FREE_PORTS = range(10000, 30000)
"""Where free blocks are looked for: below the ports that systems give to outgoing connections."""

TRIES_MAX = 100
_HANG_UP = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)  # nohup means it
STOP_SIGNALS = frozenset((signal.SIGINT, signal.SIGTERM, *_HANG_UP))
STOP_S_MAX = 12.0
"""A node takes up to 10 s to leave."""

POLL_S = 0.05
LAST_LINE_BYTES_MAX = 4096
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Ports:
    """The three ports of one node."""

    p2p: Address
    api: Address
    admin: Address

    @property
    def admin_url(self) -> str:
        return f"http://{self.admin}"


@dataclass(frozen=True)
class Child:
    """One node's process. number: from 1."""

    number: int
    ports: Ports
    log: Path
    process: "subprocess.Popen[bytes]"

    def exit_code(self) -> int | None:
        """What it ended with, negative for a signal; None while it runs."""
        return self.process.poll()

    def reason(self) -> str:
        """Why it has ended: the signal that killed it, else the end of its log."""
        code = self.exit_code() or 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else self._last_line()

    def _last_line(self) -> str:
        with self.log.open("rb") as log:
            log.seek(max(self.log.stat().st_size - LAST_LINE_BYTES_MAX, 0))
            lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def one_per_core() -> int:
    """How many nodes use this machine in full: each is one process, which uses one core."""
    return min(len(os.sched_getaffinity(0)), NODES_MAX)


def make_ports(count: int, base_port: int | None) -> list[Ports]:
    """The ports of each node, from a base or from a free block. Raises: ValueError, ListenError (one is taken)."""
    if base_port is None:
        return _free_block(count)
    block = _block(count, base_port)
    if taken := _taken(block):
        raise ListenError(f"cannot listen on {taken}: choose another --base-port, or none to get free ports")
    return block


def _block(count: int, base: int) -> list[Ports]:
    last = base + (count - 1) * PORTS_PER_NODE + 2
    if last > PORT_MAX:
        raise ValueError(
            f"the ports of {counted(count, 'node')} from {base} on go up to {last}; {PORT_MAX} is the last one"
        )
    starts = range(base, base + count * PORTS_PER_NODE, PORTS_PER_NODE)
    return [Ports(*(Address(HOST, start + offset) for offset in range(3))) for start in starts]


def _free_block(count: int) -> list[Ports]:
    choice = random.Random(time.time_ns())
    bases = range(FREE_PORTS.start, FREE_PORTS.stop - count * PORTS_PER_NODE, PORTS_PER_NODE)
    for _ in range(TRIES_MAX):
        block = _block(count, choice.choice(bases))
        if not _taken(block):
            return block
    raise ListenError(f"no {count * PORTS_PER_NODE} free ports in a row; choose with --base-port")


def _taken(block: Sequence[Ports]) -> str:
    """The first port that cannot be opened, and why; empty when all can."""
    for place in (place for ports in block for place in (ports.p2p, ports.api, ports.admin)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a node does: closed connections are no bar
            try:
                probe.bind(place)
            except OSError as error:
                return f"{place} ({error.strerror})"
    return ""


@contextmanager
def held_signals() -> Iterator[None]:
    """Keep stop signals pending, to be fetched by `next_stop`: none is lost and none interrupts a step."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        while next_stop(0):  # a further Ctrl-C has no more to stop
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def next_stop(timeout_s: float) -> bool:
    """Whether somebody asks us to stop within this time."""
    return signal.sigtimedwait(STOP_SIGNALS, timeout_s) is not None


def start(number: int, ports: Ports, log: Path, data: Path, options: Sequence[str]) -> Child:
    """Start one node; its output goes to a file, its records to a directory.

    What the environment tells nodes is not for these.
    """
    addresses = ("--p2p-address", str(ports.p2p), "--api-address", str(ports.api), "--admin-address", str(ports.admin))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gdht", "serve", *addresses, "--data-dir", str(data), *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={name: text for name, text in os.environ.items() if not name.startswith("GDHT_")},
            start_new_session=True,  # a Ctrl-C at the terminal is for us; we tell them
            preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509  (no threads yet)
        )
    return Child(number, ports, log, process)


def _die_with(parent: int) -> Callable[[], None]:
    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return prepare


def stop_all(children: Sequence[Child]) -> bool:
    """Take all down: ask them to leave, all at once; kill what is left in the end. True when none had to be."""
    _tell(children, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S_MAX
    while _running(children) and time.monotonic() < deadline:
        if next_stop(POLL_S):
            _tell(children, signal.SIGTERM)  # to a node, the second one means: at once
    left = _running(children)
    _tell(left, signal.SIGKILL)
    for child in left:
        child.process.wait()
    return not left


def ended_well(child: Child) -> bool:
    """Whether it left when it was told to, and did not die; before it is ready, the signal itself ends it."""
    return child.exit_code() in (0, -signal.SIGTERM)


def _running(children: Sequence[Child]) -> list[Child]:
    return [child for child in children if child.exit_code() is None]


def _tell(children: Sequence[Child], number: signal.Signals) -> None:
    for child in _running(children):
        child.process.send_signal(number)
