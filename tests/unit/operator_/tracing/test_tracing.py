"""What the operator's traces say, and that nothing changes where there are none."""

import asyncio
import copy
import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from fixtures.memory.cluster import NAMESPACE
from fixtures.operator import POD_TEMPLATE, ReplayWorld, result
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import StatusCode

from activity_common.log_form import configure_structlog
from activity_common.otlp import ReportedExporter, span_exporter
from activity_common.trace_context import parse_traceparent
from activity_indexer_operator.kafka.observation import Unknown
from activity_indexer_operator.kafka.spec import Kafka
from activity_indexer_operator.kube.objects import Key
from activity_indexer_operator.kube.ports import ClusterError
from activity_indexer_operator.kube.resources import CONFIG_MAPS, DEPLOYMENTS, INDEXERS, JOBS, REPLAYS
from activity_indexer_operator.logs import json_formatter
from activity_indexer_operator.runtime.queue import Queue
from activity_indexer_operator.tracing.calls import TracedCluster, TracedKafka, traced_cluster, traced_kafka
from activity_indexer_operator.tracing.context import context_of
from activity_indexer_operator.tracing.export import BusyOnly, resource_of
from activity_indexer_operator.tracing.protocol import UNTRACED, Pass, TraceIds
from activity_indexer_operator.tracing.spans import Spans

KEY = Key("DeadLetterReplay", NAMESPACE, "fix")
SERVER = "https://kubernetes:6443"


