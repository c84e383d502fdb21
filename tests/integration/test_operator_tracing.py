"""One trace from an event to its replay by an operator: what a collector receives of operator, Jobs and indexer."""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fixtures.events import event
from fixtures.operator import POD_TEMPLATE
from fixtures.servers.api_server import ApiServer, api_server, kubeconfig
from fixtures.servers.indexer import Indexer
from fixtures.servers.otlp import Receiver, Span, receiving
from fixtures.servers.place import Place, environment
from fixtures.servers.processes import Forked
from fixtures.waiting import eventually

from activity_indexer_operator.jobs.job import ANNOTATION_CORRECTION, CORRECTION_FILE, RESULT_FILE
from activity_indexer_operator.jobs.view import POD_LABEL
from activity_indexer_operator.kube.resources import DEPLOYMENTS, INDEXERS, JOBS, PODS, REPLAYS

pytestmark = pytest.mark.integration
SHOP = "shop"


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server() as found:
        yield found


def to(collector: Receiver) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "100"}


@dataclass
class Operator:
    process: asyncio.subprocess.Process
    log: Path

    def lines(self, event: str) -> list[dict[str, Any]]:
        return [line for text in self.log.read_text().splitlines() if (line := json.loads(text))["event"] == event]


@asynccontextmanager
async def operating(server: ApiServer, folder: Path, **variables: str) -> AsyncIterator[Operator]:
    """An operator process, ended by SIGTERM."""
    (folder / "kubeconfig").write_text(kubeconfig(server))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {
        "PATH": os.environ["PATH"], "KUBECONFIG": str(folder / "kubeconfig"), "OPERATOR_HTTP_PORT": str(port),
        "OPERATOR_NAMESPACES": SHOP, "OPERATOR_NAMESPACE": SHOP, "OPERATOR_IDENTITY": "operator-1",
    }  # fmt: skip
    log = folder / "operator.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "activity_indexer_operator"), env=given | variables, stdout=output, stderr=output
        )
    try:
        yield Operator(process, log)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def indexer_object(server: ApiServer, place: Place) -> None:
    """An ActivityIndexer whose pods another program runs, and the Deployment of these."""
    kafka = {"bootstrapServers": [place.servers.kafka], "topic": place.name, "consumerGroup": place.group}
    target = {"targetRef": {"kind": "Deployment", "name": "orders"}}
    server.put(DEPLOYMENTS, SHOP, "orders", spec={"template": POD_TEMPLATE, "replicas": 3}, status={"readyReplicas": 3})
    server.put(INDEXERS, SHOP, "orders", spec={"source": {"kafka": kafka}, "workload": target})


async def run_job(server: ApiServer, name: str, place: Place, variables: dict[str, str], folder: Path) -> None:
    """What Kubernetes does with a Job: runs its container to its end, and reports its termination message."""

    async def made() -> bool:
        return server.of(JOBS, SHOP, name) is not None

    await eventually(made, True, 30)
    job = server.of(JOBS, SHOP, name)
    assert job
    template = job["spec"]["template"]
    [container] = template["spec"]["containers"]
    said, patch = folder / f"{name}.said", folder / f"{name}.patch"
    patch.write_text(template["metadata"].get("annotations", {}).get(ANNOTATION_CORRECTION, ""))
    files = {RESULT_FILE: str(said), CORRECTION_FILE: str(patch)}
    given = {**environment(place, variables), **{each["name"]: each["value"] for each in container.get("env", ())}}
    process = Forked(given, folder / f"{name}.log", [files.get(word, word) for word in container["args"][1:]])
    assert await asyncio.to_thread(process.wait, 60) == 0
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": True}
    ended = {"exitCode": 0, "reason": "Completed", "message": said.read_text()}
    server.put(
        PODS, SHOP, f"{name}-x",
        metadata={"labels": {**job["metadata"]["labels"], POD_LABEL: name}, "ownerReferences": [owner]},
        status={"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": ended}}]},
    )  # fmt: skip
    server.put(JOBS, SHOP, name, status={"conditions": [{"type": "Complete", "status": "True"}]})


