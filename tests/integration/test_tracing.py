"""Traces as a collector receives them, from indexers on real servers."""

import asyncio
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from fixtures.events import event
from fixtures.servers.indexer import Indexer
from fixtures.servers.otlp import Receiver, Span, receiving, receiving_grpc
from fixtures.servers.place import Place, environment
from fixtures.waiting import eventually

pytestmark = pytest.mark.integration

SAMPLED, UNSAMPLED = "01", "00"
Start = Callable[..., Indexer]


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def context(flags: str = SAMPLED) -> tuple[str, str, list[tuple[str, bytes]]]:
    """A producer's trace id, its span id, and the headers that carry them."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, [("traceparent", f"00-{trace_id}-{span_id}-{flags}".encode())]


def to(collector: Receiver, **more: str) -> dict[str, str]:
    """The variables that send traces to this collector, often."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
        **more,
    }


async def test_an_events_trace_leads_from_its_producer_through_the_batch_to_the_document(
    place: Place, indexer: Start, collector: Receiver
) -> None:
    trace_id, span_id, headers = context()
    running = await indexer(CONSUMER_ENABLE_AUDIT_DB="true", **to(collector)).ready()
    await place.publish([event("followed")], headers=headers)
    await place.publish([event("plain")])
    await eventually(lambda: of(collector, "process", trace_id), lambda found: len(found) == 2, 30)

    by_group = {each.attributes["messaging.consumer.group.name"]: each for each in collector.of_trace(trace_id)}
    assert set(by_group) == {place.group, f"{place.group}.audit"}
    indexed = by_group[place.group]
    assert (indexed.kind, indexed.parent_id, indexed.failed) == ("consumer", span_id, False)
    assert indexed.name == f"process {place.name}"
    assert indexed.attributes["activity_indexer.outcome"] == "indexed"
    assert indexed.attributes["messaging.kafka.offset"] == 0
    assert indexed.service == "activity-indexer"
    assert indexed.schema.endswith("/1.44.0")
    assert by_group[f"{place.group}.audit"].attributes["activity_indexer.outcome"] == "written"

    (link,) = indexed.links
    (batch,) = await eventually(lambda: with_id(collector, link.span_id), lambda found: len(found) == 1, 10)
    assert [each.span_id for each in batch.links] == [span_id]
    assert batch.parent_id == ""
    children = [each for each in collector.of_trace(batch.trace_id) if each.parent_id == batch.span_id]
    assert [each.name for each in children] == ["decode", "dedup", "enrich", "bulk", "settle"]
    assert all(batch.contains(each) for each in children)
    (request,) = [each for each in collector.of_trace(batch.trace_id) if each.name == f"bulk {place.name}"]
    assert (request.kind, request.attributes["db.response.status_code"]) == ("client", "200")
    assert request.attributes["activity_indexer.elasticsearch.took"] >= 0

    documents = await place.documents()
    assert documents["followed"]["_trace_id"] == trace_id
    assert "_trace_id" not in documents["plain"]
    (line,) = [line for line in running.logged("batch.settled") if line.get("span_id") == batch.span_id]
    assert line["trace_id"] == batch.trace_id


async def test_the_load_generators_own_spans_are_where_the_indexers_begin(
    place: Place, indexer: Start, collector: Receiver
) -> None:
    running = await indexer(**to(collector)).ready()
    given = {**environment(place, to(collector)), "PATH": os.environ["PATH"]}
    command = (
        *("-m", "activity_loadgen", "--count", "20", "--update-ratio", "0", "--trace-ratio", "0.5"),
        *("--topic", place.name, "--kafka-servers", place.servers.kafka),
    )
    process = await asyncio.create_subprocess_exec(sys.executable, *command, env=given)
    assert await process.wait() == 0
    await running.settled(20)

    async def sent() -> list[Any]:
        return collector.named(f"send {place.name}")

    produced = await eventually(sent, lambda found: len(found) >= 1, 10)
    assert {each.service for each in produced} == {"activity-loadgen"}
    documents = await place.documents()
    assert len({document["_trace_id"] for document in documents.values()}) == 20
    for span in produced:
        (child,) = await eventually(partial(of, collector, "process", span.trace_id), lambda found: len(found) == 1, 10)
        assert (child.parent_id, child.start >= span.start) == (span.span_id, True)


async def test_an_event_whose_producer_did_not_sample_it_has_no_span_but_keeps_its_id(
    place: Place, indexer: Start, collector: Receiver
) -> None:
    trace_id, _, headers = context(UNSAMPLED)
    running = await indexer(**to(collector)).ready()
    await place.publish([event("quiet")], headers=headers)
    await running.settled(1)
    (batch,) = await eventually(lambda: of(collector, "process"), lambda found: len(found) == 1, 10)
    assert batch.links == []
    assert collector.of_trace(trace_id) == []
    assert (await place.documents())["quiet"]["_trace_id"] == trace_id


