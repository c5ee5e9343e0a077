"""`gdht drain` and `gdht leave`: what is told to the node, and what is seen until it is done."""

import json
import threading
from dataclasses import replace

import pytest

from gdht.cli import actions
from gdht.node.status import Handover, KeyCounts
from tests.cli.fake_ring import NEXT


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(actions, "POLL_S", 0.01)
    monkeypatch.setattr(actions, "GOODBYE_S", 0.1)


@pytest.fixture
def moved(node):
    """`moved(...)`: have the node say that it hands its records over."""

    def change(**fields: object) -> None:
        handover = Handover(**{"kind": "leave", "keys_total": 19, "keys_done": 19, "bytes_total": 14_000,
                               "bytes_done": 14_000, "seconds": 2.5, **fields})  # fmt: skip
        node[1].status = replace(node[1].status, handover=handover)

    return change


def test_drain_waits_until_no_client_is_left(ask, node) -> None:
    node[1].status.stats.api_connections = 2

    def finish() -> None:
        node[1].status.stats.api_connections = 0

    timer = threading.Timer(0.1, finish)
    timer.start()
    result = ask("drain")
    timer.join()
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "Drained: no clients any more; the node stays in the ring.\n"
    assert node[1].done == ["drain"]


def test_clients_that_stay_are_exit_code_1(ask, node) -> None:
    node[1].status.stats.api_connections = 2
    result = ask("drain", "--timeout", "0.05")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "2 clients still connected after 0.05 s.\n"


def test_a_dry_run_shows_who_would_get_what_and_does_nothing(ask, node) -> None:
    result = ask("leave", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    for words in (NEXT.address, "9000", "total", "14000"):
        assert words in result.stdout
    assert node[1].done == []
    assert json.loads(ask("leave", "--dry-run", "--json").stdout)["keys"] == 19


@pytest.mark.parametrize(
    ("neighbours", "keys", "code", "words"),
    [
        ((), 19, 1, "Nobody can take its 19 records: it is alone. Its data_dir keeps what it has.\n"),
        ((), 0, 0, "Nobody would get anything: it has no records.\n"),
        ((NEXT,), 19, 0, "Nobody would get anything: the others have all of its records.\n"),
    ],
)
def test_a_dry_run_that_moves_nothing_says_why(ask, node, neighbours, keys: int, code: int, words: str) -> None:
    node[1].shares = ()
    node[1].status = replace(node[1].status, successors=neighbours, keys=KeyCounts(owned=keys))
    result = ask("leave", "--dry-run")
    assert (result.exit_code, result.output) == (code, words)
    as_json = ask("leave", "--dry-run", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["receivers"]) == (code, [])


def test_records_without_taker_before_the_deadline_were_not_just_late() -> None:
    handover = {"kind": "leave", "keys_done": 7, "keys_without_taker": 12, "seconds": 2.5, "ended": True}
    assert "found no taker. What is left is in" in actions._outcome({"handover": handover}, 60.0)[1]


def test_one_copy_is_told_as_one(ask, moved) -> None:
    moved(ended=True, keys_done=1)
    assert ask("leave", "--timeout", "0.5").stdout == "It has left: 1 copy handed over in 2.5 s.\n"


def test_leave_tells_the_node_its_deadline_and_how_it_ended(ask, node, moved) -> None:
    moved(ended=True)
    result = ask("leave", "--timeout", "0.5")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "It has left: 19 copies handed over in 2.5 s.\n"
    assert node[1].done == [("leave", 0.5)]


def test_records_without_taker_are_exit_code_1(ask, moved) -> None:
    moved(ended=True, keys_done=7, without_taker=12)
    result = ask("leave", "--timeout", "0.05")
    assert (result.exit_code, result.stdout) == (1, "")
    left = "12 records found no taker or were not confirmed in time"
    assert result.stderr == f"It has left: 7 copies handed over in 2.5 s, but {left}. {actions.WHAT_TO_DO}\n"


def test_a_leaver_that_vanishes_in_the_middle_is_exit_code_1(ask, moved) -> None:
    moved(keys_done=7)
    result = ask("leave", "--timeout", "0.05")
    assert result.exit_code == 1
    assert (
        result.stderr == "Its end was not seen: 7 copies handed over in 2.5 s of about 19 when it was last heard of.\n"
    )


def test_the_end_of_a_lone_node_needs_no_hand_over(ask, node) -> None:
    node[1].status = replace(node[1].status, successors=(), keys=KeyCounts())
    result = ask("leave", "--timeout", "0.05")
    assert (result.exit_code, result.stdout) == (0, "It has left; it was alone.\n")


def test_the_records_of_a_lone_node_find_no_taker(ask, node) -> None:
    node[1].status = replace(node[1].status, successors=())
    result = ask("leave", "--timeout", "0.05")
    left = "It has left; it was alone, and 19 records found no taker."
    assert (result.exit_code, result.stderr) == (1, f"{left} {actions.WHAT_TO_DO}\n")


def test_an_earlier_move_is_not_taken_for_this_one(ask, moved) -> None:
    moved(kind="join", ended=True)
    result = ask("leave", "--timeout", "0.05")
    assert (result.exit_code, result.stderr) == (1, "It is gone; how that ended was not seen.\n")


def test_json_is_how_the_hand_over_ended(ask, moved) -> None:
    moved(ended=True, keys_done=7, without_taker=12)
    result = ask("leave", "--timeout", "0.05", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["keys_without_taker"] == 12


@pytest.mark.parametrize(
    "line", [("leave", "--timeout", "0"), ("leave", "--timeout", "1e9"), ("drain", "--timeout", "x")]
)
def test_a_deadline_that_makes_no_sense_is_wrong_use(ask, node, line: tuple[str, ...]) -> None:
    assert ask(*line).exit_code == 2
    assert node[1].done == []


@pytest.mark.parametrize("verb", ["drain", "leave"])
def test_without_the_token_nothing_is_done(run, node, verb: str) -> None:
    result = run(verb, "--admin", node[0])
    assert result.exit_code == 1
    assert "wants a token" in result.stderr
    assert node[1].done == []


@pytest.mark.parametrize("verb", ["drain", "leave"])
def test_nobody_listening_says_what_to_try(run, free_address: str, verb: str) -> None:
    result = run(verb, "--admin", free_address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is the node running" in result.stderr
