import re
from collections import Counter
from types import SimpleNamespace

import pytest
import structlog
from fixtures.clock import Clock

from activity_indexer.dead_letter import Failure
from activity_indexer.errors import DocumentError
from activity_indexer.facts import Severity
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.ports import AuditOutcome, Backlog
from activity_indexer.positions import LOSS_REASONS, RETENTION, Loss, Partition
from activity_indexer.reports import (
    INDEX,
    AuditBatchWritten,
    AuditCrashed,
    AuditLagMeasured,
    BatchDecoded,
    BatchSettled,
    BreakerClosed,
    BreakerOpened,
    CommitFailed,
    DeadLettersWritten,
    Dependency,
    DependencyChanged,
    DocumentsRetried,
    EventsLost,
    EventsPending,
    EventsReadAgain,
    IntakeTurned,
    LagMeasured,
    Letter,
    OffsetsCommitted,
    PartitionsAssigned,
    PartitionsCorrupt,
    PartitionsRevoked,
    ProblemChanged,
    RecordsPolled,
    Reported,
    RequestsInFlight,
    StageDone,
    Subscribers,
    TopicRecreated,
    subscriptions,
)
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.log_lines import LogLines
from activity_indexer.telemetry.metrics.indexer import Metrics
from activity_indexer.telemetry.problems import LOSS_SHOWN, AuditProblems, Problems
from activity_indexer.telemetry.progress import Progress
from activity_indexer.tracing import UntracedBatch


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def health(clock):
    health = Health(clock, 120.0)
    health.started()
    health.assigned(1)
    return health


@pytest.fixture
def emit(health, metrics, clock):
    return Subscribers(
        metrics.indexer, Progress(health), Problems(health, longest_wait=40.0, clock=clock), LogLines(clock=clock)
    )


@pytest.fixture
def audit(health, metrics):
    return Subscribers(metrics.audit, AuditProblems(health), LogLines("audit"))


@pytest.fixture
def logs():
    with structlog.testing.capture_logs() as captured:
        yield captured


def test_a_batch_is_one_line_with_its_outcomes_and_all_its_numbers(emit, metrics, logs):
    outcomes = Counter({("indexed", "transaction.created"): 7, ("late", "transaction.updated"): 2})
    outcomes["dead_lettered", "invalid"] = 1
    emit(DependencyChanged(Dependency.REDIS, None, Severity.WARNS))
    ties = Counter({"later": 2, "earlier": 1})
    emit(BatchSettled(10, 5000, outcomes, 9, 8, 1, 2, 0.25, [0.1] * 7, ties=ties))
    assert logs == [
        {
            "event": "batch.settled",
            "log_level": "info",
            "events": 10,
            "bytes": 5000,
            "seconds": 0.25,
            "indexed": 7,
            "late": 2,
            "dead_lettered": 1,
        }
    ]
    shown = metrics.snapshot()
    assert shown["events_total"]["indexed"]["transaction.created"] == 7
    assert shown["events_total"]["dead_lettered"]["invalid"] == 1
    assert shown["ties_total"] == {"later": 2, "earlier": 1}
    assert shown["dedup_lookups_total"] == {"memory": 9, "redis": 8}
    assert shown["dedup_hits_total"] == {"memory": 1, "redis": 2}
    assert shown["event_age_seconds"]["count"] == 7
    assert shown["batch_bytes"]["sum"] == 5000


def test_an_unexpected_index_makes_the_indexer_not_ready_until_it_is_corrected(emit, health, metrics, logs):
    health.started()
    health.assigned(1)
    emit(ProblemChanged(INDEX))
    assert metrics.snapshot()["index_as_expected"] == 1
    emit(ProblemChanged(INDEX, "rolled over: POST /_aliases {}"))
    assert health.ready() == (False, ["index: rolled over: POST /_aliases {}"])
    assert health.live().ok
    assert metrics.snapshot()["index_as_expected"] == 0
    emit(ProblemChanged(INDEX))
    assert health.ready().ok
    assert metrics.snapshot()["index_as_expected"] == 1
    emit(EventsReadAgain(7))
    assert metrics.snapshot()["events_read_again_total"] == 7
    assert [line["event"] for line in logs] == ["index.blocked", "index.recovered", "events.read_again"]


def test_while_redis_is_unavailable_nothing_is_counted_as_looked_up_there(emit, metrics, logs):
    emit(DependencyChanged(Dependency.REDIS, "no connection", Severity.WARNS))
    emit(BatchSettled(5, 100, looked_up=5))
    assert metrics.snapshot()["dedup_lookups_total"] == {"memory": 5, "redis": 0}
    assert metrics.snapshot()["dependency_up"] == {"redis": 0}
    assert [line["event"] for line in logs] == ["redis.failed", "batch.settled"]


