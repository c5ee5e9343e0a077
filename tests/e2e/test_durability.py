"""Nothing acknowledged is lost and nothing expired comes back, whatever is done to the processes of a ring."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.durable import SIZE, DurableRing, verify
from tests.e2e.handmade import SUCCESS, get_frame
from tests.e2e.harness import Fleet
from tests.e2e.ledger import CALLS_S, Ledger
from tests.e2e.load import Load
from tests.e2e.rounds import kill_rounds

ROUNDS = 5
"""One, two and all nodes; `make soak` goes on to a hundred."""

RUN_S_MAX = 0.7
STOPPED_S = 10.0


@pytest.fixture
def ring(fleet: Fleet, tmp_path: Path) -> DurableRing:
    """Five nodes with disks."""
    made = DurableRing(fleet, tmp_path)
    made.start(range(SIZE))
    made.settle()
    return made


@pytest.fixture
def start_load(ring: DurableRing) -> Iterator[Callable[[Ledger], Load]]:
    """A writer for each node."""
    started = []

    def start(ledger: Ledger) -> Load:
        started.append(Load(ring.apis, ledger, random.Random(random.randrange(1 << 32))))
        return started[-1]

    yield start
    for load in started:
        load.close()


@pytest.mark.timeout(240)
def test_nodes_killed_at_any_moment_under_load_lose_nothing_acknowledged(
    ring: DurableRing, start_load: Callable[[Ledger], Load]
) -> None:
    load = start_load(Ledger())
    done = [*kill_rounds(ring, load, random.Random(), ROUNDS, RUN_S_MAX)]
    for told in done:
        print(told)
    assert {len(told.killed.split()) for told in done} == {1, 2, SIZE}
    assert all(told.acknowledged for told in done)
    assert sum(told.broken for told in done), "no kill met a request under way"


@pytest.mark.timeout(120)
def test_a_ring_killed_as_a_whole_comes_back_with_everything_also_without_the_node_that_all_started_from(
    ring: DurableRing, start_load: Callable[[Ledger], Load]
) -> None:
    load = start_load(Ledger())
    load.run(2)
    first, *others = range(SIZE)
    ring.kill(range(SIZE))
    load.close()
    ring.start(others)
    verify(load.ledger, load.ledger.accounts, ring.alive)
    ring.settle()
    ring.start([first])
    ring.settle()
    verify(load.ledger, load.ledger.accounts, ring.nodes)


@pytest.mark.timeout(120)
def test_a_node_that_was_stopped_for_ten_seconds_serves_nothing_that_was_overwritten_meanwhile(
    ring: DurableRing, start_load: Callable[[Ledger], Load]
) -> None:
    ledger = Ledger(calls_s=STOPPED_S + CALLS_S)
    load = start_load(ledger)
    load.run(2)
    stopped = ring.nodes[random.randrange(SIZE)]
    ledger.take_touched()
    with stopped.connect() as client:
        stopped.signal(signal.SIGSTOP)
        load.run(STOPPED_S)
        keys = ledger.take_touched()
        client.send(b"".join(map(get_frame, keys)))  # it has these before it can learn what it missed
        woken_at_s = time.monotonic()
        stopped.signal(signal.SIGCONT)
        answers = [client.read() for _ in keys]
    read = {answer.key: answer.value for answer in answers if answer.type_number == SUCCESS}
    wrong = [text for key, value in read.items() if (text := ledger.wrong(key, value, woken_at_s))]
    assert not wrong, f"{len(wrong)} of {len(read)}:\n" + "\n".join(wrong[:5])
    load.run(1)
    load.finish()
    verify(ledger, ledger.accounts, [stopped])
    verify(ledger, ledger.accounts, ring.nodes)
