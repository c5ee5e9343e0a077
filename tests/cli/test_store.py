"""`gdht store`: a stopped node's records are checked, written out and taken in; what cannot be is told in words."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gdht.cli import cli
from gdht.cli.group import Misuse
from gdht.core.records import Record, Version
from gdht.store.durable import DurableStore
from gdht.store.lmdb_disk import LmdbDisk

BYTES_MAX = 1 << 20
RECORDS = 50


def gdht(*line: object, **more: object) -> Result:
    return CliRunner().invoke(cli, ["store", *map(str, line)], **more)  # type: ignore[arg-type]


def open_store(place: Path) -> DurableStore:
    return DurableStore(LmdbDisk(place, BYTES_MAX), BYTES_MAX, lambda _work, _done: None)


def record(number: int, stamp: int = 1, value: bytes = b"value", life_s: float = 1000.0) -> Record:
    return Record(bytes([number]) * 32, value, Version(stamp, 7), time.time() + life_s, 3)


def lines_of(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory of a node that was stopped."""
    store = open_store(tmp_path / "data")
    for number in range(RECORDS):
        store.put(record(number))
    store.put(record(RECORDS, life_s=-10.0))
    store.put(record(RECORDS + 1, stamp=2, value=b"", life_s=-10.0)._replace(tombstone_until_s=time.time() + 500))
    store.close()
    return tmp_path / "data"


def spoil(place: Path) -> None:
    """Change a byte of one value."""
    data = place / "data.mdb"
    whole = data.read_bytes()
    assert b"value" in whole
    data.write_bytes(whole.replace(b"value", b"Value"))


def test_a_sound_store_is_exit_code_0(place):
    result = gdht("check", place)
    assert (result.exit_code, result.stdout) == (0, f"{RECORDS + 2} records, 0 problems\n")
    result = gdht("check", place, "--json")
    assert json.loads(result.stdout) == {"path": str(place), "records": RECORDS + 2, "problems": []}


def test_damage_is_named_and_is_exit_code_1(place):
    spoil(place)
    result = gdht("check", place)
    assert result.exit_code == 1
    assert "its checksum is wrong" in result.stderr
    assert result.stdout.splitlines()[-1] == (
        f"Save what is sound with gdht store export, move {place} away, and start the node; "
        "replicas give back the rest."
    )
    assert json.loads(gdht("check", place, "--json").stdout)["problems"]


def test_damaged_pages_are_told_before_lmdb_reads_them(place):
    data = place / "data.mdb"
    whole = data.read_bytes()
    data.write_bytes(whole[: 3 * 4096] + bytes(len(whole) - 3 * 4096))
    result = gdht("check", place)
    assert result.exit_code == 1
    assert result.stdout.startswith("the pages are damaged, ")


def test_what_is_written_out_and_taken_in_is_the_same(place, tmp_path):
    written = gdht("export", place)
    assert written.exit_code == 0
    assert written.stderr == f"{RECORDS + 1} records written, 0 damaged\n"
    assert len(lines_of(written)) == RECORDS + 1
    (tmp_path / "lines").write_text(written.stdout)
    taken = gdht("import", tmp_path / "new", tmp_path / "lines")
    assert taken.exit_code == 0
    assert (
        taken.stderr
        == f"{RECORDS + 1} records taken, 0 already there, 0 older than what is there, 0 expired, 0 lines refused\n"
    )
    assert gdht("check", tmp_path / "new").stdout == f"{RECORDS + 1} records, 0 problems\n"
    for one, other in zip(lines_of(gdht("export", tmp_path / "new")), lines_of(written), strict=True):
        for name in ("key", "value", "version", "replication", "is_tombstone"):
            assert one[name] == other[name]
        assert 0 <= other["ttl_ms"] - one["ttl_ms"] < 60_000


def test_a_file_can_be_named_for_the_lines(place, tmp_path):
    assert gdht("export", place, tmp_path / "lines").stdout == ""
    assert len((tmp_path / "lines").read_text().splitlines()) == RECORDS + 1
    assert (tmp_path / "lines").stat().st_mode & 0o777 == 0o600


