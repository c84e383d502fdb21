"""Message ids that were settled before."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from fixtures.clock import Clock
from fixtures.emitted import Emitted
from fixtures.events import LATEST, value
from fixtures.memory.stores import MemorySeen
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.event import Position
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.pipeline.dedup import Deduplicator, RecentIds, Settled, entry_of
from activity_indexer.reports import Dependency, unreported

pytestmark = pytest.mark.simulated_time

EVENT = decode_event(value(), LATEST)


def marks(*ids: bytes) -> dict[bytes, bytes]:
    return dict.fromkeys(ids, entry_of(EVENT, 4))


class Silent(MemorySeen):
    """A store that answers no question before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def seen(self, ids: Sequence[bytes]) -> Mapping[bytes, bytes]:
        await self.answers.wait()
        return await super().seen(ids)


@dataclass
class Subject:
    """A deduplicator with its store, its clock, and what it reported."""

    size: int = 100
    index: str = "one"
    clock: Clock = field(default_factory=Clock)
    store: MemorySeen = field(default_factory=MemorySeen)
    emitted: Emitted = field(default_factory=Emitted)
    lifetime: float = math.inf
    relied: int = 0

    def __post_init__(self) -> None:
        self.dedup = Deduplicator(
            RecentIds(self.size),
            self.store,
            5.0,
            self.clock,
            self.emitted,
            lambda: self.index,
            lambda: self.lifetime,
            self.rely,
        )

    @property
    def reports(self) -> list[str | None]:
        """What was wrong with Redis, one after the other."""
        return [problem for problem, _ in self.emitted.problems(Dependency.REDIS)]

    def rely(self) -> None:
        self.relied += 1


async def test_what_was_marked_is_known_from_memory_without_asking_the_store() -> None:
    subject = Subject()
    await subject.dedup.known([])
    await subject.dedup.mark(marks(b"a"), subject.index)
    calls = subject.store.calls
    known = await subject.dedup.known([b"a"])
    assert (set(known.memory), set(known.store)) == ({b"a"}, set())
    assert subject.store.calls == calls


async def test_what_another_indexer_marked_is_known_from_the_store_in_one_call() -> None:
    subject = Subject()
    await subject.store.mark(marks(b"a", b"b"))
    known = await subject.dedup.known([b"a", b"b", b"c"])
    assert set(known.store) == {b"a", b"b"}
    assert b"a" in known
    assert b"c" not in known
    assert subject.store.calls == 2


async def test_what_the_store_knew_is_asked_again_as_only_the_store_knows_since_when() -> None:
    subject = Subject()
    await subject.store.mark(marks(b"a"))
    await subject.dedup.known([b"a"])
    again = await subject.dedup.known([b"a"])
    assert (set(again.memory), set(again.store)) == (set(), {b"a"})


async def test_an_id_is_relied_on_for_its_lifetime_and_then_asked_of_elasticsearch() -> None:
    subject = Subject(lifetime=60.0)
    subject.store.lifetime, subject.store.clock = subject.dedup.lifetime, subject.clock
    await subject.dedup.mark(marks(b"a"), subject.index)
    subject.clock.now += 59
    assert b"a" in await subject.dedup.known([b"a"])
    subject.clock.now += 2
    assert b"a" not in await subject.dedup.known([b"a"])


@given(st.lists(st.tuples(st.floats(0.1, 100), st.booleans()), max_size=60))
def test_memory_never_knows_an_id_for_longer_than_its_lifetime(steps: list[tuple[float, bool]]) -> None:
    recent, now, added = RecentIds(1000), 0.0, float("-inf")
    for pause, add in steps:
        now += pause
        recent.expire(now, 60.0)
        if b"a" in recent:
            assert now - added < 60.0
        elif now - added < 30.0:
            raise AssertionError("forgotten too early")
        if add and b"a" not in recent:
            recent.add(marks(b"a"))
            added = now


async def test_ids_that_are_known_are_reported_and_unknown_ones_are_not() -> None:
    subject = Subject()
    await subject.dedup.known([b"a"])
    assert subject.relied == 0
    await subject.dedup.mark(marks(b"a"), subject.index)
    await subject.dedup.known([b"a"])
    assert subject.relied == 1


async def test_without_a_namespace_nothing_is_known_and_nothing_marked() -> None:
    subject = Subject()
    await subject.dedup.known([])
    await subject.dedup.mark(marks(b"a"), subject.index)
    subject.index = ""
    calls = subject.store.calls
    assert b"a" not in await subject.dedup.known([b"a"])
    await subject.dedup.mark(marks(b"b"), "")
    assert subject.store.calls == calls


