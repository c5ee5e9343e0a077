"""What happened in a run, folded into one digest: two runs are the same exactly if their digests are."""

import hashlib
from collections import deque
from struct import pack

TAIL_EVENTS = 40


class Trace:
    """A running SHA-256 over every event, and the last few of them for error messages."""

    def __init__(self) -> None:
        self.events = 0
        self._hash = hashlib.sha256()
        self._tail: deque[tuple[float, str, str, bytes | str]] = deque(maxlen=TAIL_EVENTS)

    def frame(self, time: float, kind: str, node: str, frame: bytes) -> None:
        """A frame arrived. time: virtual seconds; kind: its message; node: where."""
        self._fold(time, kind, node, frame)
        self._tail.append((time, kind, node, frame))

    def note(self, time: float, kind: str, node: str, text: str) -> None:
        """Anything else happened to a node."""
        self._fold(time, kind, node, text.encode())
        self._tail.append((time, kind, node, text))

    def _fold(self, time: float, kind: str, node: str, summary: bytes) -> None:
        self.events += 1
        head = f"{kind}\0{node}\0".encode()
        self._hash.update(pack(">dII", time, len(head), len(summary)) + head + summary)

    @property
    def digest(self) -> str:
        """The digest so far, as hex digits."""
        return self._hash.hexdigest()

    @property
    def tail(self) -> list[str]:
        """The last events, one line each, oldest first."""
        return [f"{time:12.6f}  {node:21}  {kind:20}  {_brief(summary)}" for time, kind, node, summary in self._tail]


def _brief(summary: bytes | str) -> str:
    return summary if isinstance(summary, str) else f"{len(summary)} bytes"
