"""Whole processes used wrongly: whatever happens, the user sees words and an exit code, never a traceback."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

GDHT = (sys.executable, "-m", "gdht")
WAIT_S = 30
CLOSED = "Error: standard output, or input, is closed\n"


def gdht(*line: str, **more: object) -> "subprocess.CompletedProcess[str]":
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GDHT_")}
    environment.update(more.pop("env", {}))  # type: ignore[call-overload]
    streams = {} if {"stdout", "stderr"} & set(more) else {"capture_output": True}
    return subprocess.run([*GDHT, *line], text=True, timeout=WAIT_S, env=environment, check=False, **streams, **more)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def taken() -> "socket.socket":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ((), 2, "Usage: gdht"),
        (("dance",), 2, "No such command 'dance'"),
        (("rin",), 2, "No such command 'rin'. Did you mean 'ring'?"),
        (("get",), 2, "Missing argument 'KEY'"),
        (("get", "a", "b"), 2, "unexpected extra argument"),
        (("put", "a"), 2, "Missing argument 'VALUE'"),
        (("get", "hex:12"), 2, "expected 64 hex digits"),
        (("get", "a", "--api", "127.0.0.1:1"), 1, "cannot reach 127.0.0.1:1: Connection refused"),
        (("put", "a", "b", "--api", "no-such-host.invalid:1"), 1, "no address for 'no-such-host.invalid'"),
        (("status", "--admin", "127.0.0.1:1"), 1, "no answer from http://127.0.0.1:1"),
        (("serve", "-c", "/no/such/file.ini"), 2, "/no/such/file.ini"),
        (("serve", "-c", "/"), 2, "cannot be read"),
        (("serve", "--replication", "many"), 2, "--replication"),
        (("serve", "--replication", "9"), 2, "max_replication"),
        (("serve", "--p2p-adress", "127.0.0.1:1"), 2, "--p2p-address"),
        (("serve", "--p2p-address", "0.0.0.0:6001"), 2, "advertise_address"),
        (
            ("get", "a", "--api", "127.0.0.1:0"),
            2,
            "'127.0.0.1:0': expected host:port or [ipv6]:port with a port",
        ),
        (("get", "a", "--timeout", "nan"), 2, "nan is no number"),
        (("get", "a", "--timeout", "inf"), 2, "inf is not in the range"),
        (("status", "--admin", "127.0.0.1:0"), 2, "port from 1 to 65535"),
        (("status", "--admin", "http://127.0.0.1:0"), 2, "expected http://host:port"),
        (("cluster", "0"), 2, "0 is not in the range"),
    ],
)
def test_wrong_use_is_answered_with_words_and_an_exit_code(line: tuple[str, ...], code: int, words: str) -> None:
    result = gdht(*line)
    assert result.returncode == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_an_unknown_key_of_the_file_names_file_key_and_the_nearest_one(tmp_path: Path) -> None:
    file = tmp_path / "node.ini"
    file.write_text("[dht]\nreplicaton = 3\n")
    result = gdht("serve", "-c", str(file))
    assert result.returncode == 2
    assert result.stderr == f"Error: {file}:2: [dht] replicaton: no such key; the nearest is replication\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[redis]\nx = 1\n[dth2]\n", "no section [dht] or [admin]: it sets no option; there are [redis], [dth2]\n"),
        ("; empty\n", "no section [dht] or [admin]: it sets no option\n"),
        ("[other]\n[DHT]\n", ""),
    ],
)
def test_a_file_that_sets_nothing_is_warned_of(tmp_path: Path, taken, text: str, words: str) -> None:
    file = tmp_path / "node.ini"
    file.write_text(text)
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    ports = ("--p2p-address", "127.0.0.1:0", "--api-address", address, "--admin-address", "")
    result = gdht("serve", "-c", str(file), *ports)
    assert result.returncode == 1
    assert (f"WARNING gdht.cli.serve: {file}: {words}" in result.stderr) == bool(words)
    assert ("it sets no option" in result.stderr) == bool(words)


def test_a_port_in_use_is_named_and_is_exit_code_1(taken) -> None:
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    result = gdht("serve", "--p2p-address", "127.0.0.1:0", "--api-address", address, "--admin-address", "")
    assert (result.returncode, result.stdout) == (1, "")
    assert address in result.stderr
    assert "Traceback" not in result.stderr


def test_the_variable_for_admin_questions_does_not_trouble_a_node(taken) -> None:
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    result = gdht("serve", "--p2p-address", address, env={"GDHT_ADMIN": "127.0.0.1:8001"})
    assert result.returncode == 1
    result = gdht("serve", "--p2p-address", address, env={"GDHT_ADMINS": "127.0.0.1:8001"})
    assert result.returncode == 2


def test_a_data_dir_that_cannot_be_one_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    addresses = ("--p2p-address", "127.0.0.1:0", "--api-address", "127.0.0.1:0", "--admin-address", "")
    result = gdht("serve", *addresses, "--data-dir", str(place))
    assert result.returncode == 1
    assert result.stderr == f"Error: data_dir {place}: is no directory: choose another\n"


def test_a_reader_that_goes_away_early_is_no_trouble() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        result = gdht("--help", stdout=gone, stderr=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (1, "")


def test_a_full_disk_under_standard_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        result = gdht("--version", stdout=full, stderr=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (1, "Error: [Errno 28] No space left on device\n")


def in_shell(redirection: str, *line: str) -> "subprocess.CompletedProcess[str]":
    """Run `gdht` with this redirection of the shell."""
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *GDHT, *line]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)


@pytest.mark.parametrize("verb", ["ring", "ring check", "ring --json", "status", "events"])
def test_a_closed_standard_output_is_one_line_for_what_is_told_of_a_node(node, verb: str) -> None:
    result = in_shell(">&-", *verb.split(), "--admin", node[0], "--token", "secret")
    assert (result.returncode, result.stderr) == (1, CLOSED)


def test_a_closed_standard_output_is_one_line_for_values_and_no_trouble_for_what_is_silent(api_port) -> None:
    done = in_shell(">&-", "put", "a", "b", "--api", api_port.address)
    assert (done.returncode, done.stderr) == (0, "")
    for verb in (("get", "a"), ("bench", "--seconds", "0.1", "--keys", "10")):
        done = in_shell(">&-", *verb, "--api", api_port.address)
        assert (done.returncode, done.stderr.splitlines(keepends=True)[-1]) == (1, CLOSED)
        assert "Traceback" not in done.stderr


def test_a_closed_standard_input_or_error_is_no_traceback(api_port) -> None:
    done = in_shell("<&-", "put", "a", "-", "--api", api_port.address)
    assert (done.returncode, done.stderr) == (1, CLOSED)
    for streams in ("2>&-", "<&- >&- 2>&-"):
        assert in_shell(streams, "get", "a", "--api", "127.0.0.1:1").returncode == 1


def hear_interrupts() -> None:
    """Have SIGINT count in a child also where the tests run in the background of a shell, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_while_waiting_is_quiet(taken) -> None:
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    waiting = subprocess.Popen(
        [*GDHT, "get", "a", "--api", address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=hear_interrupts,  # noqa: PLW1509  (no threads here)
    )
    connection, _ = taken.accept()  # now it waits for its answer
    waiting.send_signal(signal.SIGINT)
    output, errors = waiting.communicate(timeout=WAIT_S)
    connection.close()
    assert (waiting.returncode, output, errors.strip()) == (130, b"", b"")


def test_get_does_not_import_what_only_a_node_needs() -> None:
    code = "import sys; from gdht.cli import cli; cli.main(['get', 'a', '--api', '127.0.0.1:1'], standalone_mode=False)"
    probe = f"import sys, contextlib\ntry:\n    exec({code!r})\nexcept Exception: pass\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert not {"gevent", "flask", "rich", "prometheus_client", "urllib.request"} & set(loaded.stdout.split())


def test_verbosity_may_stand_before_the_verb_and_after_it(taken) -> None:
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    for line in (("-v", "serve"), ("serve", "-v"), ("-qv", "serve", "-qv")):
        assert gdht(*line, "--p2p-address", address).returncode == 1
