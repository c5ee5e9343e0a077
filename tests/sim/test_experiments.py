"""Experiments on simulated rings: what they count is right, and small ones come out as the paper says."""

import sys
from math import log2

import pytest

from gdht.config import DhtConfig
from gdht.core.ident import hash_ident
from gdht.core.peer import Peer
from gdht.errors import GdhtError
from gdht.sim.cluster import Cluster
from gdht.sim.experiments import calls, churn, failures, fastest, load, path_length, ring, scale
from gdht.sim.experiments.lookups import Sample, tally, true_owner
from gdht.sim.experiments.plots import draw
from gdht.sim.experiments.report import Panel, Report, Series, Spread, compare, spread
from gdht.sim.experiments.still_ring import ideal_ring

FINGER_ROUNDS = 40.0


def quiet(_what: str, _done: int, _total: int) -> None:
    """Nobody wants to know how far it is."""


class Told:
    """Remembers what it was told of the progress."""

    def __init__(self) -> None:
        self.words: list[tuple[str, int, int]] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        self.words.append((what, done, total))


# Counting -------------------------------------------------------------------------------------------------------------


def test_a_spread_has_the_mean_and_the_values_at_one_and_ninety_nine_in_a_hundred():
    assert spread([*range(1, 101)]) == Spread(50.5, 1, 99)
    assert spread([3]) == Spread(3, 3, 3)


def test_the_owner_of_an_identifier_is_the_first_member_at_or_after_it():
    idents = [10, 20, 30]
    assert [true_owner(idents, ident) for ident in (5, 10, 11, 30, 31)] == [10, 10, 20, 30, 10]


def test_a_lookup_without_an_owner_or_with_a_wrong_one_has_failed():
    samples = [Sample(Peer(owner, "a:1"), 2, 1, 1, 0.5) for owner in (10, 20)] + [Sample(None, 4, 4, 3, 2.0)]
    counted = tally([(sample, sample.found(10, 11)) for sample in samples])
    assert (counted.lookups, counted.failed, counted.out_of_budget) == (3, 2, 1)
    assert (counted.path.mean, counted.timeouts.mean, counted.mean_s) == (8 / 3, 2, 1.0)


def test_the_papers_means_are_drawn_only_where_it_measured():
    ours, theirs = compare([0.1, 0.2], [Spread(1, 0, 2), Spread(2, 1, 3)], {0.2: Spread(5, 4, 6), 0.3: None})
    assert (ours.x, ours.y, len(ours.spreads)) == ([0.1, 0.2], [1, 2], 2)
    assert (theirs.x, theirs.y, theirs.dashed) == ([0.2], [5], True)


# Rings that stand still -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nodes", "length"), [(3, 4), (6, 4), (24, 4)])
def test_the_tables_put_in_place_by_hand_are_those_that_maintenance_arrives_at(nodes: int, length: int):
    config = DhtConfig(successor_list_length=length, replication=1, max_replication=1)
    with Cluster(7, config) as cluster:
        hosts = cluster.grow(nodes)
        cluster.wait_until_ideal(60.0 + 3 * nodes)
        cluster.run_for(FINGER_ROUNDS)
        peers = sorted(host.peer for host in hosts)
        for host in hosts:
            assert host.node.ring == ideal_ring(peers, peers.index(host.peer), length)


@pytest.mark.parametrize("length", [1, 4, 8])
def test_walking_tables_visits_as_many_nodes_as_real_lookups_with_messages(length: int):
    options = path_length.Options(lookups=60)
    by_messages = path_length.measure(options, 128, length, quiet)
    assert by_messages == path_length.walk_tables(options, 128, length, quiet)
    assert len(set(by_messages)) > 2


def test_the_bare_protocols_path_is_half_the_logarithm_and_one_for_the_owner():
    report = path_length.run(path_length.Options(nodes=512, lookups=300, lengths=(1,)), quiet)
    for row in report.results[2:]:
        assert row["paths"]["1"]["mean"] == pytest.approx(log2(row["nodes"]) / 2 + 0.8, abs=0.4)


