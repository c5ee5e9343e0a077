"""The benchmark suite: its generator counts and checks answers as it says, its servers are right, its report adds up.

Nothing here expects a speed.
"""

import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import IN_CI

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))  # last: what is named like a module of ours stays what it is

from cores import Cost, costs, expected  # noqa: E402
from generator import COMPILERS, Load, LoadError, Result, Shape, Slice, load  # noqa: E402
from layers import group_of, shares  # noqa: E402
from measure import Case, Comparison, Sample, Spread  # noqa: E402
from overload import Case as Overload  # noqa: E402
from overload import Seen, percentile_s, recovered_s  # noqa: E402
from overload import page as overload_page  # noqa: E402
from processes import Children, StartError  # noqa: E402
from records import RECORDS, VALUE_BYTES, key, value  # noqa: E402
from report import Findings, Settings, figures, page, table  # noqa: E402
from rings import start_c_echo, start_raw, start_relay  # noqa: E402
from single import DICT, GDHT  # noqa: E402
from targets import Target, judge  # noqa: E402
from throughput import run_part  # noqa: E402
from workload import api_requests, echo_requests, get_frame, keys, put_frame, resp  # noqa: E402

needs_compiler = pytest.mark.skipif(
    not IN_CI and not any(map(shutil.which, COMPILERS)),
    reason=f"the load generator needs a C compiler: {', '.join(COMPILERS)}",
)
SECONDS = 0.1
SUCCESS, FAILURE = 652, 653


@pytest.fixture
def children() -> Iterator[Children]:
    with Children() as started:
        yield started


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that gives one client this answer to whatever it sends; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                while client.recv(1 << 16):
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def written(tmp_path: Path, *frames: bytes) -> Path:
    file = tmp_path / "requests"
    file.write_bytes(b"".join(frames))
    return file


def once(requests: Path, address: str, *options: str) -> Result:
    return load(requests, [address], Shape(1, 1), 1, "--once", *options)


# The generator --------------------------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("shape", [Shape(1, 1), Shape(16, 1), Shape(3, 50)], ids=str)
def test_gets_and_puts_of_a_raw_server_are_answered_right(children, shape):
    served = start_raw(children, "dict")
    gets, puts = (api_requests(operation, 1) for operation in ("GET", "PUT"))
    empty = load(gets.file, served.addresses, shape, SECONDS, *gets.options)
    served.fill(puts)
    for requests in (puts, gets):
        full = load(requests.file, served.addresses, shape, SECONDS, *requests.options)
        assert full.successes == full.answers > 0
        assert (full.failures, full.mismatches) == (0, 0)
        assert 0 < full.latency_us["p50"] <= full.latency_us["p99"] <= full.latency_us["max"]
    assert empty.failures == empty.answers > 0
    assert empty.mismatches == 0


@needs_compiler
def test_once_sends_each_request_once(children):
    served = start_raw(children, "dict")
    puts = api_requests("PUT", 1)
    result = load(puts.file, served.addresses, Shape(7, 3), 1, "--once", *puts.options)
    assert result.answers == result.all_answers == RECORDS


@needs_compiler
def test_an_answer_with_another_key_or_a_value_of_another_length_is_a_mismatch(tmp_path):
    requests = written(tmp_path, get_frame(key(1)))
    right = struct.pack("!HH", 36 + VALUE_BYTES, SUCCESS) + key(1) + value(key(1))
    other = struct.pack("!HH", 36 + VALUE_BYTES, SUCCESS) + key(2) + value(key(2))
    short = struct.pack("!HH", 37, SUCCESS) + key(1) + b"v"
    for answer, mismatches in ((right, 0), (other, 1), (short, 1)):
        with answering(answer) as address:
            assert once(requests, address, "--value-bytes", str(VALUE_BYTES)).mismatches == mismatches


@needs_compiler
@pytest.mark.parametrize(
    ("answer", "successes", "mismatches"),
    [
        (b"$100\r\n" + value(key(1)) + b"\r\n", 1, 0),
        (b"$100\r\n" + value(key(2)) + b"\r\n", 1, 1),
        (b"$-1\r\n", 0, 0),
        (b"-ERR no\r\n", 0, 0),
    ],
)
def test_answers_of_redis_are_told_apart(tmp_path, answer, successes, mismatches):
    requests = written(tmp_path, resp(b"GET", key(1)))
    with answering(answer) as address:
        result = once(requests, address, "--protocol", "resp")
    assert (result.successes, result.failures, result.mismatches) == (successes, 1 - successes, mismatches)


