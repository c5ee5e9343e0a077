"""`gdht` over a disk that hangs: once there is a file HANGS, no write to a place in a file comes back.

    python hung_disk.py HANGS HELD python -m gdht serve ...

A file HELD is made when the first one is held: its thread waits in the kernel. What stands before the second `python`
is a prefix for `Fleet.start`.
"""

import os
import runpy
import sys
import time
from pathlib import Path

HANG_S = 3600.0


def main() -> None:
    """Run the command with our `os.pwrite`."""
    hangs, held, pwrite = Path(sys.argv[1]), Path(sys.argv[2]), os.pwrite

    def pwrite_or_hang(file: int, data: bytes, at: int) -> int:
        if hangs.exists():
            held.touch()
            time.sleep(HANG_S)
        return pwrite(file, data, at)

    os.pwrite = pwrite_or_hang
    sys.argv[:] = ["gdht", *sys.argv[6:]]
    runpy.run_module("gdht", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
