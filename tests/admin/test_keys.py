"""Keys and requests: the verdict on a key, the keys of a node, and why requests did not succeed."""

import hashlib
import re
import time

import pytest
from flask.testing import FlaskClient

from gdht.admin.verdict import verdict
from gdht.core.messages import P2pReplyStat
from gdht.core.peer import Peer
from gdht.core.placement import Role
from gdht.core.records import NO_VERSION, Version
from gdht.node.failures import FailedRequest
from gdht.node.keys import HeldKey, Holder, KeyReport

KEY = hashlib.sha256(b"hello").digest()
OLD, NEW = Version(1_700_000_000_000 << 16, 0xAB << 248), Version(1_700_000_060_000 << 16, 0xCD << 248)
NEW_WORDS = "version of 2023-11-14 22:14:20 UTC by cd000000"


def holder(number, version=NEW, role="replica", value=b"hello", replication=3):
    """What one node says. value None: only the version, or nothing at all, is left."""
    there = version is not None and value is not None
    digest = hashlib.sha256(value or b"").digest() if there else bytes(32)
    stat = P2pReplyStat(KEY, there, 1000 * there, replication * there, version or NO_VERSION, 5 * there, digest)
    return Holder(Peer(number, f"n{number}:1"), role, stat)


def silent(number, role="replica"):
    return Holder(Peer(number, f"n{number}:1"), role, None, "timed out")


def failed(number=1, operation="put", key=KEY, result="quorum", detail="n2:1: did not answer"):
    return FailedRequest(number, 1_700_000_000.0, operation, key, result, detail, 1, 3, 0.25)


# The verdict ----------------------------------------------------------------------------------------------------------


GONE = f"No node holds it any more: the life of the newest version, {NEW_WORDS.removeprefix('version ')}, is over."
UNKNOWN = "Not known: no node that answered holds it, but n2:1, n3:1 should and do not answer."
ABSENT = "No node holds it: it was never stored, or its life is over."


@pytest.mark.parametrize(
    ("holders", "state", "words"),
    [
        ((holder(1), holder(2), holder(3)), "held", "3 of 3"),
        ((holder(1), holder(2, None), holder(3)), "impaired", "2 of 3: n2:1 does not have it."),
        ((holder(1), silent(2), holder(3)), "impaired", "2 of 3: n2:1 does not answer."),
        ((holder(1, OLD), holder(2), holder(3)), "impaired", "2 of 3: n1:1 has an older version."),
        (
            (holder(1), holder(2, value=b"hallo"), holder(3)),
            "impaired",
            "2 of 3: n2:1 has another value under the same version.",
        ),
        (
            (holder(1), holder(2, OLD, value=None), holder(3)),
            "impaired",
            "2 of 3: n2:1 only remembers an older version, whose life is over.",
        ),
        ((holder(1, None), holder(2, None)), "absent", ABSENT),
        ((holder(1, None), silent(2), silent(3)), "unknown", UNKNOWN),
        ((holder(1, NEW, value=None), holder(2, OLD)), "expired", GONE),
        ((holder(1), holder(2)), "held", "2 of 2: It is to have 3 copies, but the ring has no more nodes."),
        (
            (holder(1, replication=1), holder(9, replication=1, role="misplaced")),
            "held",
            "1 of 1: 1 misplaced copy at n9:1; repair will drop it.",
        ),
        (
            (holder(1, OLD, replication=1), holder(9, role="misplaced", replication=1)),
            "impaired",
            "0 of 1: n1:1 has an older version. 1 misplaced copy at n9:1; repair will drop it.",
        ),
    ],
)
def test_the_verdict_on_a_key_is_said_in_plain_words(holders, state, words):
    judged = verdict(KeyReport(KEY, holders))
    shortened = re.sub(
        rf"^(\d of \d) nodes? ha(?:s|ve) the {NEW_WORDS}(?:, as|;) \w+ should\.(?: (?=.))?", r"\1: ", judged.words
    )
    assert (judged.state, shortened.removesuffix(": ")) == (state, words)


