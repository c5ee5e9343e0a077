"""What all tests share: repeatable hypothesis runs, tools that CI must have and others may lack, a free address."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

IN_CI = os.environ.get("CI", "") not in ("", "0", "false")

settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("dev", deadline=None, print_blob=True)
settings.load_profile("ci" if IN_CI else "dev")


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """`require_tool(name)`: the path of a program; without it the test is skipped, in CI it fails."""

    def require(name: str) -> str:
        path = shutil.which(name)
        if path is not None:
            return path
        message = f"{name} is not installed (.ci/run installs what Debian has of it)"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)

    return require


@pytest.fixture
def free_address() -> Iterator[str]:
    """An address where nobody listens: bound, but not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"
