import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from activity_indexer.dead_letter import Failure
from activity_indexer.errors import DecodeError
from activity_indexer.facts import Severity
from activity_indexer.ports import AuditOutcome, Backlog
from activity_indexer.positions import RETENTION, Loss, Partition
from activity_indexer.reports import (
    OUTCOMES,
    AuditBatchWritten,
    AuditLagMeasured,
    AuditTiesFound,
    BatchSettled,
    BatchStarted,
    BreakerClosed,
    BulkDone,
    BulkOutcome,
    BulkTook,
    CallEnded,
    DeadLettersWritten,
    DeadLetterTruncated,
    Dependency,
    DependencyChanged,
    DocumentsRetried,
    DocumentsSentAlone,
    EventOutcome,
    EventsLost,
    EventsReadAgain,
    IntakeTurned,
    LagMeasured,
    Letter,
    LoopTicked,
    OffsetsCommitted,
    PartitionsAssigned,
    PartitionsCorrupt,
    PartitionsRevoked,
    ProblemChanged,
    RecordsPolled,
    RequestsInFlight,
    SearchProbed,
    SpansExported,
    StageDone,
    Subscribers,
)
from activity_indexer.telemetry.metrics.distribution import Distribution
from activity_indexer.telemetry.metrics.indexer import Metrics
from activity_indexer.telemetry.metrics.instruments import PREFIX, WORDS, Instruments, Label, Shown
from activity_indexer.tracing import UntracedBatch

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def metrics():
    return Metrics(clock=lambda: 1_700_000_000.0)


ONE, OTHER = Partition("transactions", 0), Partition("transactions", 1)
LETTER = Letter(0, None, Failure(DecodeError("invalid_json", "no JSON"), 1, 0.0, 0.0), "invalid")


def used(metrics):
    """Every kind of fact reported once."""
    emit = Subscribers(metrics.indexer)
    emit(RecordsPolled(10, 1000))
    emit(BatchStarted(0.1))
    emit(DependencyChanged(Dependency.REDIS, None, Severity.WARNS))
    created = {(EventOutcome.INDEXED, "transaction.created"): 5}
    emit(BatchSettled(10, 1000, created, 10, 9, 1, 0, 0.1, [0.2, 3.0], 1, ties={"later": 1}))
    emit(StageDone("decode", 0.001))
    emit(DeadLettersWritten(("decode", "invalid_json"), [0], lambda _: LETTER, UntracedBatch()))
    emit(DeadLetterTruncated())
    emit(DocumentsRetried("unavailable", 2))
    emit(DocumentsSentAlone(1, "busy"))
    emit(SearchProbed("seen", 1.2))
    emit(BulkDone(BulkOutcome.DONE, 0.05, 2000))
    emit(BulkTook(0.04))
    emit(RequestsInFlight(2, 8, 0.001))
    emit(IntakeTurned(3))
    emit(BreakerClosed())
    emit(ProblemChanged("index"))
    emit(CallEnded(Dependency.REDIS, "seen", 0.001, True))
    emit(SpansExported("exported", 3))
    emit(PartitionsRevoked())
    emit(PartitionsAssigned([ONE, OTHER]))
    emit(PartitionsCorrupt({}))
    emit(LagMeasured(ONE, 7, 5, 30.0, 2.5))
    emit(EventsLost(Loss(ONE, RETENTION, 0, 40)))
    emit(EventsReadAgain(2))
    emit(OffsetsCommitted({ONE: 42}))
    emit(LoopTicked(0.001))
    audit = Subscribers(metrics.audit)
    audit(AuditBatchWritten({AuditOutcome.WRITTEN: 4}, 0.2))
    audit(AuditTiesFound(1))
    audit(AuditLagMeasured({ONE: Backlog(3, 1.5)}))
    return metrics


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(PREFIX + name, labels)


def test_every_declared_metric_is_shown_with_its_type_help_and_labels(metrics):
    body, _ = used(metrics).exposition()
    families = {family.name: family for family in parse_text(body.decode())}
    for each in metrics.declarations:
        family = families[each.full_name.removesuffix("_total") if each.kind == "counter" else each.full_name]
        assert (family.type, family.documentation) == (each.kind, each.help)
        assert family.samples, f"{each.name} is never reported"
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == {label.name for label in each.labels}


def test_nothing_is_shown_with_our_prefix_that_is_not_declared(metrics):
    body, _ = used(metrics).exposition()
    shown = {line.split()[2] for line in body.decode().splitlines() if line.startswith(f"# TYPE {PREFIX}")}
    assert shown == {each.full_name for each in metrics.declarations}


def test_names_and_units_follow_the_rules_of_prometheus(metrics):
    for each in metrics.declarations:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", each.name)
        assert each.name.endswith("_total") == (each.kind == "counter")
        assert each.help.endswith(".")
        if each.unit in ("seconds", "bytes"):
            assert each.name.removesuffix("_total").endswith(each.unit)
        assert list(each.buckets) == sorted(each.buckets)
        assert bool(each.buckets) == (each.kind == "histogram")


def test_scrapers_get_the_form_they_ask_for(metrics):
    text, text_type = used(metrics).exposition("text/plain")
    openmetrics, openmetrics_type = metrics.exposition(OPENMETRICS)
    assert text_type.startswith("text/plain")
    assert openmetrics_type.startswith("application/openmetrics-text")
    assert list(parse_text(text.decode()))
    assert {family.unit for family in parse_openmetrics(openmetrics.decode())} >= {"seconds", "bytes", "events"}


