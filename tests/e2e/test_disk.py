"""Disks that fill up, hang, take no writes or hold what is no store: told clearly, and nothing acknowledged is lost."""

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from tests.conftest import IN_CI
from tests.e2e.handmade import ANSWER_WANTED, put_frame
from tests.e2e.harness import FREE_PORTS, Fleet, NodeProcess, run, wait_until

SMALL, LARGER = "4m", "12m"
READ_ONLY = "ro"
VALUE_BYTES = 32_000

HUNG_DISK = Path(__file__).with_name("hung_disk.py")
AT_ONCE_S = 2.0
"""An interpreter takes a moment to end, and the last lines of the log are given a second."""


class Mount:
    """A file system of its own, in memory, with a size that can change. Needs root."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(place))

    def remount(self, option: str) -> None:
        """Change an option of it: another size, `ro`, `rw`."""
        _mount("-o", f"remount,{option}", str(self.place))

    def close(self) -> None:
        """Take it away with all that is in it, also while files are open."""
        subprocess.run(["umount", "--lazy", str(self.place)], check=True, capture_output=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """A small file system; where none can be mounted the test is skipped, in CI it fails."""
    try:
        made = Mount(tmp_path / "disk")
    except (OSError, subprocess.CalledProcessError) as error:
        message = f"no tmpfs can be mounted here, that takes root: {getattr(error, 'stderr', b'') or error!r}"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
    yield made
    made.close()


def fill(node: NodeProcess, values: dict[bytes, bytes]) -> None:
    """Put into a node until it refuses; `values` gets what it acknowledged."""
    with node.connect() as client:
        for _ in range(1000):
            key, value = random.randbytes(32), random.randbytes(VALUE_BYTES)
            if not client.put(key, value):
                return
            values[key] = value
    raise AssertionError("the disk does not fill up")


def missing(node: NodeProcess, values: dict[bytes, bytes]) -> list[str]:
    """What a node does not give back as it was put."""
    with node.connect() as client:
        found = client.get_all(values)
    return [key.hex() for key, value in values.items() if found.get(key) != value]


def is_stored(node: NodeProcess, key: bytes, value: bytes) -> bool:
    """Whether a put is acknowledged."""
    with node.connect() as client:
        return client.put(key, value)


def rejected(node: NodeProcess, reason: str) -> float:
    """How many writes were refused for a reason, by the node's metrics."""
    return node.metrics().get(f'gdht_store_rejected_writes_total{{reason="{reason}"}}', 0.0)


# A disk that takes no more --------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_writes_and_serves_reads_until_there_is_room_again(fleet: Fleet, mount: Mount) -> None:
    node = fleet.start("--data-dir", str(mount.place / "data"))
    values: dict[bytes, bytes] = {}
    fill(node, values)
    assert len(values) > 50
    assert missing(node, values) == []
    ready = node.ask("/readyz?verbose")
    assert ready.status == 503
    assert "[-]store_writable failed: " in ready.text
    assert str(mount.place / "data") in ready.text
    assert "the disk is full" in ready.text
    assert rejected(node, "disk") >= 1
    assert node.ask("/livez").status == 200
    mount.remount(f"size={LARGER}")
    wait_until(lambda: is_stored(node, bytes(32), b"goes on"), "writes go on once there is room")
    values[bytes(32)] = b"goes on"
    wait_until(lambda: node.ask("/readyz").status == 200, "ready again")
    assert missing(node, values) == []


def test_a_node_killed_while_its_disk_is_full_has_all_it_acknowledged_when_it_is_back(
    fleet: Fleet, mount: Mount
) -> None:
    options = ["--data-dir", str(mount.place / "data")]
    node = fleet.start(*options)
    values: dict[bytes, bytes] = {}
    fill(node, values)
    with node.connect() as client:
        for _ in range(50):
            client.send(put_frame(random.randbytes(32), bytes(VALUE_BYTES), reserved=ANSWER_WANTED))
        node.kill()
    again = fleet.start(*options, "--p2p-address", node.p2p)
    assert missing(again, values) == []
    mount.remount(f"size={LARGER}")
    wait_until(lambda: is_stored(again, bytes(32), b"goes on"), "writes go on once there is room")
    assert missing(again, values) == []


def test_a_full_disk_takes_writes_again_when_records_have_expired(fleet: Fleet, mount: Mount) -> None:
    node = fleet.start("--data-dir", str(mount.place / "data"))
    with node.connect() as client:
        for _ in range(1000):
            if not client.put(random.randbytes(32), random.randbytes(VALUE_BYTES), ttl=3):
                break
        else:
            pytest.fail("the disk does not fill up")
    wait_until(lambda: is_stored(node, bytes(32), b"goes on"), "writes go on once records have expired")


def test_a_node_started_on_a_read_only_disk_serves_reads_and_refuses_writes(fleet: Fleet, mount: Mount) -> None:
    options = ["--data-dir", str(mount.place / "data")]
    values = {random.randbytes(32): random.randbytes(1000) for _ in range(50)}
    node = fleet.start(*options)
    with node.connect() as client:
        client.put_all(values.items())
    node.kill()
    mount.remount(READ_ONLY)
    again = fleet.start(*options, "--p2p-address", node.p2p)
    assert missing(again, values) == []
    assert not is_stored(again, bytes(32), b"refused")
    assert rejected(again, "read_only") >= 1
    ready = again.ask("/readyz?verbose")
    assert ready.status == 503
    assert "read-only" in ready.text
    again.kill()
    mount.remount("rw")
    third = fleet.start(*options, "--p2p-address", node.p2p)
    assert missing(third, values) == []
    assert is_stored(third, bytes(32), b"taken")


