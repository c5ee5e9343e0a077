"""Whose store it is: another node's is noticed, and one that refuses writes is tried again by the same note."""

import logging

from gdht.core.peer import Peer
from gdht.errors import StoreError
from gdht.node.owner_note import try_again, write_identity
from gdht.store.memory import MemoryStore


def test_a_store_of_another_node_is_noticed_once(caplog):
    store = MemoryStore(1000)
    with caplog.at_level(logging.WARNING):
        write_identity(store, Peer(1, "a:1"))
        write_identity(store, Peer(1, "a:2"))  # another address is not another node
        assert caplog.text == ""
        write_identity(store, Peer(2, "b:1"))
        assert "node " + "0" * 63 + "1's at a:2" in caplog.text
        caplog.clear()
        write_identity(store, Peer(2, "b:1"))
        assert caplog.text == ""


class RefusingStore(MemoryStore):
    """A store that counts what it is asked to write, and writes nothing."""

    error = "it broke"
    asked = 0

    def write_note(self, name, content):
        self.asked += 1
        raise StoreError("disk", self.error)


def test_a_store_that_refuses_writes_is_told_and_served(caplog):
    write_identity(RefusingStore(1000), Peer(1, "a:1"))
    assert "it broke" in caplog.text


def test_only_a_store_that_failed_is_tried_again():
    store = RefusingStore(1000)
    try_again(store)
    assert store.asked == 1
    store.error = ""
    try_again(store)
    assert store.asked == 1
