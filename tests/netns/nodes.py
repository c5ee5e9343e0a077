"""Real nodes, each on a host of its own, and what the members of a ring say of it and of the values in it."""

import json
import random
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.e2e.handmade import ApiSocket
from tests.e2e.harness import Answer, NodeProcess, clockwise, owners, ring_problems, run, wait_for_none
from tests.netns.network import Host

P2P_PORT = 6001
LOCAL_PORTS = "--api-address 127.0.0.1:7001 --admin-address 127.0.0.1:8001".split()
"""Every host has a loopback of its own: clients and pages reach a node whatever is cut."""

STABILIZE_S, CALL_TIMEOUT_S = 0.3, 0.8
"""A call may take what TCP needs to send a packet again twice."""
QUICK = f"--stabilize-interval {STABILIZE_S} --call-timeout {CALL_TIMEOUT_S}".split()

REPLICATION = 3
TTL_S = 3600


class HostNode(NodeProcess):
    """A node that runs on a host, and its clients, which run there too."""

    def __init__(self, place: Path, host: Host, *options: str) -> None:
        self.host = host
        address = f"{host.address}:{P2P_PORT}"
        with host.namespace.inside():
            super().__init__(place, host.link, ["--p2p-address", address, *LOCAL_PORTS, *QUICK, *options])

    def connect(self) -> ApiSocket:
        """A client connection to the API port."""
        with self.host.namespace.inside():
            return super().connect()

    def ask(self, path: str, **headers: str) -> Answer:
        """GET a path of the admin port."""
        with self.host.namespace.inside():
            return super().ask(path, **headers)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run a `gdht` command on the host to its end."""
        with self.host.namespace.inside():
            return run(*arguments)


def start_ring(hosts: Sequence[Host], place: Path, stack: ExitStack) -> list[HostNode]:
    """A node on each host, clockwise; the first host's started the ring. They are killed when the stack is left."""
    nodes: list[HostNode] = []
    for host in hosts:
        join = ["--bootstrap", nodes[0].p2p] if nodes else []
        nodes.append(HostNode(place, host, *join))
        stack.callback(nodes[-1].kill)
        if host is hosts[0]:
            nodes[0].wait_ready()
    for node in nodes:
        node.wait_ready()
    wait_for_none(lambda: ring_problems(nodes))
    return sorted(nodes, key=lambda node: node.ident)


def hosts_of(nodes: Iterable[HostNode]) -> list[Host]:
    """Where these nodes run."""
    return [node.host for node in nodes]


# One ring -------------------------------------------------------------------------------------------------------------


def one_ring_problems(nodes: Sequence[HostNode]) -> list[str]:
    """Why these nodes are not one ring with nothing wrong: by their pointers, a walk from each, a check from each."""
    if problems := ring_problems(nodes):
        return problems
    for node in nodes:
        walk = node.json("ring/walk")
        met = [one["node"]["id"] for one in walk["nodes"]]
        expected = [f"{other.ident:064x}" for other in clockwise(nodes, node.ident)]
        if not walk["complete"] or met != expected:
            problems.append(f"{node.name}: a walk that is complete={walk['complete']} meets {met}, not {expected}")
        checked = node.json("ring/check")
        if not checked["consistent"] or checked["nodes"] != len(nodes):
            problems.append(f"{node.name}: {json.dumps(checked)}")
    return problems


# Values ---------------------------------------------------------------------------------------------------------------

Values = Mapping[bytes, bytes]


def put_values(node: HostNode, count: int) -> dict[bytes, bytes]:
    """Put so many new values through a node, acknowledged."""
    values = {random.randbytes(32): random.randbytes(random.randrange(1, 200)) for _ in range(count)}
    put_again(node, values)
    return values


def put_again(node: HostNode, values: Values) -> None:
    """Put values under given keys through a node, acknowledged."""
    with node.connect() as client:
        client.put_all(values.items(), TTL_S, REPLICATION)


def missing(nodes: Iterable[HostNode], values: Values) -> list[str]:
    """Which values are not read, or not as they were put, through which node."""
    problems = []
    for node in nodes:
        with node.connect() as client:
            found = client.get_all(values)
        problems += [
            f"{node.name}: {key.hex()} is {found.get(key)!r}, not {value!r}"
            for key, value in values.items()
            if found.get(key) != value
        ]
    return problems


def held_by(side: Sequence[HostNode], nodes: Sequence[HostNode], values: Values) -> dict[bytes, bytes]:
    """Those of the values that have a replica on one side, when all these nodes were one ring."""
    return {key: value for key, value in values.items() if {*owners(nodes, key)[:REPLICATION]} & {*side}}
