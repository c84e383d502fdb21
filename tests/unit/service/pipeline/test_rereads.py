"""Records that are read again on purpose."""

from fixtures.events import TOPIC
from fixtures.memory.stores import MemorySeen
from fixtures.records import Reported

from activity_indexer.pipeline.rereads import Rereads
from activity_indexer.positions import Partition

ONE, OTHER = Partition(TOPIC, 0), Partition(TOPIC, 1)


def record(offset: int, partition: Partition = ONE) -> Reported:
    return Reported(b"x", offset, partition.partition)


async def test_records_below_what_the_group_committed_are_read_again() -> None:
    store = MemorySeen()
    await Rereads(store).committed({ONE: 5, OTHER: 1})
    rereads = Rereads(store)
    await rereads.assigned([ONE])
    assert [record(offset) in rereads for offset in (0, 4, 5)] == [True, True, False]
    assert record(0, OTHER) not in rereads


async def test_nothing_is_left_of_it_when_the_group_is_beyond() -> None:
    rereads = Rereads()
    rereads.expect(ONE, 5)
    await rereads.committed({ONE: 4, OTHER: 9})
    assert record(4) in rereads
    await rereads.committed({ONE: 5})
    assert not rereads


async def test_what_comes_before_the_store_was_asked_may_be_read_again() -> None:
    store = MemorySeen()
    rereads = Rereads(store)
    assert record(7) in rereads
    await rereads.assigned([ONE])
    assert record(7) not in rereads
    rereads.revoked()
    assert record(7) in rereads


async def test_a_store_that_is_unavailable_holds_nothing_up() -> None:
    rereads = Rereads(MemorySeen(problem="Redis is unavailable"))
    await rereads.assigned([ONE])
    await rereads.committed({ONE: 3})
    assert not rereads


async def test_partitions_that_went_elsewhere_are_forgotten() -> None:
    rereads = Rereads()
    rereads.expect(ONE, 5)
    await rereads.assigned([OTHER])
    assert not rereads


async def test_a_later_commit_takes_an_earlier_ones_place_though_it_is_lower() -> None:
    store = MemorySeen()
    rereads = Rereads(store)
    await rereads.committed({ONE: 9})
    await rereads.committed({ONE: 3})
    assert await store.committed([ONE]) == {ONE: 3}
