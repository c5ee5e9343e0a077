"""The simulated Runtime: what a node may ask of a world with a virtual clock and a seeded network."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from random import Random

from gdht.core.messages import Reply, Request
from gdht.core.peer import Peer
from gdht.node.runtime import Calls, Outcome
from gdht.sim.endpoint import Endpoint
from gdht.sim.process import Process, Signal, Task, resume

EPOCH_S = 1_700_000_000.0
"""What every wall clock shows at virtual time 0, apart from its skew."""


class SimRuntime:
    """Implements `gdht.node.runtime.Runtime` for one run of one node.

    skew_s: how far its wall clock is ahead of the true time, in seconds; it may be set at any time.
    boot: the name of its machine's present run.
    """

    def __init__(
        self, process: Process, endpoint: Endpoint, rng: Random, skew_s: float = 0.0, boot: str = "simulation"
    ) -> None:
        self.rng = rng
        self.boot = boot
        self._process = process
        self._scheduler = process.scheduler
        self._endpoint = endpoint
        self.skew_s = skew_s

    def now(self) -> float:
        """Virtual seconds. Switches: no."""
        return self._scheduler.now

    def wall(self) -> float:
        """Seconds since the epoch by this node's clock. Switches: no."""
        return EPOCH_S + self._scheduler.now + self.skew_s

    def sleep(self, seconds: float) -> None:
        """Let others run for this long; 0 lets them run once. Switches: yes."""
        self._process.check_alive()
        self._scheduler.sleep(seconds, self._process)

    def spawn(self, run: Callable[[], None], name: str) -> Task:
        """Run something beside us; when it raises, the run stops. Switches: no."""
        return self._process.spawn(run, name)

    def signal(self) -> Signal:
        """A new wake-up."""
        return Signal(self._process)

    def call(self, peer: Peer, request: Request, timeout_s: float) -> Reply:
        """Ask a peer and wait for its answer. Switches: yes. Raises: as the protocol says."""
        outcome = self._await(peer.address, peer.ident, request, timeout_s)
        assert not isinstance(outcome, Peer)
        return outcome

    def calls(self, requests: Sequence[tuple[Peer, Request]], timeout_s: float) -> Calls:
        """Ask many at once. Switches: when iterated."""
        inbox = Inbox(self._process, self._endpoint, timeout_s)
        inbox.ask(requests)
        return inbox

    def identify(self, address: str, timeout_s: float) -> Peer:
        """Who answers at this address, from its HELLO. Switches: yes. Raises: as the protocol says."""
        peer = self._await(address, None, None, timeout_s)
        assert isinstance(peer, Peer)
        return peer

    def _await(self, address: str, ident: int | None, request: Request | None, timeout_s: float) -> Reply | Peer:
        self._process.check_alive()
        task = self._scheduler.task
        task.calls += 1
        self._endpoint.ask(address, ident, request, timeout_s, lambda outcome: resume((task, outcome)))
        outcome: Outcome | Peer = self._scheduler.switch()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Inbox:
    """Outcomes of many calls, in order of arrival, for one taker at a time; each comes within `timeout_s`."""

    def __init__(self, process: Process, endpoint: Endpoint, timeout_s: float) -> None:
        self._process = process
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._asked = 0
        self._taken = 0
        self._arrived: deque[tuple[int, Outcome]] = deque()
        self._signal = Signal(process)

    def ask(self, requests: Sequence[tuple[Peer, Request]]) -> None:
        """Send these too. Switches: no."""
        self._process.check_alive()
        self._process.scheduler.task.calls += len(requests)
        for peer, request in requests:
            self._endpoint.ask(peer.address, peer.ident, request, self._timeout_s, self._slot(self._asked))
            self._asked += 1

    def __iter__(self) -> Iterator[tuple[int, Outcome]]:
        return self

    def __next__(self) -> tuple[int, Outcome]:
        if self._taken == self._asked:
            raise StopIteration
        while not self._arrived:
            self._signal.wait(self._timeout_s)
        return self._take()

    def within(self, seconds: float) -> tuple[int, Outcome] | None:
        """The next outcome, should it come in so many seconds. Switches: maybe."""
        ends_s = self._process.scheduler.now + seconds
        while not self._arrived and self._taken < self._asked and self._process.scheduler.now < ends_s:
            self._signal.wait(ends_s - self._process.scheduler.now)
        return self._take() if self._arrived else None

    def _take(self) -> tuple[int, Outcome]:
        self._taken += 1
        return self._arrived.popleft()

    def _slot(self, index: int) -> Callable[[Outcome | Peer], None]:
        """Where the outcome of one call goes."""

        def put(outcome: Outcome | Peer) -> None:
            assert not isinstance(outcome, Peer)
            self._arrived.append((index, outcome))
            self._signal.set()

        return put