def test_redis_unavailable_stops_nothing_and_is_reported_once(emit, health, logs):
    for _ in range(3):
        emit(DependencyChanged(Dependency.REDIS, "no connection", Severity.WARNS))
    emit(DependencyChanged(Dependency.REDIS, None, Severity.WARNS))
    assert health.ready() == (True, [])
    assert health.live() == (True, [])
    assert [line["event"] for line in logs] == ["redis.failed", "redis.recovered"]


def failed(emit, offset=7, events=1):
    error = DocumentError(
        "document_parsing_exception", "failed to parse field [amount]. Preview of field's value: '4111 1111 1111 1111'"
    )
    record = SimpleNamespace(topic="transactions", partition=3, offset=offset)
    letter = Letter(0, record, Failure(error, 1, 0.0, 0.0, "m-1"), "transaction.created")
    emit(DeadLettersWritten((error.stage, error.code), range(events), lambda _: letter, UntracedBatch()))


def test_a_dead_letter_is_counted_and_reported_without_what_the_event_holds(emit, metrics, logs):
    failed(emit)
    assert metrics.snapshot()["dead_letters_total"] == {"index": {"document_parsing_exception": 1}}
    (line,) = logs
    assert (line["stage"], line["error"]) == ("index", "document_parsing_exception")
    assert (line["partition"], line["offset"], line["message_id"]) == (3, 7, "m-1")
    assert line["message"] == "failed to parse field [amount]."


def test_dead_letters_of_a_kind_are_reported_once_in_a_while(emit, metrics, clock, logs):
    for offset in range(100):
        clock.now += 0.25
        failed(emit, offset)
    assert metrics.snapshot()["dead_letters_total"]["index"]["document_parsing_exception"] == 100
    assert [line.get("suppressed", 0) for line in logs] == [0, 39, 39]


def test_one_dead_letter_is_shown_for_many_of_its_kind_with_the_number_of_the_others(emit, metrics, clock, logs):
    failed(emit, 7, events=400)
    failed(emit, 500, events=300)
    clock.now += 11
    failed(emit, 900, events=2)
    assert metrics.snapshot()["dead_letters_total"]["index"]["document_parsing_exception"] == 702
    assert [(line["offset"], line["suppressed"]) for line in logs] == [(7, 399), (900, 301)]


def test_an_outage_is_a_wait_and_ends(emit, health, metrics, clock, logs):
    health.pending(5)
    for _ in range(30):
        clock.now += 30
        health.ticked()
        emit(DependencyChanged(Dependency.ELASTICSEARCH, "no connection"))
    assert health.live() == (True, ["waiting: elasticsearch: no connection"])
    assert health.ready().ok
    assert metrics.snapshot()["dependency_up"]["elasticsearch"] == 0
    emit(DependencyChanged(Dependency.ELASTICSEARCH))
    assert health.live() == (True, [])
    assert metrics.snapshot()["dependency_up"]["elasticsearch"] == 1
    assert {line["event"] for line in logs[:-1]} == {"elasticsearch.failed"}
    assert logs[-1]["event"] == "elasticsearch.recovered"


def test_a_halt_makes_it_not_ready_until_it_passes(emit, health, logs):
    emit(DependencyChanged(Dependency.ELASTICSEARCH, "security_exception: 403", Severity.BLOCKS))
    assert health.ready() == (False, ["elasticsearch: security_exception: 403"])
    assert health.live().ok
    emit(DependencyChanged(Dependency.ELASTICSEARCH))
    assert health.ready().ok
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("elasticsearch.blocked", "error"),
        ("elasticsearch.recovered", "info"),
    ]


def test_an_open_breaker_is_an_alarm_that_says_what_to_do_and_shows_no_values(emit, health, metrics, logs):
    emit(BreakerOpened(0.6, "index document_parsing_exception: id 'x'. Preview of field's value: '4111'"))
    ready, reasons = health.ready()
    assert not ready
    assert "60%" in reasons[0]
    assert "document_parsing_exception" in reasons[0]
    assert "CONSUMER_BREAKER_THRESHOLD=1" in reasons[0]
    assert "4111" not in reasons[0] + str(logs)
    assert metrics.snapshot()["breaker_open"] == 1
    emit(BreakerClosed())
    assert health.ready().ok
    assert metrics.snapshot()["breaker_open"] == 0


