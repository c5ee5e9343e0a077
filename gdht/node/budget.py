"""An allowance that grows with the work: so that what is done beside the work stays a share of it."""


class Budget:
    """share: what each piece of work adds. most: what can be saved up, and what is there at first."""

    def __init__(self, share: float, most: float) -> None:
        self._share = share
        self._most = most
        self._left = most

    def earn(self) -> None:
        """One more piece of work."""
        self._left = min(self._left + self._share, self._most)

    @property
    def is_left(self) -> bool:
        """Whether there is a unit to take."""
        return self._left >= 1.0

    def spend(self) -> bool:
        """Take one unit, if there is one. Switches: no."""
        if not self.is_left:
            return False
        self._left -= 1.0
        return True