@pytest.mark.parametrize(
    ("holders", "words"),
    [
        ((holder(1, replication=1),), f"1 of 1 node has the {NEW_WORDS}, as it should."),
        ((holder(1, replication=2), holder(2, replication=2)), f"2 of 2 nodes have the {NEW_WORDS}, as they should."),
        (
            (holder(1, replication=2), silent(2)),
            f"1 of 2 nodes have the {NEW_WORDS}; all should. n2:1 does not answer.",
        ),
    ],
)
def test_the_count_of_copies_is_a_sentence(holders, words):
    assert verdict(KeyReport(KEY, holders)).words == words


def test_an_owner_that_cannot_be_found_leaves_it_unknown():
    judged = verdict(KeyReport(KEY, (), "nobody left to ask"))
    assert (judged.state, judged.words) == (
        "unknown", "Not known: the owner of this key cannot be found: nobody left to ask.",
    )  # fmt: skip


def test_a_put_that_failed_may_be_why_nobody_holds_it():
    report = KeyReport(KEY, (holder(1, None),), failures=(failed(1, detail="old"), failed(2), failed(3, "get")))
    assert verdict(report).words.endswith(
        "The last put of it through this node that failed, at 2023-11-14 22:13:20: quorum: n2:1: did not answer."
    )


# Where is a key -------------------------------------------------------------------------------------------------------


def test_a_report_adds_the_verdict_the_conditions_and_the_failures(ring, client: FlaskClient):
    ring.failed = [failed(1), failed(2, "get"), failed(3, key=bytes(32))]
    answer = client.get(f"/admin/api/keys/{KEY.hex()}").json
    assert list(answer) == [
        "key", "state", "verdict", "nodes", "nodes_asked", "newest_version", "checksums_agree", "failed_requests",
    ]  # fmt: skip
    assert (answer["state"], answer["nodes_asked"], answer["checksums_agree"]) == ("impaired", 8, True)
    assert [node["condition"] for node in answer["nodes"]] == ["holds", "lacks", "silent"]
    assert answer["nodes"][0]["digest"] == KEY.hex()  # the value is "hello", as the key's text is
    assert answer["newest_version"] == answer["nodes"][0]["version"]
    assert [request["number"] for request in answer["failed_requests"]] == [2, 1]


def test_the_page_of_a_key_shows_the_verdict_and_the_failures(ring, client: FlaskClient):
    ring.failed = [failed(1)]
    html = client.get("/admin/keys?key=hello").text
    assert 'data-state="impaired"' in html
    assert "n2:1: did not answer" in html
    assert "1 of 3" in html


# Keys of this node ----------------------------------------------------------------------------------------------------


@pytest.fixture
def held(ring):
    """Three keys, one of each role; the last one is a tombstone."""
    ring.held = [
        HeldKey(bytes([n] * 32), role, NEW, 90.5, 1000 + n, 2, role is Role.MISPLACED) for n, role in enumerate(Role)
    ]
    return ring


def test_keys_have_exactly_the_documented_fields(held, client: FlaskClient):
    answer = client.get("/admin/api/keys").json
    assert list(answer) == ["keys", "after"]
    assert answer["keys"][2] == {
        "key": "02" * 32,
        "role": "misplaced",
        "version": {"time": 1_700_000_060.0, "counter": 0, "coordinator": "cd" + "00" * 31},
        "ttl_remaining_seconds": 90.5,
        "bytes": 1002,
        "replication": 2,
        "tombstone": True,
    }
    assert answer["after"] is None


@pytest.mark.parametrize(
    ("query", "numbers", "more"),
    [
        ("", [0, 1, 2], False), ("role=owned", [0], False), ("limit=2", [0, 1], True), ("limit=1", [0], True),
        (f"after={'01' * 32}", [2], False), (f"role=replica&after={'01' * 32}", [], False),
        ("role=&after=", [0, 1, 2], False),
    ],
)  # fmt: skip
def test_keys_are_read_by_role_and_in_pages(held, client: FlaskClient, query, numbers, more):
    answer = client.get(f"/admin/api/keys?{query}").json
    assert [int(one["key"][:2]) for one in answer["keys"]] == numbers
    assert (answer["after"] is not None) is more


