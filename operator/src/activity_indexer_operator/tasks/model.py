"""Typed views of the tasks in an ActivityIndexer's spec, done once or on a schedule, and of their status."""

from __future__ import annotations

from typing import Annotated

import msgspec

from activity_indexer_operator.kube.objects import Body, Condition, InvalidSpec, View, parsed_spec, parsed_status
from activity_indexer_operator.kube.schema import described
from activity_indexer_operator.tasks.purges import PurgeStatus, Tombstones
from activity_indexer_operator.tasks.schedules import ReplayRequest, ReplaySchedule, ScheduleStatus


class DeadLetterTasks(View, frozen=True):
    """Where events go that cannot be indexed, and how they come back."""

    replay_request: Annotated[
        ReplayRequest | None,
        described(
            "Ensures that a DeadLetterReplay named <this object>-<id> exists; another id asks for another one. While "
            "it is asked for, its history is kept."
        ),
    ] = None
    schedule: ReplaySchedule | None = None


class Tasks(View, frozen=True):
    """`spec`, as far as tasks are concerned."""

    dead_letter: DeadLetterTasks = DeadLetterTasks()
    tombstones: Tombstones = Tombstones()

    @property
    def any(self) -> bool:
        """Whether there are any tasks."""
        return bool(self.dead_letter.replay_request or self.dead_letter.schedule or self.tombstones.purge_schedule)


class DeadLetterTaskStatus(View, frozen=True):
    """The dead letters."""

    last_replay: Annotated[str | None, described("The newest DeadLetterReplay.")] = None
    schedule: ScheduleStatus | None = None


class TaskStatus(View, frozen=True):
    """`status`: the part that the tasks write, by server-side apply beside the one of the indexer's reconciler."""

    dead_letter: DeadLetterTaskStatus = DeadLetterTaskStatus()
    tombstones: PurgeStatus | None = None
    conditions: tuple[Condition, ...] = ()


def parse_tasks(body: Body) -> Tasks | InvalidSpec:
    """The tasks of an ActivityIndexer."""
    return parsed_spec(body, Tasks)


def parse_task_status(body: Body, conditions: tuple[str, ...]) -> TaskStatus:
    """The tasks' part of the status, with the conditions of these types."""
    status = parsed_status(body, TaskStatus)
    return msgspec.structs.replace(status, conditions=tuple(c for c in status.conditions if c.type in conditions))
