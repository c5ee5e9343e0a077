"""A node that cannot start says why in words a person can act on, with the exit code its manager expects."""

import signal
import socket
from pathlib import Path

import pytest

from tests.e2e.harness import FREE_PORTS, Fleet, clean_environ, run, wait_until


@pytest.mark.parametrize(
    ("option", "key"),
    [("--p2p-address", "p2p_address"), ("--api-address", "api_address"), ("--admin-address", "admin")],
)
def test_a_port_in_use_is_named_and_the_exit_code_is_1(fleet: Fleet, option: str, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("serve", *FREE_PORTS, option, address)
    error = done.stderr.decode()
    assert done.returncode == 1
    assert done.stdout == b""
    assert address in error
    assert key in error
    assert "in use" in error
    assert len(error.splitlines()) == 1, error


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[dht]\nreplicaton = 3\n", ["node.ini:2", "[dht] replicaton", "nearest is replication"]),
        ("[dht]\nreplication = many\n", ["node.ini:2", "[dht] replication = many", "whole number"]),
        ("[dht]\nstabilize_interval = 0\n", ["node.ini:2", "stabilize_interval = 0", "seconds"]),
        ("[dht]\nwrite_quorum = most\n", ["node.ini:2", "write_quorum = most", "one, majority or all"]),
        ("[dht]\napi_address = 127.0.0.1\n", ["node.ini:2", "api_address = 127.0.0.1", "host:port"]),
        ("[dht]\nbootstrap = a:1, b\n", ["node.ini:2", "bootstrap", "host:port"]),
        ("[admin]\nadress = 127.0.0.1:1\n", ["node.ini:2", "[admin] adress", "nearest is address"]),
        ("[dht]\nreplication = 9\n", ["node.ini", "replication = 9", "max_replication = 8"]),
        ("[dht]\np2p_address = 0.0.0.0:6001\n", ["node.ini", "p2p_address = 0.0.0.0:6001", "advertise_address"]),
        ("[dht]\nring\n", ["node.ini:2", "ring", "key = value"]),
        ("hostkey = /nowhere/key.pem\n", ["node.ini:1: hostkey = /nowhere/key.pem: ", "No such file"]),
    ],
)
def test_an_error_in_the_file_names_file_key_and_what_is_right_and_the_exit_code_is_2(
    fleet: Fleet, tmp_path: Path, text: str, told: list[str]
) -> None:
    file = tmp_path / "node.ini"
    file.write_text(text)
    options = [] if "p2p_address" in text or "api_address" in text else FREE_PORTS
    done = run("serve", "-c", str(file), *options)
    error = done.stderr.decode()
    assert done.returncode == 2, error
    assert done.stdout == b""
    for words in told:
        assert words.lower() in error.lower()
    assert len(error.splitlines()) == 1, error


def test_an_error_in_the_environment_or_the_options_names_the_variable_or_the_option(fleet: Fleet) -> None:
    done = run("serve", *FREE_PORTS, env={**clean_environ(), "GDHT_REPLICATON": "3"})
    assert done.returncode == 2
    assert "GDHT_REPLICATON" in done.stderr.decode()
    assert "GDHT_REPLICATION" in done.stderr.decode()
    done = run("serve", *FREE_PORTS, "--replication", "none")
    assert done.returncode == 2
    assert "--replication" in done.stderr.decode()
    done = run("serve", *FREE_PORTS, "--hostkey", "/nowhere/key.pem")
    assert done.returncode == 2
    assert "option --hostkey = /nowhere/key.pem: cannot be read" in done.stderr.decode()
    done = run("serve", "-c", "nowhere.ini")
    assert done.returncode == 2
    assert "nowhere.ini" in done.stderr.decode()


def test_a_file_with_sections_of_other_modules_is_read_and_options_win_over_it(fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "voidphone.ini"
    file.write_text(
        "[gossip]\ncache_size = 50\nnonsense here\n\n[dht]\nlisten_address = 127.0.0.1:0\nring = from-file ; why not\n"
        "replication = 2\n[auth]\nlisten_address = 127.0.0.1:1\n"
    )
    node = fleet.start("-c", str(file), "--ring", "from-option")
    assert node.json("node")["ring"] == "from-option"


def test_ctrl_c_before_a_ring_is_found_ends_a_node_cleanly(fleet: Fleet) -> None:
    node = fleet.spawn("--bootstrap", "127.0.0.1:1")
    wait_until(lambda: "not in the ring yet" in node.log, "looks for its ring")
    node.signal(signal.SIGINT)
    assert node.wait_end() == 0
    assert node.output == ""


def test_a_node_without_an_admin_port_serves_its_clients(fleet: Fleet) -> None:
    node = fleet.spawn("--admin-address", "")
    node.wait_output()
    assert node.output.endswith(" admin=-\n")
    api = node.output.split(" api=")[1].split()[0]
    done = run("put", "k", "v", "--api", api)
    assert done.returncode == 0, done.stderr
    assert run("get", "k", "--api", api).stdout == b"v"