class Recording:
    """Tracing whose spans are kept here."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        self.exporter = InMemorySpanExporter()
        batches = SimpleSpanProcessor(self.exporter)
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(BusyOnly(batches))
        self.tracing = StoppableSpans(provider, batches, "1.0")

    def named(self, start: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith(start)]

    def cluster(self, world: ReplayWorld) -> TracedCluster:
        return TracedCluster(world.cluster, self.tracing, SERVER)


class StoppableSpans(Spans):
    async def stop(self) -> None:
        """There is nothing to send."""


class TracedWorld(ReplayWorld):
    """A world whose operators trace what they do, each by a span of its own."""

    def __init__(self, recording: Recording) -> None:
        super().__init__(tracing=recording.tracing)
        self._recording = recording

    def context(self) -> Any:
        return replace(super().context(), cluster=self._recording.cluster(self))

    async def reconcile(self, name: str = "fix") -> float | None:
        with self.tracing.reconcile(Key("DeadLetterReplay", NAMESPACE, name)) as done:
            after = await super().reconcile(name)
            done.ended("done")
        return after

    async def do_tasks(self, name: str = "orders") -> float | None:
        with self.tracing.reconcile(Key("IndexerTasks", NAMESPACE, name)) as done:
            after = await super().do_tasks(name)
            done.ended("done")
        return after


@pytest.fixture
def recording() -> Recording:
    return Recording()


@pytest.fixture
def world(recording: Recording) -> TracedWorld:
    world = TracedWorld(recording)
    world.replay(mode="Replay")
    return world


def environment(world: ReplayWorld, job: str) -> dict[str, str]:
    [container] = world.of(JOBS, job)["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each["value"] for each in container.get("env", ())}


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def trace_id(span: ReadableSpan) -> str:
    assert span.context
    return f"{span.context.trace_id:032x}"


def span_id(span: ReadableSpan) -> str:
    assert span.context
    return f"{span.context.span_id:016x}"


async def planned(world: ReplayWorld) -> None:
    await world.reconcile()
    world.end("fix-plan", message=result(dryRun=True, matched=3, upTo="0:9"))
    await world.reconcile()


async def replayed(world: ReplayWorld, code: int = 0) -> None:
    await planned(world)
    world.pass_time(seconds=120.5)
    world.end("fix-replay", code, result(matched=3, sent=3, message="" if code == 0 else "too bad"))
    await world.reconcile()


# A replay's own trace.


async def test_both_jobs_of_a_replay_are_asked_to_be_part_of_its_trace(world: TracedWorld) -> None:
    await planned(world)
    reported = {environment(world, job)["TRACEPARENT"] for job in ("fix-plan", "fix-replay")}
    [context] = [parse_traceparent(each.encode()) for each in reported]
    assert context
    assert context.sampled
    assert world.status(REPLAYS, "fix")["traceId"] == context.trace_id.decode()


async def test_the_span_that_the_jobs_were_given_is_there_when_the_replay_ends(
    world: TracedWorld, recording: Recording
) -> None:
    await replayed(world)
    [whole] = recording.named("replay ")
    assert environment(world, "fix-replay")["TRACEPARENT"] == f"00-{trace_id(whole)}-{span_id(whole)}-01"
    assert (whole.name, whole.parent, whole.status.status_code) == ("replay orders", None, StatusCode.UNSET)
    assert (whole.end_time or 0) - (whole.start_time or 0) == 120.5 * 10**9
    assert attributes(whole) == {
        "k8s.namespace.name": NAMESPACE,
        "activity_indexer.object.kind": "DeadLetterReplay",
        "activity_indexer.object.name": "fix",
        "activity_indexer.replay.id": "fix-00000003",
        "activity_indexer.outcome": "Succeeded",
        "activity_indexer.reason": "Completed",
        "activity_indexer.replay.matched": 3,
        "activity_indexer.replay.sent": 3,
    }
    await world.reconcile()
    assert len(recording.named("replay ")) == 1, "a replay ends once"


async def test_a_replay_that_failed_is_an_error_with_its_reason(world: TracedWorld, recording: Recording) -> None:
    await replayed(world, code=2)
    [whole] = recording.named("replay ")
    assert (whole.status.status_code, whole.status.description) == (StatusCode.ERROR, "too bad")
    assert attributes(whole)["error.type"] == "WrongSettings"


async def test_the_trace_is_the_same_after_restarts_and_for_a_job_that_is_made_again(world: TracedWorld) -> None:
    await planned(world)
    before = environment(world, "fix-replay")
    another = TracedWorld(Recording())
    another.cluster, another.clock = world.cluster, world.clock
    another.edit(REPLAYS, "fix", suspend=True)
    await another.reconcile()
    assert another.jobs() == ["fix-plan"]
    another.edit(REPLAYS, "fix", suspend=False)
    await another.reconcile()
    assert environment(another, "fix-replay") == before


async def test_a_job_that_was_made_in_a_pass_that_was_cut_short_still_names_the_trace(world: TracedWorld) -> None:
    await world.reconcile()
    reported = world.of(REPLAYS, "fix").pop("status")
    await world.reconcile()
    assert world.status(REPLAYS, "fix")["traceId"] == reported["traceId"]


async def test_tracing_that_is_turned_on_or_off_meanwhile_makes_no_other_job(world: TracedWorld) -> None:
    await world.reconcile()
    uid = world.of(JOBS, "fix-plan")["metadata"]["uid"]
    world.tracing = UNTRACED
    await ReplayWorld.reconcile(world)
    assert world.of(JOBS, "fix-plan")["metadata"]["uid"] == uid
    assert world.status(REPLAYS, "fix")["traceId"] == context_of("00000003-aaaa").trace_id.decode()


async def test_other_variables_of_the_indexers_pod_are_kept(world: TracedWorld) -> None:
    template = copy.deepcopy(POD_TEMPLATE)
    given = [{"name": "TRACEPARENT", "value": "another"}, {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "there"}]
    template["spec"]["containers"][0]["env"] = given
    world.edit(DEPLOYMENTS, "orders", template=template)
    await world.reconcile()
    reported = environment(world, "fix-plan")
    assert reported == {"OTEL_EXPORTER_OTLP_ENDPOINT": "there", "TRACEPARENT": str(context_of("00000003-aaaa"))}


async def test_without_tracing_nothing_is_reported_it() -> None:
    world = ReplayWorld()
    world.replay(mode="Replay")
    await replayed(world)
    assert [environment(world, job) for job in world.jobs()] == [{}, {}]
    assert "traceId" not in world.status(REPLAYS, "fix")
    assert "annotations" not in world.of(REPLAYS, "fix")["metadata"]


async def test_a_replay_that_the_sampler_leaves_out_is_left_out_by_its_jobs_too() -> None:
    recording = Recording(ALWAYS_OFF)
    world = TracedWorld(recording)
    world.replay(mode="Replay")
    await replayed(world)
    assert environment(world, "fix-replay")["TRACEPARENT"].endswith("-00")
    assert "traceId" not in world.status(REPLAYS, "fix")
    assert recording.exporter.get_finished_spans() == ()


async def test_a_requested_replay_and_the_pass_that_made_it_are_linked(recording: Recording) -> None:
    world = TracedWorld(recording)
    world.edit(INDEXERS, "orders", deadLetter={"replayRequest": {"id": "now", "mode": "DryRun"}})
    await world.do_tasks()
    await world.reconcile("orders-now")
    world.end("orders-now-plan", message=result(dryRun=True, matched=3, upTo="0:9"))
    await world.reconcile("orders-now")
    [maker], [whole] = recording.named("reconcile IndexerTasks"), recording.named("replay ")
    assert [link.context.span_id for link in whole.links] == [int(span_id(maker), 16)]
    assert [link.context.trace_id for link in maker.links] == [int(trace_id(whole), 16)]
    assert attributes(maker)["activity_indexer.reason"] == "ReplayRequested=ReplayExists"


# A pass.


async def test_a_pass_that_did_something_says_what_and_why_and_of_each_call(
    world: TracedWorld, recording: Recording
) -> None:
    await world.reconcile()
    [whole] = recording.named("reconcile")
    assert whole.name == "reconcile DeadLetterReplay"
    assert attributes(whole) == {
        "k8s.namespace.name": NAMESPACE,
        "activity_indexer.object.kind": "DeadLetterReplay",
        "activity_indexer.object.name": "fix",
        "activity_indexer.phase": "Planning",
        "activity_indexer.reason": "PlanRunning",
        "activity_indexer.outcome": "done",
    }
    [made] = recording.named("POST /apis/batch/")
    assert made.name == "POST /apis/batch/v1/namespaces/{namespace}/jobs"
    assert attributes(made) == {
        "http.request.method": "POST",
        "url.full": f"{SERVER}/apis/batch/v1/namespaces/shop/jobs",
        "url.template": "/apis/batch/v1/namespaces/{namespace}/jobs",
        "server.address": "kubernetes",
        "server.port": 6443,
        "k8s.namespace.name": NAMESPACE,
    }
    assert made.parent == whole.context
    assert recording.named(
        "PATCH /apis/activityindexer.io/v1alpha1/namespaces/{namespace}/deadletterreplays/{name}/status"
    )


async def test_a_pass_that_did_nothing_leaves_no_span(world: TracedWorld, recording: Recording) -> None:
    await world.reconcile()
    recording.exporter.clear()
    await world.reconcile()
    assert recording.exporter.get_finished_spans() == ()


async def passed(recording: Recording, reconcile: Any) -> list[ReadableSpan]:
    """What is left of one pass by a queue."""
    over = asyncio.Event()

    async def once(key: Key) -> float | None:
        try:
            return await reconcile(key)  # type: ignore[no-any-return]
        finally:
            over.set()

    queue = Queue({KEY.kind: once}, 3600, tracing=recording.tracing)
    queue.enqueue(KEY)
    task = asyncio.create_task(queue.run())
    await asyncio.wait_for(over.wait(), 1)
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return recording.named("reconcile")


@pytest.mark.parametrize(
    ("error", "outcome", "description"),
    [(ClusterError("cannot get it"), "refused", "cannot get it"), (ZeroDivisionError("a secret"), "crashed", None)],
)
async def test_a_pass_that_failed_is_an_error(
    recording: Recording, error: Exception, outcome: str, description: str | None
) -> None:
    async def fail(_key: Key) -> float | None:
        raise error

    [span] = await passed(recording, fail)
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, description)
    assert attributes(span)["activity_indexer.outcome"] == outcome
    assert attributes(span)["error.type"] == type(error).__name__


async def test_the_heartbeat_and_idle_passes_of_a_worker_leave_no_span(recording: Recording) -> None:
    async def idle(_key: Key) -> float | None:
        return None

    assert await passed(recording, idle) == []


async def test_a_call_that_failed_is_an_error(recording: Recording) -> None:
    world = ReplayWorld()
    world.cluster.refused["create Job"] = "cannot create jobs: 403 exceeded quota"
    body = {"metadata": {"namespace": NAMESPACE, "name": "x"}, "spec": {}}
    with recording.tracing.reconcile(KEY) as done, suppress(ClusterError):
        await recording.cluster(world).create(JOBS, body)
        done.ended("done")
    [call] = recording.named("POST")
    assert (call.status.description, attributes(call)["error.type"]) == (
        world.cluster.refused["create Job"],
        "RejectedError",
    )


async def test_what_kafka_does_not_say_is_an_error_of_the_call(recording: Recording) -> None:
    kafka = Kafka(bootstrap_servers=("127.0.0.1:1",), topic="orders", consumer_group="indexer")
    reader = TracedKafka(ReplayWorld(), 1.0, recording.tracing)  # type: ignore[arg-type]

    async def question(_link: Any) -> int:
        return 1

    with recording.tracing.reconcile(KEY) as done:
        assert isinstance(await reader.ask(NAMESPACE, kafka, question), Unknown)
        noted(done)
    [call] = recording.named("ask orders")
    assert attributes(call)["error.type"] == "BrokerUnreachable"
    assert (attributes(call)["messaging.system"], attributes(call)["server.port"]) == ("kafka", 1)


def noted(done: Pass) -> None:
    """Makes a pass worth keeping."""
    done.failed("on_purpose")
    done.ended("refused")


async def test_calls_outside_of_a_pass_leave_no_span(recording: Recording) -> None:
    await recording.cluster(ReplayWorld()).get(CONFIG_MAPS, NAMESPACE, "any")
    assert recording.exporter.get_finished_spans() == ()


# Log lines.


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What the operator logs, as it is written."""
    found: list[dict[str, Any]] = []
    handler = logging.Handler()
    handler.setFormatter(json_formatter())
    handler.addFilter(TraceIds())
    handler.emit = lambda record: found.append(json.loads(handler.format(record)))  # type: ignore[method-assign]
    logger = logging.getLogger("activity_indexer_operator")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    configure_structlog(logging.INFO)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(before)