@needs_compiler
@pytest.mark.parametrize(
    "frames",
    [
        b"",
        get_frame(key(1))[:-1],
        put_frame(key(1), 1)[:7] + b"\0" + put_frame(key(1), 1)[8:],
        struct.pack("!HH", 36, FAILURE) + key(1),
    ],
    ids=["none", "cut off", "a PUT that is not answered", "no request"],
)
def test_what_is_no_request_is_refused(tmp_path, frames):
    with pytest.raises(LoadError, match="request"):
        once(written(tmp_path, frames), "127.0.0.1:1")


@needs_compiler
def test_an_answer_that_does_not_come_or_is_none_ends_the_run(tmp_path):
    requests = written(tmp_path, get_frame(key(1)))
    with answering(b"") as address, pytest.raises(LoadError, match="1 are missing"):
        once(requests, address, "--stall", "0.2")
    with answering(b"HTTP/1.1 400\r\n") as address, pytest.raises(LoadError, match="no answer"):
        once(requests, address)


@needs_compiler
def test_at_a_rate_requests_are_sent_when_they_are_due_and_the_intervals_add_up(children):
    served = start_raw(children, "dict")
    gets = api_requests("GET", 1)
    options = [*gets.options, "--rate", "1000", "--interval", "0.1", "--warmup", "0"]
    with Load(gets.file, served.addresses, Shape(3, 16), 0.5, options) as running:
        result, slices = running.result()
    assert 0 < result.answers <= 501
    assert result.failures == result.answers
    assert result.failure_us == result.latency_us
    assert result.success_us["max"] == 0
    assert all(each.successes == 0 for each in slices)
    assert 0 < sum(each.failures for each in slices) <= result.all_answers
    times = [each.ended_s for each in slices]
    assert times == sorted(times)


@needs_compiler
def test_at_a_rate_what_a_server_keeps_waiting_counts_from_when_it_was_due(tmp_path):
    requests = written(tmp_path, get_frame(key(1)))
    answer = struct.pack("!HH", 36, FAILURE) + key(1)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                pause_s = 0.3
                while client.recv(1 << 16):
                    time.sleep(pause_s)
                    pause_s = 0
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with Load(requests, [address], Shape(1, 1), 0.35, ["--rate", "100", "--warmup", "0"]) as running:
            result, _ = running.result()
        thread.join()
    assert result.latency_us["max"] >= 300_000
    late = result.latency_us["p50"] >= 1_000
    assert late, "those that were due meanwhile, and sent one by one afterwards, count from when they were due"


@needs_compiler
def test_a_rate_does_not_go_with_once(tmp_path):
    with pytest.raises(LoadError, match="once"):
        once(written(tmp_path, get_frame(key(1))), "127.0.0.1:1", "--rate", "10")


@pytest.mark.parametrize(
    ("program", "said"),
    [("sleep 30", "not ended after 0.2 s"), ("echo nonsense", "no result"), ("echo {}", "no result")],
)
def test_a_generator_that_does_not_do_what_it_should_is_an_error_of_this_run(tmp_path, monkeypatch, program, said):
    fake = tmp_path / "load"
    fake.write_text(f"#!/bin/sh\nexec {program}\n")
    fake.chmod(0o700)
    monkeypatch.setattr("generator.compile_c", lambda _name: fake)
    monkeypatch.setattr("generator.RUN_S_MAX", 0.2)
    with pytest.raises(LoadError, match=said):
        load(tmp_path, [], Shape(1, 1), 0.0)


# The servers to compare with ------------------------------------------------------------------------------------------


@needs_compiler
def test_the_echo_servers_send_back_what_they_get(children):
    requests = echo_requests()
    for served in (start_c_echo(children), start_raw(children, "echo")):
        result = load(requests.file, served.addresses, Shape(4, 8), SECONDS, *requests.options)
        assert result.successes == result.answers > 0
        assert result.mismatches == 0


@needs_compiler
def test_the_relay_keeps_the_order_of_each_client_through_every_process(children):
    served = start_relay(children, 3)
    served.fill(api_requests("PUT", 1))
    gets = api_requests("GET", 1)
    result = load(gets.file, served.addresses, Shape(6, 20), SECONDS, *gets.options)
    assert result.successes == result.answers > 0
    assert result.mismatches == 0


def test_children_do_not_outlive_the_block():
    with Children() as children:
        served = start_raw(children, "dict")
    host, port = served.addresses[0].split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_a_child_that_has_ended_is_an_error_with_its_last_words(children):
    child = children.start([sys.executable, "-c", "raise SystemExit('no such ring')"])
    with pytest.raises(StartError, match="no such ring"):
        child.expect("ready")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(StartError, match=r"has ended; it said: no such ring"):
        child.say("go")


def test_the_programs_say_how_they_are_used():
    for program in ("throughput.py", "storm.py", "repair.py", "overload.py"):
        done = subprocess.run([sys.executable, BENCHMARKS / program, "--help"], capture_output=True, check=False)
        assert (done.returncode, b"--write" in done.stdout) == (0, True), done.stderr


