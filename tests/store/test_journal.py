"""A journal: what was appended is there again, whole and in order, whatever happened to its end."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdht.store import journal
from gdht.store.journal import BLOCK_BYTES, OVERHEAD_BYTES, Journal, JournalDamaged

MARK, OTHER = b"mark one", b"mark two"
bodies = st.lists(st.binary(max_size=1500), max_size=6)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path for many examples, which each begin anew."""
    return tmp_path_factory.mktemp("journal") / "journal"


def write(path: Path, entries: list[bytes], mark: bytes = MARK) -> None:
    path.unlink(missing_ok=True)
    written = Journal(path)
    written.begin(mark)
    for entry in entries:
        written.append(entry)
    written.close()


def recalled(path: Path, mark: bytes = MARK) -> list[bytes]:
    return Journal(path).recall(mark)


def test_without_a_file_there_is_nothing(path):
    assert recalled(path) == []
    assert not path.exists()


def test_before_it_was_begun_it_takes_nothing(path):
    new = Journal(path)
    new.recall(b"")
    assert not new.has_room(b"")


@given(bodies)
def test_what_was_appended_is_there_again(shared, entries):
    write(shared, entries)
    assert recalled(shared) == entries


@given(bodies, st.integers(0, 10_000))
def test_of_a_file_that_was_cut_off_there_are_the_first_entries(shared, entries, kept_bytes):
    """As after a crash: the last entry was on its way."""
    write(shared, entries)
    if shared.exists():
        os.truncate(shared, min(kept_bytes, shared.stat().st_size))
    found = recalled(shared)
    assert found == entries[: len(found)]


@given(bodies.filter(bool), st.data())
def test_a_changed_byte_costs_the_last_entry_or_is_found_out(shared, entries, data):
    write(shared, entries)
    content = bytearray(shared.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    shared.write_bytes(content)
    try:
        found = recalled(shared)
    except JournalDamaged as error:
        assert "is wrong, though a later one is right" in str(error)
    else:
        assert found in (entries, entries[:-1]), "a byte that nobody reads, or the end"


def test_a_wrong_entry_before_right_ones_is_named(path):
    write(path, [b"one", b"two", b"three"])
    content = bytearray(path.read_bytes())
    content[BLOCK_BYTES + OVERHEAD_BYTES] ^= 1
    path.write_bytes(content)
    with pytest.raises(JournalDamaged, match="entry 1 at byte 512 is wrong"):
        recalled(path)


def test_after_it_was_begun_anew_what_was_before_does_not_count(path):
    write(path, [b"old"] * 5)
    again = Journal(path)
    assert again.recall(MARK) == [b"old"] * 5
    again.begin(OTHER)
    again.append(b"new")
    again.close()
    assert recalled(path, OTHER) == [b"new"]
    assert recalled(path, b"mark 3rd") == []


def test_what_is_appended_after_a_recall_follows_what_was_recalled(path):
    write(path, [b"one", bytes(3000)])
    os.truncate(path, path.stat().st_size - 1000)  # the second one was on its way
    again = Journal(path)
    assert again.recall(MARK) == [b"one"]
    again.append(b"two")
    again.append(b"three")
    again.close()
    assert recalled(path) == [b"one", b"two", b"three"]


def test_it_has_room_up_to_its_bound(path, monkeypatch):
    monkeypatch.setattr(journal, "JOURNAL_BYTES_MAX", 3 * BLOCK_BYTES)
    new = Journal(path)
    new.begin(MARK)
    new.append(b"one")
    assert new.has_room(bytes(2 * BLOCK_BYTES - OVERHEAD_BYTES))
    assert not new.has_room(bytes(2 * BLOCK_BYTES - OVERHEAD_BYTES + 1))
    new.stop()
    assert not new.has_room(b"")
    new.close()


def test_a_disk_that_takes_a_part_at_a_time_gets_all_of_it(path, monkeypatch):
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: whole(file, data[:100], at))
    write(path, [bytes(range(250)), b"two"])
    assert recalled(path) == [bytes(range(250)), b"two"]


def test_its_name_is_made_durable_though_that_failed_at_first(path, monkeypatch):
    new = Journal(path)
    new.begin(MARK)
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with monkeypatch.context() as failing:
        failing.setattr(os, "fsync", lambda _file: os.close(-1))
        with pytest.raises(OSError, match="Bad file"):
            new.append(b"one")
    new.begin(OTHER)
    new.append(b"two")
    new.append(b"three")
    new.close()
    assert len(synced) == 1
    assert recalled(path, OTHER) == [b"two", b"three"]


def test_its_file_is_for_its_owner_alone(path):
    write(path, [b"one"])
    assert path.stat().st_mode & 0o777 == 0o600