def test_a_partition_that_cannot_go_on_makes_it_not_ready_with_the_reason(emit, health, metrics):
    emit(PartitionsCorrupt({Partition("transactions", 1): "partition 1 cannot go on at the offset 17"}))
    assert health.ready().reasons[0] == "records: partition 1 cannot go on at the offset 17"
    assert not health.ready().ok
    assert health.live().ok
    assert metrics.snapshot()["corrupt_partitions"] == 1
    emit(PartitionsCorrupt({}))
    assert metrics.snapshot()["corrupt_partitions"] == 0
    assert health.ready().ok


def test_a_dead_letter_topic_that_takes_nothing_makes_it_not_ready(emit, health):
    emit(DependencyChanged(Dependency.DEAD_LETTERS, "transactions.dlq: not authorized", Severity.BLOCKS))
    assert health.ready().reasons == ["dead_letters: transactions.dlq: not authorized"]
    emit(DependencyChanged(Dependency.DEAD_LETTERS, None, Severity.BLOCKS))
    assert health.ready().ok


def test_a_broker_that_is_unavailable_is_a_wait(emit, health, metrics):
    emit(DependencyChanged(Dependency.KAFKA, "no broker"))
    assert health.live().reasons == ["waiting: kafka: no broker"]
    assert metrics.snapshot()["dependency_up"] == {"kafka": 0}
    emit(DependencyChanged(Dependency.KAFKA))
    assert health.live() == (True, [])


def test_a_server_that_the_start_waits_for_makes_it_not_ready(emit, health, logs):
    emit(DependencyChanged(Dependency.KAFKA, "no broker", starting=True))
    assert health.ready() == (False, ["kafka: no broker"])
    emit(DependencyChanged(Dependency.KAFKA))
    assert health.facts() == []
    assert [line["event"] for line in logs] == ["kafka.failed", "kafka.recovered"]


def test_a_server_that_answers_from_the_start_is_up_without_a_word(emit, metrics, logs):
    emit(DependencyChanged(Dependency.KAFKA))
    emit(DependencyChanged(Dependency.ELASTICSEARCH))
    assert metrics.snapshot()["dependency_up"] == {"kafka": 1, "elasticsearch": 1}
    assert logs == []


def test_rebalances_are_reported(emit, health, metrics, logs):
    emit(PartitionsRevoked())
    assert not health.ready().ok
    emit(PartitionsAssigned([Partition("transactions", 2), Partition("transactions", 0)]))
    assert health.ready().ok
    assert metrics.snapshot()["assigned_partitions"] == 2
    assert logs[-1]["partitions"] == [0, 2]


def test_commits_lag_and_intake_are_counted(emit, metrics):
    emit(RecordsPolled(3, 300))
    emit(IntakeTurned(2))
    emit(RequestsInFlight(1, 8))
    emit(DocumentsRetried("unavailable", 3))
    emit(OffsetsCommitted({Partition("transactions", 0): 9}))
    emit(CommitFailed("rebalance"))
    emit(LagMeasured(Partition("transactions", 0), 4))
    emit(StageDone("bulk", 0.1))
    shown = metrics.snapshot()
    assert (shown["events_consumed_total"], shown["consumed_bytes_total"]) == (3, 300)
    assert shown["offset_commits_total"] == {"done": 1, "failed": 1}
    assert shown["consumer_lag_events"] == {"0": 4}
    assert shown["committed_offset"] == {"0": 9}
    assert shown["retries_total"] == {"unavailable": 3}
    assert (shown["in_flight_bulk_requests"], shown["in_flight_limit"], shown["buffered_events"]) == (1, 8, 2)


def test_polls_keep_it_alive_and_work_without_settlement_does_not(emit, health, clock):
    emit(EventsPending(10))
    for _ in range(121):
        clock.now += 1
        health.ticked()
        emit(IntakeTurned(0))
    assert not health.live().ok


def test_a_settled_batch_is_progress(emit, health, clock):
    emit(EventsPending(10))
    for _ in range(300):
        clock.now += 1
        health.ticked()
        emit(IntakeTurned(0))
        emit(BatchSettled(1, 100))
    assert health.live().ok


