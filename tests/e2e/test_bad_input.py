"""What clients must not send, and strangers who speak something else: refused, counted, and nobody else disturbed."""

import random
import struct
from collections.abc import Callable

import pytest

from tests.e2e.handmade import PUT, SUCCESS, dial, get_frame, put_frame, read_to_end, success_frame
from tests.e2e.harness import STEADY_NODES, NodeProcess, ask_admin, keys_of, wait_until

MEMORY_GROWTH_MAX = 24 << 20
FLOOD_BYTES = 8 << 20
P2P_PING = 0x029C

HELLO_BODY = b"GDHT\x01\x01\x07default" + bytes(31) + b"\x09\x0e127.0.0.1:6001"
"""A node of this ring: magic, versions from and to, ring, identifier, address."""
HELLO = struct.pack(">IHBBI", len(HELLO_BODY), 666, 1, 0, 0) + HELLO_BODY


def header(size: int, type_number: int) -> bytes:
    """The first four bytes of an API message."""
    return struct.pack(">HH", size, type_number)


BROKEN = {
    "a size of 0": ("size", header(0, 651) + bytes(32)),
    "a size below the header's": ("size", header(3, 651)),
    "a put without a whole key": ("size", header(39, PUT) + bytes(35)),
    "a put of its header alone": ("size", header(4, PUT)),
    "a get without a whole key": ("size", header(35, 651) + bytes(31)),
    "a get with a byte too many": ("size", header(37, 651) + bytes(33)),
    "a get of the greatest size": ("size", header(65535, 651) + bytes(65531)),
    "type 0": ("type", header(36, 0) + bytes(32)),
    "a type nobody knows": ("type", header(36, 654) + bytes(32)),
    "the greatest type": ("type", header(65535, 65535) + bytes(1000)),
    "an answer instead of a request": ("type", header(41, 652) + bytes(37)),
    "a peer-to-peer put": ("type", header(45, 660) + bytes(41)),
    "a get that ends early": ("truncated", get_frame(bytes(32))[:20]),
    "a put that ends in its value": ("truncated", put_frame(bytes(32), b"cut off here")[:-5]),
    "a header that ends early": ("truncated", header(36, 651)[:3]),
}

HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
TLS_CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + random.Random(1).randbytes(192)
NOISE = random.Random(2).randbytes(4096)
FOUR_GIB = struct.pack(">IHBBI", 0xFFFFFFFF, 660, 1, 0, 1)

STRANGERS = {"an HTTP request": HTTP, "TLS": TLS_CLIENT_HELLO, "noise": NOISE, "4 GiB announced": FOUR_GIB}


def total(node: NodeProcess, metric: str) -> float:
    """The sum of a metric over its labels."""
    return sum(value for name, value in node.metrics().items() if name.partition("{")[0] == metric)


# The API port ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reason", "broken"), BROKEN.values(), ids=BROKEN.keys())
def test_malformed_input_ends_its_connection_after_the_answers_before_it(
    ring: list[NodeProcess], reason: str, broken: bytes
) -> None:
    node = ring[
        [*BROKEN.values()].index((reason, broken)) % STEADY_NODES
    ]  # a node logs only so many such lines a second
    counted = f'gdht_api_malformed_messages_total{{reason="{reason}"}}'
    before, log_before = node.metrics(), len(node.log_lines)
    keys = [next(keys_of(ring, owner)) for owner in ring]
    with node.connect() as bystander, node.connect() as halfway, node.connect() as offender:
        assert bystander.put(keys[0], b"hers")
        halfway.send(get_frame(keys[0])[:17])
        offender.send(b"".join(put_frame(key, b"before") + get_frame(key) for key in keys[1:]) + broken)
        if reason == "truncated":
            offender.end_sending()
        assert offender.read_to_end() == b"".join(success_frame(key, b"before") for key in keys[1:])
        assert bystander.get(keys[0]) == b"hers"
        halfway.send(get_frame(keys[0])[17:])
        assert halfway.read() == (SUCCESS, keys[0], b"hers")
        wait_until(lambda: "client=" in "".join(node.log_lines[log_before:]), "a line in the log")
        told = [line for line in node.log_lines[log_before:] if "client=" in line]
        assert len(told) == 1, told
        assert f"client={offender.name} " in told[0]
        assert reason in told[0]
    after = node.metrics()
    changed = {name for name in after if name.startswith("gdht_api_malformed") and after[name] != before.get(name, 0)}
    assert changed == {counted}
    assert after[counted] == before.get(counted, 0) + 1


def test_what_follows_malformed_input_on_its_connection_is_not_carried_out(ring: list[NodeProcess]) -> None:
    key = random.randbytes(32)
    with ring[0].connect() as offender:
        offender.send(header(36, 654) + bytes(32) + put_frame(key, b"too late"))
        assert offender.read_to_end() == b""
    with ring[0].connect() as client:
        assert client.get(key) is None


def test_many_broken_connections_at_once_are_all_counted_and_the_log_stays_short(ring: list[NodeProcess]) -> None:
    node = ring[0]
    before, lines_before = total(node, "gdht_api_malformed_messages_total"), len(node.log_lines)
    clients = [node.connect() for _ in range(100)]
    for client in clients:
        client.send(HTTP)
    for client in clients:
        assert client.read_to_end() == b""
        client.close()
    assert total(node, "gdht_api_malformed_messages_total") == before + 100
    assert len(node.log_lines) - lines_before <= 50


