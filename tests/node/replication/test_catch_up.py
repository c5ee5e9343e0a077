"""What a node gets before it is sure of its arc, and from whom."""

import pytest

from gdht.core.ident import ident_bytes
from gdht.core.messages import P2pCompare, P2pFetch, P2pGetNeighbours, P2pReplyNeighbours, P2pTransfer
from gdht.core.ring import Ring
from gdht.errors import StoreError
from gdht.node.handlers import handle
from gdht.node.journal import Cause
from gdht.node.membership import join
from gdht.node.replication.catch_up import catch_up


def settle(world):
    """Give everybody ideal pointers."""
    idents = sorted(world.actors)
    for index, ident in enumerate(idents):
        node = world.actors[ident].node
        onward = [world.actors[other].me for other in idents[index + 1 :] + idents[:index]]
        ring = Ring(node.me, node.config.successor_list_length).with_successors(*onward)
        node.set_ring(ring.with_predecessors(*reversed(onward)), Cause.JOINED)


@pytest.fixture
def ring(world):
    """Ten members, 10 to 100, each holding what it should of 99 keys, 10 to a node."""
    ring = world.ideal(*range(10, 101, 10))
    for number in range(1, 100):
        owner = (number + 9) // 10 - 1
        for index in range(3):
            ring[(owner + index) % 10].keep(number)
    return ring


@pytest.fixture
def newcomer(world, ring, at):
    """A node at 45 that has just joined, and is known to those next to it."""
    newcomer = world.add(45)
    join(newcomer, newcomer.node, at(10))
    settle(world)
    return newcomer


def holds(actor, *numbers):
    return [number for number in numbers if actor.holds(number) is not None]


def test_a_newcomer_gets_its_share(newcomer):
    catch_up(newcomer, newcomer.node)
    assert holds(newcomer, *range(100)) == list(range(21, 46))
    assert newcomer.node.stats.handoff_keys == {("received", "join"): 25}
    assert newcomer.node.arc.sure_from == 40


def test_the_records_come_from_the_successor_when_it_is_well(world, newcomer):
    """It owned the arc; those after it are asked whether they have anything newer, and have not."""
    catch_up(newcomer, newcomer.node)
    assert world.asked(P2pFetch) == [50, 40, 30]


def test_what_only_the_former_owner_had_comes_too(world, ring, newcomer):
    world.actors[50].keep(43, copies=1)
    catch_up(newcomer, newcomer.node)
    assert newcomer.holds(43)


def test_a_newer_copy_on_a_replica_is_not_missed(world, newcomer):
    """It was acknowledged by a quorum of which the former owner is no longer."""
    world.actors[60].keep(43, b"newer", age_ms=-10)
    catch_up(newcomer, newcomer.node)
    assert newcomer.holds(43) == b"newer"


def test_a_newer_record_put_meanwhile_is_not_replaced(newcomer):
    newcomer.keep(41, b"newer", age_ms=-10)
    catch_up(newcomer, newcomer.node)
    assert newcomer.holds(41) == b"newer"


def test_what_the_node_has_already_is_not_sent_again(world, newcomer):
    for number in range(21, 46):
        newcomer.keep(number)
    catch_up(newcomer, newcomer.node)
    assert not world.asked(P2pFetch)
    assert newcomer.node.arc.sure_from == 40


def test_a_node_that_comes_back_gives_what_others_missed(world, ring):
    """It took a put when the others were away, went away itself, and is the only one that has it."""
    back = ring[3]
    back.node.arc.doubt()
    back.keep(35, b"newer", age_ms=-10)
    catch_up(back, back.node)
    assert [actor.holds(35) for actor in ring[3:6]] == [b"newer"] * 3
    assert back.node.arc.sure_from == 30


def test_records_with_a_single_copy_are_not_given_away(world, ring):
    back = ring[3]
    back.node.arc.doubt()
    back.keep(36, copies=1)
    catch_up(back, back.node)
    assert not world.asked(P2pTransfer)


