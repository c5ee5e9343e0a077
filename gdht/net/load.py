"""How much is asked of a node at once, and when it says no: early, so that what it takes is answered in time."""

UNDER_WAY_MAX = 8192
"""Requests of all clients that wait for other nodes or the disk. What comes beyond is answered with FAILURE at once:
a queue that grows would only make every answer late. At some 20,000 requests/s this many wait for 0.4 s.
"""


class Load:
    """The requests of all clients of one node. under_way: how many are begun and not answered."""

    def __init__(self, under_way_max: int = UNDER_WAY_MAX) -> None:
        self.under_way = 0
        self.under_way_max = under_way_max
