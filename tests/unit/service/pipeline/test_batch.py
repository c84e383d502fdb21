"""Batches by number, bytes and age."""

from collections import defaultdict

from fixtures.clock import Clock
from fixtures.events import TOPIC
from fixtures.records import Reported
from hypothesis import given, settings
from hypothesis import strategies as st

from activity_indexer.offsets import PartitionOffsets
from activity_indexer.pipeline.batch import Batch, Batcher
from activity_indexer.ports import Record
from activity_indexer.positions import Partition

PARTITION = Partition(TOPIC, 0)


class Intake:
    """A batcher with the trackers of its partitions."""

    def __init__(
        self, batch_records: int = 3, max_bytes: int = 1000, max_age: float = 5.0, max_records: int = 0
    ) -> None:
        self.clock = Clock(100.0)
        self.batcher = Batcher(batch_records, max_bytes, max_age, self.clock, max_records)
        self.offsets: dict[Partition, PartitionOffsets] = defaultdict(PartitionOffsets)
        self.next = 0

    def add(self, *sizes: int, partition: Partition = PARTITION) -> list[Batch]:
        """Take records of these sizes, and let go what is due then."""
        self.put(*sizes, partition=partition)
        return self.due()

    def put(self, *sizes: int, partition: Partition = PARTITION) -> None:
        records = [Reported(b"x" * size, self.next + number, partition.partition) for number, size in enumerate(sizes)]
        self.next += len(sizes)
        self.offsets[partition]  # makes the tracker
        assert self.batcher.add({partition: records}, self.offsets) == sum(sizes)

    def due(self, *, everything: bool = False) -> list[Batch]:
        found: list[Batch] = []
        while cut := self.batcher.cut(everything=everything):
            batch = self.batcher.take(cut.records)
            assert batch.footprint == cut.footprint
            found.append(batch)
        return found


def sizes(batches: list[Batch]) -> list[int]:
    return [len(batch.records) for batch in batches]


def test_a_batch_is_full_at_its_number_of_records() -> None:
    intake = Intake(batch_records=3)
    assert sizes(intake.add(1, 1)) == []
    assert sizes(intake.add(1, 1)) == [3]
    assert intake.batcher.buffered == 1
    assert sizes(intake.add(*[1] * 8)) == [3, 3, 3]
    assert intake.batcher.buffered == 0


def test_a_batch_is_full_before_it_exceeds_its_bytes() -> None:
    intake = Intake(batch_records=100, max_bytes=10)
    assert sizes(intake.add(4, 4, 4)) == [2]
    assert [batch.size for batch in intake.add(6, 1)] == [10]


def test_a_record_larger_than_a_batch_is_one_of_its_own() -> None:
    intake = Intake(batch_records=100, max_bytes=10)
    assert sizes(intake.add(1, 50, 1)) == [1, 1]
    assert intake.batcher.buffered == 1


def test_a_record_without_a_timestamp_makes_no_lag_of_decades() -> None:
    tracker = PartitionOffsets()
    Intake().batcher.add({PARTITION: [Reported(b"x", timestamp=-1)]}, {PARTITION: tracker})
    assert tracker.published == 0


def test_a_record_without_value_has_no_bytes() -> None:
    intake = Intake()
    assert intake.batcher.add({PARTITION: [Reported(None)]}, {PARTITION: PartitionOffsets()}) == 0
    (batch,) = intake.due(everything=True)
    assert batch.size == 0


def test_a_batch_goes_at_its_age_counted_from_the_first_record() -> None:
    intake = Intake(max_age=5.0)
    assert intake.batcher.due_in is None
    assert intake.due() == []
    intake.put(1)
    intake.clock.now += 3
    intake.put(1)
    assert intake.batcher.due_in == 2.0
    assert intake.due() == []
    intake.clock.now += 2
    assert sizes(intake.due()) == [2]
    assert intake.batcher.due_in is None


def test_all_that_waits_can_be_taken_at_any_time() -> None:
    intake = Intake()
    assert intake.due(everything=True) == []
    intake.put(1)
    assert sizes(intake.due(everything=True)) == [1]
    assert intake.batcher.buffered == 0


def test_batches_that_are_due_travel_together_and_the_rest_waits_for_its_own_age() -> None:
    intake = Intake(batch_records=3, max_records=100)
    intake.put(*[1] * 4)
    intake.clock.now += 3
    intake.put(*[1] * 7)
    assert sizes(intake.due()) == [9]
    assert (intake.batcher.buffered, intake.batcher.due_in) == (2, 5.0)
    intake.clock.now += 5
    assert sizes(intake.due()) == [2]


