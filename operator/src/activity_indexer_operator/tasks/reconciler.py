"""One pass over an ActivityIndexer's tasks: its replay request, its replay schedule, its purges.

Each task is decided (schedules.py, purges.py) and acted on; last comes the status, of which only the tasks' part is
written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from activity_indexer_operator.indexer.model import ActivityIndexer, parse
from activity_indexer_operator.indexer.spec import Mode, Spec
from activity_indexer_operator.jobs.job import job_body
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.conditions import merge, transitions
from activity_indexer_operator.kube.objects import MANAGER, Body, Condition, InvalidSpec, Key
from activity_indexer_operator.kube.ports import ConflictError, RejectedError
from activity_indexer_operator.kube.resources import INDEXERS, JOBS, REPLAYS
from activity_indexer_operator.kube.time import format_time, parse_time, utc_now
from activity_indexer_operator.replay.decide import Obstacle
from activity_indexer_operator.replay.model import Replay, Template
from activity_indexer_operator.replay.observe import open_replay, read_jobs, read_replays, read_template
from activity_indexer_operator.runtime.controller import ControllerContext
from activity_indexer_operator.runtime.queue import NEVER
from activity_indexer_operator.tasks.model import (
    DeadLetterTaskStatus,
    Tasks,
    TaskStatus,
    parse_task_status,
    parse_tasks,
)
from activity_indexer_operator.tasks.purges import PURGE_CONDITION, PurgeStep, Tombstones, decide_purge, purge_request
from activity_indexer_operator.tasks.requests import replay_body, requested_name
from activity_indexer_operator.tasks.schedules import (
    SCHEDULE_CONDITION,
    ReplayRequest,
    ReplaySchedule,
    ScheduleStatus,
    ScheduleStep,
    decide_schedule,
)
from activity_indexer_operator.tracing.protocol import REASON

log = structlog.get_logger(__name__)

TASKS: Final = "IndexerTasks"
"""The kind of the keys, which only the queue knows; each is named like its indexer."""
TASK_MANAGER: Final = f"{MANAGER}-tasks"
REQUEST_CONDITION: Final = "ReplayRequested"
CONDITIONS: Final = (REQUEST_CONDITION, SCHEDULE_CONDITION, PURGE_CONDITION)
_REFUSED: Final = frozenset({"ReplayRefused", "JobRefused"})
_CALM: Final = frozenset({"Suspended", "IndexerNotActive", "IndexerInDryRun"})


@dataclass(frozen=True, slots=True)
class TaskPass:
    """An indexer, its tasks, and its replays."""

    indexer: ActivityIndexer
    spec: Spec
    tasks: Tasks
    status: TaskStatus
    replays: Mapping[str, Replay]
    now: datetime

    @property
    def place(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.indexer.meta.key.namespace, self.indexer.meta.key.name

    @property
    def active(self) -> bool:
        """Whether scheduled tasks may start."""
        return self.spec.mode is Mode.ACTIVE


class TaskReconciler:
    """Level-based: names follow from the request or the time, so that each object is created once."""

    def __init__(self, context: ControllerContext, now: Callable[[], datetime] = utc_now) -> None:
        self._cluster = context.cluster
        self._cache = context.cache
        self._recorder = context.recorder
        self._metrics = context.metrics
        self._tracing = context.tracing
        self._locks = context.locks
        self._metrics.expect_jobs("purge")
        self._now = now

    async def reconcile(self, key: Key) -> float | None:
        """Does what is due for one indexer. Raises ClusterError; the next pass finds what was done by then."""
        # Most indexers have no tasks, and change often: for them the cache is enough.
        cached = self._cache.get(INDEXERS, key.namespace, key.name)
        if cached and not _concerns(cached, self._cache):
            return NEVER
        body = await self._cluster.get(INDEXERS, key.namespace, key.name)
        if body is None:
            return NEVER
        indexer, tasks = parse(body), parse_tasks(body)
        if indexer.meta.deleted or isinstance(indexer.spec, InvalidSpec) or isinstance(tasks, InvalidSpec):
            return NEVER
        async with self._locks.of(key.namespace, key.name):
            replays = await read_replays(self._cluster, key.namespace, key.name)
            known = parse_task_status(body, CONDITIONS)
            return await self._step(TaskPass(indexer, indexer.spec, tasks, known, replays, self._now()))

    async def _step(self, task: TaskPass) -> float | None:
        request, schedule = task.tasks.dead_letter.replay_request, task.tasks.dead_letter.schedule
        conditions = [await self._request(task, request)] if request else []
        newest = max(task.replays.values(), key=lambda each: (each.created, each.meta.key.name), default=None)
        dead_letter = DeadLetterTaskStatus(last_replay=newest.meta.key.name if newest else None)
        if schedule:
            step = await self._schedule(task, schedule)
            dead_letter = replace(dead_letter, schedule=step.status)
            conditions.append(step.condition)
        purge = None
        if cron := task.tasks.tombstones.purge_schedule:
            purged = await self._purge(task, task.tasks.tombstones, cron)
            purge = purged.status
            conditions.append(purged.condition)
        self._tracing.set_attributes({REASON: ", ".join(f"{each.type}={each.reason}" for each in conditions)})
        await self._report(task, TaskStatus(dead_letter, purge, tuple(conditions)))
        if any(condition.reason in _REFUSED for condition in conditions):
            return None
        return _until_due(task, dead_letter.schedule, purge.next_schedule_time if purge else None)

    async def _request(self, task: TaskPass, request: ReplayRequest) -> Condition:
        name = requested_name(task.indexer.meta.key.name, request.id)
        if name in task.replays:
            return Condition(REQUEST_CONDITION, "True", "ReplayExists", f"DeadLetterReplay {name} exists")
        if task.spec.mode is Mode.DRY_RUN:
            message = f"DeadLetterReplay {name} is created when spec.mode is Active"
            return Condition(REQUEST_CONDITION, "False", "IndexerInDryRun", message)
        # The request's id is the replay's own: created again after it was deleted, it continues where it was.
        if problem := await self._create_replay(task, name, "request", request, request.id):
            return Condition(REQUEST_CONDITION, "False", "ReplayRefused", problem)
        return Condition(REQUEST_CONDITION, "True", "ReplayExists", f"DeadLetterReplay {name} exists")

    async def _schedule(self, task: TaskPass, schedule: ReplaySchedule) -> ScheduleStep:
        known, name = task.status.dead_letter.schedule, task.indexer.meta.key.name
        step = decide_schedule(name, schedule, known, task.replays, task.now, active=task.active)
        if step.create and (problem := await self._create_replay(task, step.create, "schedule", schedule, None)):
            # The time stays due, and the next pass tries again.
            status = known or ScheduleStatus(step.status.spec_hash, step.status.since)
            refused = Condition(SCHEDULE_CONDITION, "False", "ReplayRefused", problem)
            return ScheduleStep(None, status, refused)
        return step

    async def _create_replay(
        self, task: TaskPass, name: str, origin: str, template: Template, replay_id: str | None
    ) -> str | None:
        body = replay_body(task.indexer.meta, name, origin, template, replay_id, self._tracing.current())
        try:
            made = await self._cluster.create(REPLAYS, body)
        except ConflictError:
            return None
        except RejectedError as error:
            return str(error)
        if trace := self._tracing.of_replay(made["metadata"]["uid"]):
            self._tracing.link(trace)
        log.info("replay.created", key=str(task.indexer.meta.key), replay=name, origin=origin)
        return None

    async def _purge(self, task: TaskPass, wanted: Tombstones, cron: str) -> PurgeStep:
        namespace, name = task.place
        known = task.status.tombstones
        jobs = await read_jobs(self._cluster, namespace, name, task.now)
        step = decide_purge(
            name,
            wanted,
            cron,
            known,
            jobs.views.get(known.open_job) if known and known.open_job else None,
            task.now,
            open_replay=open_replay(task.replays),
            active=task.active,
        )
        if step.create and (problem := await self._create_purge(task, step.create, wanted)):
            refused = Condition(PURGE_CONDITION, "False", "JobRefused", problem)
            missed = replace(step.status, open_job=None, last_schedule_time=known.last_schedule_time if known else None)
            return PurgeStep(None, missed, refused)
        return step

    async def _create_purge(self, task: TaskPass, name: str, wanted: Tombstones) -> str | None:
        template = await read_template(self._cluster, task.indexer, task.spec)
        if isinstance(template, Obstacle):
            return template.message
        try:
            await self._cluster.create(JOBS, job_body(purge_request(name, task.indexer.meta, wanted), template))
        except ConflictError:
            return None
        except RejectedError as error:
            return str(error)
        self._metrics.job_created("purge")
        log.info("job.created", key=str(task.indexer.meta.key), job=name, stage="purge")
        return None

    async def _report(self, task: TaskPass, status: TaskStatus) -> None:
        meta, before = task.indexer.meta, task.status
        conditions = merge(before.conditions, status.conditions, format_time(task.now), meta.generation)
        status = replace(status, conditions=conditions)
        if status == before:
            return
        await self._cluster.apply_status(INDEXERS, *task.place, msgspec.to_builtins(status), TASK_MANAGER)
        statuses = {(condition.type, condition.status) for condition in before.conditions}
        for condition in transitions(before.conditions, conditions):
            # Another reason for the same status is an Event only where something failed.
            if condition.status == "False" or (condition.type, condition.status) not in statuses:
                bad = condition.status == "False" and condition.reason not in _CALM
                await self._recorder.event(meta, "Warning" if bad else "Normal", condition.reason, condition.message)


def _concerns(body: Body, cache: ObjectCache) -> bool:
    """Whether an indexer has tasks, or replays, or a status of earlier ones."""
    tasks, meta = parse_tasks(body), body["metadata"]
    if isinstance(tasks, InvalidSpec) or tasks.any or parse_task_status(body, CONDITIONS) != TaskStatus():
        return True
    replays = cache.all(REPLAYS, meta["namespace"])
    return any(replay["spec"].get("indexerRef", {}).get("name") == meta["name"] for replay in replays)


def _until_due(task: TaskPass, schedule: ScheduleStatus | None, purge: str | None) -> float | None:
    """Seconds until the next task is due; watches report what happens before."""
    if not task.tasks.any:
        return NEVER
    times = [parse_time(text) for text in (schedule.next_schedule_time if schedule else None, purge) if text]
    return max(1.0, min((time - task.now).total_seconds() for time in times)) if times else None
