"""The connections of a blocking client that its threads share: a bounded number of turns, and what lies idle."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gdht.client.connection import Connection
from gdht.config import Address


class Pool:
    """Whoever has a turn has one connection at the most, so there are never more than turns."""

    def __init__(self, connections_max: int) -> None:
        self._turns = threading.BoundedSemaphore(connections_max)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed_times = 0

    @contextmanager
    def turn(self, timeout_s: float) -> Iterator["Turn"]:
        """Wait for a turn. Raises: TimeoutError when others keep all of them."""
        if not self._turns.acquire(timeout=timeout_s):
            raise TimeoutError
        turn = Turn(self, self._closed_times)
        try:
            yield turn
        except BaseException:
            turn.drop()
            raise
        finally:
            self._give_back(turn)
            self._turns.release()

    def take_idle(self) -> Connection | None:
        """The connection that was used last and is still in order; those that are not are closed."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.close()

    def forget(self, address: Address) -> None:
        """Close the idle connections to an address that has failed."""
        with self._lock:
            dead = [connection for connection in self._idle if connection.address == address]
            self._idle = [connection for connection in self._idle if connection.address != address]
        for connection in dead:
            connection.close()

    def close(self) -> None:
        """Close what lies idle now, and what is in use once it is given back."""
        with self._lock:
            self._closed_times += 1
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _give_back(self, turn: "Turn") -> None:
        if turn.connection is None:
            return
        with self._lock:
            if turn.closed_times == self._closed_times:
                turn.connection.was_used = True
                self._idle.append(turn.connection)
                return
        turn.connection.close()


class Turn:
    """The right to have a connection. closed_times: how often the pool had been closed when it began."""

    def __init__(self, pool: Pool, closed_times: int) -> None:
        self._pool = pool
        self.closed_times = closed_times
        self.connection: Connection | None = None

    def take_idle(self) -> Connection | None:
        """An idle connection, ours from now on; None when there is none."""
        self.connection = self._pool.take_idle()
        return self.connection

    def drop(self) -> None:
        """Close the connection, if there is one."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
