"""`gdht keys` and `gdht requests` against a faked node."""

import json
from dataclasses import replace

import pytest

from gdht.client import hash_key
from gdht.core.placement import Role
from gdht.core.records import Version
from gdht.node.failures import FailedRequest
from gdht.node.keys import HeldKey

VERSION = Version(1_700_000_000_000 << 16, 1 << 254)
MOTD = hash_key("motd")


@pytest.fixture
def held(node):
    """Three keys, one of each role; the last one is a tombstone."""
    node[1].held = [
        HeldKey(bytes([n] * 32), role, VERSION, 90.5, 1000 + n, 2, role is Role.MISPLACED)
        for n, role in enumerate(Role)
    ]


@pytest.fixture
def failed(node):
    """A put of motd that failed, and a get of something else that found nothing."""
    node[1].failed = [
        FailedRequest(1, 1_700_000_000.0, "put", MOTD, "quorum", "n2:1: did not answer", 1, 3, 0.25),
        FailedRequest(2, 1_700_000_001.0, "get", bytes(32), "not_found", "", 0, 0, 0.0125),
    ]


def test_keys_are_listed_whole_with_what_is_known_of_them(ask, held) -> None:
    result = ask("keys")
    assert (result.exit_code, result.stderr) == (0, "")
    for words in ("02" * 32, "owned", "misplaced, tombstone", "1002", "1m 30s", "2023-11-14 22:13:20 by 400000000000"):
        assert words in result.stdout


def test_keys_of_one_role_and_after_one_key(ask, held) -> None:
    assert "00" * 32 not in ask("keys", "--role", "replica").stdout
    assert "01" * 32 not in ask("keys", "--after", "hex:" + "01" * 32).stdout


def test_where_a_list_of_keys_goes_on_is_told(ask, held) -> None:
    result = ask("keys", "--limit", "2")
    assert result.exit_code == 0
    assert result.stderr == f"There may be more: --after hex:{'01' * 32}\n"
    assert ask("keys", "--after", "hex:" + "01" * 32).stderr == ""


def test_a_node_without_keys_says_so(ask, held) -> None:
    held_by_no = ("keys", "--role", "owned", "--after", "hex:" + "ff" * 32)
    assert ask(*held_by_no).output == "It keeps no owned keys after this one.\n"


def test_a_node_that_is_empty_says_so(ask) -> None:
    result = ask("keys")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "It keeps no keys.\n", "")


def test_a_version_of_no_calendar_is_shown_without_a_time(ask, held, node) -> None:
    node[1].held = [replace(held_key, version=Version((1 << 64) - 1, 1 << 254)) for held_key in node[1].held]
    result = ask("keys")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "- by 400000000000" in result.stdout


def test_requests_are_shown_newest_first_with_the_reason(ask, failed) -> None:
    result = ask("requests")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.index("not found") < result.stdout.index("quorum")
    for words in ("2023-11-14 22:13:20", "1 of 3", "250.0 ms", "n2:1: did not answer", MOTD.hex()[:12]):
        assert words in result.stdout


def test_requests_for_one_key_are_shown_alone(ask, failed) -> None:
    result = ask("requests", "motd")
    assert "quorum" in result.stdout
    assert "not found" not in result.stdout
    assert ask("requests", "other").stdout == "None that the node remembers.\n"


@pytest.mark.parametrize("verb", ["keys", "requests"])
def test_json_is_the_whole_answer_of_the_node(ask, held, failed, verb: str) -> None:
    answer = json.loads(ask(verb, "--json").stdout)
    assert len(answer[verb]) == {"keys": 3, "requests": 2}[verb]


@pytest.mark.parametrize(
    "line", [("keys", "--role", "owner"), ("keys", "--limit", "0"), ("keys", "--after", "hex:12"), ("requests", "")]
)
def test_what_there_cannot_be_is_wrong_use(ask, line: tuple[str, ...]) -> None:
    assert ask(*line).exit_code == 2


def test_where_shows_the_verdict_and_the_failures(ask, failed) -> None:
    result = ask("where", "motd")
    assert result.exit_code == 0
    for words in ("1 of 2 nodes have the version of", "127.0.0.1:6003 does not answer.", "n2:1: did not answer"):
        assert words in result.stdout