async def test_a_dead_letter_carries_the_span_that_sent_it(place: Place, indexer: Start, collector: Receiver) -> None:
    trace_id, _, headers = context()
    running = await indexer(**to(collector)).ready()
    await place.publish([b"not an event"], headers=headers)
    await running.settled(1)
    (dead,) = await place.dead_letters()
    kept = dict(dead.headers)
    assert kept["traceparent"] == headers[0][1]

    (sent,) = await eventually(lambda: of(collector, "send", trace_id), lambda found: len(found) == 1, 10)
    assert kept["dead-letter-traceparent"].decode() == f"00-{trace_id}-{sent.span_id}-01"
    (processed,) = await of(collector, "process", trace_id)
    assert (sent.kind, sent.parent_id) == ("producer", processed.span_id)
    assert (processed.failed, processed.attributes["error.type"]) == (True, "invalid_json")
    (line,) = running.logged("event.dead_lettered")
    assert (line["trace_id"], line["span_id"]) == (trace_id, processed.span_id)


async def test_one_trace_reports_an_event_that_was_dead_lettered_replayed_and_indexed(
    place: Place, indexer: Start, collector: Receiver, tmp_path: Path
) -> None:
    trace_id, _, headers = context()
    caller, caller_span, _ = context()
    running = await indexer(**to(collector)).ready()
    broken = event("again")
    broken["transaction"]["amount"] = "not a number"
    await place.publish([broken], headers=headers)
    await running.settled(1)
    patch = tmp_path / "patch.json"
    patch.write_text('{"transaction": {"amount": 7}}')
    command = ("dead-letters", "replay", "--json", "--patch", str(patch), "--stage", "validate")
    replaying = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "activity_indexer", *command),
        env={**environment(place, to(collector)), "TRACEPARENT": f"00-{caller}-{caller_span}-01"},
    )
    assert await replaying.wait() == 0
    await running.settled(2)

    async def story() -> list[str]:
        return [each.name for each in collector.of_trace(trace_id)]

    dlq = place.dead_letter_topic
    wanted = [f"process {place.name}", f"send {dlq}", f"send {place.name}", f"process {place.name}"]
    await eventually(story, wanted, 20)
    first, dead, sent, second = collector.of_trace(trace_id)
    assert [each.attributes.get("activity_indexer.outcome") for each in (first, second)] == ["dead_lettered", "indexed"]
    assert sent.links[0].span_id == dead.span_id
    reported = {each.attributes.get("activity_indexer.link"): each.span_id for each in second.links}
    assert (reported["replay"], reported["dead_letter"]) == (sent.span_id, dead.span_id)
    (whole,) = collector.named(f"replay {place.name}")
    assert (whole.trace_id, whole.parent_id) == (caller, caller_span)
    assert (await place.documents())["again"]["_trace_id"] == trace_id


async def test_one_trace_id_leads_from_publishing_through_dead_letter_and_replay_to_the_document(
    place: Place, indexer: Start, collector: Receiver, tmp_path: Path
) -> None:
    running = await indexer(**to(collector)).ready()
    given = {**environment(place, to(collector)), "PATH": os.environ["PATH"]}
    publish = (
        *("-m", "activity_loadgen", "--count", "1", "--update-ratio", "0", "--trace-ratio", "1"),
        *("--invalid-ratio", "1", "--invalid-kind", "missing_event_type"),
        *("--topic", place.name, "--kafka-servers", place.servers.kafka),
    )
    assert await (await asyncio.create_subprocess_exec(sys.executable, *publish, env=given)).wait() == 0
    await running.settled(2)
    (dead,) = await place.dead_letters()
    trace_id = dict(dead.headers)["traceparent"].decode().split("-")[1]
    patch = tmp_path / "patch.json"
    patch.write_text('{"event_type": "transaction.created"}')
    replay = ("-m", "activity_indexer", "dead-letters", "replay", "--json", "--patch", str(patch))
    assert await (await asyncio.create_subprocess_exec(sys.executable, *replay, env=given)).wait() == 0
    await running.settled(3)

    async def story() -> list[str]:
        return [each.name for each in collector.of_trace(trace_id)]

    topic, dlq = place.name, place.dead_letter_topic
    wanted = [f"send {topic}", f"process {topic}", f"send {dlq}", f"send {topic}", f"process {topic}"]
    await eventually(story, wanted, 20)
    published, failed, _, replayed, indexed = collector.of_trace(trace_id)
    assert [published.service, failed.service] == ["activity-loadgen", "activity-indexer"]
    assert {failed.parent_id, replayed.parent_id, indexed.parent_id} == {published.span_id}
    assert (failed.failed, indexed.failed) == (True, False)
    assert trace_id in {document.get("_trace_id") for document in (await place.documents()).values()}


async def test_a_collector_that_is_unavailable_costs_spans_and_nothing_else(
    place: Place, indexer: Start, collector: Receiver
) -> None:
    collector.status = 400
    running = await indexer(**to(collector, OTEL_BSP_MAX_QUEUE_SIZE="20")).ready()
    _, _, headers = context()
    await place.publish([event(str(number)) for number in range(200)], headers=headers)
    assert await running.settled(200) == {"indexed": 200}
    lost = [("failed",), ("dropped",)]
    await eventually(lambda: spans_lost(running, lost), lambda found: found >= 200, 20)
    assert len(running.logged("spans.export_failed")) == 1
    assert running.terminate(15) == 0


