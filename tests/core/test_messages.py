"""The list of messages is complete: every request has a number, a name and its replies, and knows them."""

from typing import get_args

import pytest

from gdht.core.messages import (
    MESSAGE_TYPES,
    METHODS,
    REPLIES,
    ArcDigest,
    DhtMessage,
    DhtPut,
    Entry,
    ErrorReason,
    FailureReason,
    P2pAck,
    P2pCompare,
    P2pError,
    P2pFailure,
    P2pFetch,
    P2pGet,
    P2pGetSuccessor,
    P2pLeave,
    P2pMessage,
    P2pOffer,
    P2pPing,
    P2pPut,
    P2pReconcile,
    P2pReplyCompare,
    P2pReplyFetch,
    P2pReplyOffer,
    P2pReplyReconcile,
    P2pReplyStat,
    P2pReplySuccessor,
    P2pReplyTransfer,
    P2pStat,
    P2pSuccess,
    P2pTransfer,
    RecordCopy,
    Reply,
    Request,
    fits,
)
from gdht.core.records import NO_VERSION

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
def test_every_askedknows_its_replies_and_its_name(kind):
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


def test_a_message_is_a_askedor_a_reply_not_both():
    assert not set(REQUESTS) & set(get_args(Reply))


KEY, OTHER = bytes(32), b"\1" * 32
FITTING = [
    (P2pPing(), P2pAck()),
    (P2pLeave(), P2pAck()),
    (P2pGetSuccessor(5, True), P2pReplySuccessor(5, False, ())),
    (P2pGet(KEY, True), P2pSuccess(KEY, 1, 1, NO_VERSION, b"value")),
    (P2pGet(KEY, True), P2pFailure(KEY, 1, "")),
    (P2pPut(KEY, 1, 1, NO_VERSION, True, b"value"), P2pSuccess(KEY, 1, 1, NO_VERSION, b"")),
    (P2pPut(KEY, 1, 1, NO_VERSION, True, b"value"), P2pFailure(KEY, 4, "full")),
    (P2pStat(KEY), P2pReplyStat(KEY, False, 0, 0, NO_VERSION, 0, bytes(32))),
    (P2pFetch((KEY,)), P2pReplyFetch(1, ())),
    (P2pCompare(1, ()), P2pReplyCompare(True, (), ())),
]


@pytest.mark.parametrize(("asked", "reply"), FITTING, ids=lambda message: type(message).__name__)
def test_a_reply_of_the_right_kind_fits(asked, reply):
    assert fits(asked, reply)


@pytest.mark.parametrize(
    ("asked", "reply"),
    [(request, reply._replace(key=OTHER)) for request, reply in FITTING if hasattr(reply, "key")]
    + [(P2pGetSuccessor(5, True), P2pReplySuccessor(6, False, ()))],
    ids=lambda message: type(message).__name__,
)
def test_a_reply_about_another_key_or_place_does_not_fit(asked, reply):
    assert not fits(asked, reply)


@pytest.mark.parametrize(("asked", "reply"), FITTING, ids=lambda message: type(message).__name__)
def test_a_reply_of_another_kind_does_not_fit(asked, reply):
    others = [other for _, other in FITTING if type(other) not in REPLIES[type(asked)]]
    assert not any(fits(asked, other) for other in [*others, P2pReplyOffer(()), asked, P2pError(9, ""), None])


ENTRY = Entry(KEY, NO_VERSION, 3)
COPY = RecordCopy(KEY, 1, 3, NO_VERSION, b"value")
ARC = ArcDigest(1, 2, 3, bytes(16))
TOO_FEW = [
    (P2pOffer((ENTRY, ENTRY)), P2pReplyOffer((True,))),
    (P2pTransfer((COPY, COPY)), P2pReplyTransfer((True,))),
    (P2pCompare(1, (ARC, ARC)), P2pReplyCompare(True, (True, True), (3,))),
    (P2pCompare(1, (ARC, ARC)), P2pReplyCompare(True, (True,), (3, 3))),
    (P2pReconcile(1, 2, 3, (ENTRY, ENTRY)), P2pReplyReconcile(True, 3, (True,), ())),
    (P2pFetch((KEY, OTHER)), P2pReplyFetch(3, ())),
    (P2pFetch((KEY, OTHER)), P2pReplyFetch(0, ())),
]


@pytest.mark.parametrize(("asked", "reply"), TOO_FEW, ids=lambda message: type(message).__name__)
def test_a_reply_about_more_or_fewer_things_than_were_asked_does_not_fit(asked, reply):
    assert not fits(asked, reply)


@pytest.mark.parametrize(("reserved", "wants"), [(0, False), (1, True), (2, False), (3, True), (254, False)])
def test_only_bit_0_of_reserved_asks_for_an_answer(reserved, wants):
    assert DhtPut(0, 0, reserved, bytes(32), b"").wants_answer is wants


def test_only_what_may_pass_is_worth_another_try():
    assert [reason.name for reason in ErrorReason if reason.retriable] == ["NOT_JOINED", "OVERLOAD", "INTERNAL"]
    assert len(FailureReason) == 7
