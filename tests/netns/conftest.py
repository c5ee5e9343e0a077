"""Fixtures for real nodes on hosts of their own. Where namespaces cannot be made tests are skipped; in CI they fail."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import IN_CI
from tests.e2e.conftest import _no_traceback, pytest_runtest_makereport  # noqa: F401 - as for all real processes
from tests.e2e.harness import ring_problems, wait_for_none
from tests.netns.network import CommandFailed, Network
from tests.netns.nodes import HostNode, start_ring

HOSTS = 6
TIMEOUT_S = 120


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here runs real processes, and no gevent: a timeout may be a signal, after which they are ended."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(TIMEOUT_S, method="signal"))


@pytest.fixture(scope="session")
def network(require_tool: Callable[[str], str]) -> Iterator[Network]:
    """Six hosts that all reach each other."""
    for program in ("ip", "tc"):
        require_tool(program)
    with ExitStack() as stack:
        try:
            made = stack.enter_context(Network())
            hosts = [made.add_host() for _ in range(HOSTS)]
            with made.slow(hosts[0]), made.lossy(hosts[0], 0.5):
                pass
        except (OSError, CommandFailed) as error:
            message = f"hosts in network namespaces cannot be made here (root and kernel support needed): {error}"
            if IN_CI:
                pytest.fail(message)
            pytest.skip(message)
        yield made


@pytest.fixture(scope="session")
def hosted_ring(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[HostNode]]:
    """A node on each host; all of them in one ring."""
    with ExitStack() as stack:
        yield start_ring(network.hosts[:HOSTS], tmp_path_factory.mktemp("hosts"), stack)


@pytest.fixture
def ring(hosted_ring: list[HostNode]) -> list[HostNode]:
    """The nodes, clockwise; their ring is whole when a test begins."""
    wait_for_none(lambda: ring_problems(hosted_ring))
    return hosted_ring
