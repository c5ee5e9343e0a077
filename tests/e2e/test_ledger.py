"""The judge of the durability tests knows what is wrong when it sees it."""

import pytest

from tests.e2e.ledger import CALLS_S, Ledger, Write

KEY = bytes(range(32))
TTL_S = 60


class Story:
    """The writes of one key, one second after the other."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.now_s = 100.0

    def put(self, how: str, ttl_s: int = TTL_S) -> Write:
        """A write and how it ends."""
        write = self.ledger.begin(KEY, ttl_s, self.now_s)
        self.now_s += 1
        if how == "acknowledged":
            self.ledger.acknowledge(KEY, write, self.now_s)
        elif how == "refused":
            self.ledger.refuse(write, self.now_s)
        else:
            self.ledger.lose(write, self.now_s)
        return write

    def judge(self, value: bytes | None, after_s: float = 0.0) -> str:
        """What is wrong with reading this now."""
        now_s = self.now_s + after_s
        return self.ledger.wrong(KEY, value, now_s) or self.ledger.missing(KEY, value, now_s)


@pytest.fixture
def story() -> Story:
    return Story()


def test_an_acknowledged_value_is_right_and_nothing_else_is(story: Story) -> None:
    write = story.put("acknowledged")
    assert story.judge(write.value) == ""
    assert "nothing was read" in story.judge(None)
    assert "was read, " in story.judge(b"never written")


def test_what_was_acknowledged_hides_all_that_came_before_it(story: Story) -> None:
    older, in_doubt = story.put("acknowledged"), story.put("refused")
    newest = story.put("acknowledged")
    assert story.judge(newest.value) == ""
    assert "write 1" in story.judge(older.value)
    assert "write 2" in story.judge(in_doubt.value)


@pytest.mark.parametrize("how", ["refused", "broken"])
def test_a_later_write_in_doubt_may_be_read_or_not_but_hides_nothing(story: Story, how: str) -> None:
    acknowledged, in_doubt = story.put("acknowledged"), story.put(how)
    assert story.judge(acknowledged.value) == story.judge(in_doubt.value) == ""
    assert "in doubt" in story.judge(None)


def test_a_value_that_nobody_acknowledged_may_be_there_or_not(story: Story) -> None:
    write = story.put("broken")
    assert story.judge(None) == story.judge(write.value) == ""


def test_an_expired_value_must_be_gone_and_nothing_is_missing_then(story: Story) -> None:
    write = story.put("acknowledged", ttl_s=4)
    assert "nothing was read" in story.judge(None, after_s=2.9)
    assert story.judge(None, after_s=4) == story.judge(write.value, after_s=4) == ""
    assert "after it was put" in story.judge(write.value, after_s=4 + CALLS_S + 0.1)


def test_an_older_value_with_a_longer_life_must_not_come_back(story: Story) -> None:
    older = story.put("acknowledged")
    story.put("acknowledged", ttl_s=4)
    assert story.judge(None, after_s=20) == ""
    assert "write 1" in story.judge(older.value, after_s=20)


def test_a_short_life_in_doubt_may_have_taken_the_acknowledged_value_with_it(story: Story) -> None:
    acknowledged = story.put("acknowledged")
    story.put("refused", ttl_s=4)
    assert "nothing was read" in story.judge(None, after_s=2)
    assert story.judge(None, after_s=5) == story.judge(acknowledged.value, after_s=5) == ""
