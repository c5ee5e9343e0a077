"""What all tests share: repeatable hypothesis runs, and tools that CI must have and others may lack."""

import os
import shutil
from collections.abc import Callable

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
