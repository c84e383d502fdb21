"""Tombstones past the horizon."""

from typing import Any

import pytest
from fixtures.memory.cluster import Killed
from fixtures.operator import ReplayWorld

from activity_indexer_operator.kube.resources import INDEXERS, JOBS, REPLAYS

JOB = "orders-purge-29924820"
DONE = '{"found": 12, "purged": 10, "kept": 2}'


async def nightly(**changes: Any) -> ReplayWorld:
    world = ReplayWorld()
    world.edit(INDEXERS, "orders", tombstones={"purgeSchedule": "0 3 * * *", "horizon": "45d", **changes})
    await world.do_tasks()
    return world


async def at_night(**changes: Any) -> ReplayWorld:
    world = await nightly(**changes)
    world.pass_time(hours=15)
    await world.do_tasks()
    return world


def purged(world: ReplayWorld) -> dict[str, Any]:
    return dict(world.status()["tombstones"])


def condition(world: ReplayWorld) -> tuple[str, str]:
    [found] = [c for c in world.status()["conditions"] if c["type"] == "TombstonesPurged"]
    return found["status"], found["reason"]


async def test_before_the_first_time_nothing_runs() -> None:
    world = await nightly()
    assert (world.jobs(), condition(world)) == ([], ("Unknown", "NotYet"))
    assert purged(world)["nextScheduleTime"] == "2026-11-24T03:00:00Z"


async def test_at_its_time_a_job_of_the_indexers_pod_purges_once() -> None:
    world = await at_night()
    await world.do_tasks()
    assert world.created == [JOB]
    assert world.command(JOB) == [
        *("activity-indexer", "purge-tombstones", "--older-than", "45d", "--json"),
        *("--result-file", "/dev/termination-log"),
    ]
    owner = world.of(JOBS, JOB)["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("ActivityIndexer", "orders")


async def test_what_was_purged_stands_in_the_status() -> None:
    world = await at_night()
    world.pass_time(minutes=1)
    world.end(JOB, message=DONE)
    await world.do_tasks()
    assert (purged(world)["lastPurgeTime"], purged(world)["purged"]) == ("2026-11-24T03:01:00Z", 10)
    assert condition(world) == ("True", "Purged")
    assert "openJob" not in purged(world)


async def test_a_night_after_the_other_changes_no_condition_and_makes_no_event() -> None:
    world = await at_night()
    world.end(JOB, message=DONE)
    await world.do_tasks()
    before, events = world.status()["conditions"], len(world.events)
    world.pass_time(days=1)
    await world.do_tasks()
    assert len(world.created) == 2
    assert (world.status()["conditions"], len(world.events)) == (before, events)


async def test_a_failure_is_reported_and_the_next_time_tries_again() -> None:
    world = await at_night()
    world.end(JOB, 1, "Elasticsearch does not answer", reason="BackoffLimitExceeded")
    await world.do_tasks()
    assert condition(world) == ("False", "PurgeFailed")
    assert "Elasticsearch does not answer" in purged(world)["failure"]

    world.pass_time(days=1)
    await world.do_tasks()
    assert len(world.created) == 2


@pytest.mark.parametrize("phase", ["Pending", "Running", "AwaitingApproval", "Suspended"])
async def test_while_a_replay_is_open_nothing_is_purged(phase: str) -> None:
    world = await nightly()
    world.replay("fix")["status"] = {"phase": phase}
    world.pass_time(hours=15)
    await world.do_tasks()
    assert (world.jobs(), condition(world)) == ([], ("Unknown", "ReplayOpen"))

    world.of(REPLAYS, "fix")["status"]["completionTime"] = "2026-11-24T03:00:00Z"
    await world.do_tasks()
    assert world.jobs() == [JOB]


async def test_while_tombstones_are_purged_a_replay_waits() -> None:
    world = await at_night()
    world.replay("fix")
    await world.reconcile("fix")
    assert (world.phase(), world.reason()) == ("Pending", "PurgeRunning")

    world.end(JOB, message=DONE)
    await world.reconcile("fix")
    assert world.phase() == "Planning"


async def test_a_replay_of_another_indexer_is_no_obstacle() -> None:
    world = await nightly()
    world.replay("fix", indexerRef={"name": "payments"})
    world.pass_time(hours=15)
    await world.do_tasks()
    assert world.jobs() == [JOB]


async def test_a_job_that_cannot_be_made_is_reported_and_tried_again() -> None:
    world = await nightly()
    world.cluster.refused["create Job"] = "exceeded quota"
    world.pass_time(hours=15)
    assert await world.do_tasks() is None
    assert condition(world) == ("False", "JobRefused")
    world.cluster.refused.clear()
    await world.do_tasks()
    assert world.jobs() == [JOB]


@pytest.mark.parametrize(
    ("changes", "mode", "reason"),
    [
        ({"suspend": True}, "Active", "Suspended"),
        ({}, "Paused", "IndexerNotActive"),
        ({"purgeSchedule": "x"}, "Active", "ScheduleInvalid"),
    ],
)
async def test_nothing_is_purged_when_it_is_not_to_be(changes: dict[str, Any], mode: str, reason: str) -> None:
    world = ReplayWorld()
    world.edit(INDEXERS, "orders", mode=mode, tombstones={"purgeSchedule": "0 3 * * *", **changes})
    await world.do_tasks()
    world.pass_time(days=1)
    await world.do_tasks()
    assert (world.jobs(), condition(world)[1]) == ([], reason)


async def test_a_result_that_is_lost_is_no_success() -> None:
    world = await at_night()
    world.cluster.remove(JOBS, JOB)
    await world.do_tasks()
    assert condition(world) == ("False", "PurgeFailed")
    assert "lastPurgeTime" not in purged(world)


async def test_an_operator_that_is_killed_at_any_moment_purges_once_a_night() -> None:
    async def look(world: ReplayWorld) -> None:
        try:
            await world.do_tasks()
        except Killed:
            await world.do_tasks()

    async def night(world: ReplayWorld) -> None:
        world.edit(INDEXERS, "orders", tombstones={"purgeSchedule": "0 3 * * *"})
        for _ in range(4):
            await look(world)
            world.pass_time(hours=5)
        world.end(JOB, message=DONE)
        await look(world)

    whole = ReplayWorld()
    await night(whole)
    for moment in range(1, len(whole.cluster.requests) + 1):
        world = ReplayWorld(kill_at=moment)
        await night(world)
        assert world.created == [JOB], f"killed after call {moment}"
        assert purged(world) == purged(whole)
