"""A small internet on this machine: hosts in network namespaces around a router whose links can be cut, slow or lossy.

The namespaces have no names and the machine's own network is not touched. They last as long as this process or one
that runs in them, so nothing is left behind, however a test ends. Needs root, iproute2, and of the kernel: veth, tbf,
cls_bpf and act_mirred. netem is not asked for: many a virtual machine's kernel lacks it.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import permutations
from pathlib import Path
from types import TracebackType
from typing import Self

HOSTS_MAX = 250

SLOW_BITS_PER_S = 128_000
SLOW_BURST_BYTES = 2_000
SLOW_QUEUE_S = 0.25
"""A slow link: a packet waits for those before it, this long at most; what would have to wait longer is lost."""

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class CommandFailed(Exception):
    """`ip` or `tc` refused; the text says what and why."""


def _demand(result: int) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _open_own() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Namespace:
    """A network namespace. Sockets made and processes started inside it stay there. Raises: OSError when refused."""

    def __init__(self) -> None:
        with _coming_back():
            _demand(_libc.unshare(_CLONE_NEWNET))
            self._file = _open_own()

    @property
    def path(self) -> str:
        """What other programs know it by."""
        return f"/proc/{os.getpid()}/fd/{self._file}"

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be in it for the length of a `with` block."""
        with _coming_back():
            _demand(_libc.setns(self._file, _CLONE_NEWNET))
            yield

    def run(self, program: str, *lines: str) -> None:
        """Run lines of `ip` or `tc` inside. Raises: CommandFailed, OSError when there is no such program."""
        with self.inside():
            done = subprocess.run(
                [program, "-batch", "-"], input="\n".join(lines), capture_output=True, text=True, check=False
            )
        if done.returncode != 0:
            raise CommandFailed(f"{program}: {done.stderr.strip()}: {'; '.join(lines)}")

    def close(self) -> None:
        """Let go of it; it ends with the last process inside."""
        os.close(self._file)


@contextmanager
def _coming_back() -> Iterator[None]:
    home = _open_own()
    try:
        yield
    finally:
        _demand(_libc.setns(home, _CLONE_NEWNET))
        os.close(home)


class Host:
    """One machine of the network. link: the router's end of its cable."""

    def __init__(self, number: int, namespace: Namespace) -> None:
        self.address = f"10.77.{number}.2"
        self.link = f"host{number}"
        self.namespace = namespace

    def __repr__(self) -> str:
        return f"<{self.link} {self.address}>"


class Network:
    """Hosts, each with a cable to the one router. What a `with` block breaks is whole again after it."""

    def __init__(self) -> None:
        self._namespaces = ExitStack()
        self._router = self._namespace()
        self.hosts: list[Host] = []
        with self._router.inside():
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        self._router.run("ip", "link add sink type veth peer name drain", "link set sink up", "link set drain up")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._namespaces.close()

    def _namespace(self) -> Namespace:
        namespace = Namespace()
        self._namespaces.callback(namespace.close)
        return namespace

    def add_host(self) -> Host:
        """Plug in one more host."""
        number = len(self.hosts) + 1
        assert number <= HOSTS_MAX
        host = Host(number, self._namespace())
        self._router.run(
            "ip",
            f"link add {host.link} type veth peer name eth0 netns {host.namespace.path}",
            f"addr add 10.77.{number}.1/24 dev {host.link}",
            f"link set {host.link} up",
        )
        host.namespace.run(
            "ip",
            "link set lo up",
            f"addr add {host.address}/24 dev eth0",
            "link set eth0 up",
            f"route add default via 10.77.{number}.1",
        )
        self.hosts.append(host)
        return host

    @property
    def lost_packets(self) -> int:
        """How many packets lossy links have swallowed so far."""
        with self._router.inside():
            devices = Path("/proc/thread-self/net/dev").read_text().splitlines()
        counts = next(line.split() for line in devices if line.lstrip().startswith("sink:"))
        return int(counts[10])

    # Faults ----------------------------------------------------------------------------------------------------------

    @contextmanager
    def deaf(self, receivers: Iterable[Host], senders: Iterable[Host]) -> Iterator[None]:
        """A one-way cut: what the senders send to the receivers vanishes without a sign; the other way is open."""
        receivers = [*receivers]
        with self._blackholes([(sender, receiver) for sender in senders for receiver in receivers]):
            yield

    @contextmanager
    def partition(self, *sides: Sequence[Host]) -> Iterator[None]:
        """Cut the network into sides: what is sent from one to another vanishes without a sign."""
        across = [(a, b) for one, other in permutations(sides, 2) for a in one for b in other]
        with self._blackholes(across):
            yield

    @contextmanager
    def slow(self, host: Host) -> Iterator[None]:
        """A thin cable, both ways: packets queue for up to SLOW_QUEUE_S, the longer the more there are of them."""
        shape = f"root tbf rate {SLOW_BITS_PER_S} burst {SLOW_BURST_BYTES} latency {SLOW_QUEUE_S * 1000:.0f}ms"
        with (
            _in_force(self._router, "tc", [f"qdisc add dev {host.link} {shape}"], [f"qdisc del dev {host.link} root"]),
            _in_force(host.namespace, "tc", [f"qdisc add dev eth0 {shape}"], ["qdisc del dev eth0 root"]),
        ):
            yield

    @contextmanager
    def lossy(self, host: Host, share: float) -> Iterator[None]:
        """A bad cable: of the packets to the host this share is lost, at random, and as many of those it sends."""
        # Four instructions of classic BPF: load a random word; skip one if it is at least ...; match; do not match.
        program = f"4,32 0 0 {0xFFFFF000 + 56},53 1 0 {int(share * 2**32)},6 0 0 {2**32 - 1},6 0 0 0"
        drop = f"protocol ip bpf bytecode '{program}' action mirred egress redirect dev sink"
        ways = [f"filter add dev {host.link} {way} {drop}" for way in ("ingress", "egress")]
        begin, end = f"qdisc add dev {host.link} clsact", f"qdisc del dev {host.link} clsact"
        with _in_force(self._router, "tc", [begin, *ways], [end]):
            yield

    @contextmanager
    def _blackholes(self, ways: Sequence[tuple[Host, Host]]) -> Iterator[None]:
        rules = [f"blackhole from {sender.address} to {receiver.address}" for sender, receiver in ways]
        begin, end = ([f"rule {verb} {rule}" for rule in rules] for verb in ("add", "del"))
        with _in_force(self._router, "ip", begin, end):
            yield


@contextmanager
def _in_force(namespace: Namespace, program: str, begin: Sequence[str], end: Sequence[str]) -> Iterator[None]:
    namespace.run(program, *begin)
    try:
        yield
    finally:
        namespace.run(program, *end)
