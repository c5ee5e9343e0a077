"""What a node needs memory for: records in memory and on a disk, an idle process, its connections; and what the
garbage collector has to look at.

Usage: python benchmarks/memory.py [--place DIR] [--write benchmarks/memory.md]

Each figure is measured in a process of its own. Resident memory (RSS) of a store on a disk has pages of the mapped file
in it, which the kernel takes back when it needs to; they are told apart.
"""

import argparse
import contextlib
import gc
import platform
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from gdht.core.ident import IDENTS
from gdht.core.messages import P2pHello
from gdht.core.peer import Peer
from gdht.core.records import Record, Version
from gdht.net.hello import HELLO_ID
from gdht.store.durable import DurableStore
from gdht.store.lmdb_disk import LmdbDisk
from gdht.store.memory import MemoryStore
from gdht.wire.codec import encode_p2p

VALUE_BYTES = 100
AT_ONCE = 1000
CONNECTIONS = 1000
SIZES = (100_000, 1_000_000)
BYTES_MAX = 8 << 30
SETTLE_S = 2.0

Row = tuple[str, str]


def rss(pid: int | str = "self") -> tuple[int, int]:
    """Resident bytes of a process: of its own, and of mapped files."""
    status = Path(f"/proc/{pid}/status").read_text()
    own, files, shared = (int(kib) << 10 for kib in re.findall(r"Rss(?:Anon|File|Shmem):\s+(\d+)", status))
    return own, files + shared


def records(count: int) -> Iterator[Record]:
    """Records as other nodes send them: each with a key, value and version of its own."""
    rng = random.Random(1)
    coordinators = [rng.randrange(IDENTS).to_bytes(32, "big") for _ in range(8)]
    now_s = time.time()
    for number in range(count):
        version = Version(number + (1 << 40), int.from_bytes(rng.choice(coordinators), "big"))
        yield Record(rng.randbytes(32), rng.randbytes(VALUE_BYTES), version, now_s + rng.uniform(60, 3600), 3)


def collection_ms() -> float:
    """How long the garbage collector takes for everything, in milliseconds of this thread: the lowest of some."""
    taken_s = []
    for _ in range(5):
        began_s = time.thread_time()
        gc.collect()
        taken_s.append(time.thread_time() - began_s)
    return min(taken_s) * 1000


def fill_memory(count: int, _place: Path) -> Iterator[Row]:
    """A store in memory."""
    store = MemoryStore(BYTES_MAX)
    before, _ = rss()
    for record in records(count):
        store.put(record)
    gc.collect()
    after, _ = rss()
    yield "in memory, own memory", f"{(after - before) / count:.0f} bytes per record"
    yield "in memory, a full garbage collection", f"{collection_ms():.1f} ms, {len(gc.get_objects()):,} objects"


def fill_disk(count: int, place: Path) -> Iterator[Row]:
    """A store on a disk, in groups of a thousand."""
    works: list[tuple[Callable[[], None], Callable[[Exception | None], None]]] = []
    store = DurableStore(LmdbDisk(place, BYTES_MAX), BYTES_MAX, lambda work, done: works.append((work, done)))
    own_before, mapped_before = rss()
    for number, record in enumerate(records(count), 1):
        store.put(record)
        while works and number % AT_ONCE == 0:
            work, done = works.pop(0)
            work()
            done(None)
    gc.collect()
    own, mapped = rss()
    size_bytes = sum(file.stat().st_blocks * 512 for file in place.iterdir())
    yield "on a disk, own memory", f"{(own - own_before) / count:.0f} bytes per record"
    yield "on a disk, mapped file in memory", f"{(mapped - mapped_before) / count:.0f} bytes per record"
    yield "on a disk, file", f"{size_bytes / count:.0f} bytes per record"
    yield "on a disk, a full garbage collection", f"{collection_ms():.1f} ms, {len(gc.get_objects()):,} objects"


class Node:
    """A lone node in a process of its own; leaving the `with` block ends it."""

    def __init__(self, data_dir: str) -> None:
        command = [sys.executable, "-m", "gdht", "-q", "serve", "--data-dir", data_dir, "--bootstrap", ""]
        command += ["--p2p-address", "127.0.0.1:0", "--api-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        ready = re.search(r"p2p=(\S+):(\d+) api=(\S+):(\d+)", self._process.stdout.readline())
        if ready is None:
            raise SystemExit("the node did not start")
        self.p2p, self.api = (ready[1], int(ready[2])), (ready[3], int(ready[4]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def rss(self) -> tuple[int, int]:
        """Its resident memory, when it has come to rest."""
        time.sleep(SETTLE_S)
        return rss(self._process.pid)


def connect(address: tuple[str, int], hello: bytes, count: int) -> list[socket.socket]:
    """So many connections, or as many as the node takes; with a HELLO and its answer when there is one."""
    socks: list[socket.socket] = []
    for _ in range(count):
        sock = socket.create_connection(address)
        if hello:
            sock.sendall(hello)
            if sock.recv(4096)[4:6] != hello[4:6]:
                break
        socks.append(sock)
    return socks


def hellos() -> bytes:
    """What a node says first to another one."""
    peer = Peer(random.Random(2).randrange(IDENTS), "127.0.0.1:9")
    return encode_p2p(P2pHello(1, 1, "default", peer), HELLO_ID)


def processes(place: Path) -> Iterator[Row]:
    """Nodes that do nothing."""
    for label, data_dir in (("in memory", ""), ("on a disk", str(place / "idle"))):
        with Node(data_dir) as node:
            own, mapped = node.rss()
            yield f"idle node, {label}", f"{own / (1 << 20):.1f} MiB of its own, {mapped / (1 << 20):.1f} MiB of files"
    for label, hello in (("API", b""), ("peer", hellos())):
        with Node("") as node:
            before, _ = node.rss()
            socks = connect(node.p2p if hello else node.api, hello, CONNECTIONS)
            after, _ = node.rss()
            count = len(socks)
            yield f"each {label} connection, of {count:,} that are idle", f"{(after - before) / count / 1024:.1f} KiB"
            for sock in socks:
                sock.close()


def apart(name: str, count: int, place: Path) -> list[Row]:
    """The rows of one filling, measured in a process of its own."""
    command = [sys.executable, __file__, "--fill", name, str(count), "--place", str(place)]
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return [(f"{count:,} records {label}", figure) for label, figure in (line.split("\t") for line in lines)]


FILLINGS = {"memory": fill_memory, "disk": fill_disk}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--place", type=Path, default=None, help="where the disk's files are made")
    parser.add_argument("--write", type=Path, help="a file for the report")
    parser.add_argument("--fill", nargs=2, metavar=("STORE", "RECORDS"), help="measure one store here and now")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.place)))
        if arguments.fill:
            for label, figure in FILLINGS[arguments.fill[0]](int(arguments.fill[1]), place / "data"):
                print(f"{label}\t{figure}")
            return
        rows = [row for count in SIZES for name in FILLINGS for row in apart(name, count, place)]
        rows += processes(place)
    lines = ["| | |", "|---|---|", *(f"| {label} | {figure} |" for label, figure in rows)]
    print("\n".join(lines))
    if arguments.write:
        arguments.write.write_text(REPORT.format(python=platform.python_version(), rows="\n".join(lines)))


REPORT = """# Memory

What a node needs memory for: records with values of 100 bytes, and connections that do nothing. Measured on Linux with
Python {python}; run `python benchmarks/memory.py --write benchmarks/memory.md` to repeat it.

{rows}
"""


if __name__ == "__main__":
    main()
