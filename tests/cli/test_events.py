"""`gdht events` against the real admin port, over a node made of plain values."""

import json

import pytest

from gdht.cli import events as events_module
from gdht.node.journal import Event
from tests.cli.fake_ring import FAR, ME, NEXT

JOURNAL = [
    Event(1, 1_700_000_000.0, "state", (), (), "active"),
    Event(2, 1_700_000_001.0, "predecessor", (), (FAR,), "notified"),
    Event(3, 1_700_000_002.0, "successors", (NEXT, FAR), (FAR, ME), "pulled from the successor"),
]


class Stop(Exception):
    """Ends what would go on for ever."""


@pytest.fixture
def journal(node) -> list[Event]:
    node[1].journal = [*JOURNAL]
    return node[1].journal


@pytest.fixture
def on_sleep(monkeypatch):
    """`on_sleep(first, second, ...)`: what happens in the pauses between two questions; after the last the run ends."""

    def script(*steps) -> None:
        left = list(steps)

        def sleep(seconds: float) -> None:
            assert seconds == events_module.FOLLOW_S
            if not left:
                raise Stop
            left.pop(0)()

        monkeypatch.setattr(events_module.time, "sleep", sleep)

    return script


def test_events_are_a_table_oldest_first(ask, journal) -> None:
    result = ask("events")
    assert (result.exit_code, result.stderr) == (0, "")
    header, state = (line for line in result.stdout.splitlines() if "change" in line or "state" in line)
    assert state.index("active") == header.index("change")
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()[3:] if line.strip()]
    assert rows == [
        "1 2023-11-14 22:13:20 state active",
        f"2 2023-11-14 22:13:21 predecessor +{FAR.address} notified",
        f"3 2023-11-14 22:13:22 successors -{NEXT.address} +{ME.address} pulled from the successor",
    ]


def test_only_events_after_a_number_are_shown_if_asked(ask, journal) -> None:
    answer = json.loads(ask("events", "--since", "2", "--json").stdout)
    assert [event["number"] for event in answer["events"]] == [3]


def test_following_goes_on_where_it_was(ask, node, journal, on_sleep) -> None:
    new = Event(4, 1_700_000_003.0, "state", (), (), "\x1b[2Jdraining")
    on_sleep(lambda: journal.append(new), lambda: None)
    result = ask("events", "--follow", "--since", "1")
    assert isinstance(result.exception, Stop)
    assert result.stdout.splitlines() == [
        f"2  2023-11-14 22:13:21  predecessor  +{FAR.address}  notified",
        f"3  2023-11-14 22:13:22  successors  -{NEXT.address} +{ME.address}  pulled from the successor",
        "4  2023-11-14 22:13:23  state  ?[2Jdraining",
    ]


def test_following_as_json_is_one_object_per_line(ask, journal, on_sleep) -> None:
    on_sleep()
    lines = ask("events", "--follow", "--json").stdout.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [1, 2, 3]


def test_a_node_that_was_started_anew_is_followed_from_its_first_event(ask, node, journal, on_sleep) -> None:
    def restart() -> None:
        node[1].journal = [Event(1, 1_700_000_100.0, "state", (), (), "joining")]

    on_sleep(restart)
    result = ask("events", "--follow", "--since", "3")
    assert result.stdout == "1  2023-11-14 22:15:00  state  joining\n"
    assert result.stderr == "The node was started anew and counts its events from 1.\n"


def test_following_ends_when_the_node_does_not_answer(run, free_address) -> None:
    result = run("events", "--follow", "--admin", free_address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is the node running" in result.stderr


@pytest.mark.parametrize("follow", [(), ("--follow",)])
@pytest.mark.parametrize("body", [b"{}", b'{"events": 1, "last": 2}', b'{"events": [{}], "last": 2, "more": false}'])
def test_a_strange_answer_is_one_line(run, admin_script, body, follow) -> None:
    result = run("events", *follow, "--admin", admin_script(200, body).url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("number", ["-1", "x", "1.5", "9" * 30])
def test_a_number_that_is_none_is_wrong_use(ask, number) -> None:
    assert ask("events", "--since", number).exit_code == 2
