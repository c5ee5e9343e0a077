"""Turns of the event loop: what many connections bring at once does not hold up everybody else."""

from time import perf_counter, sleep

import gevent
import pytest

from gdht.net.turn import TURN_S_MAX, this_turn


def test_a_turn_becomes_long_and_the_next_one_is_new():
    gevent.sleep(0.001)
    turn = this_turn()
    assert not turn.is_long()
    sleep(2 * TURN_S_MAX)
    assert turn.is_long()
    gevent.sleep(0.001)
    assert not turn.is_long()


def test_all_share_the_turn_of_their_thread():
    assert this_turn() is this_turn()


@pytest.mark.parametrize("clients", [40])
def test_timers_run_between_the_reads_of_many_busy_connections(serve_api, dial, tools, node, clients):
    """Each read keeps the node busy for 2 ms; one after the other they would hold the loop for 80 ms."""
    usual = node.try_get

    def try_get(key):
        sleep(0.002)
        return usual(key)

    node.try_get = try_get
    server = serve_api()
    dialled = [dial(server) for _ in range(clients)]
    gevent.sleep(0.05)
    late = []

    def look():
        while len(late) < 1000:
            before_s = perf_counter()
            gevent.sleep(0.001)
            late.append(perf_counter() - before_s - 0.001)

    looker = gevent.spawn(look)
    gevent.sleep(0.01)
    for client in dialled:
        client.send(tools.get(tools.key(1)))
    for client in dialled:
        assert len(client.read(36)) == 36
    looker.kill()
    turns = sum(seconds > TURN_S_MAX / 2 for seconds in late)
    assert turns >= clients * 0.002 / (3 * TURN_S_MAX), "the timer ran between them"


def test_who_gives_way_goes_on_in_a_later_turn_each_time_also_while_others_go_on():
    gevent.sleep(0.001)
    turn, seen = this_turn(), {1: [], 2: []}

    def run(number):
        for _ in range(4):
            seen[number].append(turn.began_s)
            turn.let_others_run()

    gevent.joinall([gevent.spawn(run, number) for number in seen])
    assert [len(set(turns)) for turns in seen.values()] == [4, 4]


def test_a_timer_that_gives_way_in_the_turn_in_which_others_go_on_does_not_go_on_with_them():
    gevent.sleep(0.001)
    turn, gave_way, went_on = this_turn(), [], []

    def give_way():
        gave_way.append(turn.began_s)
        turn.put_off(lambda: went_on.append(turn.began_s))

    early = turn.hub.loop.timer(0)
    early.start(give_way)
    sleep(0.001)  # so it is due before those that give way from now on, in the same turn
    turn.put_off(lambda: None)
    while not went_on:
        gevent.sleep(0.001)
    assert went_on[0] > gave_way[0]


def test_who_is_killed_while_others_run_does_not_go_on():
    turn, went_on = this_turn(), []

    def run():
        turn.let_others_run()
        went_on.append(1)

    killed = gevent.spawn(run)
    gevent.sleep(0)
    killed.kill()
    gevent.sleep(0.01)
    assert not went_on


def test_who_gave_way_goes_on_in_the_order_of_waiting_a_turn_each_when_that_takes_long():
    gevent.sleep(0.001)
    turn, order, turns = this_turn(), [], set()

    def work(number):
        order.append(number)
        turns.add(turn.began_s)
        sleep(2 * TURN_S_MAX)

    for number in range(4):
        turn.put_off(lambda number=number: work(number))
    while len(order) < 4:
        gevent.sleep(0.001)
    assert order == [0, 1, 2, 3]
    assert len(turns) == 4
