"""A peer: who (a place on the ring) and where (an address to dial)."""

from typing import NamedTuple

from gdht.core.ident import ident_hex


class Peer(NamedTuple):
    """A node as others know it.

    ident: its place on the ring, 0 to 2^256 - 1. address: `host:port` or `[ipv6]:port`, the text it advertises.
    """

    ident: int
    address: str

    def __str__(self) -> str:
        return f"{ident_hex(self.ident)[:8]}@{self.address}"