def test_a_store_at_its_configured_limit_refuses_what_is_too_much_and_says_why(fleet: Fleet, tmp_path: Path) -> None:
    node = fleet.start("--data-dir", str(tmp_path / "data"), "--max-store-bytes", "1000000")
    values: dict[bytes, bytes] = {}
    fill(node, values)
    assert missing(node, values) == []
    assert rejected(node, "full") >= 1
    assert rejected(node, "disk") == 0


# A disk that hangs ----------------------------------------------------------------------------------------------------


class HungDisk:
    """A node whose disk has hung since it acknowledged `values`, and while one more write is on its way there."""

    def __init__(self, fleet: Fleet, place: Path) -> None:
        self._fleet = fleet
        self.data_dir = place / "data"
        self._options = ["--data-dir", str(self.data_dir)]
        hangs, held = place / "hangs", place / "held"
        self.node = fleet.start(*self._options, prefix=(sys.executable, str(HUNG_DISK), str(hangs), str(held)))
        self.values = {random.randbytes(32): random.randbytes(100) for _ in range(50)}
        with self.node.connect() as client:
            client.put_all(self.values.items())
            hangs.touch()
            client.send(put_frame(bytes(32), b"not acknowledged", reserved=ANSWER_WANTED))
            wait_until(held.exists, "the disk hangs")

    def lost(self) -> list[str]:
        """What was acknowledged and is not there after a new start on a sound disk."""
        return missing(self._fleet.start(*self._options, "--p2p-address", self.node.p2p), self.values)


@pytest.fixture
def hung_disk(fleet: Fleet, tmp_path: Path) -> HungDisk:
    return HungDisk(fleet, tmp_path)


def test_a_node_whose_disk_hangs_ends_in_time_says_so_and_has_lost_nothing_acknowledged(hung_disk: HungDisk) -> None:
    assert hung_disk.node.leave() == 1
    assert f"the disk hangs: data_dir {hung_disk.data_dir} could not be closed" in hung_disk.node.log
    assert hung_disk.lost() == []


def test_a_second_signal_ends_a_node_whose_disk_hangs_at_once(hung_disk: HungDisk) -> None:
    node = hung_disk.node
    node.signal(signal.SIGTERM)
    wait_until(lambda: not is_open(node.admin), "all that is left is to close the store")
    assert node.alive
    node.signal(signal.SIGTERM)
    assert node.wait_end(AT_ONCE_S) == 1
    assert hung_disk.lost() == []


def is_open(address: str) -> bool:
    """Whether somebody listens there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port))).close()
    except ConnectionRefusedError:
        return False
    return True


# What is no store of ours ---------------------------------------------------------------------------------------------


def refusal(data_dir: Path) -> str:
    """The one line that `serve` ends with."""
    done = run("serve", *FREE_PORTS, "--data-dir", str(data_dir))
    error = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b""), error
    assert len(error.splitlines()) == 1, error
    assert str(data_dir) in error
    return error


@pytest.fixture
def stored(fleet: Fleet, tmp_path: Path) -> Path:
    """The directory of a node that held some values and was killed."""
    data_dir = tmp_path / "data"
    node = fleet.start("--data-dir", str(data_dir))
    with node.connect() as client:
        client.put_all((random.randbytes(32), random.randbytes(2000)) for _ in range(100))
    node.kill()
    return data_dir


def test_a_data_dir_in_use_is_refused_with_the_process_that_has_it(fleet: Fleet, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    node = fleet.start("--data-dir", str(data_dir))
    error = refusal(data_dir)
    assert "in use" in error
    assert str(node.pid) in error
    node.kill()
    assert fleet.start("--data-dir", str(data_dir)).alive


def test_a_data_file_that_lost_its_end_is_refused(stored: Path) -> None:
    data = stored / "data.mdb"
    os.truncate(data, data.stat().st_size // 2)
    assert "data.mdb" in refusal(stored)


@pytest.mark.parametrize("content", [b"\n", random.Random(1).randbytes(100_000)], ids=["a line", "random bytes"])
def test_a_data_file_that_is_no_store_is_refused(tmp_path: Path, content: bytes) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "data.mdb").write_bytes(content)
    assert "data.mdb" in refusal(data_dir)
    assert (data_dir / "data.mdb").read_bytes() == content


def test_a_store_of_a_newer_format_is_refused_and_left_as_it_is(stored: Path) -> None:
    with lmdb.open(str(stored), max_dbs=8, map_size=1 << 30) as env:
        notes = env.open_db(b"notes", create=False)
        with env.begin(write=True, db=notes) as txn:
            assert int(txn.get(b"format")) < 999
            txn.put(b"format", b"999")
    before = (stored / "data.mdb").read_bytes()
    assert "999" in refusal(stored)
    assert (stored / "data.mdb").read_bytes() == before


def test_a_data_dir_that_is_a_file_or_cannot_be_made_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a directory")
    assert "no directory" in refusal(file)
    refusal(file / "below")


def test_an_empty_read_only_disk_is_refused(mount: Mount) -> None:
    mount.remount(READ_ONLY)
    assert "read-only" in refusal(mount.place / "data").lower()
