"""The one door between a node and the world.

`gdht.net` implements it with gevent, real sockets and the real clock; `gdht.sim` with greenlets, a seeded network and
a virtual clock. `rt` in a signature is our `await`: a function may switch only if it takes a Runtime. After a switch,
everything read before it is stale.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from gdht.core.messages import Reply, Request
from gdht.core.peer import Peer
from gdht.errors import CallError, RemoteError, RemoteProtocolError

Outcome = Reply | CallError | RemoteError | RemoteProtocolError
"""What became of one call: the reply, or the error that `call` would have raised."""


class Task(Protocol):
    """Something running beside us."""

    def cancel(self) -> None:
        """Stop it at its next switch; nothing happens when it has ended. Switches: no."""


class Signal(Protocol):
    """A wake-up for one waiting task; being set twice before it is awaited counts once."""

    def set(self) -> None:
        """Wake the waiter, now or when it next waits. Switches: no."""

    def wait(self, timeout_s: float) -> bool:
        """Wait until set, at most `timeout_s` seconds, and clear it; True when it was set. Switches: yes."""


class Calls(Iterator[tuple[int, Outcome]], Protocol):
    """Calls under way: (index of the request, outcome) of each as it comes in. Switches: yes, when iterated.

    Stop iterating when you know enough: what is still under way goes on by itself and its answer is dropped.
    """

    def ask(self, requests: Sequence[tuple[Peer, Request]]) -> None:
        """Send these too, each with as much time as the first were given; the indices go on. Switches: no."""

    def within(self, seconds: float) -> tuple[int, Outcome] | None:
        """The next outcome, should it come in so many seconds; None when there is none by then. Switches: maybe."""


class Runtime(Protocol):
    """Everything a node may ask of the world."""

    @property
    def rng(self) -> random.Random:
        """The only source of chance; seeded in simulation."""

    @property
    def boot(self) -> str:
        """What `now` counts from: runs of a node that are told the same text may compare what it says."""

    def now(self) -> float:
        """Seconds, monotonic, of arbitrary origin. Switches: no."""

    def wall(self) -> float:
        """Seconds since the epoch; for versions and stored expiry only. Switches: no."""

    def sleep(self, seconds: float) -> None:
        """Let others run for this long; 0 lets them run once. Switches: yes."""

    def spawn(self, run: Callable[[], None], name: str) -> Task:
        """Run something beside us. Switches: no.

        A task that raises is logged, counted and started anew with back-off; in simulation it stops the run.
        One that returns has ended.
        """

    def signal(self) -> Signal:
        """A new wake-up."""

    def call(self, peer: Peer, request: Request, timeout_s: float) -> Reply:
        """Ask a peer and wait for its answer; never an ERROR frame, always a reply that fits. Switches: yes.

        Raises: CallTimeout, PeerUnreachable (try another peer, or later), CallNotSent (later), RemoteError (the peer's
        ERROR frame; see `retriable`), RemoteProtocolError (the peer's answer does not fit; do not ask it again).
        """

    def calls(self, requests: Sequence[tuple[Peer, Request]], timeout_s: float) -> Calls:
        """Ask many at once; every request is sent before the first outcome is told. Switches: when iterated."""

    def identify(self, address: str, timeout_s: float) -> Peer:
        """Who answers at this address (`host:port`, a name or a literal), from its HELLO. Switches: yes.

        Raises: CallTimeout, PeerUnreachable, RemoteError (for instance: another ring), RemoteProtocolError.
        """
