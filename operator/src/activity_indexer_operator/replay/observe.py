"""What the next step of a replay depends on, read from the API server and from Kafka. It never acts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from activity_common.replay_result import COUNTED, Counters
from activity_indexer_operator.indexer.model import ActivityIndexer, parse
from activity_indexer_operator.indexer.spec import Mode, Spec
from activity_indexer_operator.jobs.job import COMPONENT, COMPONENT_PURGE
from activity_indexer_operator.jobs.settings import LABEL_INDEXER
from activity_indexer_operator.jobs.view import POD_LABEL, JobView, job_view
from activity_indexer_operator.kafka.connection import KafkaConnection
from activity_indexer_operator.kafka.observation import Unknown
from activity_indexer_operator.kafka.reader import KafkaReader
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.objects import MANAGER, Body, InvalidSpec
from activity_indexer_operator.kube.ports import Cluster
from activity_indexer_operator.kube.resources import INDEXERS, JOBS, PODS, REPLAYS, WORKLOADS
from activity_indexer_operator.replay.command import Stage, job_name
from activity_indexer_operator.replay.decide import Observed, Obstacle
from activity_indexer_operator.replay.model import Reason, Replay, ReplaySpec, parse_replay

WAITS_FOR_TURN: Final = frozenset({Reason.ANOTHER_REPLAY, Reason.PURGE_RUNNING})


async def observe(
    cluster: Cluster, kafka: KafkaReader, replay: Replay, indexer: ActivityIndexer | None, now: datetime
) -> Observed:
    """All of it, for a replay that has not ended. Raises ClusterError; what Kafka does not answer is None."""
    spec, namespace = replay.spec, replay.meta.key.namespace
    if isinstance(spec, InvalidSpec):
        return Observed(replay)
    name = spec.indexer_ref.name
    jobs, replays = await read_jobs(cluster, namespace, name, now), await read_replays(cluster, namespace, name)
    own = {job_name(replay, stage): stage for stage in Stage}
    turn = jobs.busy(own) or _turn_of_another(replay, replays)
    obstacles = {stage: _obstacle_of_indexer(indexer, name, dry_run=stage is Stage.PLAN) or turn for stage in Stage}
    progress = None
    if indexer and not isinstance(indexer.spec, InvalidSpec) and spec.mode != "DryRun" and replay.status.plan:
        progress = await _progress(kafka, namespace, indexer.spec, replay)
    return Observed(
        replay,
        jobs={stage: jobs.views[job] for job, stage in own.items() if job in jobs.views},
        obstacles={stage: obstacle for stage, obstacle in obstacles.items() if obstacle},
        progress=progress,
    )


@dataclass(frozen=True, slots=True)
class IndexerJobs:
    """The Jobs that were created for an indexer, by name, and which component each is."""

    views: Mapping[str, JobView]
    components: Mapping[str, str]

    def busy(self, names: Iterable[str]) -> Obstacle | None:
        """Why none can be created: another Job than these has not ended."""
        for name, view in sorted(self.views.items()):
            if name not in names and not view.over:
                purge = self.components[name] == COMPONENT_PURGE
                reason = Reason.PURGE_RUNNING if purge else Reason.ANOTHER_REPLAY
                held_up = f"; no pod of it runs: {view.waiting.message}" if view.waiting else ""
                return Obstacle(reason, f"Job {name} of the same indexer has not ended yet{held_up}")
        return None


async def read_indexer(cluster: Cluster, namespace: str, name: str) -> ActivityIndexer | None:
    """The indexer as it is now."""
    body = await cluster.get(INDEXERS, namespace, name)
    return None if body is None else parse(body)


async def read_jobs(cluster: Cluster, namespace: str, indexer: str, now: datetime) -> IndexerJobs:
    """Read from the API server, never from the cache: running Jobs decide whether another one may be created."""
    ours = f"{LABEL_INDEXER}={indexer},app.kubernetes.io/managed-by={MANAGER}"
    jobs = {body["metadata"]["name"]: body for body in await cluster.list(JOBS, namespace, ours)}
    pods: dict[str, list[Body]] = {}
    for pod in await cluster.list(PODS, namespace, ours):
        if name := _labels(pod).get(POD_LABEL):
            pods.setdefault(name, []).append(pod)
    views = {name: job_view(name, jobs.get(name), pods.get(name, ()), now) for name in jobs.keys() | pods.keys()}
    marked = {name: _labels(body) for name, [body, *_] in pods.items()} | {n: _labels(job) for n, job in jobs.items()}
    return IndexerJobs(
        {name: view for name, view in views.items() if view},
        {name: labels.get(COMPONENT, "") for name, labels in marked.items()},
    )


async def read_template(cluster: Cluster, indexer: ActivityIndexer, spec: Spec) -> Body | Obstacle:
    """The pod template of the indexer's workload, as it is now."""
    workload = spec.workload.target_ref or indexer.status.workload
    if workload is None:
        return Obstacle(Reason.WORKLOAD_NOT_FOUND, "the indexer's workload has not been made yet")
    body = await cluster.get(WORKLOADS[workload.kind], indexer.meta.key.namespace, workload.name)
    if body is None:
        return Obstacle(Reason.WORKLOAD_NOT_FOUND, f"there is no {workload.kind} {workload.name} to take the pod from")
    template: Body = body["spec"]["template"]
    return template


