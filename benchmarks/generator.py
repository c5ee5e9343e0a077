"""The load generator in C (load.c): compiled when it is newer than its program, run, and its answer read."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "benchmarks"
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")
RUN_S_MAX = 60.0


class NoCompilerError(Exception):
    """There is no C compiler; the generator cannot be made."""


class LoadError(Exception):
    """A run of the generator failed; the message says why."""


@dataclass(frozen=True)
class Shape:
    """How requests are sent. pipeline: how many are in flight on each connection."""

    connections: int
    pipeline: int

    def __str__(self) -> str:
        return f"{self.connections} x {self.pipeline}"


@dataclass(frozen=True)
class Result:
    """What one run measured.

    answers: those in the measured time, of which the rate is made; all_answers: those of the warmup and of the end too.
    latency_us: by percentile: p50, p90, p99, p99.9, max; success_us, failure_us: of those answers alone. cpu_s: the
    generator's own, in the measured time. ended_s: when that ended, by `time.monotonic()`. waiting: sent and not
    answered then; unsent: due by then, but kept back as too many were waiting.
    """

    requests_per_s: float
    answers: int
    successes: int
    failures: int
    mismatches: int
    all_answers: int
    seconds: float
    cpu_s: float
    latency_us: dict[str, float]
    success_us: dict[str, float] = field(default_factory=dict)
    failure_us: dict[str, float] = field(default_factory=dict)
    ended_s: float = 0.0
    waiting: int = 0
    unsent: int = 0

    @classmethod
    def parse(cls, line: str) -> "Result":
        """From what the generator printed. Raises: ValueError, TypeError, KeyError when it is something else."""
        fields: dict[str, Any] = json.loads(line)
        return cls(cpu_s=fields.pop("cpu_seconds"), **fields)


def compile_c(name: str) -> Path:
    """The program made of `benchmarks/NAME.c`. Raises: NoCompilerError, subprocess.CalledProcessError."""
    source, program = HERE / f"{name}.c", BUILD / name
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise NoCompilerError(f"no C compiler ({', '.join(COMPILERS)}): apt-get install gcc libc6-dev")
    BUILD.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(".new")
    subprocess.run([compiler, *FLAGS, "-o", str(fresh), str(source)], check=True)
    fresh.replace(program)
    return program


@dataclass(frozen=True)
class Slice:
    """The answers of one `--interval`. ended_s: by `time.monotonic()`; latency_us: as in Result."""

    ended_s: float
    successes: int
    failures: int
    latency_us: dict[str, float]


class Load:
    """A run that goes on while others do something else; killed at the end of the `with` block, if it is not over.

    addresses: host:port; the connections are spread over them. Raises: NoCompilerError.
    """

    def __init__(
        self, requests: Path, addresses: Sequence[str], shape: Shape, seconds: float, options: Sequence[str]
    ) -> None:
        command = [str(compile_c("load")), "--requests", str(requests), "--seconds", f"{seconds:g}"]
        command += ["--connections", str(shape.connections), "--pipeline", str(shape.pipeline), *options, *addresses]
        self._timeout_s = seconds + RUN_S_MAX
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def result(self) -> tuple[Result, list[Slice]]:
        """Wait for its end; what it measured. Raises: LoadError."""
        try:
            out, errors = self._process.communicate(timeout=self._timeout_s)
        except subprocess.TimeoutExpired:
            raise LoadError(f"the load generator has not ended after {self._timeout_s:g} s") from None
        if self._process.returncode:
            raise LoadError(errors.strip() or f"ended with {self._process.returncode}")
        try:
            *slices, last = out.splitlines()
            return Result.parse(last), [Slice(**json.loads(line)) for line in slices]
        except (ValueError, TypeError, KeyError) as error:
            raise LoadError(f"the load generator printed no result ({error!r}): {out[:200]!r}") from error


def load(requests: Path, addresses: Sequence[str], shape: Shape, seconds: float, *options: str) -> Result:
    """One run, to its end. Raises: LoadError, NoCompilerError."""
    with Load(requests, addresses, shape, seconds, options) as running:
        return running.result()[0]


if __name__ == "__main__":
    print(compile_c("load"))
