"""Calls to servers are timed, counted, and otherwise as they were."""

import pytest
from fixtures.memory.stores import MemoryDeadLetters, MemorySeen
from fixtures.records import taken
from prometheus_client import CollectorRegistry

from activity_indexer.errors import Unavailable
from activity_indexer.ports import BulkReply, OutRecord
from activity_indexer.reports import Subscribers
from activity_indexer.telemetry.calls import Calls, MeasuredDeadLetters, MeasuredIndex, MeasuredSeen
from activity_indexer.telemetry.metrics.indexer import Metrics
from activity_indexer.tracing import Untraced


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def count(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"activity_indexer_{name}", labels)


class Index:
    async def bulk(self, body: bytes) -> BulkReply:
        return BulkReply(200, taken(body))

    async def prepare(self) -> None:
        pass


async def test_a_bulk_requests_own_time_is_what_elasticsearch_says(metrics: Metrics) -> None:
    await MeasuredIndex(Index(), Calls(Subscribers(metrics.indexer), Untraced()), "transactions").bulk(b"{}\n{}\n")
    assert count(metrics.registry, "bulk_took_seconds_sum") == 0.25
    labels = {"dependency": "elasticsearch", "operation": "bulk"}
    assert count(metrics.registry, "dependency_call_duration_seconds_count", **labels) == 1
    assert count(metrics.registry, "dependency_call_failures_total", **labels) is None


async def test_a_call_that_raises_is_a_failure_and_raises_on(metrics: Metrics) -> None:
    seen = MeasuredSeen(MemorySeen(problem="away"), Calls(Subscribers(metrics.indexer), Untraced()))
    with pytest.raises(Unavailable, match="away"):
        await seen.seen([b"a" * 16])
    assert count(metrics.registry, "dependency_call_failures_total", dependency="redis", operation="seen") == 1


async def test_records_that_are_left_over_are_a_failure_and_are_returned(metrics: Metrics) -> None:
    record = OutRecord(None, b"", [])
    topic = MeasuredDeadLetters(
        MemoryDeadLetters(lambda _: "full"), Calls(Subscribers(metrics.indexer), Untraced()), "dlq"
    )
    assert await topic.send([record]) == ([record], "full")
    assert count(metrics.registry, "dependency_call_failures_total", dependency="kafka", operation="send") == 1
