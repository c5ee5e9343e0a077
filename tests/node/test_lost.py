"""The memory of lost peers: bounded, in turns, and not for ever."""

from gdht.core.peer import Peer
from gdht.node.lost import LOST_MAX, REMEMBERED_S, LostPeers


def peer(ident, address="a:1"):
    return Peer(ident, address)


def lost(*idents):
    peers = LostPeers()
    for ident in idents:
        peers.add(peer(ident), float(ident))
    return peers


def test_each_has_its_turn():
    peers = lost(1, 2, 3)
    assert [peers.take_turn(10.0).ident for _ in range(5)] == [1, 2, 3, 1, 2]


def test_nobody_is_lost_at_first():
    assert LostPeers().take_turn(0.0) is None


def test_who_is_lost_twice_keeps_its_turn():
    peers = lost(1, 2)
    peers.add(peer(1), 50.0)
    assert peers.take_turn(60.0) == peer(1)


def test_a_node_that_came_back_at_another_address_is_remembered_there():
    peers = lost(1)
    peers.add(peer(1, "b:2"), 5.0)
    assert peers.peers == (peer(1, "b:2"),)


def test_the_one_lost_first_makes_room():
    peers = lost(*range(LOST_MAX + 1))
    assert len(peers.peers) == LOST_MAX
    assert peer(0) not in peers.peers


def test_after_a_day_a_peer_is_forgotten():
    peers = lost(1, 2)
    assert peers.take_turn(REMEMBERED_S + 1.5) == peer(2)
    assert peers.peers == (peer(2),)


def test_a_second_ring_is_suspected_until_the_peer_is_found_or_silent():
    peers = lost(1, 2)
    peers.suspect(peer(1), 5.0)
    peers.suspect(peer(3), 5.0)
    assert peers.second_ring == (peer(1), peer(3))
    peers.acquit(peer(1))
    peers.forget(peer(3))
    peers.acquit(peer(9))
    assert peers.second_ring == ()
    assert peers.peers == (peer(1), peer(2))
