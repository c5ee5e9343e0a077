"""How well this node itself keeps up, as a score that stretches its patience with others.

A node whose loop lags sees answers late and takes the living for dead. So what points at ourselves raises the score:
a timer that came late, a peer that answers after we had begun to doubt it. Each answer in time lowers it again.
Source: Dadgar, Phillips, Currey: Lifeguard (2018), the local health multiplier.
"""

PATIENCE = 2
"""How many calls in a row must time out before a silent peer is given up."""

SCORE_MAX = 4
"""At the most, timeouts are stretched by this and one more."""

LATE_RATIO = 0.2
"""A timer is late when it comes this much of `call_timeout` after its time."""


class Health:
    """One node's score: 0 when it keeps up, at most SCORE_MAX. call_timeout_s: what is stretched."""

    def __init__(self, call_timeout_s: float) -> None:
        self.score = 0
        self._call_timeout_s = call_timeout_s

    @property
    def timeout_s(self) -> float:
        """How long to wait for an answer whose absence would count as a death."""
        return self._call_timeout_s * (1 + self.score)

    def woke(self, late_s: float) -> bool:
        """A timer came so many seconds after its time; whether that was late, so that it says nothing of others."""
        steps = int(late_s / (LATE_RATIO * self._call_timeout_s))
        self._add(max(steps, 0))
        return steps > 0

    def doubted_wrongly(self) -> None:
        """A peer that had not answered in time answers after all."""
        self._add(1)

    def answered(self) -> None:
        """A peer answered at once."""
        self._add(-1)

    def _add(self, points: int) -> None:
        self.score = min(max(self.score + points, 0), SCORE_MAX)
