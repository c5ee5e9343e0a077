"""Fixtures for tests with real processes; the log of every node goes into the report of a test that fails."""

import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import (
    CRASH,
    LOG_LINES_SHOWN,
    PROCESSES,
    STEADY_LIMITS,
    STEADY_NODES,
    Fleet,
    NodeProcess,
    ring_problems,
    wait_for_none,
)

REPORTED: dict[NodeProcess, int] = {}
"""How many characters of each process's log were looked at for tracebacks."""

TIMEOUT_S = 90


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here runs real processes, and no gevent: a timeout may be a signal, after which they are ended."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            given = item.get_closest_marker("timeout")
            item.add_marker(pytest.mark.timeout(given.args[0] if given else TIMEOUT_S, method="signal"), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the end of each log to a failure: of what runs, and of what ended during the test."""
    report = yield
    if report.failed:
        for process in PROCESSES:
            if process.alive or process.logged_at_s > time.time() - call.duration - 1:
                lines = process.log_lines[-LOG_LINES_SHOWN:]
                report.sections.append((f"log of {process!r}", "\n".join([process.output.rstrip(), *lines])))
    return report


@pytest.fixture(autouse=True)
def _no_traceback() -> Iterator[None]:
    """No test may make a node log a traceback or an error: every one of them is a bug."""
    yield
    found = []
    for process in PROCESSES:
        log = process.log
        found += [f"{process!r}: {match[0]}" for match in CRASH.finditer(log, REPORTED.get(process, 0))]
        REPORTED[process] = len(log)
    assert not found, "\n".join(found)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Node processes for one test."""
    with Fleet(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def module_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Node processes for all tests of a module."""
    with Fleet(tmp_path_factory.mktemp("nodes")) as made:
        yield made


@pytest.fixture(scope="session")
def steady_ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[NodeProcess]]:
    """Five nodes that all tests share which do not stop any."""
    with Fleet(tmp_path_factory.mktemp("steady")) as made:
        yield made.ring(STEADY_NODES, *STEADY_LIMITS)


@pytest.fixture
def ring(steady_ring: list[NodeProcess]) -> list[NodeProcess]:
    """The shared ring, whole."""
    wait_for_none(lambda: ring_problems(steady_ring))
    return steady_ring