def test_a_page_of_keys_is_bounded(held, client: FlaskClient):
    asked = []
    held.keys = lambda role, after, limit: asked.append(limit) or type(held).keys(held, role, after, limit)
    client.get("/admin/api/keys?limit=99999999")
    assert asked == [1000]


@pytest.mark.parametrize("query", ["role=owner", "after=12", "limit=x", "limit=0"])
def test_a_question_about_keys_that_makes_no_sense_is_refused(client: FlaskClient, query):
    assert client.get(f"/admin/keys?{query}").status_code == 400
    answer = client.get(f"/admin/api/keys?{query}")
    assert (answer.status_code, list(answer.json)) == (400, ["error"])


def test_the_page_of_keys_lists_them_and_leads_on(held, client: FlaskClient, monkeypatch):
    monkeypatch.setattr("gdht.admin.pages.KEYS_SHOWN_MAX", 2)
    html = client.get("/admin/keys").text
    assert re.findall(r'href="/admin/keys\?key=hex%3A(\d\d)', html) == ["00", "01"]
    (further,) = re.findall(r'href="(/admin/keys\?limit=2&after=[0-9a-f]{64})"', html)
    html = client.get(further).text
    assert re.findall(r'href="/admin/keys\?key=hex%3A(\d\d)', html) == ["02"]
    assert "misplaced, tombstone" in html
    assert "Further keys" not in html


@pytest.mark.parametrize("query", ["role=owner", "after=12", "after=" + "0g" * 32])
def test_a_page_of_keys_that_there_cannot_be_is_an_error_page(client: FlaskClient, query):
    answer = client.get(f"/admin/keys?{query}")
    assert (answer.status_code, answer.mimetype) == (400, "text/html")


# Requests that did not succeed ----------------------------------------------------------------------------------------


def test_requests_have_exactly_the_documented_fields(ring, client: FlaskClient):
    ring.failed = [failed()._replace(wall_s=time.time() - 10)]
    answer = client.get("/admin/api/requests").json
    assert list(answer) == ["requests"]
    (request,) = answer["requests"]
    assert request.pop("time") == pytest.approx(ring.failed[0].wall_s, abs=0.01)
    assert request.pop("age_seconds") == pytest.approx(10, abs=5)
    assert request == {
        "number": 1,
        "operation": "put",
        "key": KEY.hex(),
        "result": "quorum",
        "detail": "n2:1: did not answer",
        "acknowledged": 1,
        "wanted": 3,
        "seconds": 0.25,
    }


@pytest.mark.parametrize(
    ("query", "numbers"),
    [("", [3, 2, 1]), (f"key={KEY.hex()}", [3, 1]), ("limit=1", [3]), (f"key={'11' * 32}", []), ("limit=0", [])],
)
def test_requests_are_told_newest_first_of_one_key_or_all(ring, client: FlaskClient, query, numbers):
    ring.failed = [failed(1), failed(2, key=bytes(32)), failed(3, "get", result="not_found")]
    answer = client.get(f"/admin/api/requests?{query}").json
    assert [request["number"] for request in answer["requests"]] == numbers


@pytest.mark.parametrize("query", ["key=12", "key=", "limit=x"])
def test_a_question_about_requests_that_makes_no_sense_is_refused(client: FlaskClient, query):
    assert client.get(f"/admin/api/requests?{query}").status_code == 400


def test_the_page_of_requests_shows_reasons_and_leads_to_the_key(ring, client: FlaskClient):
    assert "None." in client.get("/admin/requests").text
    ring.failed = [failed(1), failed(2, "get", bytes(32), "not_found", "")]
    html = client.get("/admin/requests").text
    assert f'href="/admin/keys?key=hex%3A{KEY.hex()}"' in html
    assert "n2:1: did not answer" in html
    assert "not found" in html
    assert "1 of 3" in html
    html = client.get("/admin/requests?key=hello").text
    assert "n2:1: did not answer" in html
    assert "not found" not in html


def test_a_bad_key_is_said_on_the_page_of_requests(client: FlaskClient):
    answer = client.get("/admin/requests?key=hex:12")
    assert answer.status_code == 400
    assert "This is not a key" in answer.text
