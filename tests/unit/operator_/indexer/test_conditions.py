"""Conditions about the events themselves: whether they move, and whether any was lost."""

from __future__ import annotations

import pytest
from fixtures.memory.cluster import NAMESPACE
from fixtures.operator import World

from activity_indexer_operator.kafka.observation import Offsets, Unknown
from activity_indexer_operator.kube.objects import Key
from activity_indexer_operator.kube.resources import DEPLOYMENTS, EVENTS, INDEXERS

KEY = Key("ActivityIndexer", NAMESPACE, "orders")


class Life:
    """An indexer whose replicas are ready, and a reconciler that looks at it."""

    def __init__(self) -> None:
        self.world = World()
        self.reconciler = self.world.reconciler()

    async def goes_on(self, seconds: float = 25.0) -> None:
        self.world.clock.now += seconds
        for (plural, _, _), body in self.world.cluster.objects.items():
            for resource in (INDEXERS, DEPLOYMENTS):
                if resource.plural == plural:
                    self.world.cache.put(resource, body)
        await self.reconciler.reconcile(KEY)

    def condition(self, kind: str) -> tuple[str, str]:
        return self.world.condition(kind)

    def message(self, kind: str) -> str:
        [found] = [each for each in self.world.status()["conditions"] if each["type"] == kind]
        return str(found["message"])

    def reported(self) -> list[tuple[str, str]]:
        """Kind and reason of each Event."""
        return [
            (body["type"], body["reason"])
            for (plural, _, _), body in self.world.cluster.objects.items()
            if plural == EVENTS.plural
        ]


@pytest.fixture
async def running() -> Life:
    life = Life()
    await life.goes_on()
    life.world.cluster.serve(DEPLOYMENTS, "orders")
    await life.goes_on()
    return life


def test_offsets_say_what_was_lost_and_what_is_hidden() -> None:
    offsets = Offsets({0: 50, 1: 0}, {0: 100, 1: 9}, {0: 50, 1: 4}, {0: 20, 1: 4}, {0: 90, 1: 9})
    assert offsets.lost == {0: 30}
    assert offsets.hidden == {0: 10}
    assert (offsets.lag, offsets.max_lag, offsets.lags) == (55, 50, {0: 50, 1: 5})
    assert (Offsets({0: 5}, {0: 9}, {0: 5}).lost, Offsets({0: 5}, {0: 9}, {0: 5}).hidden) == ({}, {})


async def test_an_indexer_without_lag_moves_and_has_lost_nothing(running: Life) -> None:
    assert running.condition("Moving") == ("True", "EventsSettled")
    assert running.condition("EventsLost") == ("False", "NothingLost")
    assert not {"PartitionsStand", "OpenTransaction", "RemovedBeforeRead"} & {
        reason for _, reason in running.reported()
    }


async def test_a_lag_that_stands_for_two_minutes_is_not_moving(running: Life) -> None:
    running.world.kafka.lag = 5
    for _ in range(4):
        await running.goes_on()
        assert running.condition("Moving") == ("True", "EventsSettled")
    await running.goes_on(60)
    assert running.condition("Moving") == ("False", "PartitionsStand")
    assert "partition 0" in running.message("Moving")
    assert ("Warning", "PartitionsStand") in running.reported()
    running.world.kafka.lag = 4
    await running.goes_on()
    assert running.condition("Moving") == ("True", "EventsSettled")


async def test_a_lag_that_moves_is_moving_however_large_it_is(running: Life) -> None:
    for lag in range(9_000, 8_000, -100):
        running.world.kafka.lag = lag
        await running.goes_on(60)
    assert running.condition("Moving") == ("True", "EventsSettled")


async def test_what_an_open_transaction_hides_is_counted_apart_and_is_the_reason(running: Life) -> None:
    running.world.kafka.lag = running.world.kafka.hidden = 1001
    await running.goes_on()
    assert running.world.status()["lag"] == {"total": 1001, "maxPartition": 1001, "behindTransaction": 1001}
    await running.goes_on(130)
    assert running.condition("Moving") == ("False", "OpenTransaction")


async def test_a_lag_before_an_open_transaction_stands_for_another_reason(running: Life) -> None:
    running.world.kafka.lag, running.world.kafka.hidden = 1001, 1000
    await running.goes_on()
    await running.goes_on(130)
    assert running.condition("Moving") == ("False", "PartitionsStand")


async def test_nothing_moves_where_nothing_runs_and_no_alert_fires(running: Life) -> None:
    running.world.kafka.lag = 5
    running.world.change(mode="Suspended")
    for _ in range(3):
        await running.goes_on(130)
        running.world.cluster.serve(DEPLOYMENTS, "orders")
    assert running.condition("Moving") == ("Unknown", "NotObserved")


async def test_events_that_retention_removed_are_reported_for_a_day(running: Life) -> None:
    running.world.kafka.lost = 250
    await running.goes_on()
    assert running.condition("EventsLost") == ("True", "RemovedBeforeRead")
    assert ("Warning", "RemovedBeforeRead") in running.reported()
    running.world.kafka.lost = 0
    await running.goes_on(3000)
    assert running.condition("EventsLost") == ("True", "RemovedBeforeRead"), "the gap is gone, the events are too"
    assert "partition 0" in running.message("EventsLost")


async def test_a_source_that_cannot_be_asked_is_no_statement_about_events(running: Life) -> None:
    running.world.kafka.partitions = Unknown("BrokerUnreachable", "no answer")
    await running.goes_on()
    await running.goes_on()
    assert running.condition("Moving") == ("Unknown", "NotObserved")
    assert running.condition("EventsLost") == ("Unknown", "NotObserved")
