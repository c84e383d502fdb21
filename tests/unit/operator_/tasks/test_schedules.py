"""Replays that an ActivityIndexer asks for, once or by time."""

from datetime import datetime
from typing import Any

from fixtures.memory.cluster import Killed
from fixtures.operator import START, ReplayWorld, result

from activity_indexer_operator.kube.resources import INDEXERS, REPLAYS
from activity_indexer_operator.runtime.queue import NEVER

NIGHTLY = {"cron": "0 3 * * *", "mode": "Replay", "selection": {"stages": ["index"]}, "rate": 9}
"""START is at noon."""
FIRST = "orders-29924820"
"""The night after START: minutes since 1970."""


def wanting(**dead_letter: Any) -> ReplayWorld:
    world = ReplayWorld()
    world.edit(INDEXERS, "orders", deadLetter=dead_letter)
    return world


async def scheduled(**changes: Any) -> ReplayWorld:
    world = wanting(schedule=NIGHTLY | changes)
    await world.do_tasks()
    return world


def finish(world: ReplayWorld, name: str, phase: str) -> None:
    world.of(REPLAYS, name)["status"] = {
        "phase": phase,
        "completionTime": world.clock.utc().strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def condition(world: ReplayWorld, kind: str = "ReplaySchedule") -> tuple[str, str]:
    [found] = [c for c in world.status()["conditions"] if c["type"] == kind]
    return found["status"], found["reason"]


def schedule_status(world: ReplayWorld) -> dict[str, Any]:
    return dict(world.status()["deadLetter"]["schedule"])


async def nights(world: ReplayWorld, count: int, phase: str) -> None:
    for _ in range(count):
        world.pass_time(hours=24)
        await world.do_tasks()
        name = schedule_status(world).get("openReplay")
        if name:
            finish(world, name, phase)
        await world.do_tasks()


async def test_a_request_makes_one_replay_that_goes_on_when_it_is_made_again() -> None:
    world = wanting(replayRequest={"id": "incident-42", "mode": "Replay", "rate": 5})
    await world.do_tasks()
    await world.do_tasks()
    assert world.created == ["orders-incident-42"]
    spec = world.of(REPLAYS, "orders-incident-42")["spec"]
    assert (spec["mode"], spec["rate"], spec["id"], spec["indexerRef"]) == (
        "Replay", 5, "incident-42", {"name": "orders"},
    )  # fmt: skip

    world.cluster.remove(REPLAYS, "orders-incident-42")
    await world.do_tasks()
    assert world.replays() == ["orders-incident-42"]
    assert condition(world, "ReplayRequested") == ("True", "ReplayExists")


async def test_what_is_still_requested_outlives_its_time_to_live() -> None:
    world = wanting(replayRequest={"id": "a", "ttlSecondsAfterFinished": 1})
    await world.do_tasks()
    finish(world, "orders-a", "Succeeded")
    world.pass_time(days=1)
    await world.reconcile("orders-a")
    assert world.replays() == ["orders-a"]

    world.edit(INDEXERS, "orders", deadLetter={"replayRequest": {"id": "b"}})
    await world.reconcile("orders-a")
    assert world.replays() == []


async def test_an_indexer_in_dry_run_makes_nothing() -> None:
    world = wanting(replayRequest={"id": "a"}, schedule=NIGHTLY)
    world.edit(INDEXERS, "orders", mode="DryRun")
    await world.do_tasks()
    world.pass_time(days=2)
    await world.do_tasks()

    assert world.replays() == []
    assert condition(world, "ReplayRequested") == ("False", "IndexerInDryRun")
    assert condition(world) == ("False", "IndexerNotActive")


async def test_a_refused_request_is_reported_and_tried_again() -> None:
    world = wanting(replayRequest={"id": "a"})
    world.cluster.refused["create DeadLetterReplay"] = "the name is too long"
    assert await world.do_tasks() is None
    assert condition(world, "ReplayRequested") == ("False", "ReplayRefused")


async def test_a_new_schedule_does_not_make_up_for_times_before_it() -> None:
    world = await scheduled()
    assert world.replays() == []
    assert condition(world) == ("True", "Scheduled")
    assert schedule_status(world)["nextScheduleTime"] == "2026-11-24T03:00:00Z"


async def test_the_pass_after_the_next_is_when_it_is_due() -> None:
    world = await scheduled()
    assert await world.do_tasks() == 15 * 3600


async def test_at_its_time_a_replay_is_made_once() -> None:
    world = await scheduled()
    world.pass_time(hours=15)
    for _ in range(3):
        await world.do_tasks()
        world.pass_time(minutes=1)

    assert world.created == [FIRST]
    assert int(FIRST.removeprefix("orders-")) * 60 == datetime(2026, 11, 24, 3, tzinfo=START.tzinfo).timestamp()
    spec = world.of(REPLAYS, FIRST)["spec"]
    assert (spec["mode"], spec["selection"], spec["rate"]) == ("Replay", {"stages": ["index"]}, 9)
    assert world.status()["deadLetter"]["lastReplay"] == FIRST


async def test_none_is_made_while_the_one_before_is_open_and_one_when_it_ends() -> None:
    world = await scheduled()
    world.pass_time(hours=15)
    await world.do_tasks()
    world.pass_time(days=3)
    await world.do_tasks()
    assert len(world.created) == 1
    assert condition(world) == ("True", "ReplayOpen")

    finish(world, FIRST, "Succeeded")
    await world.do_tasks()
    assert len(world.created) == 2, "three nights were missed, and are made up for once"


async def test_a_night_after_the_other_makes_no_event() -> None:
    world = await scheduled()
    await nights(world, 3, "Succeeded")
    assert [reason for _, reason, _ in world.events] == ["Scheduled"]


async def test_what_is_too_late_is_left_out() -> None:
    world = await scheduled(startingDeadlineSeconds=600)
    world.pass_time(hours=15, seconds=601)
    await world.do_tasks()
    assert world.replays() == []


async def test_after_repeated_failure_the_schedule_stops_and_says_so() -> None:
    world = await scheduled()
    await nights(world, 2, "Failed")
    assert condition(world) == ("True", "Scheduled")
    await nights(world, 1, "Refused")
    assert condition(world) == ("False", "StoppedAfterFailures")
    await nights(world, 5, "Failed")
    assert len(world.created) == 3
    assert world.events[-1][:2] == ("Warning", "StoppedAfterFailures")


async def test_a_success_between_failures_keeps_the_schedule_going() -> None:
    world = await scheduled()
    await nights(world, 2, "Failed")
    await nights(world, 1, "Nothing")
    await nights(world, 2, "Failed")
    assert condition(world) == ("True", "Scheduled")


async def test_a_stopped_schedule_goes_on_when_it_is_changed() -> None:
    world = await scheduled()
    await nights(world, 3, "Failed")
    world.edit(INDEXERS, "orders", deadLetter={"schedule": NIGHTLY | {"correction": {"inline": "{}"}}})
    await world.do_tasks()
    assert condition(world) == ("True", "Scheduled")
    await nights(world, 1, "Succeeded")
    assert len(world.created) == 4


async def test_failures_count_though_their_replays_are_gone() -> None:
    world = await scheduled()
    for _ in range(3):
        await nights(world, 1, "Failed")
        for name in world.replays():
            world.cluster.remove(REPLAYS, name)
    assert condition(world) == ("False", "StoppedAfterFailures")


async def test_suspended_nothing_is_made() -> None:
    world = await scheduled(suspend=True)
    world.pass_time(days=2)
    await world.do_tasks()
    assert (world.replays(), condition(world)) == ([], ("False", "Suspended"))


async def test_an_expression_that_names_no_time_is_reported() -> None:
    world = await scheduled(cron="0 0 31 2 *")
    assert condition(world) == ("False", "ScheduleInvalid")


async def test_an_indexer_without_tasks_costs_one_look_and_no_write() -> None:
    world = ReplayWorld()
    assert await world.do_tasks() == NEVER
    assert "status" not in world.of(INDEXERS, "orders")


async def test_an_operator_that_is_killed_at_any_moment_makes_each_replay_once() -> None:
    async def week(world: ReplayWorld) -> None:
        world.edit(INDEXERS, "orders", deadLetter={"schedule": NIGHTLY, "replayRequest": {"id": "a"}})
        for _ in range(3):
            try:
                await world.do_tasks()
            except Killed:
                await world.do_tasks()
            for name in world.replays():
                finish(world, name, "Succeeded")
            world.pass_time(hours=24)

    whole = ReplayWorld()
    await week(whole)
    assert len(whole.created) == 3
    for moment in range(1, len(whole.cluster.requests) + 1):
        world = ReplayWorld(kill_at=moment)
        await week(world)
        assert world.created == whole.created, f"killed after call {moment}"


async def test_replays_and_tasks_share_one_history() -> None:
    world = await scheduled()
    world.pass_time(hours=15)
    await world.do_tasks()
    await world.reconcile(FIRST)
    world.end(f"{FIRST}-plan", 3, result("nothing"))
    await world.reconcile(FIRST)
    await world.do_tasks()
    assert world.phase(FIRST) == "Nothing"
    assert "openReplay" not in schedule_status(world)
