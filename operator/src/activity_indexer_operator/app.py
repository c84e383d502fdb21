"""Wires the controllers to what they run on, and owns start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from functools import partial

import click
import kopf
from kubernetes.aio.client import Configuration

from activity_common.exit_codes import Exit
from activity_indexer_operator.indexer.controller import indexer_part
from activity_indexer_operator.kube.cache import Seen
from activity_indexer_operator.kube.client import KubernetesCluster
from activity_indexer_operator.kube.connection import NoConnectionError, connect
from activity_indexer_operator.kube.events import ClusterRecorder
from activity_indexer_operator.kube.lease import Lease
from activity_indexer_operator.kube.resources import INDEXERS
from activity_indexer_operator.logs import configure
from activity_indexer_operator.replay.controller import replay_part
from activity_indexer_operator.replay.metrics import ReplayMetrics
from activity_indexer_operator.replay.observe import full_replays
from activity_indexer_operator.runtime.controller import Part, Tools
from activity_indexer_operator.runtime.http import HttpServer
from activity_indexer_operator.runtime.metrics import Metrics
from activity_indexer_operator.runtime.queue import Worker
from activity_indexer_operator.runtime.watches import registry_for
from activity_indexer_operator.settings import Settings, SettingsError, load_settings
from activity_indexer_operator.tasks.controller import tasks_part
from activity_indexer_operator.tasks.metrics import ScheduleMetrics
from activity_indexer_operator.tasks.requests import still_requested
from activity_indexer_operator.tracing.calls import traced_cluster, traced_kafka
from activity_indexer_operator.tracing.protocol import UNTRACED, Tracing


class App:
    """An operator: `registry` is what kopf runs; it starts and stops the rest."""

    def __init__(self, settings: Settings, configuration: Configuration) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._seen = Seen()
        self._cluster = KubernetesCluster(configuration, settings.cluster_timeout, self._metrics.requested)
        self._tracing = tracing_for(settings)
        cluster = traced_cluster(self._cluster, self._tracing, configuration.host)
        self._kafka = traced_kafka(cluster, self._tracing, settings.kafka_timeout)
        self._lease = Lease(
            self._cluster, settings.namespace, settings.lease_name, settings.identity, settings.lease_duration,
            settings.pod_uid,
        )  # fmt: skip
        for collector in (ReplayMetrics, ScheduleMetrics):
            self._metrics.registry.register(collector(self._seen, lambda: self._lease.held))
        recorder = ClusterRecorder(cluster)
        tools = Tools(settings, cluster, self._seen, recorder, self._kafka, self._metrics, self._tracing)
        made = controllers(tools)
        self._worker = Worker(
            {kind: reconcile for part in made for kind, reconcile in part.reconcilers.items()},
            settings.resync_interval,
            concurrency=settings.concurrency,
            listener=self._metrics,
            tracing=self._tracing,
        )
        self._http = HttpServer(settings.http_port, self._live, self._ready, self._metrics, self._refresh)
        self._task: asyncio.Task[None] | None = None
        watches = [watch for part in made for watch in part.watches]
        self.registry = registry_for(watches, self._seen, self._worker, self.start, self.stop)

    async def start(self) -> None:
        """Opens the port and begins to work, or to wait for the Lease."""
        await self._http.start()
        self._task = asyncio.create_task(self._lease.keep(self._worker.run), name="lease")

    async def stop(self) -> None:
        """Ends what is under way, gives up the Lease, closes connections."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._kafka.close()
        await self._cluster.close()
        await self._http.stop()
        await self._tracing.stop()

    def _live(self) -> str:
        if self._task is None or self._task.done():
            return "the work has ended"
        if self._lease.held and self._worker.silence > self._settings.stall_timeout:
            return f"the queue has not moved for {self._worker.silence:.0f} s"
        return ""

    def _ready(self) -> str:
        return "the work has not begun" if self._task is None else ""

    def _refresh(self) -> None:
        self._metrics.leader.set(int(self._lease.held))
        self._metrics.waiting.set(self._worker.waiting)
        self._metrics.objects.set(self._seen.count(INDEXERS))


def controllers(tools: Tools) -> list[Part]:
    """All controllers, each with the functions of a higher package that it needs."""
    return [
        indexer_part(tools, full_replays=partial(full_replays, tools.seen)),
        replay_part(tools, retained=still_requested),
        tasks_part(tools),
    ]


def tracing_for(settings: Settings) -> Tracing:
    """What OTEL_ variables ask for; where they ask for nothing, nothing of OpenTelemetry is imported."""
    if not settings.traces:
        return UNTRACED
    from activity_indexer_operator.tracing.export import open_tracing  # noqa: PLC0415 - only where it is asked for

    return open_tracing(settings)


def run() -> None:
    """Runs until SIGTERM. Exits with code 2 when a setting is wrong or there is no cluster."""
    try:
        settings = load_settings(os.environ)
        configuration = asyncio.run(connect())
    except (SettingsError, NoConnectionError) as error:
        click.echo(str(error), err=True)
        raise SystemExit(Exit.WRONG_USAGE) from None
    configure(settings.log_level)
    kopf.run(
        registry=App(settings, configuration).registry,
        namespaces=settings.namespaces,
        clusterwide=not settings.namespaces,
        standalone=True,
    )