async def test_without_the_store_memory_still_answers() -> None:
    subject = Subject()
    await subject.dedup.known([b"x"])
    subject.store.problem = "Redis is unavailable"
    await subject.dedup.mark(marks(b"a"), subject.index)
    known = await subject.dedup.known([b"a", b"b"])
    assert (set(known.memory), set(known.store)) == ({b"a"}, set())
    assert subject.reports[-1] == "Redis is unavailable"


async def test_a_store_that_was_unavailable_is_left_alone_for_a_while() -> None:
    subject = Subject()
    subject.store.problem = "Redis is unavailable"
    await subject.dedup.known([b"a"])
    subject.store.problem = ""
    calls = subject.store.calls
    subject.clock.now += 4.9
    await subject.dedup.known([b"a"])
    await subject.dedup.mark(marks(b"a"), subject.index)
    assert subject.store.calls == calls
    subject.clock.now += 0.2
    await subject.dedup.known([b"b"])
    assert subject.store.calls == calls + 1
    assert subject.reports == ["Redis is unavailable"], "it is up when it takes marks again"
    await subject.dedup.mark(marks(b"b"), subject.index)
    assert subject.reports == ["Redis is unavailable", None]


async def test_a_store_that_answers_lookups_and_takes_no_marks_is_down_all_the_time() -> None:
    subject = Subject()
    for _ in range(3):
        await subject.dedup.known([b"a"])
        subject.store.problem = "Redis is full"
        await subject.dedup.mark(marks(b"b"), subject.index)
        subject.store.problem = ""
        subject.clock.now += 5.1
    assert subject.reports == [None, *["Redis is full"] * 3]


async def test_a_batch_waits_for_an_absent_store_once() -> None:
    subject = Subject()
    subject.store.problem = "Redis is unavailable"
    await subject.dedup.known([b"a"])
    await subject.dedup.mark(marks(b"a"), subject.index)
    assert subject.store.calls == 1


async def test_questions_of_several_batches_wait_for_each_other_and_for_an_absent_store_once() -> None:
    subject = Subject()
    at_once = 0

    class Slow(MemorySeen):
        async def seen(self, ids: Sequence[bytes]) -> Mapping[bytes, bytes]:
            nonlocal at_once
            at_once += 1
            assert at_once == 1
            await asyncio.sleep(0)
            at_once -= 1
            return await super().seen(ids)

    subject.store = Slow()
    subject.__post_init__()
    await asyncio.gather(*[subject.dedup.known([b"a"]) for _ in range(3)])
    assert subject.store.calls == 3
    subject.store.problem = "Redis is unavailable"
    await asyncio.gather(*[subject.dedup.known([b"a"]) for _ in range(3)])
    assert subject.store.calls == 4
    assert subject.reports[-1] == "Redis is unavailable"


async def test_a_slow_store_holds_up_a_batch_for_as_long_as_one_question_may_take() -> None:
    slow = Silent()
    subject = Subject(store=slow)
    subject.dedup.patience = 0.02
    first = asyncio.create_task(subject.dedup.known([b"a"]))
    await asyncio.sleep(0)
    others = await asyncio.gather(*[subject.dedup.known([b"a"]) for _ in range(8)])
    assert not any(found.store for found in others)
    await subject.dedup.mark(marks(b"b"), subject.index)
    assert set((await subject.dedup.known([b"b"])).memory) == {b"b"}
    slow.answers.set()
    await first
    assert subject.store.calls == 1
    assert subject.reports == [None], "it is slow and not away"
    await subject.dedup.known([b"a"])
    assert subject.store.calls == 2


async def test_what_waits_for_its_turn_while_the_index_is_replaced_is_not_marked_in_the_new_one() -> None:
    slow = Silent()
    subject = Subject(store=slow)
    asking = asyncio.create_task(subject.dedup.known([b"a"]))
    await asyncio.sleep(0)
    marking = asyncio.create_task(subject.dedup.mark(marks(b"b"), "one"))
    await asyncio.sleep(0)
    subject.index = "two"
    slow.answers.set()
    await asyncio.gather(asking, marking)
    assert subject.store.until == {}


