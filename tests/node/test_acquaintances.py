"""Whom a node writes down for its next run, what it makes of the note then, and how it looks for them."""

from functools import partial

import pytest

from gdht.core.messages import P2pPing
from gdht.core.peer import Peer
from gdht.core.ring import Ring
from gdht.errors import StoreError
from gdht.node.acquaintances import (
    MEET_MAX,
    NOTE,
    NOTE_BYTES_MAX,
    NOTHING,
    REMEMBER_INTERVALS,
    find_again,
    known_peers,
    recall,
    remember,
    remember_at_once,
    write_memory,
)
from gdht.node.journal import Cause
from gdht.node.lost import LOST_MAX
from gdht.node.membership import found_ring
from gdht.node.state import CONTACTS_MAX
from gdht.node.status import State


def idents(peers):
    return [peer.ident for peer in peers]


def member(world, successors, predecessors=()):
    """A node at 100 with pointers to these; `at` need not be there."""
    actor = world.add(100)
    ring = Ring(actor.me, 64).with_successors(*successors).with_predecessors(*predecessors)
    actor.node.state = State.ACTIVE
    actor.node.set_ring(ring, Cause.JOINED)
    return actor


def writes(actor):
    """How many notes this node writes from now on; a list that grows."""
    written = []
    write_note = actor.node.store.write_note

    def count(name, content):
        written.append(content)
        write_note(name, content)

    actor.node.store.write_note = count
    return written


# What is written down -------------------------------------------------------------------------------------------------


def test_neighbours_come_first_the_nearest_of_both_sides_in_turn(world, at):
    node = member(world, [at(110), at(120), at(130)], [at(90), at(80)]).node
    node.lost.add(at(50), 0.0)
    assert idents(known_peers(node)) == [110, 90, 120, 80, 130, 50]


def test_nobody_is_written_down_twice_nor_the_node_itself(world, at):
    node = member(world, [at(110), at(90)], [at(90), at(110)]).node
    node.lost.add(at(90), 0.0)
    node.lost.add(node.me, 0.0)
    assert idents(known_peers(node)) == [110, 90]


def test_no_more_are_written_down_than_are_asked_at_a_start(world, at):
    node = member(world, [at(101 + number) for number in range(60)]).node
    for number in range(LOST_MAX):
        node.lost.add(at(1000 + number), 0.0)
    assert len(known_peers(node)) == CONTACTS_MAX
    write_memory(node)
    assert len(recall(node).peers) == CONTACTS_MAX


def test_what_is_written_down_is_recalled(world, at):
    node = member(world, [at(110), at(120), at(130), at(140)], [at(90)]).node
    node.lost.add(Peer((1 << 256) - 1, "[2001:db8::1]:6001"), 0.0)
    write_memory(node)
    memory = recall(node)
    assert memory.peers == known_peers(node)
    assert idents(memory.near) == [110, 90, 120, 130], "with max_replication 4: who holds the same records"
    assert not memory.alone


def test_the_longest_note_is_within_its_bound(world):
    host = ".".join(["a" * 61] * 4)
    known = [Peer(101 + number, f"{host}:65535") for number in range(CONTACTS_MAX)]
    node = member(world, known).node
    write_memory(node)
    assert recall(node).peers == tuple(known)


def test_an_address_is_recalled_as_its_node_spelled_it(world):
    odd = Peer(7, "[0:0::1]:6001"), Peer(8, "Node-1.Example.org:6001")
    node = member(world, []).node
    for peer in odd:
        node.lost.add(peer, 0.0)
    write_memory(node)
    assert recall(node).peers == odd


def test_a_lone_founder_remembers_that_it_is_the_whole_ring(world):
    node = world.add(10).node
    found_ring(node)
    write_memory(node)
    assert recall(node) == ((), 0, True)


def test_nothing_is_written_when_nothing_changed(world, at):
    actor = member(world, [at(110)])
    written = writes(actor)
    for _ in range(50):
        remember(actor, actor.node)
        world.clock_s += 1.0
    assert len(written) == 1


