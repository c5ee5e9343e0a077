"""What docs/protocol.md says of numbers and names is so."""

import re
from hashlib import blake2b
from pathlib import Path

import pytest

from gdht.core.digests import entry_hash
from gdht.core.messages import (
    MESSAGE_TYPES,
    RECORDS_PER_MESSAGE_MAX,
    VALUE_BYTES_MAX,
    ArcDigest,
    ErrorReason,
    FailureReason,
    P2pCompare,
    P2pReplyCompare,
)
from gdht.core.records import Version
from gdht.wire.codec import encode_p2p

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def spelled(message: type) -> str:
    """P2pGetSuccessor: GET SUCCESSOR."""
    return " ".join(re.findall("[A-Z][a-z]+", message.__name__.removeprefix("P2p"))).upper()


def test_the_table_has_every_message_between_peers() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (?:P2P )?([A-Z ]+?) \|", PAGE, re.MULTILINE)
    expected = {(str(number), spelled(message)) for message, number in MESSAGE_TYPES.items() if number >= 660}
    assert sorted(rows) == sorted(expected)


@pytest.mark.parametrize(("word", "reasons"), [("FAILURE", FailureReason), ("ERROR", ErrorReason)])
def test_every_reason_is_listed_with_its_number(word: str, reasons: type[FailureReason | ErrorReason]) -> None:
    (sentence,) = re.findall(rf"{word}\sreasons: (.*?)[.;]", PAGE, re.DOTALL)
    assert re.findall(r"(\d+) ([A-Z_]+)", sentence) == [(str(reason.value), reason.name) for reason in reasons]


def test_the_bounds_are_those_of_the_program() -> None:
    assert f"A count u16 is at most {RECORDS_PER_MESSAGE_MAX}:" in " ".join(PAGE.split())
    assert f"A value has at most {VALUE_BYTES_MAX:,} bytes" in " ".join(PAGE.split())


def test_an_arc_without_differences_costs_so_many_bytes() -> None:
    there, back = re.findall(r"(\d+) bytes\s+there and (\d+) back", PAGE)[0]
    question = P2pCompare(1, (ArcDigest(1, 2, 1_000_000, bytes(16)),))
    assert len(encode_p2p(question, 1)) == int(there)
    assert len(encode_p2p(P2pReplyCompare(True, (True,), (1_000_000,)), 1)) == int(back)


def test_a_record_counts_in_a_digest_as_the_page_says() -> None:
    key, stamp, coordinator, replication = b"k" * 32, 0x0102030405060708, 1 << 255, 3
    hashed = blake2b(
        key + stamp.to_bytes(8, "big") + coordinator.to_bytes(32, "big") + bytes([replication]), digest_size=16
    ).digest()
    assert entry_hash(key, Version(stamp, coordinator), replication) == int.from_bytes(hashed, "big")
