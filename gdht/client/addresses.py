"""Which of several addresses to ask: in turn, those that failed lately last; no IO, the time is handed in.

`Addresses` is what a client remembers of its nodes, `Attempts` the way of one request through them.
"""

import random
import threading
from collections.abc import Collection, Iterable
from typing import NamedTuple

from gdht.config import Address, parse_address
from gdht.errors import ClientDisconnected, ClientError, ClientTimeout

ADDRESSES_MAX = 64
ATTEMPT_S_MIN = 0.05
"""With less than this for an attempt, the time that is left is not halved for the sake of others."""
REST_S = 0.5
"""How long an address that has failed once is left alone when there are others; twice as long each further time."""
REST_S_MAX = 30.0
REST_SPREAD = 0.5
"""A rest is shorter by up to this share, so that the clients of a node do not all come back at once."""


_KINDS: tuple[type[ClientError], ...] = (ClientTimeout, ClientDisconnected, ClientError)
"""How several failures are called in one: what says most about what may have happened comes first."""


class Rest(NamedTuple):
    """Why and how long an address is left alone.

    failures: in a row. until_s: on the clock of the calls. on_trial: somebody tries it just now.
    """

    failures: int
    until_s: float
    on_trial: bool = False


def parse_addresses(given: Iterable[str | Iterable[str]]) -> list[Address]:
    """The addresses of a client, from texts and lists of them; a repeated one counts once.

    Raises: ValueError when one is no address, its port is 0, or there are none or more than `ADDRESSES_MAX`; TypeError
    for what is no text.
    """
    found = list(dict.fromkeys(parse_address(text, port_min=1) for one in given for text in _texts(one)))
    if not 0 < len(found) <= ADDRESSES_MAX:
        raise ValueError(f"a client needs 1 to {ADDRESSES_MAX} addresses, not {len(found)}")
    return found


def _texts(given: str | Iterable[str]) -> Iterable[str]:
    texts = [given] if isinstance(given, str | bytes) or not isinstance(given, Iterable) else given
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"an address is a text as '127.0.0.1:7001', not {text!r}")
        yield text


class Addresses:
    """The nodes that a client may ask, beginning at any of them. Threads may share it."""

    def __init__(self, addresses: Collection[Address]) -> None:
        self._addresses = list(addresses)
        self._turn = random.randrange(len(self._addresses))
        self._rests: dict[Address, Rest] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._addresses)

    def __str__(self) -> str:
        return ", ".join(map(str, self._addresses))

    def pick(self, tried: Collection[Address], now_s: float) -> Address | None:
        """The next in turn of those not tried yet; when all of them rest, the one that has rested longest.

        Once a rest is over, the first who picks the address begins a new one: while he tries it, others need not.
        """
        with self._lock:
            turns = self._addresses[self._turn :] + self._addresses[: self._turn]
            left = [address for address in turns if address not in tried]
            if not left:
                return None
            chosen = min(left, key=lambda address: max(self._until_s(address), now_s))  # the first of equal ones
            self._turn = (self._addresses.index(chosen) + 1) % len(self._addresses)
            if chosen in self._rests:
                self._rest(chosen, self._rests[chosen].failures, now_s, on_trial=True)
            return chosen

    def failed(self, address: Address, now_s: float) -> None:
        """Leave it alone for a while, longer each time; what fails together, as with threads, counts once."""
        with self._lock:
            before = self._rests.get(address)
            if before is None or before.on_trial or before.until_s <= now_s:
                self._rest(address, before.failures + 1 if before else 1, now_s)

    def worked(self, address: Address) -> None:
        """It has answered: nothing is held against it any more."""
        with self._lock:
            self._rests.pop(address, None)

    def _until_s(self, address: Address) -> float:
        rest = self._rests.get(address)
        return rest.until_s if rest else 0.0

    def _rest(self, address: Address, failures: int, now_s: float, *, on_trial: bool = False) -> None:
        doublings = min(failures - 1, 16)  # long enough
        rest_s = min(REST_S * 2**doublings, REST_S_MAX) * random.uniform(1 - REST_SPREAD, 1)
        self._rests[address] = Rest(failures, now_s + rest_s, on_trial)


class Attempts:
    """The way of one request, or of a batch, through the addresses, until an answer or the end of its time.

    timeout_s: for the whole way; a batch begins anew with each answer. While there are other addresses to try, one
    gets half of the time that is left. Each is tried once, and one connection that had been used before may fail on
    top of that.
    """

    def __init__(self, addresses: Addresses, timeout_s: float, now_s: float) -> None:
        self.timeout_s = timeout_s
        self._addresses = addresses
        self._begin(now_s)

    def _begin(self, now_s: float) -> None:
        self.deadline_s = now_s + self.timeout_s
        self._tried: set[Address] = set()
        self._errors: list[ClientError] = []
        self._share(now_s)

    def _share(self, now_s: float) -> None:
        left_s = self.deadline_s - now_s
        others = len(self._addresses) - len(self._tried) > 1
        self.share_s = left_s / 2 if others and left_s / 2 >= ATTEMPT_S_MIN else left_s
        self.until_s = now_s + self.share_s
        """When the present attempt has had its time."""

    def pick(self, now_s: float) -> Address:
        """Whom to connect to. Raises: ClientError when nobody is left."""
        address = self._addresses.pick(self._tried, now_s)
        if address is None:
            raise self.error()
        return address

    def start(self, now_s: float) -> None:
        """An attempt begins: `until_s` is its end."""
        self._share(now_s)

    def progressed(self, address: Address, now_s: float) -> None:
        """Answers have come: the next one has all the time again, and every address."""
        self._addresses.worked(address)
        self._begin(now_s)

    def silent(self, address: Address) -> ClientTimeout:
        """The error of an attempt that has had its time."""
        return ClientTimeout(f"{address} did not answer within {round(self.share_s, 2):g} s")

    def out_of_time(self) -> ClientTimeout:
        """The error of a request whose whole time is over, whatever it waited for."""
        told = "".join(f"; {error}" for error in self._errors)
        return ClientTimeout(f"{self._addresses} did not answer within {self.timeout_s:g} s{told}")

    def failed(self, address: Address, error: ClientError, now_s: float, *, was_used: bool = False) -> None:
        """Note a failure; back when something is left to try.

        was_used: the connection had answered before, so the address deserves a new one.
        Raises: ClientError that tells of all failures.
        """
        self._errors.append(error)
        if not was_used or len(self._errors) > 1:
            self._tried.add(address)
            self._addresses.failed(address, now_s)
        all_tried = len(self._tried) == len(self._addresses) or len(self._errors) > len(self._addresses)
        if all_tried or now_s >= self.deadline_s:
            raise self.error() from error

    def error(self) -> ClientError:
        """All failures in one, each of them told."""
        kind = next(kind for kind in _KINDS if any(isinstance(error, kind) for error in self._errors))
        return kind("; ".join(dict.fromkeys(map(str, self._errors))))