def test_it_is_written_no_more_often_than_every_few_intervals(world, at):
    actor = member(world, [at(110)])
    written = writes(actor)
    interval_s = actor.node.config.stabilize_interval
    for number in range(40):
        actor.node.set_ring(actor.node.ring.with_successors(at(110), at(120 + number)), Cause.PULLED)
        remember(actor, actor.node)
        world.clock_s += interval_s
    assert len(written) == 40 / REMEMBER_INTERVALS


def test_that_it_is_no_longer_alone_is_written_at_once(world, at):
    actor = world.add(100)
    found_ring(actor.node)
    remember(actor, actor.node)
    actor.node.set_ring(actor.node.ring.with_successors(at(110)), Cause.PULLED)
    remember(actor, actor.node)
    assert recall(actor.node) == ((at(110),), 1, False)


def joined(world, at, *, awaited=()):
    """A founder at 100 that waits for these from its last run, and was joined by 110; with the hook of a whole node."""
    actor = world.add(100)
    actor.node.when_alone_or_not = partial(remember_at_once, actor.node)
    actor.node.awaited, actor.node.awaited_until_s = awaited, 30.0
    found_ring(actor.node)
    return actor


def test_it_is_written_before_anything_is_stored_in_the_ring(world, at):
    """A ring of two may crash as a whole before the next round of maintenance."""
    actor = joined(world, at)
    remember(actor, actor.node)
    actor.node.set_ring(actor.node.ring.with_predecessors(at(110)), Cause.NOTIFIED)
    assert recall(actor.node) == ((at(110),), 1, False)


def test_that_it_is_alone_again_is_written_at_once_too(world, at):
    """Else it would look for those who have left for good, when it is killed and started again at once."""
    actor = joined(world, at)
    actor.node.set_ring(actor.node.ring.with_predecessors(at(110)), Cause.NOTIFIED)
    actor.node.forget(at(110))
    assert recall(actor.node).alone


def test_that_it_is_cut_off_is_not(world, at):
    actor = joined(world, at)
    actor.node.set_ring(actor.node.ring.with_predecessors(at(110)), Cause.NOTIFIED)
    actor.node.founder = False
    actor.node.set_ring(Ring(actor.me, 3), Cause.ISOLATED)
    assert recall(actor.node) == ((at(110),), 1, False)


def test_so_it_is_by_a_founder_that_had_not_written_anything_yet(world, at):
    actor = joined(world, at)
    actor.node.set_ring(actor.node.ring.with_predecessors(at(110)), Cause.NOTIFIED)
    assert recall(actor.node) == ((at(110),), 1, False)


def test_but_who_still_waits_for_others_keeps_what_it_knew_of_them(world, at):
    actor = joined(world, at, awaited=(at(120),))
    actor.node.store.write_note(NOTE, f"1 ring 1\n{120:064x} host:120".encode())
    actor.node.set_ring(actor.node.ring.with_predecessors(at(110)), Cause.NOTIFIED)
    assert idents(recall(actor.node).peers) == [120]


def test_where_it_cannot_be_written_at_once_the_node_goes_on_and_tries_again(world, at, caplog):
    actor = joined(world, at)
    remember(actor, actor.node)
    write_note = actor.node.store.write_note

    def fail(_name, _content):
        raise StoreError("disk", "Input/output error")

    actor.node.store.write_note = fail
    actor.node.set_ring(actor.node.ring.with_predecessors(at(110)), Cause.NOTIFIED)
    assert "not written down yet" in caplog.text
    assert recall(actor.node).alone
    actor.node.store.write_note = write_note
    remember(actor, actor.node)
    assert not recall(actor.node).alone


@pytest.mark.parametrize("state", [State.JOINING, State.ISOLATED])
def test_a_node_that_looks_for_the_ring_keeps_the_note_of_when_it_was_a_member(world, at, state):
    actor = member(world, [at(110)])
    remember(actor, actor.node)
    actor.node.set_ring(Ring(actor.me, 3), Cause.ISOLATED)
    actor.node.state = state
    world.clock_s += 60.0
    remember(actor, actor.node)
    assert idents(recall(actor.node).peers) == [110]


