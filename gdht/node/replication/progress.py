"""How far a node is with moving its records, for pages and metrics."""

from gdht.node.status import Handover


class Progress:
    """One hand-over, as `Handover` has it; kind is also the reason under which its records are counted."""

    def __init__(self, kind: str, now_s: float, keys_total: int, bytes_total: int = 0) -> None:
        self.kind = kind
        self.ended = False
        self._keys_total, self._bytes_total = keys_total, bytes_total
        self._keys_done = self._bytes_done = self._without_taker = 0
        self._began_s = self._ended_s = now_s

    def expect(self, keys: int, size_bytes: int) -> None:
        """Take what the whole is estimated at, which may become known only after the beginning."""
        self._keys_total, self._bytes_total = keys, size_bytes

    def count(self, keys: int, size_bytes: int) -> None:
        """Count what has been moved."""
        self._keys_done += keys
        self._bytes_done += size_bytes

    def end(self, now_s: float, without_taker: int = 0) -> None:
        """Nothing more is moved."""
        self.ended, self._ended_s, self._without_taker = True, now_s, without_taker

    def status(self, now_s: float) -> Handover:
        """A snapshot. The totals are estimates, and grow with what turns out to be more."""
        return Handover(
            kind=self.kind,
            keys_total=max(self._keys_total, self._keys_done),
            keys_done=self._keys_done,
            bytes_total=max(self._bytes_total, self._bytes_done),
            bytes_done=self._bytes_done,
            seconds=(self._ended_s if self.ended else now_s) - self._began_s,
            ended=self.ended,
            without_taker=self._without_taker,
        )