def test_at_debug_each_event_and_each_dead_letter_is_reported_in_full(emit, logs, monkeypatch):
    monkeypatch.setattr("activity_indexer.telemetry.log_lines.is_debug", lambda: True)
    event = decode_event(
        b'{"event_type": "transaction.deleted", "transaction": {"id": "tx-1", "user_id": "u"},'
        b' "timestamp": "2024-01-01T12:00:00Z"}',
        latest=2**60,
    )
    emit(BatchDecoded([event, None]))
    failed(emit, events=2)
    assert [line["event"] for line in logs] == ["Processing transaction message", *["event.dead_lettered"] * 2]
    assert logs[0]["message_id"] == event.message_id
    assert logs[1]["message"].endswith("'4111 1111 1111 1111'")


LOST = Loss(Partition("transactions", 3), RETENTION, 20, 40)


def test_events_that_were_lost_are_an_error_line_a_number_and_a_fact_for_an_hour(emit, metrics, health, clock, logs):
    emit(EventsLost(LOST))
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("events.lost", "error")
    assert (line["partition"], line["reason"], line["first_offset"], line["events"]) == (3, "retention", 20, 40)
    assert "retention" in line["advice"]
    assert metrics.snapshot()["events_lost_total"] == {"3": {"retention": {"indexer": 40}}}
    ok, reasons = health.ready()
    assert ok
    assert reasons[0].startswith("warning: events_lost (partition 3): 40 events from offset 20 on (retention); ")
    emit(EventsLost(LOST))
    emit(PartitionsAssigned([LOST.partition]))
    assert health.partitions()[3].lost == 80
    clock.now += LOSS_SHOWN + 1
    health.ticked()
    health.polled()
    assert health.ready() == (True, [])


@pytest.mark.parametrize("reason", LOSS_REASONS)
def test_every_kind_of_loss_has_its_advice(emit, logs, reason):
    emit(EventsLost(LOST._replace(reason=reason)))
    assert logs[0]["advice"]


def test_a_transaction_that_stays_open_is_a_fact_with_since_when_until_it_ends(emit, metrics, health, logs):
    place = Partition("transactions", 3)
    emit(LagMeasured(place, 50, 50, 1.0))
    assert health.ready() == (True, [])
    assert not logs
    for seconds in (20.0, 25.0):
        emit(LagMeasured(place, 51, 51, seconds))
    assert metrics.snapshot()["held_events"] == {"3": 51}
    assert metrics.snapshot()["held_seconds"] == {"3": 25.0}
    assert health.partitions()[3].behind_transaction == 51
    assert [line["event"] for line in logs] == ["open_transaction.warned"]
    (reason,) = health.ready().reasons
    assert re.fullmatch(
        r"warning: open_transaction \(partition 3\): 51 events wait behind a transaction that a producer left open "
        r"since .+Z; kafka-transactions .+",
        reason,
    )
    emit(LagMeasured(place, 0))
    assert health.ready() == (True, [])
    assert health.partitions()[3].behind_transaction == 0
    assert [line["event"] for line in logs] == ["open_transaction.warned", "open_transaction.recovered"]


def test_what_holds_a_partition_is_forgotten_with_the_partition(emit, health):
    emit(LagMeasured(Partition("transactions", 3), 51, 51, 20.0))
    emit(PartitionsRevoked())
    emit(PartitionsAssigned([]))
    assert health.ready() == (True, [])


@pytest.mark.parametrize("code", ["topic", "membership"])
def test_what_an_operator_must_set_right_makes_it_not_ready(emit, health, code):
    emit(ProblemChanged(code, "do this"))
    assert not health.ready().ok
    assert health.ready().reasons[0].endswith(": do this")
    assert health.live().ok
    emit(ProblemChanged(code))
    assert health.ready() == (True, [])


def test_a_topic_that_was_created_again_is_an_error_line(emit, logs):
    emit(TopicRecreated("transactions"))
    assert (logs[0]["event"], logs[0]["log_level"], logs[0]["topic"]) == ("topic.recreated", "error", "transactions")


def test_what_the_audit_lost_is_counted_apart(audit, metrics, health, logs):
    audit(EventsLost(LOST))
    audit(TopicRecreated("transactions"))
    audit(DependencyChanged(Dependency.KAFKA, "away"))
    audit(ProblemChanged("topic", "missing"))
    audit(ProblemChanged("membership", "in use"))
    assert {fact.code for fact in health.facts()} == {"audit_events_lost"}
    assert metrics.snapshot()["events_lost_total"] == {"3": {"retention": {"audit": 40}}}
    assert [(line["event"], line["consumer"]) for line in logs] == [
        ("events.lost", "audit"),
        ("topic.recreated", "audit"),
    ]