@pytest.mark.parametrize("down", [50, 60])
def test_no_node_is_sure_while_one_does_not_answer_that_may_have_the_newest(world, newcomer, down):
    """With three copies and a quorum of two, any of these two may be the only one left that has it."""
    world.kill(down)
    catch_up(newcomer, newcomer.node)
    assert newcomer.node.arc.receiving
    world.dead.clear()
    catch_up(newcomer, newcomer.node)
    assert not newcomer.node.arc.receiving


def test_with_a_quorum_of_all_the_nearest_is_enough(world, at):
    """What was acknowledged is on all of them."""
    world.ideal(*range(10, 101, 10), write_quorum="all")
    newcomer = world.add(45, write_quorum="all")
    join(newcomer, newcomer.node, at(10))
    settle(world)
    world.kill(60, 70)
    catch_up(newcomer, newcomer.node)
    assert newcomer.node.arc.sure_from == 40


def test_others_that_know_nothing_are_passed_over_to_one_that_was_the_owner(world, ring, at):
    """Several joined at once: those right after us have nothing yet, the one after them has everything."""
    newcomers = [world.add(ident) for ident in (42, 45, 47, 48)]
    for newcomer in newcomers:
        join(newcomer, newcomer.node, at(10))
    settle(world)
    world.actors[50].keep(41, copies=1)
    first = newcomers[0]
    catch_up(first, first.node)
    assert holds(first, 41, 42) == [41, 42]
    assert first.node.arc.sure_from == 40


def test_the_owner_from_before_gives_all_it_has_wherever_it_stands(world, ring, newcomer, at):
    """Two nodes further on it would hold records of three copies only; but it owned those of one and two as well."""
    for ident in (46, 47):
        actor = world.add(ident)
        join(actor, actor.node, at(10))
    settle(world)
    world.actors[50].keep(41, copies=1)
    world.actors[50].keep(42, copies=2)
    catch_up(newcomer, newcomer.node)
    assert holds(newcomer, 41, 42) == [41, 42]
    assert newcomer.node.arc.sure_from == 40


def test_when_nobody_was_the_owner_what_all_have_is_all_there_is(world, ring, newcomer):
    for actor in ring:
        actor.node.arc.doubt()
    catch_up(newcomer, newcomer.node)
    assert newcomer.node.arc.sure_from == 40


def test_a_node_that_its_predecessor_passes_over_waits(world, newcomer, at):
    """Another one has joined in the same gap; that is found out in the next rounds of stabilization."""
    world.actors[40].node.set_ring(world.actors[40].node.ring.with_successors(at(42), at(45)), Cause.JOINED)
    catch_up(newcomer, newcomer.node)
    assert newcomer.node.arc.receiving
    assert not world.asked(P2pCompare)


def test_a_node_that_its_successor_does_not_know_yet_waits(world, newcomer, at):
    """The successor still takes puts as the owner; what it takes after we asked it we would not have."""
    world.actors[50].node.set_ring(world.actors[50].node.ring.with_predecessors(at(40)), Cause.JOINED)
    catch_up(newcomer, newcomer.node)
    assert newcomer.node.arc.receiving
    assert not world.asked(P2pCompare)


def test_when_the_arc_changes_meanwhile_nothing_is_sure(world, newcomer, at):
    def lose_predecessor(request):
        if isinstance(request, P2pCompare):
            newcomer.node.set_ring(newcomer.node.ring.with_predecessors(at(40), at(30)), Cause.JOINED)
            newcomer.node.set_ring(newcomer.node.ring.with_predecessors(at(30)), Cause.PREDECESSOR_LOST)
            newcomer.node.set_ring(newcomer.node.ring.with_predecessors(at(40), at(30)), Cause.JOINED)
        return handle(world.actors[50].node, newcomer.me, request, newcomer.node.clock.lives_s())

    world.script(50, lose_predecessor)
    catch_up(newcomer, newcomer.node)
    assert newcomer.node.arc.receiving


def test_an_arc_that_grew_is_caught_up_with_as_a_whole(world, ring):
    """The owner of (20, 30] died; a value that it had and we missed is on the next replica."""
    heir = ring[3]
    world.actors.pop(30)
    settle(world)
    assert heir.node.arc.receiving
    world.actors[50].keep(25, b"newer", age_ms=-10)
    catch_up(heir, heir.node)
    assert heir.node.arc.sure_from == 20
    assert heir.holds(25) == b"newer"