async def test_log_lines_of_a_pass_carry_its_ids(
    world: TracedWorld, recording: Recording, lines: list[dict[str, Any]]
) -> None:
    await world.reconcile()
    [span] = recording.named("reconcile")
    assert {line["event"] for line in lines} == {"job.created", "replay.moved"}
    assert {(line["trace_id"], line["span_id"]) for line in lines} == {(trace_id(span), span_id(span))}


def test_a_pass_that_was_logged_is_kept(recording: Recording, lines: list[dict[str, Any]]) -> None:
    with recording.tracing.reconcile(KEY) as done:
        logging.getLogger("activity_indexer_operator.indexer.reconciler").info("condition.changed")
        done.ended("done")
    assert lines[0]["trace_id"] == trace_id(recording.named("reconcile")[0])


def test_lines_without_a_span_have_no_ids(lines: list[dict[str, Any]]) -> None:
    with Recording(ALWAYS_OFF).tracing.reconcile(KEY):
        logging.getLogger("activity_indexer_operator.runtime.queue").info("nothing.recorded")
    assert "trace_id" not in lines[0]


# The way to the collector.


class Collector(SpanExporter):
    def __init__(self) -> None:
        self.answers: list[SpanExportResult] = []

    def export(self, spans: Any) -> SpanExportResult:
        logging.getLogger("opentelemetry.exporter.otlp").error("connection refused")
        return self.answers.pop(0)