async def read_replays(cluster: Cluster, namespace: str, indexer: str) -> dict[str, Replay]:
    """All replays of an indexer, by name."""
    found = [parse_replay(body) for body in await cluster.list(REPLAYS, namespace)]
    return {replay.meta.key.name: replay for replay in found if replay.indexer == indexer}


def open_replay(replays: Mapping[str, Replay]) -> str | None:
    """The name of a replay that has not ended, if there is one."""
    return next((name for name, replay in sorted(replays.items()) if not replay.finished), None)


def full_replays(cache: ObjectCache, namespace: str, indexer: str) -> Iterator[str]:
    """The ids of an indexer's replays that left out no dead letter up to where they have read."""
    for body in cache.all(REPLAYS, namespace):
        replay = parse_replay(body)
        if replay.indexer == indexer and replay.leaves_none:
            yield replay.id


async def _progress(kafka: KafkaReader, namespace: str, spec: Spec, replay: Replay) -> Counters | None:
    """The counters that the replay commits with its position; None where Kafka does not answer, or has none yet."""
    group = f"{spec.kafka.consumer_group}.replay.{replay.id}"

    async def ask(connection: KafkaConnection) -> list[dict[str, Any]]:
        known = await connection.topics()
        found: list[dict[str, Any]] = []
        for topic in (spec.dead_letter_topic, spec.parking_topic):
            if topic in known:
                commits = await connection.committed(group, topic, known[topic][1])
                found += filter(None, (_counters(commit.metadata) for commit in commits.values()))
        return found

    found = await kafka.ask(namespace, spec.kafka, ask)
    if not found or isinstance(found, Unknown):
        return None
    return Counters(**{name: sum(int(each.get(name, 0)) for each in found) for name in COUNTED})


def _counters(metadata: str) -> dict[str, Any] | None:
    """What the metadata of a commit counts; None where something else wrote it."""
    try:
        found = json.loads(metadata)
    except (ValueError, TypeError):
        return None
    return found if isinstance(found, dict) and found.get("v") == 1 else None


def _obstacle_of_indexer(indexer: ActivityIndexer | None, name: str, *, dry_run: bool) -> Obstacle | None:
    """Why the indexer lets no Job start."""
    if indexer is None:
        return Obstacle(Reason.INDEXER_NOT_FOUND, f"there is no ActivityIndexer {name} in this namespace")
    if isinstance(indexer.spec, InvalidSpec):
        return Obstacle(Reason.INDEXER_INVALID, f"ActivityIndexer {name} is not usable: {indexer.spec.message}")
    if indexer.spec.mode is Mode.SUSPENDED:
        return Obstacle(Reason.INDEXER_SUSPENDED, f"ActivityIndexer {name} is Suspended: set its spec.mode to Active")
    if indexer.spec.mode is Mode.DRY_RUN and not dry_run:
        return Obstacle(
            Reason.INDEXER_DRY_RUN, f"ActivityIndexer {name} is in mode DryRun: set its spec.mode to Active"
        )
    return None


def _turn_of_another(replay: Replay, replays: Mapping[str, Replay]) -> Obstacle | None:
    """Replays that have waited longer for their turn come first."""
    for other in sorted(replays.values(), key=_age):
        if _age(other) >= _age(replay):
            break
        waits = not other.finished and other.status.phase == "Pending" and other.status.reason in WAITS_FOR_TURN
        if waits and not (isinstance(other.spec, ReplaySpec) and other.spec.suspend):
            return Obstacle(Reason.ANOTHER_REPLAY, f"DeadLetterReplay {other.meta.key.name} has waited longer")
    return None


def _age(replay: Replay) -> tuple[Any, str]:
    return replay.created, replay.meta.key.name


def _labels(body: Body) -> Mapping[str, str]:
    return body["metadata"].get("labels") or {}
