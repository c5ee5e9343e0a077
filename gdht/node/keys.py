"""What is told of keys: which nodes hold one and what of it, and which ones a node holds. Only values live here."""

from dataclasses import dataclass

from gdht.core.messages import P2pReplyStat
from gdht.core.peer import Peer
from gdht.core.placement import Role
from gdht.core.records import NO_VERSION, Version
from gdht.node.failures import FailedRequest


@dataclass(frozen=True, slots=True)
class Holder:
    """What one node says of one key. role: owner, replica, or misplaced; stat None: it did not answer."""

    peer: Peer
    role: str
    stat: P2pReplyStat | None
    error: str = ""

    @property
    def present(self) -> bool:
        """Whether it surely holds a value, of whatever version."""
        return self.stat is not None and self.stat.present

    @property
    def digest(self) -> bytes | None:
        """The SHA-256 of the value it holds; None when it holds none."""
        return self.stat.digest if self.stat and self.stat.present else None

    @property
    def version(self) -> Version:
        """The version it holds or, as a tombstone, remembers; the oldest possible when neither is known."""
        return self.stat.version if self.stat else NO_VERSION


@dataclass(frozen=True, slots=True)
class KeyReport:
    """Who should hold a key (owner first) and who does, others last.

    error: why the owner could not be found. asked: how many nodes were. failures: recent requests for it through the
    asking node that did not succeed, newest last.
    """

    key: bytes
    holders: tuple[Holder, ...]
    error: str = ""
    asked: int = 0
    failures: tuple[FailedRequest, ...] = ()

    @property
    def newest(self) -> Version:
        """The newest version that anybody knows of."""
        return max((holder.version for holder in self.holders), default=NO_VERSION)

    @property
    def checksum(self) -> bytes | None:
        """The SHA-256 of the newest version's value, as most copies have it or else the owner; None when nobody has."""
        digests = [holder.digest for holder in self.holders if holder.digest and not self.is_stale(holder)]
        return max(digests, key=digests.count, default=None)  # the first of the most frequent ones

    @property
    def checksums_agree(self) -> bool | None:
        """Whether all copies of the newest version have the same value; None when there is none."""
        return None if self.checksum is None else not any(map(self.differs, self.holders))

    def is_stale(self, holder: Holder) -> bool:
        """Whether it holds a value of an older version than the newest."""
        return holder.present and holder.version < self.newest

    def differs(self, holder: Holder) -> bool:
        """Whether it has the newest version with another value, which one of them must have got wrong."""
        return holder.present and not self.is_stale(holder) and holder.digest != self.checksum

    def condition(self, holder: Holder) -> str:
        """One word for what a node has: holds, stale, differs, tombstone, lacks or silent."""
        if holder.stat is None:
            return "silent"
        if not holder.present:
            return "tombstone" if holder.version != NO_VERSION else "lacks"
        if self.is_stale(holder):
            return "stale"
        return "differs" if self.differs(holder) else "holds"


@dataclass(frozen=True, slots=True)
class HeldKey:
    """One record that a node keeps. ttl_s: what is left of its life, of a tombstone: until it is dropped."""

    key: bytes
    role: Role
    version: Version
    ttl_s: float
    value_bytes: int
    replication: int
    is_tombstone: bool


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Some of the keys that a node keeps, in order. after: go on after this key; None: that was all."""

    keys: tuple[HeldKey, ...]
    after: bytes | None
