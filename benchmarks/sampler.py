"""A sampling profiler inside a process of gdht, by its CPU time.

Usage: python -m sampler FILE ARGUMENTS OF gdht. On SIGUSR2 it writes the samples since the last one to FILE, in the
form `function (file:line);... count`, outermost frame first.
"""

import os
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_S = 0.005

samples: Counter[str] = Counter()


def take(_number: int, frame: FrameType | None) -> None:
    """One sample: who runs, and who called it."""
    stack = []
    while frame:
        code = frame.f_code
        stack.append(f"{code.co_name} ({code.co_filename}:{frame.f_lineno})")
        frame = frame.f_back
    samples[";".join(reversed(stack))] += 1


def write(file: Path) -> None:
    """What was sampled, whole or not at all."""
    taken = list(samples.items())  # in one piece: the next sample may be taken any time
    samples.clear()
    fresh = file.with_suffix(".new")
    fresh.write_text("".join(f"{stack} {count}\n" for stack, count in taken))
    fresh.replace(file)


if __name__ == "__main__":
    output = Path(sys.argv[1])
    sys.argv = ["gdht", *sys.argv[2:]]
    sys.path.remove(os.getcwd())  # noqa: PTH109  (as it stands there; what is named like a module of ours is none)
    signal.signal(signal.SIGPROF, take)
    signal.signal(signal.SIGUSR2, lambda _number, _frame: write(output))
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
    runpy.run_module("gdht", run_name="__main__", alter_sys=True)
