"""Replies that wait for the disk: what a node says it has stored must still be there after a crash."""

from collections.abc import Callable

from gdht.core.messages import Reply
from gdht.errors import StoreError
from gdht.node.runtime import Runtime
from gdht.node.storage import Commit, Store


class Later:
    """A reply that holds once a commit has ended well. refused: makes the one to give when it has not."""

    __slots__ = ("_commit", "_refused", "_reply", "_send")

    def __init__(self, commit: Commit, reply: Reply, refused: Callable[[StoreError], Reply]) -> None:
        self._commit = commit
        self._reply = reply
        self._refused = refused

    def when_ready(self, send: Callable[[Reply], None]) -> None:
        """Have `send` called with the reply, once it is clear which; for one caller. Switches: no."""
        self._send = send
        self._commit.when_ended(self._tell)

    def _tell(self, error: StoreError | None) -> None:
        self._send(self._reply if error is None else self._refused(error))


Answer = Reply | Later


def when_durable(store: Store, reply: Reply, refused: Callable[[StoreError], Reply]) -> Answer:
    """A reply that says what the store holds, to be given when all that was written to it so far is durable."""
    commit = store.pending
    return reply if commit is None else Later(commit, reply, refused)


def made_durable(rt: Runtime, store: Store, timeout_s: float) -> bool:
    """Wait until all that was written to a store so far is durable; whether it is. Switches: maybe."""
    commit = store.pending
    if commit is None:
        return True
    ended = rt.signal()
    errors: list[StoreError | None] = []

    def note(error: StoreError | None) -> None:
        errors.append(error)
        ended.set()

    commit.when_ended(note)
    if not errors:
        ended.wait(timeout_s)
    return errors == [None]
