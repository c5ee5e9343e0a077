"""Running the console blocks of a text for real: `$ command` lines, and below each what it must print.

A block counts when it is fenced as ```console between <!-- tour --> and <!-- /tour -->. `...` in expected output stands
for anything. A command that ends in ` &` runs on in the background; its expected lines must appear in order, among
others. A line that ends in a backslash goes on in the next. `make run` becomes what it does, since the tests run inside
of make already.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.e2e.harness import die_with_parent

SECTION = re.compile(r"^<!-- tour -->$(.*?)^<!-- /tour -->$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\]):(\d{2,5})")
DEFAULT_PORTS = {6001, 7001, 8001}
INSTEAD = {"make run": "gdht serve -c conf/node.ini"}
COMMAND_S_MAX = 60.0
START_S_MAX = 30.0


class Step(NamedTuple):
    """One command. expected: lines, without the line breaks."""

    command: str
    background: bool
    expected: tuple[str, ...]


def read_steps(text: str) -> list[Step]:
    """The commands of all tour blocks of a text, in order."""
    blocks = [block for section in SECTION.findall(text) for block in BLOCK.findall(section)]
    return [step for block in blocks for step in _steps_of(block)]


def _steps_of(block: str) -> Iterator[Step]:
    first, *parts = re.split(r"^\$ ", block.replace("\\\n", ""), flags=re.MULTILINE)
    assert not first.strip(), f"a console block begins with a command, not with {first!r}"
    for part in parts:
        command, *expected = part.rstrip().splitlines()
        yield Step(command.removesuffix(" &"), command.endswith(" &"), tuple(expected))


def ports_of(text: str) -> set[int]:
    """The ports that the tour takes: those of a node that is told none, and all that are named."""
    sections = "".join(SECTION.findall(text))
    return DEFAULT_PORTS | {int(port) for port in PORT.findall(sections)}


def taken_ports(ports: set[int]) -> list[int]:
    """Which of these ports of this machine somebody listens on."""
    taken = []
    for port in sorted(ports):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                taken.append(port)
    return taken


def prints_as_expected(printed: str, expected: tuple[str, ...]) -> bool:
    """Whether a command printed what it should, and nothing else."""
    pattern = r"\n".join(map(_pattern, expected))
    return re.fullmatch(pattern, "\n".join(map(str.rstrip, printed.rstrip().splitlines())), re.DOTALL) is not None


def has_printed(printed: str, expected: tuple[str, ...]) -> bool:
    """Whether these lines have appeared so far, in their order; any line when none is expected."""
    lines = iter(printed.splitlines())
    wanted = expected or ("...",)
    return all(any(re.fullmatch(_pattern(want), line.rstrip()) for line in lines) for want in wanted)


def _pattern(expected: str) -> str:
    return ".*".join(map(re.escape, expected.rstrip().split("...")))


class Tour:
    """Runs steps in a folder. Leaving the `with` block ends what runs in the background."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self._folder = folder
        self._logs = logs
        self._background: list[subprocess.Popen[bytes]] = []
        self._last_code = 0
        environ = {name: text for name, text in os.environ.items() if not name.startswith(("GDHT_", "MAKE", "MFLAGS"))}
        self._environ = {**environ, "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for process in self._background:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._background:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def take(self, step: Step) -> None:
        """Run one command and compare what it prints. Fails with both."""
        if step.background:
            self._take_beside(step)
            return
        command = INSTEAD.get(step.command, step.command)
        done = subprocess.run(
            ["bash", "-c", f"(exit {self._last_code}); {command}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            env=self._environ,
            timeout=COMMAND_S_MAX,
            check=False,
        )
        self._last_code = done.returncode
        printed = done.stdout.decode(errors="replace")
        assert prints_as_expected(printed, step.expected), _told(step, printed)
        excused = any(line.strip(". ") for line in step.expected)  # a failure that the text shows is meant
        assert done.returncode == 0 or excused, _told(step, f"{printed}(ended with code {done.returncode})")

    def _take_beside(self, step: Step) -> None:
        output = self._logs / f"background-{len(self._background) + 1}.log"
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {INSTEAD.get(step.command, step.command)}"],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=self._environ,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - there are no threads here
            )
        self._background.append(process)
        ends_at_s = time.monotonic() + START_S_MAX
        while not has_printed(printed := output.read_text(errors="replace"), step.expected):
            assert process.poll() is None, _told(step, f"{printed}(ended with code {process.returncode})")
            assert time.monotonic() < ends_at_s, _told(step, printed)
            time.sleep(0.05)


def _told(step: Step, printed: str) -> str:
    expected = "\n".join(step.expected)
    return f"$ {step.command}\n--- expected\n{expected}\n--- printed\n{printed.rstrip()}\n---"
