"""`gdht bench` against a small API port: what it asks, what it tells, and what it refuses."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gdht.cli.bench import bench
from gdht.cli.bench_report import Report
from gdht.cli.load.plan import Plan, bench_key
from gdht.cli.load.tally import Tally
from gdht.config import Address
from gdht.core.messages import DhtFailure
from gdht.wire.codec import encode_dht
from tests.scripted import Conversation, DictServer, ScriptedServer, answers

SHORT = ("bench", "--seconds", "0.2", "--keys", "20", "--connections", "4", "--pipeline", "4")
END_S_MAX = 20.0


def test_it_tells_rates_and_latencies_of_gets_and_puts(run, api_port) -> None:
    result = run(*SHORT, "--api", api_port.address, "--get-ratio", "0.5")
    assert result.exit_code == 0, result.output
    heading = (
        f"{api_port.address}: 4 connections, 4 requests under way on each; 50.0 % gets; 20 keys, values of 100 bytes"
    )
    assert result.stdout.splitlines()[0] == heading
    for word in ("per second", "p50", "p95", "p99", "max", "get", "put", " ms", "The generator used"):
        assert word in result.stdout
    assert "Failed" not in result.stdout


def test_progress_goes_to_standard_error(run, api_port) -> None:
    result = run(*SHORT, "--api", api_port.address)
    assert result.stderr == "storing 20 values\nloading for 0.2 s\n"


def test_puts_are_as_the_options_say_and_ask_for_their_answer(run, api_port) -> None:
    options = ("--get-ratio", "0", "--ttl", "77", "--replication", "2", "--value-bytes", "9")
    assert run(*SHORT, "--api", api_port.address, *options).exit_code == 0
    assert {(put.ttl_s, put.replication, put.wants_answer, len(put.value)) for put in api_port.puts} == {
        (77, 2, True, 9)
    }
    assert {put.key for put in api_port.puts} <= {bench_key(number) for number in range(20)}


def test_json_holds_parameters_rates_latencies_failures_and_the_generator(run, api_port) -> None:
    result = run(*SHORT, "--api", api_port.address, "--json")
    told = json.loads(result.stdout)
    assert told["parameters"] == {
        "api": [api_port.address],
        "connections": 4,
        "pipeline": 4,
        "seconds": 0.2,
        "get_ratio": 0.9,
        "value_bytes": 100,
        "keys": 20,
        "replication": 0,
        "ttl_seconds": 600,
        "timeout_seconds": 5.0,
        "processes": 1,
    }
    assert told["stored"] == {"values": 20, "failures": {}}
    for name in ("get", "put"):
        assert told[name]["per_second"] * told["seconds"] <= told[name]["answered"] + 0.1
        assert told[name]["per_second"] == round(told[name]["per_second"], 3)
        latency = told[name]["latency_seconds"]
        assert latency == {quantile: round(seconds, 6) for quantile, seconds in latency.items()}
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"] < 5
        assert told[name]["failures"] == {}
    assert (told["stopped"], told["failed_connections"]) == (False, {})
    assert set(told["generator"]) == {"cpu_share", "waiting_share", "was_bottleneck"}


def test_several_addresses_and_processes_share_the_work(run) -> None:
    values: dict[bytes, bytes] = {}
    with DictServer(values) as first, DictServer(values) as second:
        addresses = ("--api", first.address, "--api", second.address)
        result = run(*SHORT, *addresses, "--processes", "2")
        assert result.exit_code == 0, result.output
        assert f"{first.address}, {second.address}: 4 connections" in result.stdout
    assert len(values) == 20
    # two to see whether anybody is there, then two of the four, once to store and once to load
    assert (first.connections, second.connections) == (2 + 2 + 2, 2 + 2 + 2)


def test_a_refused_put_is_told_and_exit_code_1(run, api_port) -> None:
    api_port.refuses = True
    result = run(*SHORT, "--api", api_port.address, "--get-ratio", "0")
    assert result.exit_code == 1
    assert " puts refused." in result.stdout


def test_when_no_value_can_be_stored_nothing_is_measured(run, api_port) -> None:
    api_port.refuses = True
    result = run(*SHORT, "--api", api_port.address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("Error: not one of 20 values could be stored: 20 puts refused\n")


def test_nobody_listening_is_exit_code_1_and_says_where(run, api_port, free_address: str) -> None:
    result = run(*SHORT, "--api", api_port.address, "--api", free_address)
    assert (result.exit_code, result.stdout) == (1, "")
    hint = "is the node running, and is this its API address (--api)?"
    assert result.stderr == f"Error: cannot reach {free_address}: Connection refused: {hint}\n"
    assert api_port.puts == []


def test_a_port_that_speaks_another_protocol_is_told_after_one_request(run) -> None:
    with ScriptedServer(answers(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        result = run(*SHORT, "--api", server.address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{server.address} sent what is no answer" in result.stderr


def test_the_environment_does_not_choose_whom_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GDHT_API_ADDRESS", "GDHT_API", "GDHT_BENCH_API"):
        monkeypatch.setenv(name, "192.0.2.1:7001")
    assert bench.make_context("bench", []).params["addresses"] == [Address("127.0.0.1", 7001)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--api", "nowhere"), "host:port"),
        (("--api", "127.0.0.1:0"), "port from 1 to 65535"),
        (("--connections", "0"), "--connections"),
        (("--connections", "1001"), "--connections"),
        (("--pipeline", "0"), "--pipeline"),
        (("--seconds", "0"), "--seconds"),
        (("--get-ratio", "1.1"), "--get-ratio"),
        (("--value-bytes", "65496"), "--value-bytes"),
        (("--keys", "0"), "--keys"),
        (("--ttl", "65536"), "--ttl"),
        (("--processes", "5"), "5 processes need as many connections"),
        (("--pipeline", "1024", "--connections", "1000", "--value-bytes", "65495"), "63959 MiB of values would be"),
    ],
)
def test_options_that_do_not_fit_are_wrong_use(run, options: tuple[str, ...], words: str) -> None:
    result = run("bench", "--connections", "4", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


# Ctrl-C ---------------------------------------------------------------------------------------------------------------


class Running:
    """A `gdht bench` that runs."""

    def __init__(self, *line: str) -> None:
        command = [sys.executable, "-m", "gdht", "bench", "--keys", "5", *line]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def workers(self) -> list[int]:
        """The processes that it has started, as handles that stay theirs."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [os.pidfd_open(int(child)) for child in children]

    def end(self, number: signal.Signals) -> str:
        """Send it a signal; what it wrote on standard output."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=END_S_MAX)[0]


class Watched(DictServer):
    """Says when it has been asked so many times: after all that `gdht bench` asks before it loads."""

    def __init__(self, requests: int = 100) -> None:
        super().__init__()
        self.asked = threading.Event()
        self._requests_wanted = requests

    def _answer(self, request):
        if len(self.requests) >= self._requests_wanted:
            self.asked.set()
        return super()._answer(request)


def test_ctrl_c_ends_it_early_with_the_report_so_far() -> None:
    with Watched() as server:
        running = Running("--api", server.address, "--seconds", "600", "--get-ratio", "0.5")
        assert server.asked.wait(END_S_MAX)
        output = running.end(signal.SIGINT)
    assert running.process.returncode == 0, output
    for words in ("Stopped after", "s of 600 s.", "get ", "put "):
        assert words in output


def test_ctrl_c_while_values_are_stored_is_exit_code_1_and_says_so() -> None:
    storing = threading.Event()

    def silent(conversation: Conversation) -> None:
        conversation.read()
        storing.set()
        conversation.wait_until_closed()

    not_found = answers(encode_dht(DhtFailure(bench_key(0))))
    with ScriptedServer(not_found, Conversation.wait_for_close, silent) as server:
        running = Running("--api", server.address, "--connections", "1", "--timeout", "2")
        assert storing.wait(END_S_MAX)
        output = running.end(signal.SIGINT)
    assert running.process.returncode == 1
    assert "Stopped while values were being stored." in output


def test_no_process_outlives_a_bench_that_is_killed() -> None:
    with Watched() as server:
        running = Running("--api", server.address, "--seconds", "600", "--processes", "2")
        assert server.asked.wait(END_S_MAX)
        workers = running.workers()
        assert len(workers) == 2
        running.end(signal.SIGKILL)
        for worker in workers:
            assert select.select([worker], [], [], END_S_MAX)[0]
            os.close(worker)


# The verdict ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("waited_s", "verdict"), [(0.9, True), (1.1, False)])
def test_a_generator_that_hardly_waits_is_called_the_bottleneck(waited_s: float, verdict: bool, capsys) -> None:
    plan = Plan((Address("127.0.0.1", 7001),), 1, 1, 10.0, 1.0, 0, 1, 0, 0, 5.0)
    loaded = Tally()
    loaded.gets.latencies.add(0.001)
    loaded.seconds, loaded.cpu_s, loaded.waited_s = 10.0, 9.0, waited_s
    report = Report(plan, ["127.0.0.1:7001"], 1, Tally(), loaded, was_stopped=False)
    report.show()
    shown = capsys.readouterr().out
    assert f"used 90.0 % of a core and waited for answers {waited_s * 10:.1f} % of the time" in shown
    assert ("it was the bottleneck, not the nodes" in shown) == verdict
    assert report.to_json()["generator"]["was_bottleneck"] == verdict
