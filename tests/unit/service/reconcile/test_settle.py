"""What is in flight is distinguished from what differs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from activity_indexer.adapters.elasticsearch.index_reader import Stored
from activity_indexer.adapters.kafka.topic_reader import passed
from activity_indexer.adapters.postgres.audit_reader import Kept
from activity_indexer.event import UPDATED
from activity_indexer.reconcile import settle
from activity_indexer.reconcile.compare import Difference, Kind
from activity_indexer.reconcile.settle import Settler

pytestmark = pytest.mark.simulated_time


def kept(identifier: str, version: int) -> Kept:
    return Kept(identifier, version << 8, False, None, "u", UPDATED, 0)


@dataclass
class World:
    """Audit, index, rejects and topic; `steps` are what happens while the groups are waited for."""

    audit: dict[str, int] = field(default_factory=dict)
    index: dict[str, int] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)
    end: int = 10
    committed_to: dict[str, int] = field(default_factory=lambda: {"g": 10, "g.audit": 10})
    steps: list[tuple[str, dict[str, int]]] = field(default_factory=list)

    async def ends(self) -> dict[int, int]:
        return {0: self.end, 1: 0}

    async def committed(self, group: str) -> dict[int, int]:
        if self.steps and group == "g":
            name, change = self.steps.pop(0)
            getattr(self, name).update(change)
        return {0: self.committed_to[group]}


@dataclass
class Side:
    world: World
    name: str

    async def these(self, ids: Sequence[str]) -> dict[str, Kept | Stored]:
        there = getattr(self.world, self.name)
        make = (
            kept
            if self.name == "audit"
            else lambda each, version: Stored(each, version << 8, b'{"event_type":"transaction.updated"}')
        )
        return {each: make(each, there[each]) for each in ids if each in there}

    async def offsets(self) -> dict[int, int]:
        return {0: self.world.committed_to["g.audit"]}

    async def rejected(self, ids: Sequence[str]) -> dict[str, Kept]:
        return {each: kept(each, version) for each, version in self.world.rejects.items() if each in ids}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "LOOK_AGAIN", 0.001)


def settler(world: World, timeout: float = 0.05) -> Settler:
    return Settler(Side(world, "audit"), Side(world, "index"), world, "g", timeout)  # type: ignore[arg-type]


MISSING = Difference(Kind.MISSING, "a", 4 << 8, None)


async def test_what_stays_when_both_groups_have_passed_is_a_difference() -> None:
    assert await settler(World({"a": 4})).confirmed([MISSING]) == [MISSING]


async def test_what_was_fixed_by_the_first_look_is_none() -> None:
    assert await settler(World({"a": 5}, {"a": 5}, committed_to={})).confirmed([MISSING]) == []


async def test_what_the_indexer_still_has_to_read_is_waited_for() -> None:
    steps = [("audit", {}), ("index", {"a": 4}), ("committed_to", {"g": 10})]
    world = World({"a": 4}, steps=steps, committed_to={"g": 9, "g.audit": 10})
    found = settler(world, timeout=5)
    assert await found.confirmed([MISSING]) == []
    assert (found.in_flight, world.steps) == (0, [])


async def test_what_changes_between_two_looks_is_looked_at_again() -> None:
    world = World({"a": 4}, steps=[("audit", {"a": 8})])
    assert await settler(world).confirmed([MISSING]) == [Difference(Kind.MISSING, "a", 8 << 8, None)]


async def test_what_never_makes_no_progress_is_in_flight() -> None:
    world = World({"a": 4}, steps=[("audit", {"a": version}) for version in range(8, 100, 4)])
    found = settler(world)
    assert await found.confirmed([MISSING]) == []
    assert found.in_flight == 1


async def test_a_group_that_makes_no_progress_leaves_it_open_and_is_waited_for_once() -> None:
    found = settler(World({"a": 4}, committed_to={"g": 9, "g.audit": 10}))
    assert await found.confirmed([MISSING]) == []
    assert (found.in_flight, found.stuck) == (1, True)
    found.timeout = 1000
    assert await found.confirmed([MISSING]) == []


async def test_what_postgresql_refused_is_not_extra() -> None:
    extra = Difference(Kind.EXTRA, "a", None, 4 << 8)
    assert await settler(World({}, {"a": 4})).confirmed([extra]) == [extra]
    refused = World({}, {"a": 4}, {"a": 8})
    assert await settler(refused).confirmed([extra]) == [Difference(Kind.OLDER, "a", 8 << 8, 4 << 8)]


@pytest.mark.parametrize(
    ("committed", "marks", "done"),
    [({}, {}, True), ({}, {0: 0}, True), ({}, {0: 1}, False), ({0: 1}, {0: 1, 1: 1}, False), ({0: 9}, {0: 8}, True)],
)
def test_a_group_has_passed_when_all_its_partitions_have(
    committed: dict[int, int], marks: dict[int, int], done: bool
) -> None:
    assert passed(committed, marks) is done