def test_lines_come_from_standard_input_too(place, tmp_path):
    written = gdht("export", place)
    assert gdht("import", tmp_path / "new", input=written.stdout).exit_code == 0
    assert gdht("check", tmp_path / "new").exit_code == 0


def test_damaged_records_are_left_out_and_named(place):
    spoil(place)
    result = gdht("export", place)
    assert result.exit_code == 1
    assert "its checksum is wrong" in result.stderr
    assert all(line["value"] == "" for line in lines_of(result))


def test_a_second_import_of_the_same_lines_takes_nothing(place, tmp_path):
    written = gdht("export", place).stdout
    gdht("import", tmp_path / "new", input=written)
    again = gdht("import", tmp_path / "new", input=written)
    assert again.exit_code == 0
    assert again.stderr.startswith(f"0 records taken, {RECORDS + 1} already there, 0 older")


def test_newer_versions_in_the_store_stay_and_older_ones_go(place, tmp_path):
    written = gdht("export", place).stdout
    store = open_store(tmp_path / "new")
    store.put(record(1, stamp=9, value=b"newer"))
    store.put(record(2, stamp=0, value=b"older"))
    store.close()
    result = gdht("import", tmp_path / "new", input=written)
    assert f"{RECORDS} records taken, 0 already there, 1 older than what is there" in result.stderr
    store = open_store(tmp_path / "new")
    kept = [store.get(bytes([number]) * 32, time.time()) for number in (1, 2)]
    store.close()
    assert [one and one.value for one in kept] == [b"newer", b"value"]


def test_lines_that_are_no_records_are_refused_by_their_number_and_the_others_taken(place, tmp_path):
    good, *_ = gdht("export", place).stdout.splitlines()
    lines = "\n".join(["x", good, '{"key": 5}', "\N{DEGREE SIGN}", "y" * 200_000, good])
    result = gdht("import", tmp_path / "new", input=lines.encode("latin-1"))
    assert result.exit_code == 1
    *refused, summary = result.stderr.splitlines()
    assert refused == [
        "line 1: no JSON",
        "line 3: value: is missing",
        "line 4: no UTF-8",
        "line 5: longer than 100000 bytes",
    ]
    assert summary == "1 record taken, 1 already there, 0 older than what is there, 0 expired, 4 lines refused"


def test_what_has_expired_since_is_left_out(place, tmp_path):
    line = json.loads(gdht("export", place).stdout.splitlines()[0])
    line["at_ms"] -= line["ttl_ms"] + 1
    result = gdht("import", tmp_path / "new", input=json.dumps(line))
    assert "0 records taken, 0 already there, 0 older than what is there, 1 expired" in result.stderr
    assert gdht("check", tmp_path / "new").stdout == "0 records, 0 problems\n"


def test_a_store_at_its_limit_ends_the_import_and_keeps_what_it_took(place, tmp_path):
    written = gdht("export", place).stdout
    result = gdht("import", tmp_path / "new", "--max-store-bytes", 2000, input=written)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: data_dir {tmp_path}/new is at its limit of 2000 bytes after 4 records, at line 5: "
        "raise --max-store-bytes\n"
    )
    assert gdht("check", tmp_path / "new").stdout == "4 records, 0 problems\n"


@pytest.mark.parametrize("verb", ["check", "export", "import"])
def test_the_store_of_a_node_that_runs_is_left_alone(place, verb):
    running = LmdbDisk(place, BYTES_MAX)
    result = gdht(verb, place, input="")
    running.close()
    assert result.exit_code == 1
    assert f"Error: data_dir {place}: is in use by process" in result.stderr


@pytest.mark.parametrize("verb", ["check", "export"])
def test_where_no_store_is_none_is_made(tmp_path, verb):
    result = gdht(verb, tmp_path / "nowhere")
    assert (result.exit_code, result.stderr) == (1, f"Error: data_dir {tmp_path}/nowhere: holds no store\n")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("line", [(), ("check",), ("check", "a", "b"), ("dance", "a"), ("import", "a", "nothere")])
def test_wrong_use_is_exit_code_2(line):
    assert gdht(*line).exit_code == Misuse.exit_code