async def test_a_store_that_takes_marks_is_back_though_memory_answers_every_question() -> None:
    subject = Subject()
    await subject.dedup.known([])
    subject.store.problem = "Redis is unavailable"
    await subject.dedup.mark(marks(b"a"), subject.index)
    subject.store.problem = ""
    subject.clock.now += 5.1
    await subject.dedup.mark(marks(b"a"), subject.index)
    assert subject.reports == ["Redis is unavailable", None]


async def test_a_store_that_takes_marks_again_is_back_though_no_events_come() -> None:
    subject = Subject()
    subject.dedup.retry_interval = 0.01
    await subject.dedup.known([])
    subject.store.problem = "Redis is unavailable"
    await subject.dedup.mark(marks(b"a"), subject.index)
    watching = asyncio.create_task(subject.dedup.watch())
    subject.clock.now += 0.02
    await asyncio.sleep(0.05)
    assert None not in subject.reports
    subject.store.problem = ""
    subject.clock.now += 0.02
    await asyncio.sleep(0.05)
    watching.cancel()
    assert subject.reports[-1] is None


async def test_a_new_index_knows_nothing_of_the_old_ones_ids() -> None:
    subject = Subject()
    await subject.dedup.known([])
    await subject.dedup.mark(marks(b"a"), subject.index)
    subject.index = "two"
    subject.store.until.clear()
    assert b"a" not in await subject.dedup.known([b"a"])


async def test_what_was_written_to_the_old_index_is_not_marked_in_the_new_one() -> None:
    subject = Subject()
    asked = await subject.dedup.known([b"a"])
    subject.index = "two"
    await subject.dedup.mark(marks(b"a"), asked.namespace)
    assert b"a" not in await subject.dedup.known([b"a"])
    assert not subject.store.until


async def test_without_any_store_memory_alone_works() -> None:
    dedup = Deduplicator(RecentIds(10), None, 5.0, Clock(), unreported)
    await dedup.mark(marks(b"a"), dedup.namespace())
    assert (await dedup.known([b"a", b"b"])).memory.keys() == {b"a"}


async def test_nothing_to_mark_is_no_call() -> None:
    subject = Subject()
    await subject.dedup.mark(marks(), subject.index)
    assert subject.store.calls == 0


@given(st.integers(0, 20), st.lists(st.integers(0, 50).map(lambda number: b"%d" % number), max_size=120))
def test_memory_is_bounded_and_holds_the_latest_ids(size: int, ids: list[bytes]) -> None:
    recent = RecentIds(size)
    for each in ids:
        recent.add(marks(each))
        assert len(recent) <= size
    for each in ids[-(size // 2) :] if size >= 2 else []:
        assert each in recent


def test_memory_of_no_size_remembers_nothing() -> None:
    recent = RecentIds(0)
    recent.add(marks(b"a"))
    assert b"a" not in recent


def test_memory_can_be_emptied() -> None:
    recent = RecentIds(10)
    recent.add(marks(b"a"))
    recent.clear()
    assert len(recent) == 0


def test_the_latest_entry_of_an_id_counts() -> None:
    recent = RecentIds(4)
    for number in range(5):
        recent.add({b"a": b"%d" % number, b"%d" % number: b"other"})
    assert recent.get(b"a") == b"4"


@given(
    st.integers(0, 253_402_300_799_999),
    st.integers(-1, 2**31 - 1),
    st.integers(-1, 2**63 - 1),
    st.integers(0, 2**63 - 1),
)
def test_an_entry_is_read_as_it_was_written(published: int, partition: int, offset: int, version: int) -> None:
    event = msgspec.structs.replace(EVENT, position=Position(published, partition, offset))
    assert Settled.read(entry_of(event, version)) == (event.position, version, event.checksum)


@given(st.lists(st.tuples(st.lists(st.integers(0, 30), max_size=12), st.booleans()), max_size=12), st.integers(0, 20))
def test_ids_are_known_at_once_as_they_are_one_by_one(steps: list[tuple[list[int], bool]], size: int) -> None:
    recent = RecentIds(size)
    for numbers, add in steps:
        ids = [b"%d" % number for number in numbers]
        if add:
            recent.add(marks(*ids))
        assert recent.known(ids) == {each: entry for each in ids if (entry := recent.get(each)) is not None}


@pytest.mark.parametrize("entry", [b"", b"1", b"1:2:3:4:5", bytes(31), bytes(33)])
async def test_what_is_no_entry_says_nothing(entry: bytes) -> None:
    subject = Subject()
    await subject.store.mark({b"a": entry})
    assert (await subject.dedup.known([b"a"])).get(b"a") is None
