import json
import re

import pytest
from activity_indexer.telemetry.metrics.declarations import DECLARATIONS, OUTCOMES, PREFIX
from activity_indexer.telemetry.metrics.series import Distribution
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from activity_indexer.telemetry.metrics.indexer import WORDS, Metrics, Words

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def metrics():
    return Metrics(clock=lambda: 1_700_000_000.0)


def used(metrics):
    """Every method told once."""
    metrics.consumed(10, 1000)
    metrics.settled("indexed", "transaction.created", 5)
    metrics.dead_lettered("decode", "invalid_json")
    metrics.retried("unavailable", 2)
    metrics.event_ages([0.2, 3.0])
    metrics.fresh(1.2)
    metrics.probed("seen")
    metrics.waited(0.1)
    metrics.batch(10, 1000, 0.1)
    metrics.stage("decode", 0.001)
    metrics.bulk("done", 0.05, 2000)
    metrics.bulk_waited(0.001)
    metrics.bulk_took(0.04)
    metrics.in_flight(2, 8)
    metrics.buffered(3)
    metrics.dedup("memory", 10, 1)
    metrics.breaker(is_open=False)
    metrics.dependency("kafka", up=True)
    metrics.called("redis", "seen", 0.001, failed=True)
    metrics.spans("exported", 3)
    metrics.assigned([0, 1])
    metrics.rebalancing(going_on=True)
    metrics.rebalanced(0.5)
    metrics.lag(0, 7)
    metrics.lag_seconds(0, 2.5)
    metrics.held(0, 5, 30.0)
    metrics.lost(0, "retention", "indexer", 40)
    metrics.committed(0, 42)
    metrics.commit(done=True)
    metrics.audited("written", 4)
    metrics.audit_batch(0.2)
    metrics.audit_lag(0, 3, 1.5)
    metrics.loop_lag(0.001)
    return metrics


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(PREFIX + name, labels)


def test_every_declared_metric_is_shown_with_its_type_help_and_labels(metrics):
    body, _ = used(metrics).exposition()
    families = {family.name: family for family in parse_text(body.decode())}
    for each in DECLARATIONS:
        family = families[each.full_name.removesuffix("_total") if each.kind == "counter" else each.full_name]
        assert (family.type, family.documentation) == (each.kind, each.help)
        assert family.samples, f"{each.name} is never told"
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == {label.name for label in each.labels}


def test_nothing_is_shown_with_our_prefix_that_is_not_declared(metrics):
    body, _ = used(metrics).exposition()
    shown = {line.split()[2] for line in body.decode().splitlines() if line.startswith(f"# TYPE {PREFIX}")}
    assert shown == {each.full_name for each in DECLARATIONS}


def test_names_and_units_follow_the_rules_of_prometheus():
    for each in DECLARATIONS:
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
    first.consumed(1, 1)
    assert value(second, "events_consumed_total") == 0


def test_counts_are_added_by_batch(metrics):
    metrics.settled("late", "transaction.updated", 3)
    metrics.settled("late", "transaction.updated", 4)
    assert value(metrics, "events_total", outcome="late", event_type="transaction.updated") == 7
    assert value(metrics, "last_settled_timestamp_seconds") == 1_700_000_000


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_counters_of_known_values_begin_at_zero(metrics, outcome):
    assert value(metrics, "events_total", outcome=outcome, event_type="transaction.created") == 0


def test_nothing_from_outside_makes_a_new_series(metrics):
    before = len(list(metrics.exposition()[0].splitlines()))
    for number in range(1000):
        metrics.settled("indexed", f"type-{number}")
        metrics.settled(f"outcome {number}", "transaction.created")
        metrics.dead_lettered(f"stage {number}", f"Error {number}")
        metrics.dead_lettered("index", f"error_{number}")
        metrics.retried(f"reason_{number}")
        metrics.bulk(f"{number}", 0.1, 1)
        metrics.dependency(f"server-{number}", up=True)
        metrics.stage(f"stage {number}", 0.1)
    assert value(metrics, "events_total", outcome="indexed", event_type="invalid") == 1000
    assert value(metrics, "dead_letters_total", stage="index", error="other") == 1000 - WORDS
    assert len(list(metrics.exposition()[0].splitlines())) - before < 3 * WORDS


def test_words_of_the_code_stay_and_others_are_other():
    words = Words(limit=2)
    assert [words(word) for word in ("a_b", "Not a word", "429", "c", "a_b", "")] == [
        "a_b",
        "other",
        "429",
        "other",
        "a_b",
        "other",
    ]


def test_values_of_lost_partitions_are_forgotten(metrics):
    metrics.assigned([0, 1])
    for partition in (0, 1):
        metrics.lag(partition, 5)
        metrics.committed(partition, 9)
    metrics.assigned([1])
    assert value(metrics, "consumer_lag_events", partition="0") is None
    assert value(metrics, "committed_offset", partition="0") is None
    assert value(metrics, "consumer_lag_events", partition="1") == 5
    assert value(metrics, "assigned_partitions") == 1
    metrics.revoked()
    assert value(metrics, "consumer_lag_events", partition="1") is None
    assert value(metrics, "assigned_partitions") == 0
    assert value(metrics, "rebalances_total") == 2


def test_histograms_count_each_value_in_its_bucket_and_all_above(metrics):
    metrics.event_ages([0.01, 0.011, 1e6, -5.0])
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
        one.add(each)
    all_at_once.add_all(values)
    assert all_at_once.counts == one.counts
    assert all_at_once.sum == pytest.approx(one.sum)


def test_quantiles_are_estimated_within_their_bucket():
    distribution = Distribution([1, 2, 4])
    assert distribution.quantile(0.5) == 0
    for number in (0.5, 1.5, 1.6, 3.0):
        distribution.add(number)
    assert distribution.quantile(0.25) == 1
    assert distribution.quantile(0.5) == 1.5
    assert distribution.quantile(1) == 4
    distribution.add(100)
    assert distribution.quantile(1) == 4


def test_snapshot_is_json_nested_by_label(metrics):
    shown = json.loads(json.dumps(used(metrics).snapshot()))
    assert shown.keys() == {each.name for each in DECLARATIONS}
    assert shown["events_consumed_total"] == 10
    assert shown["events_total"]["indexed"]["transaction.created"] == 5
    assert shown["dead_letters_total"] == {"decode": {"invalid_json": 1}}
    assert shown["consumer_lag_events"] == {"0": 7}
    assert shown["batch_events"] == {"count": 1, "sum": 10, "p50": 7.5, "p99": 9.95}
    assert shown["stage_duration_seconds"]["decode"]["count"] == 1
