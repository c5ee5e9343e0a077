"""What a node may answer for: the arc from its predecessor to itself, while it surely is the owner.

Two things must be sure. That the arc is ours: our predecessor's first successor is the owner of what lies between, so
its word that this is us makes us the only one, for as long as others need to give a silent node up. Who was stopped for
longer, or was passed over for a newcomer, finds that this lease is over. And that we have the newest versions: after we
joined, came back, or took over from a dead predecessor, others may have newer ones until we have caught up.
"""

from collections.abc import Callable
from math import inf

from gdht.config import DhtConfig
from gdht.core.arcs import Arc
from gdht.core.ident import IDENTS, in_open, in_open_closed
from gdht.core.ring import Ring
from gdht.node.health import PATIENCE

LEASE_INTERVALS = 3
"""A lease lasts for so many stabilize intervals at least; where those are longer than PATIENCE timeouts, a node that
was given up may take itself for the owner for that much longer."""


class OwnArc:
    """The arc of one node.

    accepted: the node after us does not take any of it for its own. sure_from: where the part begins of which we surely
    have the newest versions; None: nowhere. owned_from: where the widest such part began since we last had doubts.
    leased_from: where the part begins that our predecessor left us, until leased_until_s. doubts: how often everything
    became doubtful. now: the Runtime's.
    """

    def __init__(self, me: int, config: DhtConfig, now: Callable[[], float]) -> None:
        self.accepted = False
        self.sure_from: int | None = None
        self.owned_from: int | None = None
        self.doubts = 0
        self.lease_s = max(PATIENCE * config.call_timeout, LEASE_INTERVALS * config.stabilize_interval)
        self.leased_until_s = -inf
        self.leased_from: int | None = None
        self._me = me
        self._now = now
        self._alone = True
        self._start: int | None = None  # our predecessor, as far as it is known

    def follow(self, ring: Ring) -> None:
        """The pointers have changed: a closer predecessor takes over part of the arc. Switches: no."""
        if self._alone and not ring.alone and self.sure_from is not None:
            self._lease(self._me, self._now())  # the whole circle was ours until now
            self.accepted = True
        self._alone = ring.alone
        self._start = ring.predecessor.ident if ring.predecessor else None
        if self.sure_from is not None and self._start is not None and in_open(self._start, self.sure_from, self._me):
            self.sure_from = self._start

    def accept(self, accepted: bool) -> None:
        """Whether the node after us leaves the arc to us; one that did not may have newer versions. Switches: no."""
        if self.accepted and not accepted:
            self.doubt()
        self.accepted = accepted

    # Is it ours? ------------------------------------------------------------------------------------------------------

    def confirm(self, start: int, asked_at_s: float) -> bool:
        """Our predecessor at `start`, asked at that time, said that we come right after it. Switches: no.

        Returns False when nobody had said so for too long: another node may have been the owner meanwhile.
        """
        unbroken = asked_at_s <= self.leased_until_s
        if not unbroken:
            self.doubt()
        self._lease(start, asked_at_s)
        return unbroken

    def vouch(self, asked_at_s: float) -> bool:
        """While no predecessor answers, the node after us, asked at that time, took us for its own. Switches: no.

        So it does not take the arc for its own, and what we had of it stays ours. Returns as `confirm`.
        """
        return self.leased_from is None or self.confirm(self.leased_from, asked_at_s)

    def _lease(self, start: int, since_s: float) -> None:
        self.leased_from, self.leased_until_s = start, since_s + self.lease_s

    def is_ours(self, ident: int) -> bool:
        """Whether we are the owner of a place, and nobody else can be now. Switches: no."""
        if self._alone:
            return True
        leased = self.leased_from is not None and self._now() < self.leased_until_s
        return leased and self.accepted and in_open_closed(ident, self.leased_from or 0, self._me)

    # Do we have all of it? --------------------------------------------------------------------------------------------

    def is_sure_of(self, ident: int) -> bool:
        """Whether we are the owner of a place and surely have the newest versions of what is there. Switches: no."""
        sure = self.sure_from is not None and in_open_closed(ident, self.sure_from, self._me)
        return sure and self.is_ours(ident)

    def surely_ours(self) -> int | None:
        """Where the widest part (start, me] begins of which we are sure as above; None: there is none. Switches: no."""
        if self.sure_from is None:
            return None
        if self._alone:
            return self.sure_from
        if not self.accepted or self.leased_from is None or self._now() >= self.leased_until_s:
            return None
        last = self._me - 1  # from here back, the place furthest away is our own
        width = min((last - self.leased_from) % IDENTS, (last - self.sure_from) % IDENTS)
        if self._start is not None:
            width = min(width, (last - self._start) % IDENTS)
        return (last - width) % IDENTS

    @property
    def receiving(self) -> bool:
        """Whether there is any place of the arc of which we may not have the newest versions."""
        if self.sure_from is None or self._start is None:
            return self.sure_from != self._me
        return in_open(self.sure_from, self._start, self._me)

    def make_sure(self, start: int) -> None:
        """We have the newest versions of (start, me]; of all there is when `start` is our own place. Switches: no."""
        self.sure_from = start
        if self.owned_from is None or Arc(start, self._me).width > Arc(self.owned_from, self._me).width:
            self.owned_from = start
        if self._start is not None and in_open(self._start, start, self._me):
            self.sure_from = self._start

    def dropped(self, ident: int) -> None:
        """A copy that others hold now was dropped here: of what is as far from us we may not have all. Switches: no."""
        if self.has_all_at(ident):
            self.owned_from = self.sure_from

    def doubt(self) -> None:
        """Others may have newer versions of everything. Switches: no."""
        self.sure_from = self.owned_from = None
        self.doubts += 1

    def give_up(self) -> None:
        """We say goodbye: whoever hears it takes another one for the owner at once. Switches: no."""
        self.accepted = False
        self.doubt()

    def has_all_of(self, arc: Arc) -> bool:
        """Whether we were once sure of all of an arc, as its owner, and have dropped nothing since. Switches: no."""
        return self.owned_from is not None and Arc(self.owned_from, self._me).covers(arc)

    def has_all_at(self, ident: int) -> bool:
        """The same of one place. Switches: no."""
        return self.owned_from is not None and in_open_closed(ident, self.owned_from, self._me)