def test_records_are_the_same_everywhere_and_families_are_apart():
    assert len({*keys(1), *keys(3)}) == 2 * RECORDS
    assert value(key(5)).startswith(key(5))
    assert len(value(key(5))) == VALUE_BYTES


# The report -----------------------------------------------------------------------------------------------------------

PERCENTILES = {"p50": 100.0, "p90": 200.0, "p99": 300.0, "p99.9": 400.0, "max": 500.0}
SETTINGS = Settings("2 cores", 3, 0.3, 0.8, 100, 2000)


def sample(rate: float, failures: int = 0) -> Sample:
    return Sample(Result(rate, int(rate), int(rate) - failures, failures, 0, int(rate), 1.0, 0.25, PERCENTILES), 12.5)


def made_up(gdht: list[float], raw: list[float]) -> Comparison:
    samples = {
        Case("GET", DICT): [sample(rate) for rate in raw],
        Case("GET", GDHT): [sample(rate) for rate in gdht],
    }
    return Comparison("node 64x1", "64 connections", samples)


def test_a_ratio_is_made_within_each_round():
    comparison = made_up([50, 90, 40], [100, 100, 50])
    assert comparison.ratio(Case("GET", GDHT), Case("GET", DICT)) == Spread(0.8, 0.5, 0.9)


@pytest.mark.parametrize(("gdht", "said"), [([60.0], "met"), ([59.0], "missed")])
def test_a_target_is_met_or_missed(gdht, said):
    target = Target("", 0.6, "node 64x1", ("GET", GDHT), ("GET", DICT))
    assert str(judge(target, [made_up(gdht, [100.0])])) == said
    assert str(judge(target, [])) == "not measured"


def test_a_part_that_fails_is_named_and_takes_nothing_away():
    def measured():
        yield made_up([60.0], [100.0])
        raise StartError("nothing within 60 s")

    findings = Findings()
    run_part(findings, ("ring",), "node", measured())
    assert findings == Findings()
    for part in ("node", "ring"):
        run_part(findings, ("node", "ring"), part, measured())
    assert findings.failed == ["node: nothing within 60 s", "ring: nothing within 60 s"]
    assert len(findings.comparisons) == 2


def test_a_target_of_what_is_left_out_is_not_measured():
    target = Target("", 0.6, "node 64x1", ("GET", GDHT), ("GET", "redis"))
    assert str(judge(target, [made_up([60.0], [100.0])])) == "not measured"


def test_numbers_keep_about_three_figures():
    assert [figures(number) for number in (0.333, 9.999, 12.34, 123.4, 65432.1)] == [
        "0.33",
        "10.00",
        "12.3",
        "123",
        "65,432",
    ]


def test_tables_are_markdown():
    assert table(["", "b"], [["1", "2"], ["3", "4"]]) == "|  | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n"


def test_the_page_tells_ratios_failures_and_what_is_missing():
    comparison = made_up([50, 90, 40], [100, 100, 50])
    comparison.samples[Case("GET", GDHT)][0] = sample(50, failures=7)
    profiles = {"one node": {"gevent": 0.25, "gdht/net": 0.75}}
    text = page(Findings([comparison], profiles, ["redis: not installed"]), SETTINGS, [Path("plots/node.svg")])
    assert "| GET | gdht | 0.80 (0.50 to 0.90) | 50 | 12.5 |" in text
    assert "- 64 connections, GET, gdht: 7 failed, 0 wrong" in text
    assert "- redis: not installed" in text
    assert "](plots/node.svg)" in text
    assert "| gdht/net | 75% |" in text
    assert "| 64 connections | GET | gdht | 100 | 200 | 300 | 400 | 500 |" in text
    assert "GET, of the raw gevent dict | at least 0.60 | 0.80 (0.50 to 0.90) | 1.00 | met |" in text


def test_without_anything_measured_the_page_is_still_one():
    assert "not measured" in page(Findings(), SETTINGS)


# What more cores would bring ------------------------------------------------------------------------------------------