def test_so_does_one_that_started_the_ring_again_until_the_others_are_back(world, at):
    actor = member(world, [at(110)])
    remember(actor, actor.node)
    actor.node.awaited, actor.node.awaited_until_s = (at(110),), 30.0
    actor.node.set_ring(Ring(actor.me, 3), Cause.ISOLATED)
    found_ring(actor.node)
    remember(actor, actor.node)
    assert not recall(actor.node).alone
    world.clock_s += 30.0
    remember(actor, actor.node)
    assert recall(actor.node).alone


def test_a_note_that_could_not_be_written_is_written_later(world, at):
    actor = member(world, [at(110)])
    write_note = actor.node.store.write_note

    def refuse(name, content):
        raise StoreError("full", "no space")

    actor.node.store.write_note = refuse
    with pytest.raises(StoreError):
        remember(actor, actor.node)
    actor.node.store.write_note = write_note
    remember(actor, actor.node)
    assert idents(recall(actor.node).peers) == [110]


# What is made of it ---------------------------------------------------------------------------------------------------

PLACE = "0" * 63 + "a"


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"\n",
        b"2 ring 0",
        b"1 ring",
        b"1 ring -1",
        b"1 ring 1\n",
        b"1 ring 1\nzz 10.0.0.1:1",
        f"1 ring 1\n{PLACE}".encode(),
        f"1 ring 1\n{PLACE} ".encode(),
        f"1 ring 1\n{PLACE.upper()} 10.0.0.1:1".encode(),
        f"1 ring 1\n0x{PLACE[2:]} 10.0.0.1:1".encode(),
        f"1 ring 1\n{PLACE[1:]} 10.0.0.1:1".encode(),
        f"1 ring 1\n{PLACE} 10.0.0.1:1 more".encode(),
        f"1 ring 1\n{PLACE} 10.0.0.1:1\n".encode(),
        ("1 ring 1" + f"\n{PLACE} 10.0.0.1:1" * (CONTACTS_MAX + 1)).encode(),
        b"1 ring 1" + b" " * NOTE_BYTES_MAX,
    ],
)
def test_a_note_that_is_not_ours_is_ignored_with_one_line_in_the_log(world, caplog, content):
    node = world.add(10).node
    node.store.write_note(NOTE, content)
    assert recall(node) == NOTHING
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_no_note_is_no_complaint(world, caplog):
    assert recall(world.add(10).node) == NOTHING
    assert not caplog.records


# Looking for them -----------------------------------------------------------------------------------------------------


def test_those_who_do_not_answer_or_are_in_no_ring_are_asked_again_as_lost_peers(world, at):
    ten, *_ = world.ideal(10, 20, 30)
    world.add(50)
    ten.node.contacts = (at(30), at(50), at(60))
    find_again(ten, ten.node)
    assert idents(ten.node.lost.peers) == [50, 60]


def test_of_many_that_are_gone_the_nearest_are_kept(world, at):
    ten, *_ = world.ideal(10, 20)
    ten.node.contacts = tuple(at(100 + number) for number in range(CONTACTS_MAX))
    find_again(ten, ten.node)
    assert idents(ten.node.lost.peers) == [100 + number for number in range(LOST_MAX)]


def test_members_that_are_not_among_our_neighbours_are_met_one_after_the_other(world, at):
    ten, *_ = world.ideal(10, 20, 30, 40, 50, 60, 70, 80, 90)
    world.ideal(25, 35, 45, 55, 65, 75)
    ten.node.contacts = tuple(at(ident) for ident in (20, 90, 25, 35, 45, 55, 65, 75))
    met = []
    world.on_sleep = lambda: met.append(ten.node.met.ident)
    find_again(ten, ten.node)
    assert len(set(met)) == MEET_MAX
    assert set(met) <= {25, 35, 45, 55, 65, 75}
    assert world.clock_s == pytest.approx(MEET_MAX * ten.node.config.stabilize_interval)


def test_they_are_looked_for_once(world, at):
    ten, *_ = world.ideal(10, 20)
    ten.node.contacts = (at(20), at(30))
    find_again(ten, ten.node)
    find_again(ten, ten.node)
    assert world.asked(P2pPing) == [20, 30]
