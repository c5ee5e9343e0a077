"""`gdht simulate`: what it prints, where, and what it refuses."""

import json
import sys

import pytest

RING = ("simulate", "--nodes", "6", "--minutes", "0.2", "--churn", "0.1")
FAILURES = ("simulate", "--experiment", "failures", "--nodes", "30", "--lookups", "5")
PATHS = ("simulate", "--experiment", "path-length", "--nodes", "16", "--lookups", "5")
CHURN = ("simulate", "--experiment", "churn", "--nodes", "12", "--lookups", "5", "--churn", "0.1", "--churn", "0.4")


def test_a_ring_is_run_and_summed_up(run):
    result = run(*RING)
    assert result.exit_code == 0
    assert "6 nodes, 0.2 virtual minutes, seed 1" in result.stdout
    assert "violations" in result.stdout


def test_progress_and_the_cost_go_to_standard_error(run):
    result = run(*RING)
    assert "nodes joined: of 6" in result.stderr
    assert " s and " in result.stderr.splitlines()[-1]
    assert "joined:" not in result.stdout


def test_thousands_of_lost_peers_are_no_news(run):
    assert "lost" not in run(*CHURN).stderr


def test_the_paper_stands_beside_ours(run):
    result = run(*FAILURES)
    assert result.exit_code == 0
    assert "paper's" in result.stdout
    assert "5.09 (3, 8)" in result.stdout


def test_json_holds_parameters_and_one_result_per_row(run):
    result = run(*CHURN, "--json", "--seed", "9")
    answer = json.loads(result.stdout)
    assert answer["experiment"] == "churn"
    assert answer["parameters"]["seed"] == 9
    assert answer["parameters"]["rates"] == [0.1, 0.4]
    assert [row["rate"] for row in answer["results"]] == [0.1, 0.4]


def test_the_same_seed_prints_the_same(run):
    first, again, other = (run(*PATHS, "--seed", seed).stdout for seed in "112")
    assert first == again != other


def test_a_plot_is_drawn_beside_the_table(run, tmp_path):
    path = tmp_path / "plot.svg"
    assert run(*PATHS, "--plot", str(path)).exit_code == 0
    assert "<svg" in path.read_text()


def test_without_matplotlib_a_plot_is_refused_before_anything_runs(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run(*PATHS, "--plot", "plot.svg")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "pip install 'gdht[plots]'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--experiment", "load", "--minutes", "3"), "--minutes means nothing with load"),
        (("--lookups", "3"), "--lookups means nothing here"),
        (("--experiment", "failures", "--lookup-rate", "3"), "--lookup-rate means nothing with failures"),
        (("--plot", "x.png"), "--plot needs --experiment"),
        (("--churn", "0.1", "--churn", "5"), "--churn is given more than once"),
        (("--experiment", "weather"), "weather"),
        (("--nodes", "0"), "0"),
    ],
)
def test_what_means_nothing_is_wrong_use(run, arguments: tuple[str, ...], named: str):
    result = run("simulate", *arguments)
    assert result.exit_code == 2
    assert named in result.stderr
