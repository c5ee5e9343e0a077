"""The processes of a benchmark: started, listened to, counted, and killed whatever happens."""

import contextlib
import ctypes
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

HERE = Path(__file__).parent
READY_S_MAX = 60.0
LAST_LINE_BYTES_MAX = 2000
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class StartError(Exception):
    """A process did not say what was expected, or has ended; the message has its last words."""


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """A process whose lines we read and that reads ours. It runs in this directory and dies with us."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._name = " ".join(command[:4])
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the process)
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("GDHT_")}
        self._process = subprocess.Popen(
            command,
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**inherited, **(env or {})},
            start_new_session=True,  # a Ctrl-C is for us; we kill
            preexec_fn=_die_with_parent,  # noqa: PLW1509  (no threads here)
        )
        self._unread = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def say(self, line: str) -> None:
        """Write one line to its standard input. Raises: StartError when it has ended."""
        assert self._process.stdin
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise StartError(f"{self._name} has ended; it said: {self._last_words()}") from None

    def line(self, timeout_s: float = READY_S_MAX) -> str:
        """Its next line. Raises: StartError when there is none in time."""
        assert self._process.stdout
        deadline_s = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._process.stdout], [], [], max(deadline_s - time.monotonic(), 0))
            more = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
            if not more:
                raise StartError(f"{self._name}: nothing within {timeout_s:g} s; it said: {self._last_words()}")
            self._unread += more
        line, self._unread = self._unread.split(b"\n", 1)
        return line.decode()

    def expect(self, pattern: str, timeout_s: float = READY_S_MAX) -> re.Match[str]:
        """Its next line, taken apart. Raises: StartError."""
        line = self.line(timeout_s)
        found = re.search(pattern, line)
        if found is None:
            raise StartError(f"{self._name} said {line!r}")
        return found

    def kill(self) -> None:
        """End it, at once, and wait for that."""
        self._process.kill()
        self._process.wait()
        self._errors.close()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            with contextlib.suppress(BrokenPipeError):  # something was still to be written to it
                pipe.close()

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-LAST_LINE_BYTES_MAX:].decode(errors="replace").strip() or "nothing"


class Children:
    """Processes that are all killed when the `with` block is left."""

    def __init__(self) -> None:
        self._all: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._all:
            child.kill()

    def start(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
        """Start one more."""
        self._all.append(Child(command, env))
        return self._all[-1]


@contextlib.contextmanager
def on_core(index: int) -> Iterator[None]:
    """What is started in the block runs on one core only, where there are several. index: as of a list.

    A server and its load are kept on two cores: left alone they are on one at times, and the figures have two modes.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) > 1:
        os.sched_setaffinity(0, {allowed[index]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def pin(pid: int, index: int) -> None:
    """Keep a running process with all its threads on one core, where there are several. index: as of a list."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) > 1:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {allowed[index]})


def cpu_us(pids: Iterable[int]) -> float:
    """The CPU time that processes have used by now, all their living threads together."""
    return sum(_cpu_us(pid) for pid in pids)


def _cpu_us(pid: int) -> float:
    try:
        tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1000
    except (OSError, ValueError, IndexError):  # a kernel without it: clock ticks
        return sum(_ticks(pid)) * 1e6 / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> tuple[int, int]:
    """Clock ticks in its own code, and in the kernel for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


@contextlib.contextmanager
def kernel_share(pid: int) -> Iterator[list[float]]:
    """Which share of a process's time while the block runs is spent in the kernel; in the list afterwards."""
    share: list[float] = []
    user, system = _ticks(pid)
    yield share
    user, system = _ticks(pid)[0] - user, _ticks(pid)[1] - system
    share.append(system / max(user + system, 1))