async def test_the_metrics_of_the_port_are_sent_as_well(place: Place, indexer: Start, collector: Receiver) -> None:
    running = await indexer(**to(collector)).ready()
    await place.publish([event("one"), event("two")])
    await running.settled(2)

    def indexed() -> float:
        points = collector.metrics[-1]["activity_indexer_events"].sum.data_points if collector.metrics else []
        wanted = {"outcome": "indexed", "event_type": "transaction.created"}
        return sum(
            each.as_double for each in points if {a.key: a.value.string_value for a in each.attributes} == wanted
        )

    async def reported() -> float:
        return indexed()

    await eventually(reported, 2, 10)
    (point,) = collector.metrics[-1]["activity_indexer_batch_events"].histogram.data_points
    assert (point.count, point.sum, sum(point.bucket_counts)) == (1, 2.0, 1)
    assert not point.HasField("min")


VOLATILE = (
    "activity_indexer.elasticsearch.took",
    "http.request.body.size",
    "messaging.destination.partition.id",
    "messaging.kafka.offset",
    "service.instance.id",
)


async def test_by_grpc_a_collector_receives_the_same_as_by_http_and_with_tls_too(
    place: Place, indexer: Start, collector: Receiver, tmp_path: Path
) -> None:
    by_http = await reported_to(collector, place, indexer(**to(collector)))
    with receiving_grpc() as plain:
        by_grpc = await reported_to(plain, place, indexer(**to(plain, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")))
    authority = trustme.CA()
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    with receiving_grpc(credentials(authority)) as secure:
        more = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_CERTIFICATE": str(trusted)}
        by_tls = await reported_to(secure, place, indexer(**to(secure, **more)))
    assert len(by_http["spans"]) >= 10
    for other in (by_grpc, by_tls):
        assert set(other["spans"]) ^ set(by_http["spans"]) == set()
        assert other == by_http


async def test_a_collector_that_is_not_trusted_gets_nothing(place: Place, indexer: Start, tmp_path: Path) -> None:
    trusted = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(trusted))
    with receiving_grpc(credentials(trustme.CA())) as secure:
        more = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_CERTIFICATE": str(trusted)}
        running = await indexer(**to(secure, OTEL_EXPORTER_OTLP_TIMEOUT="1", **more)).ready()
        _, _, headers = context()
        await place.publish([event("one")], headers=headers)
        assert await running.settled(1) == {"indexed": 1}
        await eventually(lambda: spans_lost(running, [("failed",)]), lambda found: found > 0, 20)
        assert running.terminate(20) == 0
        assert (secure.spans, secure.metrics) == ([], [])


def credentials(authority: trustme.CA) -> grpc.ServerCredentials:
    certificate = authority.issue_cert("localhost")
    chain = b"".join(each.bytes() for each in certificate.cert_chain_pems)
    return grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)])


async def reported_to(collector: Receiver, place: Place, running: Indexer) -> dict[str, Any]:
    """What a collector gets for one event that is written and one that is not; without what differs every time."""
    trace_id, span_id, headers = context()
    await running.ready()
    await place.publish([event(f"by {collector.address}")], headers=headers)
    await running.settled(1)
    await place.publish([b"not an event"], headers=headers)
    await running.settled(2)
    assert running.terminate(30) == 0
    named = {each.span_id: each.name for each in collector.spans} | {span_id: "the producer", "": "nothing"}
    assert {each.trace_id for each in collector.spans if each.parent_id == span_id} == {trace_id}
    return {
        "spans": sorted(shown(each, named) for each in collector.spans),
        "metrics": {name: metric.WhichOneof("data") for name, metric in collector.metrics[-1].items()},
        "resource": without_volatile(collector.resources[0]),
    }


def shown(span: Span, named: Mapping[str, str]) -> str:
    links = [(named[each.span_id], sorted(without_volatile(each.attributes).items())) for each in span.links]
    reported = sorted(without_volatile(span.attributes).items())
    return repr((span.name, span.kind, named[span.parent_id], reported, links, span.failed, span.service, span.schema))


def without_volatile(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name not in VOLATILE}


async def test_always_off_means_no_spans_at_all(place: Place, indexer: Start, collector: Receiver) -> None:
    running = await indexer(**to(collector, OTEL_TRACES_SAMPLER="always_off")).ready()
    _, _, headers = context()
    await place.publish([event("unseen")], headers=headers)
    await running.settled(1)
    assert running.terminate(15) == 0
    assert collector.spans == []


async def of(collector: Receiver, operation: str, trace_id: str | None = None) -> list[Any]:
    return [
        each
        for each in list(collector.spans)
        if each.attributes.get("messaging.operation.name") == operation and trace_id in (None, each.trace_id)
    ]


async def with_id(collector: Receiver, span_id: str) -> list[Any]:
    return [each for each in list(collector.spans) if each.span_id == span_id]


async def spans_lost(running: Indexer, outcomes: list[tuple[str]]) -> float:
    return sum([await running.metric("spans_total", outcome=outcome) for (outcome,) in outcomes])
