"""The load generator: what its buckets, plans, lanes and engine make of servers that do well and that do not."""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdht.cli.load.crew import Crew, WorkerDied
from gdht.cli.load.engine import Engine
from gdht.cli.load.latencies import MICROSECONDS_MAX, UNIT_S, Latencies
from gdht.cli.load.plan import Plan, bench_key
from gdht.cli.load.tally import Tally
from gdht.client.requests import Request
from gdht.config import parse_address
from gdht.core.messages import DhtFailure, DhtGet, DhtPut, DhtSuccess
from gdht.wire.codec import encode_dht
from tests.scripted import WAIT_S, Conversation, DictServer, ScriptedServer

PLAN = Plan(
    addresses=(parse_address("127.0.0.1:7001"),),
    connections=4,
    pipeline=8,
    seconds=0.2,
    get_ratio=0.5,
    value_bytes=100,
    keys=50,
    replication=2,
    ttl_s=60,
    timeout_s=WAIT_S,
)


def plan_for(*servers: DictServer | ScriptedServer, **more: object) -> Plan:
    addresses = tuple(parse_address(server.address) for server in servers)
    return replace(PLAN, addresses=addresses, **more)  # type: ignore[arg-type]


def load(plan: Plan, *stops: int) -> Tally:
    """Load for the plan's time; stopped at ticks of these numbers, counted from when it has begun to send."""
    sent: list[Request] = []
    ticks = count(1)

    def requests() -> Iterator[Request]:
        for request in plan.mix(random.Random(1)):
            sent.append(request)
            yield request

    engine = Engine(plan, requests(), plan.pipeline, plan.seconds, lambda _: bool(sent) and next(ticks) in stops)
    return engine.run()


def fill(plan: Plan) -> Tally:
    return Engine(plan, plan.fill(), plan.fill_pipeline, None, lambda _: False).run()


# Latencies ------------------------------------------------------------------------------------------------------------

times = st.lists(st.floats(0, 1000), min_size=1, max_size=60)


def counted(seconds: list[float]) -> Latencies:
    latencies = Latencies()
    for one in seconds:
        latencies.add(one)
    return latencies


