"""Connects the controllers with what they run on; starts and stops all of it."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

import click
import kopf
from kubernetes.aio.client import Configuration

from activity_common.exit_codes import Exit
from activity_indexer_operator.indexer.controller import indexer_controller
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.client import KubernetesCluster
from activity_indexer_operator.kube.connection import NoConnectionError, connect
from activity_indexer_operator.kube.events import EventRecorder
from activity_indexer_operator.kube.lease import LeaderElector
from activity_indexer_operator.kube.resources import INDEXERS
from activity_indexer_operator.logs import configure
from activity_indexer_operator.replay.controller import replay_controller
from activity_indexer_operator.replay.metrics import ReplayMetrics
from activity_indexer_operator.replay.observe import full_replays
from activity_indexer_operator.runtime.controller import Controller, ControllerContext
from activity_indexer_operator.runtime.http import HttpServer
from activity_indexer_operator.runtime.metrics import Metrics
from activity_indexer_operator.runtime.queue import Queue
from activity_indexer_operator.runtime.watches import registry_for
from activity_indexer_operator.settings import Settings, SettingsError, load_settings
from activity_indexer_operator.tasks.controller import tasks_controller
from activity_indexer_operator.tasks.metrics import ScheduleMetrics
from activity_indexer_operator.tasks.requests import still_requested
from activity_indexer_operator.tracing.calls import traced_cluster, traced_kafka
from activity_indexer_operator.tracing.protocol import UNTRACED, Tracing


class App:
    """An operator: `registry` is what kopf runs; it starts and stops the rest."""

    def __init__(self, settings: Settings, configuration: Configuration) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._cache = ObjectCache()
        self._cluster = KubernetesCluster(configuration, settings.cluster_timeout, self._metrics.requested)
        self._tracing = tracing_for(settings)
        cluster = traced_cluster(self._cluster, self._tracing, configuration.host)
        self._kafka = traced_kafka(cluster, self._tracing, settings.kafka_timeout)
        self._elector = LeaderElector(
            self._cluster, settings.namespace, settings.lease_name, settings.identity, settings.lease_duration,
            settings.pod_uid,
        )  # fmt: skip
        for collector in (ReplayMetrics, ScheduleMetrics):
            self._metrics.registry.register(collector(self._cache, lambda: self._elector.leading))
        recorder = EventRecorder(cluster)
        context = ControllerContext(settings, cluster, self._cache, recorder, self._kafka, self._metrics, self._tracing)
        running = controllers(context)
        self._queue = Queue(
            {controller.kind: controller.reconcile for controller in running},
            settings.resync_interval,
            concurrency=settings.concurrency,
            on_pass=self._metrics.pass_ended,
            tracing=self._tracing,
        )
        self._http = HttpServer(settings.http_port, self._live, self._ready, self._metrics, self._refresh)
        self._task: asyncio.Task[None] | None = None
        watches = [watch for controller in running for watch in controller.watches]
        self.registry = registry_for(watches, self._cache, self._queue, self.start, self.stop)

    async def start(self) -> None:
        """Opens the port and begins to work, or to wait for the Lease."""
        await self._http.start()
        self._task = asyncio.create_task(self._elector.run(self._queue.run), name="lease")

    async def stop(self) -> None:
        """Ends what is under way, releases the Lease, closes connections."""
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
        if self._elector.leading and self._queue.since_heartbeat > self._settings.stall_timeout:
            return f"the queue has not moved for {self._queue.since_heartbeat:.0f} s"
        return ""

    def _ready(self) -> str:
        return "the work has not begun" if self._task is None else ""

    def _refresh(self) -> None:
        self._metrics.leader.set(int(self._elector.leading))
        self._metrics.waiting.set(self._queue.waiting)
        self._metrics.objects.set(self._cache.count(INDEXERS))


def controllers(context: ControllerContext) -> list[Controller]:
    """All controllers, each with the functions of a higher package that it needs."""
    return [
        indexer_controller(context, full_replays=partial(full_replays, context.cache)),
        replay_controller(context, retained=still_requested),
        tasks_controller(context),
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
        settings = load_settings()
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