# Strangers ------------------------------------------------------------------------------------------------------------


def visit(address: str, greeting: bytes) -> bytes:
    """Say something, then push as much as one is let; what was answered before the other side closed."""
    with dial(address) as sock:
        try:
            sock.sendall(greeting)
            sock.settimeout(3)
            for _ in range(FLOOD_BYTES >> 16):
                sock.sendall(bytes(1 << 16))
        except (ConnectionResetError, BrokenPipeError, TimeoutError):
            pass
        sock.settimeout(10)
        return read_to_end(sock)


@pytest.mark.parametrize("greeting", STRANGERS.values(), ids=STRANGERS.keys())
@pytest.mark.parametrize("port", ["api", "p2p", "admin"])
def test_a_stranger_is_refused_and_costs_no_memory(ring: list[NodeProcess], port: str, greeting: bytes) -> None:
    node = ring[1]
    key = random.randbytes(32)
    with node.connect() as client:
        assert client.put(key, b"still here")
        memory_before = node.memory_bytes
        for _ in range(3):
            answer = visit(getattr(node, port), greeting)
            assert b"Traceback" not in answer
            if port == "admin":
                assert answer == b"" or answer.startswith(b"HTTP/1.1 "), answer[:200]
            else:
                assert answer == b""
        assert node.memory_bytes - memory_before < MEMORY_GROWTH_MAX
        assert client.get(key) == b"still here"
    assert node.ask("/livez").text == "ok"
    assert node.ask("/readyz").status == 200


@pytest.mark.parametrize("greeting", [HTTP[:12], TLS_CLIENT_HELLO[:12], FOUR_GIB[:4]], ids=["HTTP", "TLS", "4 GiB"])
def test_a_stranger_on_the_p2p_port_is_refused_at_its_first_bytes(ring: list[NodeProcess], greeting: bytes) -> None:
    before = total(ring[2], "gdht_peer_rejected_total")
    with dial(ring[2].p2p) as sock:
        sock.sendall(greeting)  # and then it waits for an answer
        assert read_to_end(sock) == b""
        host, port = sock.getsockname()
        wait_until(lambda: any(f"client={host}:{port} " in line for line in ring[2].log_lines), "a line in the log")
    assert total(ring[2], "gdht_peer_rejected_total") == before + 1


def read_p2p(read: Callable[[int], bytes]) -> tuple[int, int, bytes]:
    """Type, request id and body of a P2P frame."""
    size, type_number, _, _, request_id = struct.unpack(">IHBBI", read(12))
    return type_number, request_id, read(size)


def test_a_peer_that_announces_4_gib_after_its_hello_is_refused_with_a_reason(ring: list[NodeProcess]) -> None:
    node = ring[3]
    memory_before = node.memory_bytes
    with dial(node.p2p) as sock, sock.makefile("rb") as file:
        sock.sendall(HELLO + struct.pack(">IHBBI", 0, P2P_PING, 1, 0, 5))
        assert read_p2p(file.read)[0] == 666
        assert read_p2p(file.read)[1] == 5
        sock.sendall(FOUR_GIB)
        type_number, _, body = read_p2p(file.read)
        assert type_number == 667
        assert b"4294967295" in body
        assert file.read() == b""
    assert node.memory_bytes - memory_before < MEMORY_GROWTH_MAX


def test_a_p2p_type_of_a_newer_version_is_answered_and_the_connection_lives(ring: list[NodeProcess]) -> None:
    with dial(ring[3].p2p) as sock, sock.makefile("rb") as file:
        sock.sendall(
            HELLO + struct.pack(">IHBBI", 3, 699, 1, 0, 8) + b"new" + struct.pack(">IHBBI", 0, P2P_PING, 1, 0, 9)
        )
        assert read_p2p(file.read)[0] == 666
        type_number, request_id, body = read_p2p(file.read)
        assert (type_number, request_id) == (667, 8)
        assert b"699" in body
        assert read_p2p(file.read)[1] == 9


def test_a_stranger_that_says_hello_does_not_become_a_member(ring: list[NodeProcess]) -> None:
    with dial(ring[0].p2p) as sock, sock.makefile("rb") as file:
        sock.sendall(HELLO)
        assert read_p2p(file.read)[0] == 666
        assert len(ring[0].json("ring/walk")["nodes"]) == STEADY_NODES


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"POST /livez HTTP/1.1", b"405"),
        (b"GET /nothing HTTP/1.1", b"404"),
        (b"GET /admin/api/keys/xyz HTTP/1.1", b"400"),
        (b"GET /admin/static/../../app.py HTTP/1.1", b"404"),
        (b"GET /%00%ff HTTP/1.1", b"404"),
        (b"BREW /livez HTTP/1.1", b"405"),
    ],
)
def test_wrong_http_requests_on_the_admin_port_get_a_plain_answer(
    ring: list[NodeProcess], request_line: bytes, status: bytes
) -> None:
    with dial(ring[0].admin) as sock:
        sock.sendall(request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = read_to_end(sock)
    assert answer.split(b" ")[1] == status, answer[:300]
    assert b"Traceback" not in answer


def test_idle_connections_to_the_admin_port_do_not_keep_the_probes_from_being_answered(
    ring: list[NodeProcess],
) -> None:
    idle = [dial(ring[0].admin) for _ in range(200)]
    try:
        assert ask_admin(ring[0].admin, "/livez").text == "ok"
    finally:
        for sock in idle:
            sock.close()
