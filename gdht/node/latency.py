"""How long peers take to answer, lately: what tells a slow answer from a usual one, and a near peer from a far one.

Of each peer a moving mean and a moving mean deviation are kept, as TCP does for its round trips (Jacobson 1988); the
95th percentile is reckoned from both. Nothing here decides whether a peer lives.
"""

from math import inf

from gdht.core.peer import Peer

PEERS_MAX = 1024
"""How many peers are remembered; the one heard of first is the first to go."""

WEIGHT = 0.125
"""What the newest answer counts, once there were 1 / WEIGHT."""

DEVIATIONS = 3.0
"""The 95th percentile lies so many mean deviations above the mean: 2.1 where times are normally distributed, 2.7 where
they are exponentially."""

DEVIATION_SHARE = 0.1
"""The deviation counts as no less than this share of the mean, however steady the times were."""

ANSWERS_MIN = 4
"""Of a peer with fewer answers nothing is said."""

LATE_WEIGHT = 1 / 16
LATE_SHARE_MAX = 0.25
"""When more than this share of the last answers was late, each by its peer's own measure, it is not that peer that is
slow: we are, or our own cable is."""

TYPICAL_EVERY = 64
"""After so many answers, what is typical is worked out anew."""


class Times:
    """The answer times of one peer, in seconds."""

    __slots__ = ("answers", "deviation_s", "mean_s")

    def __init__(self) -> None:
        self.answers = 0
        self.mean_s = self.deviation_s = 0.0

    def note(self, seconds: float) -> None:
        """One more answer."""
        self.answers += 1
        weight = max(1 / self.answers, WEIGHT)
        off_s = seconds - self.mean_s
        self.mean_s += weight * off_s
        if self.answers > 1:
            self.deviation_s += weight * (abs(off_s) - self.deviation_s)

    @property
    def p95_s(self) -> float:
        """What 95 answers of 100 do not exceed, about."""
        return self.mean_s + DEVIATIONS * max(self.deviation_s, DEVIATION_SHARE * self.mean_s)


class Latency:
    """The answer times of many peers. peers_max: how many are remembered; 0: none."""

    def __init__(self, peers_max: int = PEERS_MAX) -> None:
        self._peers_max = peers_max
        self._times: dict[int, Times] = {}  # by identifier, those heard of first in front
        self._all = Times()
        self._late_share = 0.0
        self._typical_s: float | None = None
        self._typical_until = 0

    def note(self, peer: Peer, seconds: float) -> None:
        """A peer took so long to answer, or had not answered after so long. Switches: no."""
        p95_s = self.p95_s(peer)
        if p95_s is not None:
            self._late_share += LATE_WEIGHT * ((seconds > p95_s) - self._late_share)
        self._all.note(seconds)
        times = self._times.get(peer.ident)
        if times is None:
            times = self._times[peer.ident] = Times()
            if len(self._times) > self._peers_max:
                del self._times[next(iter(self._times))]
        times.note(seconds)

    @property
    def are_most_late(self) -> bool:
        """Whether so many answers have been late that asking others, too, would make it worse."""
        return self._late_share > LATE_SHARE_MAX

    def mean_s(self, peer: Peer) -> float | None:
        """How long a peer takes; None when not enough is known."""
        times = self._known(peer)
        return None if times is None else times.mean_s

    def p95_s(self, peer: Peer) -> float | None:
        """What a peer does not exceed 95 times of 100; None when not enough is known."""
        times = self._known(peer)
        return None if times is None else times.p95_s

    def expected_s(self, peer: Peer | None) -> float:
        """How long a peer takes; the mean of all answers where not enough is known of it, and of None."""
        times = None if peer is None else self._known(peer)
        return self._all.mean_s if times is None else times.mean_s

    @property
    def typical_p95_s(self) -> float | None:
        """The 95th percentile of a peer that is slower than most, but not of the slowest: at three quarters of them.

        Of few peers the faster ones: a slow one among two is not typical. None when not enough is known of any.
        """
        if self._all.answers >= self._typical_until:
            self._typical_until = self._all.answers + TYPICAL_EVERY
            known = sorted(times.p95_s for times in self._times.values() if times.answers >= ANSWERS_MIN)
            self._typical_s = known[(len(known) - 1) * 3 // 4] if known else None
        return self._typical_s

    def usual_s(self, peer: Peer) -> float:
        """After how long an answer of a peer is late: by its own measure or by that of others, whichever is sooner.

        Infinite when not enough is known of anybody.
        """
        known = (self.p95_s(peer), self.typical_p95_s)
        return min((seconds for seconds in known if seconds is not None), default=inf)

    def _known(self, peer: Peer) -> Times | None:
        times = self._times.get(peer.ident)
        return times if times is not None and times.answers >= ANSWERS_MIN else None
