"""What the log says of a store that has no room."""

import logging

import pytest


@pytest.fixture
def lines(caplog):
    """`lines()`: what was logged since the last time."""
    caplog.set_level(logging.INFO, logger="gdht.node.fullness")

    def new_lines():
        found = [record.getMessage() for record in caplog.records if record.name == "gdht.node.fullness"]
        caplog.clear()
        return found

    return new_lines


def test_a_full_store_is_told_once_when_it_begins_and_once_when_it_is_over(cluster, lines):
    ring = cluster(1, max_store_bytes=20_000)
    host = ring.hosts[0]
    refused = 0
    for second in range(40):
        refused += ring.put(host, bytes([second]) * 32, bytes(1000), 30, 0).result != "success"
        ring.run_for(0.5)
    assert refused > 10
    (line,) = lines()
    assert line.startswith("the store is full (")
    assert "of 20000 bytes): writes are refused" in line
    ring.run_for(60.0)
    (line,) = lines()
    assert line.startswith("the store has room again (")