def test_large_rings_are_walked_by_tables_and_say_so(monkeypatch):
    monkeypatch.setattr(path_length, "MESSAGES_NODES_MAX", 16)
    report = path_length.run(path_length.Options(nodes=64, lookups=20, lengths=(4,)), quiet)
    assert [(row["nodes"], row["messages"]) for row in report.results] == [
        (8, True),
        (16, True),
        (32, False),
        (64, False),
    ]


def test_where_no_node_failed_no_lookup_times_out_and_paths_are_as_the_papers():
    row = failures.measure(failures.Options(nodes=1000, lookups=300), 0.0, quiet, forget=True)
    assert row.failed == 0
    assert row.path.mean == pytest.approx(3.82, abs=0.25)
    assert row.timeouts.mean < 0.05


def test_no_lookup_fails_after_a_third_of_all_nodes_did():
    told = Told()
    report = failures.run(failures.Options(nodes=300, lookups=250, fractions=(0.3,)), told)
    (row,) = report.results
    assert row["failed"] == 0
    assert 0.5 < row["timeouts"]["mean"] < 3
    assert row["learning"]["timeouts"]["mean"] < row["timeouts"]["mean"]
    assert told.words[0] == ("30% failed", 0, 250)


def test_a_node_that_forgets_meets_the_same_dead_again():
    options = failures.Options(nodes=60, lookups=200, successors=4)
    assert failures.measure(options, 0.5, quiet, forget=True) != failures.measure(options, 0.5, quiet, forget=False)


# Rings in motion ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaves", [False, True])
def test_as_many_nodes_come_and_go_as_in_the_papers_worst_row_and_no_lookup_fails(leaves: bool):
    rate = 60 * 0.40 / 1000
    row = churn.measure(churn.Options(nodes=60, lookups=150, successors=8, leaves=leaves), rate, quiet)
    assert row.joins > 0
    assert row.departures > 0
    assert row.nodes == 60 + row.joins - row.departures
    assert row.ours.lookups >= 150
    assert row.ours.failed == 0
    assert 5 < row.calls < 40


def test_without_churn_every_lookup_finds_its_way_without_a_timeout():
    row = churn.measure(churn.Options(nodes=30, lookups=40, successors=8, rates=(0.0,)), 0.0, quiet)
    assert (row.joins, row.departures, row.nodes, row.ours.failed) == (0, 0, 30, 0)


def test_the_churn_table_has_the_papers_figures_beside_ours():
    ours = tally([(Sample(Peer(1, "a:1"), 3, 0, 1, 0.5), True)])
    report = churn.make_report(churn.Options(), [churn.Row(rate, ours, 1, 1, 1000, 12.0) for rate in (0.05, 0.07)])
    measured, unknown = report.tables[0].rows
    assert [str(cell) for cell in measured[1:7]] == [
        "3.00 (3, 3)",
        "3.90 (1, 9)",
        "0.00 (0, 0)",
        "0.05 (0, 2)",
        "0",
        "0",
    ]
    assert (unknown[2], unknown[4], unknown[6]) == (None, None, None)


def test_a_ring_with_churn_stays_safe_and_the_same_seed_gives_the_same_run():
    options = ring.Options(seed=3, nodes=10, minutes=0.5, churn=0.1)
    first, again = ring.run(options, quiet), ring.run(options, quiet)
    assert first.results == again.results
    (summary,) = first.results
    assert (summary["violations"], summary["joins"] > 0, summary["lookups"] > 0) == (0, True, True)


def test_scale_tells_what_a_ring_takes_and_what_it_does():
    options = scale.Options(nodes=20, lookups=20, successors=4, stabilize_s=(1.0,))
    (row,) = scale.run(options, quiet).results
    assert row["growth_s"] > 4
    assert row["memory_bytes"] > 1 << 20
    assert 60 < row["calls"] < 1000
    assert row["ours"]["failed"] == 0


# Calls ----------------------------------------------------------------------------------------------------------------


def test_a_get_is_one_call_where_the_ring_stands_still_and_a_node_has_been_asked_for_a_while():
    row = calls.measure_still(calls.Options(lookups=400), 64, quiet)
    assert row.later.mean < 1.1
    assert row.later.mean < row.first.mean < row.plain.mean
    assert row.plain.p99 >= 3