def test_a_batch_that_is_old_enough_travels_with_the_full_ones() -> None:
    intake = Intake(batch_records=3, max_records=100)
    intake.put(*[1] * 7)
    intake.clock.now += 5
    assert sizes(intake.due()) == [7]


def test_a_request_takes_as_many_events_as_it_may_and_one_batch_at_least() -> None:
    intake = Intake(batch_records=2, max_records=5)
    intake.put(*[1] * 13)
    assert sizes(intake.due()) == [5, 5, 2]
    assert intake.batcher.buffered == 1
    large = Intake(batch_records=7, max_records=5)
    assert sizes(large.add(*[1] * 15)) == [7, 7]


def test_a_request_takes_as_many_bytes_as_a_batch_may() -> None:
    intake = Intake(batch_records=2, max_records=100, max_bytes=10)
    intake.put(3, 3, 3)
    assert not intake.batcher.full
    intake.put(3, partition=Partition(TOPIC, 1))
    assert intake.batcher.full
    assert [batch.size for batch in intake.due()] == [9]


def test_a_request_is_full_at_its_number_of_events() -> None:
    intake = Intake(batch_records=2, max_records=5)
    intake.put(*[1] * 5)
    assert not intake.batcher.full, "the fifth is in a batch that is not full"
    intake.put(1)
    assert intake.batcher.full
    cut = intake.batcher.cut()
    assert cut is not None
    assert (cut.records, cut.full) == (5, True)


def test_what_a_batch_that_was_cut_by_bytes_leaves_is_as_old_as_its_first_record() -> None:
    intake = Intake(batch_records=3, max_bytes=10, max_age=5.0)
    intake.put(6)
    intake.clock.now += 4
    intake.put(6)
    assert sizes(intake.due()) == [1]
    assert intake.batcher.due_in == 5.0


def test_the_oldest_of_what_waits_holds_the_mark_and_says_when_it_was_published() -> None:
    intake = Intake(batch_records=1, max_records=2)
    tracker = intake.offsets[PARTITION]
    intake.batcher.add(
        {PARTITION: [Reported(b"x", offset, timestamp=10**12 + offset) for offset in range(3)]}, intake.offsets
    )
    batch, last = intake.due()
    assert (len(batch.records), tracker.mark(), tracker.published) == (2, 0, 10**12)
    batch.settle_all()
    assert (tracker.mark(), tracker.published) == (2, 10**12 + 2)
    last.settle_all()
    assert tracker.idle


def test_a_batch_of_several_partitions_settles_each() -> None:
    intake, other = Intake(batch_records=4), Partition(TOPIC, 1)
    intake.put(1, 1)
    (batch,) = intake.add(1, 1, partition=other)
    batch.settle([0, 3])
    assert [intake.offsets[each].mark() for each in (PARTITION, other)] == [1, 2]
    batch.settle([1, 1])
    assert [intake.offsets[each].mark() for each in (PARTITION, other)] == [2, 2]
    batch.settle_all()
    assert [intake.offsets[each].mark() for each in (PARTITION, other)] == [2, 4]


def test_no_records_are_no_batch() -> None:
    intake = Intake()
    assert intake.add() == []
    assert intake.offsets[PARTITION].idle


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 30), max_size=12), st.booleans()), max_size=12),
    st.integers(1, 5),
    st.integers(0, 20),
    st.integers(1, 40),
)
def test_every_record_is_in_one_batch_in_order_and_no_batch_is_too_large(
    polls: list[tuple[int, list[int], bool]], batch_records: int, max_records: int, max_bytes: int
) -> None:
    intake = Intake(batch_records, max_bytes, max_records=max_records)
    batches: list[Batch] = []
    given_records: list[int] = []
    for partition, lengths, place in polls:
        given_records += range(intake.next, intake.next + len(lengths))
        intake.put(*lengths, partition=Partition(TOPIC, partition))
        if place:
            batches += intake.due()
            assert intake.batcher.buffered < batch_records
    batches += intake.due(everything=True)
    assert (intake.batcher.buffered, intake.batcher.footprint) == (0, 0)
    records: list[Record] = [record for batch in batches for record in batch.records]
    assert [record.offset for record in records] == given_records
    for batch in batches:
        assert 1 <= len(batch.records) <= max(batch_records, max_records)
        assert batch.size == sum(len(record.value or b"") for record in batch.records)
        assert batch.size <= max_bytes or len(batch.records) == 1
        assert [at for span in batch.spans for at in span.offsets] == [record.offset for record in batch.records]
        batch.settle_all()
    assert all(tracker.idle for tracker in intake.offsets.values())
