"""The benchmarks of stalls and of growth: their probes see what there is, and their verdicts are right."""

import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))  # last: what is named like a module of ours stays what it is

from stalls import Load, Measured, asked, measure, told, with_table  # noqa: E402
from steady import ALLOWED, growth, sample, verdicts  # noqa: E402


def samples(**grown: float):
    """Twelve samples of a node whose every number is 40, but for those that grow by so much from one to the next."""
    what = {name.replace("_", " ").replace(" MiB", ", MiB"): step for name, step in grown.items()}
    return [{name: 40 + turn * what.get(name, 0.0) for name in ALLOWED} for turn in range(12)]


def grew(told):
    return [row.what for row in verdicts("a node", told) if not row.ok]


def test_what_stays_as_it_is_does_not_grow():
    assert grew(samples()) == []


@pytest.mark.parametrize(
    ("leak", "what"),
    [({"memory_MiB": 0.6}, "memory, MiB"), ({"open_files": 1}, "open files"), ({"threads": 0.2}, "threads")],
)
def test_what_grows_steadily_is_named(leak, what):
    assert grew(samples(**leak)) == [what]


def test_what_grew_only_at_first_is_allowed():
    rising, flat = samples(greenlets=10), samples()
    assert grew([*rising[:4], *flat[4:]]) == []


def test_growth_is_that_of_a_line_through_all_values():
    assert growth([1.0, 2.0, 3.0, 4.0]) == pytest.approx(3.0)
    assert growth([5.0, 1.0, 5.0, 1.0, 5.0]) == pytest.approx(0.0)


def test_a_table_takes_the_place_of_an_older_one_and_leaves_the_words_around_it():
    page = "# Stalls\n\nBefore it.\n\n| activity | x |\n|---|---|\n| old | 1 |\n\n## After it\n"
    assert with_table(page, "| activity | y |\n| new | 2 |") == (
        "# Stalls\n\nBefore it.\n\n| activity | y |\n| new | 2 |\n\n## After it\n"
    )


@pytest.mark.e2e
@pytest.mark.timeout(60)
def test_a_measured_node_tells_its_holds_and_what_it_holds(tmp_path):
    with Measured(tmp_path, "node") as node, Load(node.api):
        node.do("fill", 500, 60, 1)
        (row,) = measure("a scrape", [node], asked(node, "/metrics", times=2))
        time.sleep(0.2)
        held = sample(node)
    what, holds = row
    assert what == "a scrape"
    assert 0 < holds["cpu"]["p99"] <= holds["cpu"]["max"] * 1.2 + 0.2
    assert holds["cpu"]["holds"] > 1
    assert told(row).startswith("| a scrape | ")
    assert held["records"] >= 500
    assert held["client connections"] == 1
    assert held["greenlets"] > 3
