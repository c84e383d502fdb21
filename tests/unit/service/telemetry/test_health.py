import pytest
from fixtures.clock import Clock

from activity_indexer.facts import Severity
from activity_indexer.telemetry.health import LOOP_LIMIT, Health

STALL = 120.0


@pytest.fixture
def clock():
    return Clock(1000.0)


@pytest.fixture
def health(clock):
    return Health(clock, STALL, wall=lambda: 1_700_000_000.0 + clock.now)


@pytest.fixture
def working(health):
    """An indexer with two partitions."""
    health.started()
    health.assigned(2)
    return health


def passes(clock, health, seconds, *, polls=True, step=1.0):
    """Time goes by; the loop ticks and, usually, the consumer polls."""
    for _ in range(int(seconds / step)):
        clock.now += step
        health.ticked()
        if polls:
            health.polled()


def test_before_the_start_it_lives_and_is_not_ready(clock, health):
    passes(clock, health, 10 * STALL, polls=False)
    assert health.live() == (True, [])
    assert health.startup() == (False, ["starting"])
    assert health.ready().ok is False


def test_startup_says_what_it_waits_for(health):
    health.waiting("kafka", "no broker answers")
    assert health.startup() == (False, ["waiting: kafka: no broker answers"])


def test_started_and_assigned_it_is_ready(working):
    assert working.startup() == (True, [])
    assert working.ready() == (True, [])


def test_a_spare_without_partitions_is_ready_and_stays_alive(clock, health):
    health.started()
    health.assigned(0)
    passes(clock, health, 10 * STALL)
    assert health.ready() == (True, [])
    assert health.live() == (True, [])


def test_a_rebalance_makes_it_not_ready(working):
    working.revoked()
    ready, reasons = working.ready()
    assert not ready
    assert "rebalanced" in reasons[0]
    assert working.live().ok
    working.assigned(1)
    assert working.ready().ok


def test_idle_for_hours_it_lives(clock, working):
    passes(clock, working, 3600 * 3, step=10)
    assert working.live() == (True, [])
    assert working.ready().ok


def test_a_loop_that_does_not_tick_is_dead(clock, working):
    clock.now += LOOP_LIMIT + 1
    live, reasons = working.live()
    assert not live
    assert "event_loop_stalled" in reasons[0]
    assert not working.ready().ok


def test_a_consumer_that_does_not_poll_is_dead(clock, working):
    passes(clock, working, STALL - 1, polls=False)
    assert working.live().ok
    passes(clock, working, 2, polls=False)
    assert working.live() == (False, ["consumer_stalled: no poll for 121 s"])


def test_pending_events_that_are_not_settled_mean_dead(clock, working):
    working.pending(5)
    passes(clock, working, STALL)
    assert working.live().ok
    passes(clock, working, 1)
    live, reasons = working.live()
    assert not live
    assert "5 events pending" in reasons[0]
    working.progressed()
    assert working.live().ok


def test_time_without_work_is_not_held_against_the_first_event(clock, working):
    passes(clock, working, 10 * STALL, step=10)
    working.pending(1)
    assert working.live().ok


def test_lag_that_stays_while_events_are_settled_is_no_stall(clock, working):
    working.pending(1000)
    for _ in range(10):
        passes(clock, working, STALL / 2)
        working.pending(900)
        working.progressed()
    assert working.live().ok


def test_an_outage_that_is_reported_at_every_try_is_no_stall(clock, working):
    working.pending(5)
    for _ in range(100):
        passes(clock, working, 40, polls=False, step=10)
        working.waiting("elasticsearch", "no connection")
    assert working.live() == (True, ["waiting: elasticsearch: no connection"])
    assert working.ready().ok


def test_a_wait_that_is_not_reported_any_more_is_a_stall(clock, working):
    working.pending(5)
    working.waiting("elasticsearch", "no connection")
    passes(clock, working, STALL)
    assert working.live().ok
    passes(clock, working, 1)
    assert not working.live().ok


def test_a_wait_of_known_length_may_be_longer_than_the_limit(clock, working):
    working.pending(5)
    working.waiting("breaker", "too many failures", seconds=600)
    passes(clock, working, 600 + STALL)
    assert working.live().ok
    passes(clock, working, 1)
    assert not working.live().ok


def test_after_a_wait_the_time_begins_again(clock, working):
    working.pending(5)
    for _ in range(5):
        passes(clock, working, 100, polls=False)
        working.waiting("elasticsearch", "no connection")
    working.settled("elasticsearch")
    assert working.live() == (True, [])
    passes(clock, working, STALL + 1)
    assert not working.live().ok


def test_progress_ends_a_wait(working):
    working.waiting("elasticsearch", "429")
    working.progressed()
    assert working.live().reasons == []