def test_what_more_cores_bring_is_worked_out_from_the_cpu_time_of_requests(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    two = Cost("GET", 1, 2, per_s=20_000, nodes_us=60, generator_us=15)
    four = Cost("GET", 1, 4, per_s=15_000, nodes_us=80, generator_us=20)
    assert two.busy_cores == 1.5
    (row,) = expected([two, four])
    assert row.with_generator_per_s == 4 * 0.75 * 1e6 / 100
    assert row.alone_per_s == 4 * 0.75 * 1e6 / 80
    assert row.times_one_node is None
    one = Cost("GET", 1, 1, per_s=25_000, nodes_us=30, generator_us=10)
    assert expected([one, two, four])[0].times_one_node == 1.5
    assert expected([four]) == [], "how busy the cores are is not known"


def test_costs_are_those_of_clients_that_are_spread_over_all_nodes():
    samples = {Case(operation, "gdht, 3 copies, memory"): [sample(100.0)] for operation in ("GET", "PUT")}
    ring = Comparison("ring 2 spread 64x1", "", samples)
    gateway = Comparison("ring 2 gateway 64x1", "", samples)
    assert costs([gateway]) == []
    assert [(each.operation, each.copies, each.nodes) for each in costs([ring])] == [("GET", 3, 2), ("PUT", 3, 2)]
    assert costs([ring])[0].generator_us == 2500.0
    assert "GET | 1 | 1 | 50 | 12.5" in page(Findings([made_up([50.0], [100.0])]), SETTINGS)


# An overload ----------------------------------------------------------------------------------------------------------


def slices(*told: tuple[int, int, float]) -> list[Slice]:
    """One for each tenth of a second from 0 on: successes, failures, the p99 in milliseconds."""
    return [
        Slice((number + 1) / 10, successes, failures, dict.fromkeys(PERCENTILES, 1000 * ms))
        for number, (successes, failures, ms) in enumerate(told)
    ]


GOOD, SLOW, REFUSED, SILENT = (50, 0, 5.0), (50, 0, 300.0), (40, 10, 5.0), (0, 0, 0.0)


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        ([GOOD, GOOD, GOOD], 0.0),
        ([SLOW, REFUSED, GOOD, GOOD, GOOD], 0.2),
        ([GOOD, GOOD, SILENT, GOOD, GOOD, GOOD], 0.3),
        ([SLOW, GOOD, GOOD], None),
    ],
)
def test_a_ring_has_recovered_when_another_clients_answers_are_as_before(after, seconds):
    told = slices(GOOD, GOOD, SLOW, SLOW, *after)
    assert recovered_s(told, 0.2, 0.4) == (None if seconds is None else pytest.approx(seconds))


def test_a_percentile_is_that_of_what_was_counted_in_between():
    buckets = ("0.001", "0.01", "0.1", "+Inf")
    before = {f'hold_bucket{{le="{bound}"}}': 100.0 for bound in buckets}
    counts = dict(zip(buckets, (150.0, 198.0, 200.0, 200.0), strict=True))
    after = {f'hold_bucket{{le="{bound}"}}': count for bound, count in counts.items()}
    assert [percentile_s(before, after, "hold", share) for share in (0.5, 0.98, 0.99)] == [0.001, 0.01, 0.1]
    assert percentile_s(after, after, "hold", 0.99) == 0.0


def test_the_report_of_an_overload_tells_what_was_refused_and_how_soon_it_was_over():
    times = {"success_us": PERCENTILES, "failure_us": PERCENTILES, "waiting": 7, "unsent": 3}
    result = Result(100.0, 200, 150, 50, 0, 200, 2.0, 0.1, PERCENTILES, **times)
    seen = Seen(result, slices(GOOD, SLOW, SLOW, GOOD, GOOD, GOOD), 0.1, 0.2, 61.5, 0.005, 0.001, 50.0, 12.5)
    text = overload_page(1, {"GET": 50.0, "PUT": 20.0}, {Overload("GET", 2.0): [seen]})
    assert "| GET, 2 x | 100 | 75 | 25% | 0.10 | 0.30 (0.30) | 0.50 | 0.30 | 10 |" in text
    assert "| 0.1 (0.1) |" in text
    assert "| GET, 2 x | 50 | 61.5 (61.5) | 1.00 | 5.00 | 12.5 |" in text


# The layers -----------------------------------------------------------------------------------------------------------


def test_a_stack_counts_for_its_innermost_layer():
    package = Path(sys.modules["gdht"].__file__).parent
    library = "/somewhere/site-packages"
    net = f"serve ({package}/net/api_connection.py:1)"
    assert group_of([net]) == "gdht/net"
    assert group_of([net, f"feed ({package}/wire/codec.py:1)"]) == "gdht/wire"
    assert group_of([net, "update (/usr/lib/python3.11/collections/__init__.py:1)"]) == "gdht/net"
    assert group_of([net, f"wait ({library}/gevent/hub.py:1)"]) == "gevent"
    assert group_of([net, f"parse ({library}/elsewhere/core.py:1)"]) == "the rest"
    assert group_of(["nothing"]) == "the rest"


def test_calls_of_sockets_count_for_themselves(tmp_path):
    source = tmp_path / "stream.py"
    source.write_text("sent = self._sock.send(data)\nsent += 1\n")
    lines = [f"flush ({source}:1) 3", f"flush ({source}:2) 1"]
    assert shares(lines) == {"socket calls": 0.75, "the rest": 0.25}
