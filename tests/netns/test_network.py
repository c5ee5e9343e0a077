"""The network itself: its faults do what the other tests here rely on, and end when they should."""

import errno
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.harness import wait_until
from tests.netns.network import SLOW_QUEUE_S, Host, Network

PORT = 9
PACKETS = 200
"""As many as a socket's buffer has room for."""


def receiver(host: Host) -> socket.socket:
    """A socket of a host that hears datagrams."""
    with host.namespace.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host.address, PORT))
    sock.settimeout(0.2)
    return sock


def sender(host: Host, to: Host) -> socket.socket:
    """A socket of a host that sends datagrams to another one; a sign that they do not arrive is an error."""
    with host.namespace.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((to.address, PORT))
    return sock


def delays_s(here: socket.socket, there: socket.socket, count: int, size: int = 1) -> list[float]:
    """Send so many datagrams at once; for each that arrives, how long after the beginning."""
    delays = []
    started_s = time.monotonic()
    for _ in range(count):
        here.send(bytes(size))
    with suppress(TimeoutError):
        while there.recv(size):
            delays.append(time.monotonic() - started_s)
    return delays


def arrived(host: Host, other: Host, count: int = 1) -> int:
    """How many of so many datagrams from one host arrive at another."""
    with receiver(other) as there, sender(host, other) as here:
        return len(delays_s(here, there, count))


@pytest.fixture(scope="module")
def new_hosts(network: Network) -> list[Host]:
    """Two hosts on which nothing runs; a new cable takes a moment."""
    pair = [network.add_host(), network.add_host()]
    wait_until(lambda: arrived(*pair) == arrived(*reversed(pair)) == 1, "the cables work")
    return pair


@pytest.fixture
def hosts(new_hosts: list[Host]) -> list[Host]:
    """Two hosts that hear each other."""
    assert arrived(*new_hosts) == 1
    return new_hosts


def test_a_partition_swallows_packets_both_ways_without_a_sign_until_it_ends(
    network: Network, hosts: list[Host]
) -> None:
    a, b = hosts
    with network.partition([a], [b]):
        assert arrived(a, b, 2) == 0
        assert arrived(b, a, 2) == 0
    assert (arrived(a, b), arrived(b, a)) == (1, 1)


def test_a_one_way_cut_leaves_the_other_way_open(network: Network, hosts: list[Host]) -> None:
    a, b = hosts
    with network.deaf([b], [a]):
        assert arrived(a, b) == 0
        assert arrived(b, a) == 1
    assert arrived(a, b) == 1


def test_a_cut_ends_also_when_a_test_fails_during_it(network: Network, hosts: list[Host]) -> None:
    with pytest.raises(KeyError), network.partition(*([host] for host in hosts)):
        raise KeyError
    assert arrived(*hosts) == 1


def test_a_connection_attempt_across_a_cut_hangs_instead_of_being_refused(network: Network, hosts: list[Host]) -> None:
    a, b = hosts
    with network.partition([a], [b]), a.namespace.inside(), pytest.raises(TimeoutError):
        socket.create_connection((b.address, PORT), timeout=0.5)
    with a.namespace.inside(), pytest.raises(OSError, match=rf"Errno {errno.ECONNREFUSED}"):
        socket.create_connection((b.address, PORT), timeout=0.5)


def test_a_lossy_link_loses_about_its_share_of_packets_each_way(network: Network, hosts: list[Host]) -> None:
    a, b = hosts
    before = network.lost_packets
    with network.lossy(b, 0.3):
        shares = [arrived(*way, PACKETS) / PACKETS for way in ((a, b), (b, a))]
    assert all(0.55 < share < 0.85 for share in shares), shares
    assert network.lost_packets - before == round(sum(1 - share for share in shares) * PACKETS)
    assert arrived(a, b, 20) == 20


def test_a_slow_link_delays_what_it_has_no_room_for_and_loses_the_rest(network: Network, hosts: list[Host]) -> None:
    a, b = hosts
    with network.slow(b), receiver(b) as there, sender(a, b) as here:
        delays = delays_s(here, there, PACKETS, 1000)
    assert delays[0] < SLOW_QUEUE_S / 3
    assert 0.5 * SLOW_QUEUE_S < delays[-1] < 2 * SLOW_QUEUE_S
    assert 5 < len(delays) < PACKETS / 5


def test_the_network_of_the_machine_is_not_touched(network: Network) -> None:
    devices = Path("/proc/thread-self/net/dev").read_text()
    assert "lo:" in devices
    assert not [name for name in ("sink:", *(f"{host.link}:" for host in network.hosts)) if name in devices]
    with pytest.raises(OSError, match="assign requested address"), socket.socket() as sock:
        sock.bind((network.hosts[0].address, 0))