def test_without_predecessor_the_arc_is_not_known(world, newcomer):
    newcomer.node.set_ring(newcomer.node.ring.with_predecessors(), Cause.PREDECESSOR_LOST)
    catch_up(newcomer, newcomer.node)
    assert newcomer.node.arc.receiving
    assert not world.asked(P2pCompare)


def test_the_last_node_has_all_there_is(world):
    lone = world.ideal(10)[0]
    lone.node.arc.doubt()
    catch_up(lone, lone.node)
    assert lone.node.arc.sure_from == 10


def test_a_node_waits_for_those_that_were_down_with_it(world, ring, newcomer, at):
    """The whole ring was down: what those present have is not all there is."""
    for actor in ring:
        actor.node.arc.doubt()
    newcomer.node.awaited, newcomer.node.awaited_until_s = (at(46),), newcomer.now() + 30
    catch_up(newcomer, newcomer.node)
    assert newcomer.node.arc.receiving
    newcomer.sleep(30)
    catch_up(newcomer, newcomer.node)
    assert not newcomer.node.arc.receiving


class Commit:
    """A commit that ends at once. error: how."""

    def __init__(self, error):
        self._error = error

    def when_ended(self, run):
        run(self._error)


class DiskOf:
    """A store whose writes all wait for one commit."""

    def __init__(self, store, error):
        self._store = store
        self.pending = Commit(error)

    def __getattr__(self, name):
        return getattr(self._store, name)


@pytest.mark.parametrize("error", [None, StoreError("disk", "it fell off")])
def test_what_is_not_on_the_disk_has_not_arrived(newcomer, monkeypatch, error):
    monkeypatch.setattr(newcomer.node, "store", DiskOf(newcomer.node.store, error))
    catch_up(newcomer, newcomer.node)
    assert newcomer.node.arc.receiving == (error is not None)


def test_progress_is_told(world, newcomer):
    seen = []

    def look(request):
        if isinstance(request, P2pFetch) and newcomer.node.handover:
            seen.append(newcomer.node.handover.status(newcomer.now()))
        return handle(world.actors[50].node, newcomer.me, request, newcomer.node.clock.lives_s())

    newcomer.keep(41)
    world.script(50, look)
    catch_up(newcomer, newcomer.node)
    (before,) = seen
    assert (before.kind, before.keys_total, before.keys_done, before.ended) == ("join", 4, 0, False)
    after = newcomer.node.handover.status(newcomer.now())
    assert (after.keys_done, after.ended) == (24, True)


def test_a_peer_that_names_what_it_never_gives_holds_nobody_for_ever(world, newcomer):
    """It lies, so it is not believed that all has arrived from it; but the rest goes on."""
    liar = world.actors[50]
    key = ident_bytes(43)

    def forgetful(request):
        if isinstance(request, P2pFetch):
            request = P2pFetch(tuple(other for other in request.keys if other != key))
        return handle(liar.node, newcomer.me, request, newcomer.node.clock.lives_s())

    world.script(50, forgetful)
    catch_up(newcomer, newcomer.node)
    assert holds(newcomer, 41, 42, 43, 44) == [41, 42, 43, 44]  # 43 from a replica
    assert isinstance(handle(liar.node, newcomer.me, P2pGetNeighbours(), 0.0), P2pReplyNeighbours)


def test_a_node_whose_store_is_full_is_not_sure(newcomer):
    """It has not got all; so clients are answered by all replicas and not by it alone."""
    newcomer.node.store.size_bytes_max = 0
    catch_up(newcomer, newcomer.node)
    assert newcomer.node.arc.receiving


def test_a_copy_from_the_far_future_does_not_keep_a_node_from_being_sure(world, newcomer):
    world.actors[50].keep(43, age_ms=-7200_000)
    catch_up(newcomer, newcomer.node)
    assert newcomer.node.arc.sure_from == 40
