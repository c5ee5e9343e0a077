"""Log lines written by a thread of their own: who reads them slowly, or not at all, must not stop a node."""

import logging
import os
import threading
from contextlib import suppress
from queue import SimpleQueue

LINES_WAITING_MAX = 10_000
"""Lines that wait to be written; further ones are left out, and counted."""

END_S_MAX = 1.0
"""How long what waits at the end of the process is given to be written."""


class LogThread(logging.Handler):
    """Writes lines to an open file in the order in which they were logged. Logging never waits for it."""

    def __init__(self, file: int) -> None:
        super().__init__()
        self._file = file
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._left_out = 0
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Have a line written, or count it as left out."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  (as the handlers of the library do)
            self.handleError(record)
            return
        if self._lines.qsize() >= LINES_WAITING_MAX:
            self._left_out += 1
            return
        if self._left_out:
            line = f"{self._left_out} lines were left out here: they were not read fast enough\n{line}"
            self._left_out = 0
        self._lines.put(line)

    def close(self) -> None:
        """Write what waits, within bounds; called as the process ends."""
        self._lines.put(None)
        self._thread.join(END_S_MAX)
        super().close()

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            left = memoryview(f"{line}\n".encode(errors="backslashreplace"))
            with suppress(OSError):  # nobody reads it any more
                while left:
                    left = left[os.write(self._file, left) :]