async def test_an_events_trace_leads_through_the_replay_that_an_operator_ran(
    place: Place, indexer: Callable[..., Indexer], collector: Receiver, server: ApiServer, tmp_path: Path
) -> None:
    trace_id = secrets.token_hex(16)
    running = await indexer(**to(collector)).ready()
    broken = event("again", amount="not a number")
    await place.publish([broken], headers=[("traceparent", f"00-{trace_id}-{secrets.token_hex(8)}-01".encode())])
    await running.settled(1)
    indexer_object(server, place)
    request = {
        "id": "fix", "mode": "Replay", "selection": {"stages": ["validate"]},
        "correction": {"inline": '{"transaction": {"amount": 7}}'},
    }  # fmt: skip
    server.put(INDEXERS, SHOP, "orders", spec={
        **(server.of(INDEXERS, SHOP, "orders") or {})["spec"], "deadLetter": {"replayRequest": request},
    })  # fmt: skip

    async with operating(server, tmp_path, **to(collector)) as operator:
        for stage in ("plan", "replay"):
            await run_job(server, f"orders-fix-{stage}", place, to(collector), tmp_path)
        await running.settled(2)
        status = await eventually(lambda: replay_of(server), lambda reported: "completionTime" in reported, 30)
        assert status["phase"] == "Succeeded"
        reported = operator.lines("job.created")
    assert (await place.documents())["again"]["_trace_id"] == trace_id

    # One query by the event's trace id.
    story = [f"process {place.name}", f"send {place.dead_letter_topic}", f"send {place.name}", f"process {place.name}"]
    await eventually(lambda: names(collector, trace_id), story, 20)
    sent, second = collector.of_trace(trace_id)[2:]
    assert second.attributes["activity_indexer.outcome"] == "indexed"

    # And one by the replay's, which the event's leads to.
    by_operator = collector.of_trace(status["traceId"])
    assert [(span.name, span.service) for span in by_operator] == [
        ("replay orders", "activity-indexer-operator"), (f"replay {place.name}", "activity-indexer"),
    ]  # fmt: skip
    whole, sending = by_operator
    assert (whole.parent_id, sending.parent_id) == ("", whole.span_id)
    assert whole.contains(sending)
    assert whole.attributes["activity_indexer.replay.sent"] == 1
    assert (status["traceId"], sending.span_id) in {(link.trace_id, link.span_id) for link in sent.links}

    # The passes that made it are linked, and their log lines have their ids.
    [maker] = [span for span in collector.spans if span.span_id == whole.links[0].span_id]
    assert (maker.name, maker.attributes["activity_indexer.object.name"]) == ("reconcile IndexerTasks", "orders")
    passes = collector.named("reconcile DeadLetterReplay")
    assert {line["span_id"] for line in reported} <= {span.span_id for span in passes}
    assert all(link.trace_id == status["traceId"] for span in passes for link in span.links)
    assert {"POST /apis/batch/v1/namespaces/{namespace}/jobs"} <= children(collector, passes)


async def replay_of(server: ApiServer) -> dict[str, Any]:
    return (server.of(REPLAYS, SHOP, "orders-fix") or {}).get("status", {})


async def names(collector: Receiver, trace_id: str) -> list[str]:
    return [span.name for span in collector.of_trace(trace_id)]


def children(collector: Receiver, spans: list[Span]) -> set[str]:
    parents = {span.span_id for span in spans}
    return {span.name for span in collector.spans if span.parent_id in parents}


def test_off_loads_nothing_of_opentelemetry() -> None:
    code = (
        "import sys; from activity_indexer_operator import __main__; "
        "from activity_indexer_operator.settings import Settings; "
        "from activity_indexer_operator.app import tracing_for; tracing_for(Settings()); "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
