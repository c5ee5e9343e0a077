"""The list of messages is complete: every request has a number, a name and its replies."""

from typing import get_args

import pytest

from gdht.core.messages import (
    MESSAGE_TYPES,
    METHODS,
    REPLIES,
    DhtMessage,
    DhtPut,
    ErrorReason,
    FailureReason,
    P2pError,
    P2pGet,
    P2pMessage,
    P2pPut,
    P2pReplySuccessor,
    Reply,
    Request,
)

REQUESTS = get_args(Request)


def test_every_message_has_a_number_of_its_own():
    assert set(MESSAGE_TYPES) == {*get_args(DhtMessage), *get_args(P2pMessage)}
    assert len(set(MESSAGE_TYPES.values())) == len(MESSAGE_TYPES)


def test_the_numbers_follow_the_client_api():
    assert [MESSAGE_TYPES[kind] for kind in get_args(DhtMessage)] == [650, 651, 652, 653]
    assert MESSAGE_TYPES[P2pPut] == 660
    assert MESSAGE_TYPES[P2pGet] == 661
    assert MESSAGE_TYPES[P2pReplySuccessor] == 665
    assert min(MESSAGE_TYPES[kind] for kind in get_args(P2pMessage)) == 660


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.__name__)
def test_every_request_knows_its_replies_and_its_name(kind):
    assert REPLIES[kind]
    assert all(reply in get_args(Reply) for reply in REPLIES[kind])
    assert P2pError not in REPLIES[kind]
    name = "".join(f"_{char.lower()}" if char.isupper() else char for char in kind.__name__).lstrip("_")
    assert METHODS[kind] == name


def test_nothing_but_requests_has_replies_and_a_name():
    assert set(REPLIES) == set(METHODS) == set(REQUESTS)


def test_every_reply_but_error_answers_some_request():
    answered = {reply for replies in REPLIES.values() for reply in replies}
    assert answered == set(get_args(Reply)) - {P2pError}


def test_a_message_is_a_request_or_a_reply_not_both():
    assert not set(REQUESTS) & set(get_args(Reply))


@pytest.mark.parametrize(("reserved", "wants"), [(0, False), (1, True), (2, False), (3, True), (254, False)])
def test_only_bit_0_of_reserved_asks_for_an_answer(reserved, wants):
    assert DhtPut(0, 0, reserved, bytes(32), b"").wants_answer is wants


def test_only_what_may_pass_is_worth_another_try():
    assert [reason.name for reason in ErrorReason if reason.retriable] == ["NOT_JOINED", "OVERLOAD", "INTERNAL"]
    assert len(FailureReason) == 6