def test_a_collector_that_is_unavailable_is_reported_once(lines: list[dict[str, Any]]) -> None:
    collector = Collector()
    failed, fine = SpanExportResult.FAILURE, SpanExportResult.SUCCESS
    collector.answers = [fine, failed, failed, fine, fine]
    exporter = ReportedExporter(collector, "activity_indexer_operator.tracing")
    for _ in range(5):
        exporter.export([])
    exporter.shutdown()
    assert [line["event"] for line in lines] == ["spans.export_failed", "spans.export_recovered"]
    assert lines[0]["reason"] == "connection refused"


@pytest.mark.parametrize(("protocol", "module"), [("grpc", "grpc"), ("http/protobuf", "http")])
def test_the_protocol_is_the_one_that_is_set(protocol: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    exporter = span_exporter(protocol)
    assert f".proto.{module}." in type(exporter).__module__
    exporter.shutdown()


def test_the_standards_variables_decide_who_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resource_of("pod-1", "1.0").attributes["service.name"] == "activity-indexer-operator"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.version=2")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    reported = resource_of("pod-1", "1.0").attributes
    wanted = {
        "service.name": "mine", "service.version": "2", "service.instance.id": "pod-1",
        "deployment.environment.name": "test",
    }  # fmt: skip
    assert wanted.items() <= reported.items()


def test_off_wraps_nothing() -> None:
    world: Any = ReplayWorld()
    assert traced_cluster(world, UNTRACED, SERVER) is world
    assert type(traced_kafka(world, UNTRACED, 1.0)).__name__ == "KafkaReader"


def test_contexts_survive_being_written_and_differ_by_uid() -> None:
    one, other = context_of("a"), context_of("b", sampled=False)
    assert parse_traceparent(str(one).encode()) == one
    assert parse_traceparent(str(other).encode()) == other
    assert len({one.trace_id, other.trace_id, one.span_id, other.span_id}) == 4