@given(times, st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_never_too_low_and_too_high_by_less_than_one_percent(seconds: list[float], share: float) -> None:
    place = next(n for n in range(len(seconds)) if n + 1 >= share * len(seconds))
    exact_s = sorted(seconds)[place]
    found_s = counted(seconds).quantile_s(share)
    assert found_s is not None
    assert exact_s - 1e-12 <= found_s <= exact_s * 1.01 + UNIT_S


@given(times, times)
def test_two_histograms_merged_are_one_of_all_times(first: list[float], second: list[float]) -> None:
    merged = counted(first)
    merged.merge(counted(second))
    assert vars(merged) == vars(counted(first + second))


def test_the_longest_time_is_exact_and_no_time_is_too_long() -> None:
    latencies = counted([0.1234567, 1e9])
    assert (latencies.max_s, latencies.quantile_s(1.0)) == (1e9, pytest.approx(MICROSECONDS_MAX * UNIT_S))


def test_without_any_time_there_is_no_quantile() -> None:
    assert Latencies().quantile_s(0.5) is None


# Plans ----------------------------------------------------------------------------------------------------------------


def test_processes_store_each_value_once_among_them() -> None:
    parts = [replace(PLAN, first_key=number, every=3) for number in range(3)]
    keys = [request.key for part in parts for request in part.fill()]
    assert sorted(keys) == sorted(bench_key(number) for number in range(50))
    assert sum(part.fill_count for part in parts) == 50


def test_nothing_is_stored_beforehand_when_nothing_will_be_read() -> None:
    plan = replace(PLAN, get_ratio=0.0)
    assert (plan.fill_count, [*plan.fill()]) == (0, [])


@pytest.mark.parametrize("get_ratio", [0.0, 0.25, 1.0])
def test_the_mix_has_its_share_of_gets_of_all_keys(get_ratio: float) -> None:
    requests: list[Request] = [*islice(replace(PLAN, get_ratio=get_ratio).mix(random.Random(1)), 4000)]
    gets = sum(isinstance(request, DhtGet) for request in requests)
    assert gets / 4000 == pytest.approx(get_ratio, abs=0.03)
    assert {request.key for request in requests} == {bench_key(number) for number in range(50)}
    puts = {request[:3] + (len(request.value),) for request in requests if isinstance(request, DhtPut)}
    assert puts <= {(60, 2, 1, 100)}


def test_a_plan_and_a_tally_pass_through_json_whole() -> None:
    assert Plan.from_json(json.loads(json.dumps(PLAN.to_json()))) == PLAN
    tally = Tally()
    tally.gets.latencies.add(0.5)
    tally.puts.failures["refused"] = 3
    tally.connections["timeout"] = 1
    tally.seconds = 2.5
    again = Tally.from_json(json.loads(json.dumps(tally.to_json())))
    assert again.to_json() == tally.to_json()
    again.merge(tally)
    assert (again.gets.latencies.count, again.failed, again.connections["timeout"], again.seconds) == (2, 6, 2, 2.5)


# The engine -----------------------------------------------------------------------------------------------------------


def test_filling_puts_every_value_once() -> None:
    with DictServer() as server:
        filled = fill(plan_for(server))
    assert (filled.answered, filled.failed) == (50, 0)
    assert server.values == {bench_key(number): b"gdht" + b"." * 96 for number in range(50)}
    assert [*Counter(request.key for request in server.requests).values()] == [1] * 50


def test_a_load_counts_every_answer_of_every_request_it_sent() -> None:
    with DictServer() as server:
        fill(plan_for(server))
        server.requests.clear()
        before_s = time.process_time()
        loaded = load(plan_for(server))
        used_s = time.process_time() - before_s
    kinds = Counter(type(request) for request in server.requests)
    assert (loaded.gets.latencies.count, loaded.puts.latencies.count) == (kinds[DhtGet], kinds[DhtPut])
    assert loaded.failed == 0
    assert loaded.seconds == pytest.approx(0.2)
    assert 0 < loaded.gets.in_time <= loaded.gets.latencies.count
    assert 0 < loaded.cpu_s <= used_s
    assert 0 <= loaded.waited_s < 2 * loaded.seconds


def test_each_connection_keeps_just_so_many_requests_under_way() -> None:
    rounds: list[bool] = []

    def answers_in_rounds(conversation: Conversation) -> None:
        for _ in range(3):
            requests = [conversation.read() for _ in range(8)]
            rounds.append(conversation.has_more())  # they leave in one write, so a ninth would be here by now
            for request in requests:
                conversation.socket.sendall(encode_dht(DhtFailure(request.key)))
        conversation.wait_until_closed()

    with ScriptedServer(answers_in_rounds) as server:
        load(plan_for(server, connections=1, seconds=0.3, timeout_s=0.5))
    assert rounds[0] is False
    assert len(rounds) == 3


def test_connections_are_shared_out_among_the_addresses() -> None:
    with DictServer() as first, DictServer() as second:
        load(plan_for(first, second, connections=6))
    assert (first.connections, second.connections) == (3, 3)


def test_what_is_not_found_or_refused_is_counted_as_such() -> None:
    with DictServer() as server:
        server.refused = {bench_key(number) for number in range(50)}
        loaded = load(plan_for(server))
    assert (set(loaded.gets.failures), set(loaded.puts.failures)) == ({"not_found"}, {"refused"})
    assert loaded.answered == 0
    assert loaded.failed == len(server.requests)


def test_when_a_node_stops_what_was_under_way_is_cut_off_and_its_lanes_go_to_the_other() -> None:
    with DictServer() as first, DictServer() as second:
        plan = plan_for(first, second, seconds=1.0, get_ratio=0.0)
        ticks = iter(range(100))

        def stop_first(_: Tally) -> bool:
            if next(ticks) == 3:
                first.stop()
            return False

        loaded = Engine(plan, plan.mix(random.Random(1)), 8, 1.0, stop_first).run()
    assert set(loaded.puts.failures) == {"disconnected"}
    assert 1 <= loaded.failed <= 2 * 8
    assert loaded.connections["disconnected"] == 2
    assert second.connections == 4


def test_an_answer_that_makes_no_sense_costs_the_connection() -> None:
    def nonsense(conversation: Conversation) -> None:
        conversation.answer(encode_dht(DhtSuccess(bytes(32), b"")))
        conversation.wait_until_closed()

    with ScriptedServer(nonsense) as server:
        loaded = load(plan_for(server, connections=1, seconds=0.1, timeout_s=0.3))
    assert loaded.gets.failures["nonsense"] + loaded.puts.failures["nonsense"] == 8
    assert loaded.connections["nonsense"] == 1


def test_a_silent_node_is_given_up_after_the_timeout() -> None:
    with ScriptedServer(Conversation.wait_until_closed) as server:
        loaded = load(plan_for(server, connections=1, seconds=0.4, timeout_s=0.2))
    assert loaded.gets.failures["timeout"] + loaded.puts.failures["timeout"] >= 8
    assert loaded.connections["timeout"] == 1


def test_without_any_connection_it_ends_after_the_timeout(free_address: str) -> None:
    plan = replace(PLAN, addresses=(parse_address(free_address),), seconds=60.0, timeout_s=0.3)
    for tally in (load(plan), fill(plan)):
        assert set(tally.connections) == {"unreachable"}
        assert (tally.answered, tally.failed) == (0, 0)
        assert tally.seconds < 5


def test_who_stops_it_still_gets_the_answers_under_way() -> None:
    with DictServer() as server:
        loaded = load(plan_for(server, seconds=60.0, get_ratio=0.0), 1)
    assert loaded.seconds < 5
    assert loaded.answered == len(server.requests) > 0
    assert loaded.failed == 0


def test_who_stops_it_once_more_does_not_wait_for_a_silent_node() -> None:
    with ScriptedServer(Conversation.wait_until_closed) as server:
        loaded = load(plan_for(server, connections=1, seconds=60.0, timeout_s=600.0), 1, 2)
    assert loaded.failed == 8  # what had no answer has failed


def test_who_stops_it_while_it_connects_has_nothing_sent() -> None:
    with DictServer() as server:
        plan = plan_for(server)
        stopped = Engine(plan, plan.mix(random.Random(1)), 8, 60.0, lambda _: True).run()
    assert (stopped.answered, stopped.failed, server.requests) == (0, 0, [])


def test_values_that_fill_the_buffers_of_both_sides_do_not_block_it() -> None:
    with DictServer() as server:
        plan = plan_for(server, value_bytes=65_495, connections=2, pipeline=200, keys=10)
        fill(plan)
        loaded = load(plan)
    assert loaded.gets.latencies.count > 0
    assert loaded.puts.latencies.count > 0
    assert loaded.failed == 0


# Its processes --------------------------------------------------------------------------------------------------------


def test_the_processes_of_a_crew_fill_and_load_together_and_their_counts_are_summed_up() -> None:
    with DictServer() as server:
        parts = [plan_for(server, connections=2, first_key=number, every=2) for number in range(2)]
        done: list[int] = []
        with Crew(parts, lambda: False) as crew:
            filled = crew.fill(lambda _: None)
            assert len(server.values) == 50
            loaded = crew.load(done.append)
    assert filled.answered == 50
    assert filled.answered + loaded.answered == len(server.requests)
    assert loaded.failed == 0
    assert done == sorted(done)


def test_a_crew_that_is_stopped_ends_early_with_what_it_has() -> None:
    asked: list[int] = []
    with DictServer() as server, Crew([plan_for(server, seconds=60.0)], lambda: len(asked) == 3) as crew:
        crew.fill(lambda _: None)
        loaded = crew.load(lambda _: asked.append(1))
        assert crew.was_stopped
    assert 0 < loaded.seconds < 30
    assert loaded.answered > 0


def test_a_process_that_dies_is_told_of() -> None:
    with DictServer() as server, Crew([plan_for(server, seconds=60.0)], lambda: False) as crew:
        crew.fill(lambda _: None)
        crew._workers[0].process.kill()
        with pytest.raises(WorkerDied, match="exit code -9"):
            crew.load(lambda _: None)


def test_no_process_outlives_its_crew() -> None:
    with DictServer() as server:
        with Crew([plan_for(server, seconds=60.0)], lambda: False) as crew:
            crew.fill(lambda _: None)
            worker = crew._workers[0]
        assert worker.process.poll() == 0