def test_blocked_it_lives_is_not_ready_and_says_why(clock, working):
    working.pending(5)
    working.blocked("elasticsearch", "401: no such user")
    passes(clock, working, 10 * STALL, polls=False)
    assert working.live() == (True, ["elasticsearch: 401: no such user"])
    assert working.ready() == (False, ["elasticsearch: 401: no such user"])
    working.settled("elasticsearch")
    assert working.live() == (True, [])
    assert working.ready() == (True, [])


def test_what_blocks_is_not_reported_as_a_wait_too(working):
    working.waiting("kafka", "no broker")
    working.blocked("kafka", "no broker")
    assert working.ready().reasons == ["kafka: no broker"]


def test_each_block_has_to_go(working):
    working.blocked("elasticsearch", "403")
    working.blocked("breaker", "too many failures")
    working.settled("elasticsearch")
    assert working.ready().reasons == ["breaker: too many failures"]


def test_a_loop_that_makes_no_progress_is_dead_even_when_blocked(clock, working):
    working.blocked("elasticsearch", "403")
    clock.now += LOOP_LIMIT + 1
    assert not working.live().ok


def test_draining_it_is_not_ready_and_has_its_time(clock, working):
    working.pending(5)
    working.draining()
    passes(clock, working, 2 * STALL, polls=False)
    assert working.ready() == (False, ["draining"])
    assert working.live().ok


def test_a_fact_keeps_its_beginning_while_it_is_reported_again(clock, working):
    working.blocked("elasticsearch", "401")
    clock.now += 10
    working.blocked("elasticsearch", "403")
    (fact,) = working.facts()
    assert (fact.code, fact.severity, fact.reason) == ("elasticsearch", Severity.BLOCKS, "403")
    assert fact.since == 1_700_001_000.0
    working.settled("elasticsearch")
    working.blocked("elasticsearch", "401")
    assert working.facts()[0].since == 1_700_001_010.0


def test_a_wait_without_news_begins_again(clock, working):
    working.waiting("kafka", "no broker")
    passes(clock, working, STALL + 1)
    working.waiting("kafka", "no broker")
    assert working.facts()[0].since == 1_700_000_000.0 + clock.now


def test_a_warning_leaves_it_ready_and_live(clock, working):
    working.warned("events_lost", "250 events were removed", subject="partition 3", advice="restore them")
    text = "warning: events_lost (partition 3): 250 events were removed; restore them"
    assert working.ready() == (True, [text])
    assert working.live() == (True, [text])


def test_a_warning_explains_no_stall(clock, working):
    working.pending(5)
    working.warned("events_lost", "250 events were removed")
    passes(clock, working, STALL + 1)
    assert not working.live().ok


def test_a_warning_of_known_length_passes_by_itself(clock, working):
    working.warned("events_lost", "250 events were removed", seconds=60)
    clock.now += 60
    working.ticked()
    assert [fact.code for fact in working.facts()] == ["events_lost"]
    clock.now += 1
    assert working.facts() == []


def test_facts_of_several_subjects_stand_beside_each_other(working):
    working.blocked("corrupt_records", "CRC", subject="partition 1")
    working.blocked("corrupt_records", "CRC", subject="partition 2")
    working.settled("corrupt_records", "partition 1")
    assert [fact.subject for fact in working.facts()] == ["partition 2"]
    working.settled("corrupt_records")
    assert working.ready().ok


def test_the_gravest_fact_comes_first(clock, working):
    working.warned("events_lost", "250")
    working.waiting("kafka", "no broker")
    working.blocked("breaker", "open")
    assert [fact.severity for fact in working.facts()] == [Severity.BLOCKS, Severity.WAITS, Severity.WARNS]


def test_phases_and_stalls_are_facts_with_their_beginning(clock, health):
    assert [(fact.code, fact.since) for fact in health.facts()] == [("starting", 1_700_001_000.0)]
    health.started()
    health.assigned(1)
    clock.now += STALL + 5
    health.ticked()
    health.polled()
    health.pending(3)
    assert health.facts() == []
    clock.now += STALL + 5
    health.ticked()
    health.polled()
    (fact,) = health.facts()
    assert (fact.code, fact.severity) == ("pipeline_stalled", Severity.STALLS)
    assert fact.since == 1_700_000_000.0 + clock.now - STALL - 5


def test_numbers_of_partitions_last_until_they_are_revoked(working):
    working.partition(1, lag=5)
    working.partition(0, lag=0, behind_transaction=1001)
    working.partition(1, lag_seconds=2.5)
    assert list(working.partitions()) == [0, 1]
    assert (working.partitions()[1].lag, working.partitions()[1].lag_seconds) == (5, 2.5)
    assert working.partitions()[0].behind_transaction == 1001
    working.revoked()
    assert working.partitions() == {}
