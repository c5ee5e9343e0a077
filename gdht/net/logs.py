"""Log lines that a stranger can cause are limited, so that nobody fills a disk through an open port."""

import logging
import time
from collections.abc import Callable


class LineLimit:
    """Passes on at most `lines_max` warnings a second; the next one to pass says how many were left out."""

    def __init__(self, log: logging.Logger, lines_max: int = 50, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._lines_max = lines_max
        self._now = now
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def warning(self, message: str, *values: object) -> None:
        """Log a line, or count it as left out."""
        second = int(self._now())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines >= self._lines_max:
            self._left_out += 1
            return
        self._lines += 1
        self._log.warning(message, *values)
        if self._left_out:
            self._log.warning("left_out_lines=%d (too many of them at once)", self._left_out)
            self._left_out = 0