def test_the_audit_is_counted_apart(audit, metrics):
    one, other = Partition("transactions", 0), Partition("transactions", 1)
    audit(AuditBatchWritten({AuditOutcome.WRITTEN: 5}, 0.1))
    audit(DependencyChanged(Dependency.POSTGRES, "away", Severity.WARNS))
    audit(DependencyChanged(Dependency.KAFKA))
    audit(AuditLagMeasured({one: Backlog(3, 1.0), other: Backlog(4, 2.0)}))
    audit(AuditLagMeasured({other: Backlog(2, 61.5)}))
    shown = metrics.snapshot()
    assert shown["audit_events_total"]["written"] == 5
    assert shown["audit_lag_events"] == {"1": 2}
    assert shown["audit_lag_seconds"] == {"1": 61.5}
    assert shown["dependency_up"] == {"postgres": 0}


def test_a_paused_audit_is_a_warning_until_its_database_takes_calls(audit, health):
    audit(DependencyChanged(Dependency.KAFKA, "no broker"))
    assert health.facts() == []
    audit(DependencyChanged(Dependency.POSTGRES, "password authentication failed", Severity.WARNS))
    assert health.ready() == (True, ["warning: audit: it is paused: password authentication failed"])
    audit(DependencyChanged(Dependency.POSTGRES))
    assert health.facts() == []
    audit(AuditCrashed(ValueError("x")))
    assert health.facts()[0].reason.endswith("see the log: ValueError")
    audit(EventsLost(LOST))
    assert [fact.code for fact in health.facts()] == ["audit", "audit_events_lost"]


def test_a_problem_is_a_fact_and_a_line_until_it_is_solved(emit, health, logs):
    for _ in range(3):
        emit(ProblemChanged("open_transaction", "1001 events wait", Severity.WARNS, "partition 2", "end the producer"))
    assert [(fact.code, fact.subject, fact.severity) for fact in health.facts()] == [
        ("open_transaction", "partition 2", Severity.WARNS)
    ]
    emit(ProblemChanged("open_transaction", subject="partition 1"))
    assert health.facts()
    emit(ProblemChanged("open_transaction", subject="partition 2"))
    emit(ProblemChanged("open_transaction", subject="partition 2"))
    assert health.facts() == []
    assert [line["event"] for line in logs] == ["open_transaction.warned", "open_transaction.recovered"]
    assert (logs[0]["subject"], logs[0]["advice"]) == ("partition 2", "end the producer")


def test_a_problem_that_blocks_is_an_error_and_not_ready(emit, health, logs):
    emit(ProblemChanged("topic_missing", "topic transactions does not exist"))
    assert health.ready() == (False, ["topic_missing: topic transactions does not exist"])
    assert (logs[0]["event"], logs[0]["log_level"]) == ("topic_missing.blocked", "error")
    emit(ProblemChanged("topic_missing"))
    assert health.ready().ok


def test_a_problem_that_waits_is_believed_for_as_long_as_a_try_may_take(emit, health, clock):
    emit(ProblemChanged("kafka", "no broker", Severity.WAITS))
    clock.now += 160
    health.ticked()
    assert health.facts()[0].text == "waiting: kafka: no broker"
    clock.now += 1
    health.ticked()
    health.polled()
    assert health.facts() == []


def test_redis_that_fails_is_a_warning_while_it_lasts(emit, health):
    emit(DependencyChanged(Dependency.REDIS, "no connection", Severity.WARNS))
    assert health.ready() == (True, ["warning: redis: no connection"])
    emit(DependencyChanged(Dependency.REDIS, None, Severity.WARNS))
    assert health.facts() == []


def test_lag_and_age_are_numbers_of_their_partition(emit, health):
    place = Partition("transactions", 3)
    emit(LagMeasured(place, 7, seconds=1.5))
    assert (health.partitions()[3].lag, health.partitions()[3].lag_seconds) == (7, 1.5)


def test_every_kind_of_fact_is_subscribed_to(metrics, health):
    heard = {kind for kind, _ in (*metrics.indexer, *metrics.audit)}
    for subscriber in (Progress(health), Problems(health), LogLines(), AuditProblems(health)):
        heard |= {kind for kind, _ in subscriptions(subscriber)}
    assert set(Reported.__subclasses__()) == heard


def test_a_fact_is_handed_to_all_that_subscribe_to_its_kind_in_their_order_and_to_no_other():
    heard = []
    emit = Subscribers([(CommitFailed, heard.append), (CommitFailed, lambda failed: heard.append(failed.reason))])
    emit(CommitFailed("rebalance"))
    emit(EventsPending(3))
    assert heard == [CommitFailed("rebalance"), "rebalance"]