def test_process_and_garbage_collector_are_shown(metrics):
    body = metrics.exposition()[0].decode()
    assert "process_cpu_seconds_total" in body
    assert "python_gc_collections_total" in body
    assert "python_info" in body


def test_two_sets_of_metrics_share_nothing():
    first, second = Metrics(), Metrics()
    Subscribers(first.indexer)(RecordsPolled(1, 1))
    assert value(second, "events_consumed_total") == 0


def test_counts_are_added_by_batch(metrics):
    for count in (3, 4):
        Subscribers(metrics.indexer)(BatchSettled(count, 1, {(EventOutcome.LATE, "transaction.updated"): count}))
    assert value(metrics, "events_total", outcome="late", event_type="transaction.updated") == 7
    assert value(metrics, "last_settled_timestamp_seconds") == 1_700_000_000


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_counters_of_known_values_begin_at_zero(metrics, outcome):
    assert value(metrics, "events_total", outcome=outcome, event_type="transaction.created") == 0


def test_nothing_from_outside_makes_a_new_series(metrics):
    before = len(list(metrics.exposition()[0].splitlines()))
    emit = Subscribers(metrics.indexer)
    for number in range(1000):
        outcomes = {(EventOutcome.INDEXED, f"type-{number}"): 1, (f"outcome {number}", "transaction.created"): 1}
        emit(BatchSettled(2, 1, outcomes))
        for stage, code in ((f"stage {number}", f"Error {number}"), ("index", f"error_{number}")):
            emit(DeadLettersWritten((stage, code), [0], lambda _: LETTER, UntracedBatch()))
        emit(DocumentsRetried(f"reason_{number}", 1))
        emit(BulkDone(f"{number}", 0.1, 1))
        emit(DependencyChanged(f"server-{number}"))
        emit(StageDone(f"stage {number}", 0.1))
    assert value(metrics, "events_total", outcome="indexed", event_type="invalid") == 1000
    assert value(metrics, "dead_letters_total", stage="index", error="other") == 1000 - WORDS
    assert len(list(metrics.exposition()[0].splitlines())) - before < 3 * WORDS


def test_words_of_the_code_stay_and_others_are_other():
    family = Instruments(Shown()).counter("found_total", "events", "Found.", Label("word", "words", limit=2))
    for word in ("a_b", "Not a word", "429", "c", "a_b", ""):
        family.of(word).inc()
    made = family._metric
    shown = {sample.labels["word"]: sample.value for sample in made.collect()[0].samples if "_total" in sample.name}
    assert shown == {"a_b": 2, "429": 1, "other": 3}


def test_values_of_lost_partitions_are_forgotten(metrics):
    emit = Subscribers(metrics.indexer)
    emit(PartitionsAssigned([ONE, OTHER]))
    for partition in (ONE, OTHER):
        emit(LagMeasured(partition, 5))
        emit(OffsetsCommitted({partition: 9}))
    emit(PartitionsAssigned([OTHER]))
    assert value(metrics, "consumer_lag_events", partition="0") is None
    assert value(metrics, "committed_offset", partition="0") is None
    assert value(metrics, "consumer_lag_events", partition="1") == 5
    assert value(metrics, "assigned_partitions") == 1
    emit(PartitionsRevoked())
    assert value(metrics, "consumer_lag_events", partition="1") is None
    assert value(metrics, "assigned_partitions") == 0
    assert value(metrics, "rebalances_total") == 2


def test_histograms_count_each_value_in_its_bucket_and_all_above(metrics):
    Subscribers(metrics.indexer)(BatchSettled(4, 1, ages=[0.01, 0.011, 1e6, -5.0]))
    assert value(metrics, "event_age_seconds_bucket", le="0.01") == 2
    assert value(metrics, "event_age_seconds_bucket", le="0.025") == 3
    assert value(metrics, "event_age_seconds_bucket", le="86400.0") == 3
    assert value(metrics, "event_age_seconds_bucket", le="+Inf") == 4
    assert value(metrics, "event_age_seconds_count") == 4
    assert value(metrics, "event_age_seconds_sum") == pytest.approx(1e6 + 0.021, abs=1e-3)


@given(st.lists(st.one_of(st.floats(0, 10), st.sampled_from([1.0, 2.0, 4.0])), max_size=40))
def test_values_are_counted_at_once_as_they_are_one_by_one(values):
    one, all_at_once = Distribution([1, 2, 4]), Distribution([1, 2, 4])
    for each in values:
        one.add_all([each])
    all_at_once.add_all(values)
    assert all_at_once.counts == one.counts
    assert all_at_once.sum == pytest.approx(one.sum)


def test_quantiles_are_estimated_within_their_bucket():
    distribution = Distribution([1, 2, 4])
    assert distribution.quantile(0.5) == 0
    distribution.add_all([0.5, 1.5, 1.6, 3.0])
    assert distribution.quantile(0.25) == 1
    assert distribution.quantile(0.5) == 1.5
    assert distribution.quantile(1) == 4
    distribution.add_all([100])
    assert distribution.quantile(1) == 4


def test_snapshot_is_json_nested_by_label(metrics):
    shown = json.loads(json.dumps(used(metrics).snapshot()))
    assert shown.keys() == {each.name for each in metrics.declarations}
    assert shown["events_consumed_total"] == 10
    assert shown["events_total"]["indexed"]["transaction.created"] == 5
    assert shown["dead_letters_total"] == {"decode": {"invalid_json": 1}}
    assert shown["consumer_lag_events"] == {"0": 7}
    assert shown["batch_events"] == {"count": 1, "sum": 10}
    assert shown["stage_duration_seconds"]["decode"]["count"] == 1
