"""`gdht put` and `gdht get` against a small API port."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from gdht.client import hash_key
from gdht.node.failures import FailedRequest
from gdht.node.keys import Holder
from tests.cli.fake_ring import FAR, NEXT, stat

HEX_KEY = "hex:" + "0F" * 32


def test_what_is_put_is_what_get_writes(run, api_port) -> None:
    assert run("put", "motd", "hello ring", "--api", api_port.address).exit_code == 0
    result = run("get", "motd", "--api", api_port.address)
    assert (result.exit_code, result.stdout_bytes, result.stderr) == (0, b"hello ring", "")


def test_put_says_nothing_when_it_is_done(run, api_port) -> None:
    assert run("put", "motd", "x", "--api", api_port.address).output == ""


def test_a_text_key_is_hashed_and_a_hex_key_is_taken_as_it_is(run, api_port) -> None:
    run("put", "motd", "x", "--api", api_port.address)
    run("put", HEX_KEY, "y", "--api", api_port.address)
    assert api_port.values == {hash_key("motd"): b"x", bytes([15] * 32): b"y"}


def test_ttl_and_replication_reach_the_node_and_an_answer_is_asked_for(run, api_port) -> None:
    run("put", "motd", "x", "--ttl", "60", "--replication", "2", "--api", api_port.address)
    put = api_port.puts[0]
    assert (put.ttl_s, put.replication, put.wants_answer) == (60, 2, True)


def test_bytes_of_every_kind_pass_through_both_ways(run, api_port) -> None:
    value = bytes(range(256)) + b"\r\n\0"
    assert run("put", "raw", "-", "--api", api_port.address, input=value).exit_code == 0
    assert run("get", "raw", "--api", api_port.address).stdout_bytes == value


def test_an_empty_value_is_a_value(run, api_port) -> None:
    run("put", "empty", "", "--api", api_port.address)
    result = run("get", "empty", "--api", api_port.address)
    assert (result.exit_code, result.stdout_bytes) == (0, b"")


def test_a_value_that_is_not_there_is_exit_code_1_and_one_line(run, api_port) -> None:
    result = run("get", "nothing", "--api", api_port.address)
    assert (result.exit_code, result.stdout_bytes) == (1, b"")
    assert result.stderr == f"Error: {api_port.address} finds no value for nothing, or cannot reach its holders\n"


@pytest.mark.parametrize(("value", "shown"), [("x", b"x\r\n"), ("x\n", b"x\r\n"), ("", b"\r\n")])
def test_on_a_terminal_a_value_ends_its_line(run, api_port, value: str, shown: bytes) -> None:
    run("put", "motd", value, "--api", api_port.address)
    terminal, shell = os.openpty()
    try:
        line = [sys.executable, "-m", "gdht", "get", "motd", "--api", api_port.address]
        subprocess.run(line, stdout=shell, timeout=20, check=True)
        assert os.read(terminal, 100) == shown
    finally:
        os.close(terminal)
        os.close(shell)


@pytest.mark.parametrize("line", [("put", "", "x"), ("get", ""), ("where", ""), ("trace", "")])
def test_an_empty_key_is_wrong_use(run, line: tuple[str, ...]) -> None:
    result = run(*line)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "not empty" in result.stderr


@pytest.mark.parametrize(
    ("option", "value"), [("--ttl", "x"), ("--ttl", "1.5"), ("--replication", "x"), ("--timeout", "x")]
)
def test_a_number_that_is_none_is_called_so(run, option: str, value: str) -> None:
    result = run("put", "motd", "x", option, value)
    assert result.exit_code == 2
    assert f"{value!r} is not a valid" in result.stderr
    assert result.stderr.endswith("number.\n")


def test_a_put_that_fails_is_exit_code_1_and_one_line(run, api_port) -> None:
    api_port.refuses = True
    result = run("put", "motd", "x", "--api", api_port.address)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {api_port.address}: the write quorum did not store the value\n"


def test_the_longest_value_fits_and_one_byte_more_is_refused(run, api_port) -> None:
    assert run("put", "big", "-", "--api", api_port.address, input=bytes(65495)).exit_code == 0
    result = run("put", "big", "-", "--api", api_port.address, input=bytes(65496))
    assert result.exit_code == 2
    assert "a value is at most 65,495 bytes; standard input has more" in result.stderr
    result = run("put", "big", "x" * 65497, "--api", api_port.address)
    assert result.exit_code == 2
    assert "this one has 65,497" in result.stderr


@pytest.mark.parametrize("digits", ["", "0f", "0g" * 32, "0f" * 33, " " + "0f" * 32, "0f" * 32 + "\n"])
def test_a_bad_hex_key_is_wrong_use_and_says_what_is_expected(run, digits: str) -> None:
    for line in (("get", f"hex:{digits}"), ("where", f"hex:{digits}"), ("trace", f"hex:{digits}")):
        result = run(*line)
        assert result.exit_code == 2
        assert "expected 64 hex digits after hex:" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--ttl", "65536"),
        ("--ttl", "-1"),
        ("--ttl", "soon"),
        ("--replication", "256"),
        ("--api", "nowhere"),
        ("--timeout", "0"),
    ],
)
def test_options_that_do_not_fit_are_wrong_use(run, options: tuple[str, str]) -> None:
    result = run("put", "motd", "x", *options)
    assert result.exit_code == 2
    assert options[0] in result.stderr


def test_nobody_listening_is_exit_code_1_and_says_where(run, free_address: str) -> None:
    hint = ": is the node running, and is this its API address (--api)?"
    for line in (("get", "motd"), ("put", "motd", "x")):
        result = run(*line, "--api", free_address)
        assert result.exit_code == 1
        assert result.stderr == f"Error: cannot reach {free_address}: Connection refused{hint}\n"


def test_the_environment_names_the_api_port(run, api_port) -> None:
    assert run("put", "motd", "x", env={"GDHT_API_ADDRESS": api_port.address}).exit_code == 0


# With the admin port --------------------------------------------------------------------------------------------------


@pytest.fixture
def witnessed(run, api_port, node):
    """Run a verb against the API port, with the admin port of the faked node beside it."""
    node[1].status = replace(node[1].status, api_address=api_port.address)
    return lambda *line: run(*line, "--api", api_port.address, "--admin", node[0], "--token", "secret")


def failed(operation: str, result: str, detail: str, age_s: float = 0.0) -> FailedRequest:
    puts = int(operation == "put")
    return FailedRequest(1, time.time() - age_s, operation, hash_key("motd"), result, detail, puts, 3 * puts, 0.1)


def test_a_put_says_on_how_many_nodes_the_value_is(witnessed, node) -> None:
    node[1].holders = (Holder(NEXT, "owner", stat(True)), Holder(FAR, "replica", stat(True)))
    result = witnessed("put", "motd", "x")
    assert (result.exit_code, result.output) == (0, "Stored on 2 of 2 replicas.\n")
    assert node[1].asked == [hash_key("motd")]


def test_a_put_that_misses_a_replica_says_which(witnessed) -> None:
    result = witnessed("put", "motd", "x")
    assert result.exit_code == 0
    assert result.output.startswith("Stored on 1 of 2 replicas. 1 of 2 nodes have the version of")
    assert f"{FAR.address} does not answer." in result.output


def test_a_put_that_fails_says_why(witnessed, api_port, node) -> None:
    api_port.refuses = True
    node[1].failed = [failed("put", "quorum", "n2:1: store_full")]
    result = witnessed("put", "motd", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("did not store the value: quorum, 1 of 3, n2:1: store_full\n")


def test_a_get_that_fails_says_why(witnessed, node) -> None:
    node[1].failed = [failed("get", "timeout", "n2:1")]
    result = witnessed("get", "motd")
    assert result.exit_code == 1
    assert result.stderr.endswith("or cannot reach its holders: timeout, n2:1\n")


@pytest.mark.parametrize("typed", ["motd", f"hex:{hash_key('motd').hex().upper()}"])
def test_a_get_of_what_is_surely_not_there_says_so(witnessed, api_port, node, typed: str) -> None:
    node[1].failed = [failed("get", "not_found", "")]
    result = witnessed("get", typed)
    assert (result.exit_code, result.stderr) == (1, f"Error: {api_port.address} has no value for {typed}\n")


@pytest.mark.parametrize("other", [failed("put", "quorum", "n2:1"), failed("get", "timeout", "n2:1", age_s=60)])
def test_the_reason_of_another_request_is_not_given(witnessed, node, other: FailedRequest) -> None:
    node[1].failed = [other]
    assert witnessed("get", "motd").stderr.endswith("or cannot reach its holders\n")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "n1.example:1", "0.0.0.0:1"])
def test_an_admin_port_of_another_node_is_told_instead_of_what_it_knows(witnessed, api_port, node, address) -> None:
    node[1].status = replace(node[1].status, api_address=address)
    other = f"http://{node[0]} is of a node with the API port {address}, not {api_port.address} (--admin, --api)\n"
    assert witnessed("put", "motd", "x").output == f"Stored; on how many nodes is not known: {other}"
    assert witnessed("get", "other").stderr.endswith(f"or cannot reach its holders; why is not known: {other}")


def test_an_admin_port_of_another_node_of_the_ring_may_well_tell_the_copies(witnessed, node) -> None:
    node[1].status = replace(node[1].status, api_address="127.0.0.1:1")
    node[1].holders = (Holder(NEXT, "owner", stat(True)),)
    assert witnessed("put", "motd", "x").output == "Stored on 1 of 1 replica.\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "n1.example"])
def test_a_node_that_listens_everywhere_or_under_a_name_may_well_be_the_one(witnessed, api_port, node, host) -> None:
    node[1].status = replace(node[1].status, api_address=f"{host}:{api_port.server_address[1]}")
    assert witnessed("get", "other").stderr.endswith("or cannot reach its holders\n")


def test_a_silent_port_is_exit_code_1_and_says_what_to_look_at(run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        result = run("get", "motd", "--api", address, "--timeout", "0.1")
    assert result.exit_code == 1
    assert "did not answer within 0.1 s: is this its API address (--api)?" in result.stderr


def test_an_admin_port_that_does_not_answer_changes_no_outcome(run, api_port, free_address: str) -> None:
    there = ("--api", api_port.address, "--admin", free_address)
    result = run("put", "motd", "x", *there)
    assert result.exit_code == 0
    assert result.output.startswith("Stored; on how many nodes is not known: no answer from")
    assert run("get", "motd", *there).stdout == "x"
    result = run("get", "other", *there)
    assert result.exit_code == 1
    assert "; why is not known: no answer from" in result.stderr


def test_an_admin_address_that_is_none_is_wrong_use_before_anything_is_put(run, api_port) -> None:
    result = run("put", "motd", "x", "--api", api_port.address, "--admin", "nowhere")
    assert result.exit_code == 2
    assert api_port.puts == []
