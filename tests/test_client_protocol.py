"""Requests to bytes and bytes to answers, without a socket."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdht.client.protocol import Batch, Pipeline
from gdht.client.requests import Answer, Request, make_get, make_put
from gdht.core.messages import DhtFailure, DhtPut, DhtSuccess
from gdht.errors import ClientError
from gdht.wire.codec import encode_dht
from tests.scripted import FAILURE_VECTOR, GET_VECTOR, KEY, OTHER_KEY, SUCCESS_VECTOR

GET, PUT = make_get(KEY), make_put(KEY, b"hello", 0, 0)
SILENT_PUT = make_put(KEY, b"hello", 0, 0, reserved=0)


def sent(*requests: Request) -> Pipeline:
    """A pipeline on which these requests are under way."""
    pipeline = Pipeline("n1:7001")
    for request in requests:
        pipeline.send(request)
    return pipeline


def test_a_get_is_the_golden_frame() -> None:
    assert Pipeline("n1:7001").send(GET) == GET_VECTOR


def test_only_requests_that_get_an_answer_are_waited_for() -> None:
    assert sent(GET, SILENT_PUT, PUT).in_flight == 2


keys = st.integers(0, 3).map(lambda number: bytes([number]) * 32)
pairs = st.one_of(
    st.tuples(keys.map(make_get), st.one_of(st.none(), st.binary(max_size=40))),
    st.tuples(keys.map(lambda key: make_put(key, b"x", 0, 0)), st.sampled_from([None, b""])),
)


@given(st.lists(pairs, min_size=1, max_size=8), st.lists(st.integers(0, 600), max_size=6))
def test_however_the_bytes_are_cut_the_answers_are_those_that_were_sent_in_their_order(
    asked: list[tuple[Request, bytes | None]], cuts: list[int]
) -> None:
    answers: list[Answer] = [
        DhtFailure(request.key) if value is None else DhtSuccess(request.key, value) for request, value in asked
    ]
    stream = b"".join(map(encode_dht, answers))
    pipeline = sent(*(request for request, _ in asked))
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    taken = [answer for start, end in pairwise(places) for answer in pipeline.feed(stream[start:end])]
    assert taken == answers
    assert (pipeline.in_flight, pipeline.is_mid_answer) == (0, False)


@pytest.mark.parametrize("length", [1, 4, 36, 40])
def test_an_answer_that_has_begun_is_known_to_have_begun(length: int) -> None:
    pipeline = sent(GET)
    assert pipeline.feed(SUCCESS_VECTOR[:length]) == []
    assert pipeline.is_mid_answer
    assert str(pipeline.end()) == "n1:7001 closed the connection in the middle of its answer"
    assert pipeline.feed(SUCCESS_VECTOR[length:]) == [DhtSuccess(KEY, b"hello")]
    assert str(pipeline.end()) == "n1:7001 closed the connection without an answer"


@pytest.mark.parametrize(
    ("requests", "received", "words"),
    [
        ((), FAILURE_VECTOR, "more than one answer"),
        ((), b"\0", "more than one answer"),
        ((GET,), SUCCESS_VECTOR + FAILURE_VECTOR, "more than one answer"),
        ((GET,), SUCCESS_VECTOR + b"\0", "more than one answer"),
        ((GET, GET), SUCCESS_VECTOR + encode_dht(DhtFailure(OTHER_KEY)), "another key"),
        ((GET, PUT), SUCCESS_VECTOR + SUCCESS_VECTOR, "a put with a value of 5 bytes"),
        ((GET,), GET_VECTOR, "no answer: type"),
        ((GET,), b"HTTP/1.1 200 OK", "no answer: type"),
        ((GET,), bytes.fromhex("0003028d"), "no answer: size"),
    ],
)
def test_what_is_no_answer_to_what_was_asked_is_an_error_that_names_the_node(
    requests: tuple[Request, ...], received: bytes, words: str
) -> None:
    with pytest.raises(ClientError, match=f"^n1:7001 .*{words}"):
        sent(*requests).feed(received)


# Batches --------------------------------------------------------------------------------------------------------------


def test_a_batch_begins_again_where_the_answers_end() -> None:
    requests = [make_get(bytes([number]) * 32) for number in range(4)]
    batch = Batch(requests)
    assert [batch.next() for _ in range(3)] == requests[:3]
    batch.take([DhtFailure(requests[0].key)], "n1:7001")
    batch.rewind()
    assert [batch.next() for _ in range(3)] == requests[1:]
    assert not batch.has_more


def test_failed_keys_are_refused_puts_and_what_has_no_answer() -> None:
    puts: list[DhtPut] = [make_put(bytes([number]) * 32, b"x", 0, 0) for number in range(4)]
    batch = Batch([*puts, GET])
    batch.take([DhtSuccess(puts[0].key, b""), DhtFailure(puts[1].key)], "n1:7001")
    assert batch.failed_keys == [puts[1].key, puts[2].key, puts[3].key, KEY]
    batch.take([DhtSuccess(puts[2].key, b""), DhtSuccess(puts[3].key, b""), DhtFailure(KEY)], "n1:7001")
    assert batch.failed_keys == [puts[1].key]  # a get that finds nothing has not failed