def test_nodes_that_come_and_go_cost_no_more_calls_than_plain_chord_has():
    row = calls.measure_moving(calls.Options(lookups=150), 40, 1.0, quiet)
    assert row.failed == 0
    assert row.later.mean < row.plain_later.mean


def test_each_size_has_a_row_still_and_one_in_motion_for_each_rate(monkeypatch):
    monkeypatch.setattr(calls, "SIZES", (4, 8, 16))
    monkeypatch.setattr(calls, "RINGS_NODES", 16)
    options = calls.Options(nodes=16, lookups=20, rates=(0.1, 0.4))
    report = calls.run(options, quiet)
    rows = [(row["nodes"], row["churn"]) for row in report.results]
    assert rows == [(nodes, rate) for rate in (0.0, 0.1, 0.4) for nodes in (4, 8, 16)]
    assert calls.run(options, quiet).results == report.results


# The fastest ----------------------------------------------------------------------------------------------------------


def test_a_slow_owner_no_longer_makes_the_slowest_gets_slow():
    options = fastest.Options(lookups=400)
    waiting, hedged = (fastest.measure_slow_owner(options, hedged, quiet) for hedged in (False, True))
    assert waiting.times.p99 > 250
    assert hedged.times.p99 < 100
    assert hedged.median_ms == pytest.approx(waiting.median_ms, rel=0.1)
    assert 0.02 < hedged.share < 0.12


def test_lookups_take_less_time_where_near_peers_are_preferred():
    options = fastest.Options(nodes=128, lookups=300)
    by_distance, by_time = (fastest.measure_two_sites(options, fast, quiet) for fast in (False, True))
    assert by_time.times.mean < 0.9 * by_distance.times.mean
    assert by_time.path.mean < by_distance.path.mean + 1


def test_both_are_reported_and_the_same_again_for_the_same_seed():
    options = fastest.Options(nodes=16, lookups=20)
    report, again = fastest.run(options, quiet), fastest.run(options, quiet)
    assert [row["what"] for row in report.results] == ["waiting", "replicas are asked", "by distance", "by time"]
    assert report.results == again.results


# Keys -----------------------------------------------------------------------------------------------------------------


def test_every_key_has_one_owner_and_it_is_the_first_identifier_at_or_after_it():
    options = load.Options(nodes=5, keys=100)
    idents, nodes = load.make_owners(options, 0, 3)
    keys = [hash_ident(bytes([number])) for number in range(100)]
    counts = [0] * 5
    load.spread_keys(keys, (idents, nodes), counts)
    expected = [0] * 5
    for key in keys:
        expected[nodes[idents.index(true_owner(idents, key))]] += 1
    assert counts == expected
    assert sum(counts) == 100


def test_more_identifiers_per_process_spread_keys_more_evenly():
    report = load.run(load.Options(nodes=200, keys=20_000, virtual=(1, 20), repetitions=2), quiet)
    one, many = (row["held"] for row in report.results if row["varied"] == "identifiers")
    assert one["mean"] == many["mean"] == 100
    assert one["p1"] < 10 < 40 < many["p1"]
    assert many["p99"] < 200 < 350 < one["p99"]


# Pictures -------------------------------------------------------------------------------------------------------------

PANEL = Panel("Title", "x", "y", [Series("ours", [1, 2], [3.0, 4.0], [Spread(3, 1, 5), Spread(4, 4, 4)])])
REPORT = Report("test", {}, [], [], [PANEL, PANEL._replace(doubling=True)], "")


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_plot_is_drawn_in_the_format_of_its_suffix(tmp_path, suffix: str, magic: bytes):
    path = tmp_path / f"plot.{suffix}"
    draw(REPORT, path)
    assert path.read_bytes().startswith(magic)


@pytest.mark.parametrize("name", ["plot.nonsense", "missing/plot.png"])
def test_a_plot_that_cannot_be_written_is_an_error_that_names_the_file(tmp_path, name: str):
    with pytest.raises(GdhtError, match=name):
        draw(REPORT, tmp_path / name)


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(GdhtError, match=r"pip install 'gdht\[plots\]'"):
        draw(REPORT, tmp_path / "plot.png")
