"""What Prometheus reads of replays: by namespace and phase, never by name."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from fixtures.memory.cluster import NAMESPACE
from fixtures.operator import ReplayWorld, result

from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.resources import INDEXERS, REPLAYS
from activity_indexer_operator.replay.metrics import ReplayCounters, ReplayMetrics
from activity_indexer_operator.runtime.metrics import Metrics
from activity_indexer_operator.tasks.metrics import ScheduleMetrics

PREFIX = "activity_indexer_operator_"
BASE = Path(__file__).parents[4]


def exposed(world: ReplayWorld, *, leading: bool = True) -> dict[str, float]:
    """Samples by name and labels, of an operator that has seen all that there is."""
    for (plural, *_), body in world.cluster.objects.items():
        for resource in (INDEXERS, REPLAYS):
            if plural == resource.plural:
                world.cache.put(resource, copy.deepcopy(body))
    collectors = (
        ReplayMetrics(world.cache, lambda: leading, world.clock.utc),
        ScheduleMetrics(world.cache, lambda: leading),
    )
    for collector in collectors:
        world.metrics.registry.register(collector)
    lines = world.metrics.exposition().decode().splitlines()
    for collector in collectors:
        world.metrics.registry.unregister(collector)
    return {name.removeprefix(PREFIX): float(value) for name, value in map(split, lines) if not name.startswith("#")}


def split(line: str) -> tuple[str, str]:
    name, _, value = line.rpartition(" ")
    return name, value


def of(metric: str, **labels: str) -> str:
    reported = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return f"{metric}{{{reported}}}"


async def test_replays_are_counted_by_phase_and_the_oldest_that_runs_by_its_age() -> None:
    world = ReplayWorld()
    world.replay("first")
    await world.reconcile("first")
    world.replay("second")
    await world.reconcile("second")
    world.replay("new")
    world.pass_time(minutes=5)
    found = exposed(world)
    assert found[of("replays", namespace=NAMESPACE, phase="Planning")] == 1
    assert found[of("replays", namespace=NAMESPACE, phase="Pending")] == 2, "one waits, and one was not looked at yet"
    assert found[of("replays", namespace=NAMESPACE, phase="Running")] == 0
    assert found[of("replay_oldest_running_seconds", namespace=NAMESPACE)] == 300


async def test_what_waits_or_has_ended_has_no_age() -> None:
    world = ReplayWorld()
    world.replay()
    await world.reconcile()
    world.end("fix-plan", message=result(dryRun=True, matched=3, upTo="0:9"))
    await world.reconcile()
    world.pass_time(minutes=5)
    assert exposed(world)[of("replay_oldest_running_seconds", namespace=NAMESPACE)] == 0


@pytest.mark.parametrize(
    ("code", "words", "outcome"),
    [(0, result(matched=0), "Nothing"), (4, result("refused"), "Refused"), (2, "", "Failed")],
)
async def test_an_end_is_counted_once_by_its_outcome(code: int, words: str, outcome: str) -> None:
    world = ReplayWorld()
    world.replay()
    await world.reconcile()
    counter = of("replays_finished_total", namespace=NAMESPACE, outcome=outcome)
    assert exposed(world)[counter] == 0, "the first failure must be an increase"
    world.end("fix-plan", code, words)
    await world.reconcile()
    await world.reconcile()
    assert exposed(world)[counter] == 1


async def test_jobs_are_counted_by_what_they_are_for() -> None:
    world = ReplayWorld()
    world.replay(mode="Replay")
    await world.reconcile()
    world.end("fix-plan", message=result(dryRun=True, matched=3, upTo="0:9"))
    await world.reconcile()
    await world.reconcile()
    await world.do_tasks()
    found = exposed(world)
    counts = {kind: found[of("jobs_created_total", kind=kind)] for kind in ("plan", "replay", "purge")}
    assert counts == {"plan": 1, "replay": 1, "purge": 0}


async def test_a_schedule_that_fails_again_and_again_shows_in_numbers() -> None:
    world = ReplayWorld()
    hourly: dict[str, Any] = {"cron": "0 * * * *", "failuresToStop": 2}
    world.indexer(deadLetter={"schedule": hourly})
    place = {"namespace": NAMESPACE, "name": "orders"}
    await world.do_tasks()
    assert exposed(world)[of("indexer_schedule_failures", **place)] == 0
    for number in (1, 2):
        world.pass_time(hours=1)
        await world.do_tasks()
        name = world.replays()[-1]
        await world.reconcile(name)
        world.end(f"{name}-plan", 2)
        await world.reconcile(name)
        await world.do_tasks()
        found = exposed(world)
        assert found[of("indexer_schedule_failures", **place)] == number
        assert found[of("indexer_schedule_stopped", **place)] == (number == 2)


async def test_a_schedule_that_a_user_suspended_is_not_stopped() -> None:
    world = ReplayWorld()
    world.indexer(deadLetter={"schedule": {"cron": "@hourly", "suspend": True}})
    await world.do_tasks()
    assert exposed(world)[of("indexer_schedule_stopped", namespace=NAMESPACE, name="orders")] == 0


async def test_an_indexer_without_a_schedule_reports_nothing_about_one() -> None:
    assert not [name for name in exposed(ReplayWorld()) if name.startswith("indexer_schedule")]


async def test_an_operator_that_waits_for_its_lease_reports_no_replay_and_no_schedule() -> None:
    world = ReplayWorld()
    world.indexer(deadLetter={"schedule": {"cron": "@hourly"}})
    await world.do_tasks()
    world.replay()
    await world.reconcile()
    of_objects = {"replays", "replay_oldest_running_seconds", "indexer_schedule_failures", "indexer_schedule_stopped"}
    assert {name.partition("{")[0] for name in exposed(world)} > of_objects
    assert not {name.partition("{")[0] for name in exposed(world, leading=False)} & of_objects


def test_the_table_in_the_docs_names_every_metric_and_no_other() -> None:
    metrics = Metrics()
    ReplayCounters(metrics.registry)
    metrics.registry.register(ReplayMetrics(ObjectCache(), lambda: True))
    metrics.registry.register(ScheduleMetrics(ObjectCache(), lambda: True))
    table = (BASE / "docs/operator.md").read_text().partition("## Metrics")[2].partition("\n## ")[0]
    reported = set(re.findall(rf"^\| `({PREFIX}\w+?)(?:_total)?[{{`]", table, re.MULTILINE))
    assert reported == {family.name for family in metrics.registry.collect()}
