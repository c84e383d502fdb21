"""Batches by number, bytes and age."""

from collections import defaultdict

from core_support import TOPIC, Clock, Told
from hypothesis import given, settings
from hypothesis import strategies as st

from activity_indexer.offsets import PartitionOffsets
from activity_indexer.pipeline.batch import Batch, Batcher
from activity_indexer.ports import Partition, Record

PARTITION = Partition(TOPIC, 0)


class Intake:
    """A batcher with the trackers of its partitions."""

    def __init__(self, max_records: int = 3, max_bytes: int = 1000, max_age: float = 5.0) -> None:
        self.clock = Clock(100.0)
        self.batcher = Batcher(max_records, max_bytes, max_age, self.clock)
        self.offsets: dict[Partition, PartitionOffsets] = defaultdict(PartitionOffsets)
        self.next = 0

    def add(self, *sizes: int, partition: Partition = PARTITION) -> list[Batch]:
        records = [Told(b"x" * size, self.next + number, partition.partition) for number, size in enumerate(sizes)]
        self.next += len(sizes)
        self.offsets[partition]  # makes the tracker
        return self.batcher.add({partition: records}, self.offsets)


def sizes(batches: list[Batch]) -> list[int]:
    return [len(batch.records) for batch in batches]


def test_a_batch_is_full_at_its_number_of_records() -> None:
    intake = Intake(max_records=3)
    assert sizes(intake.add(1, 1)) == []
    assert sizes(intake.add(1, 1)) == [3]
    assert intake.batcher.buffered == 1
    assert sizes(intake.add(*[1] * 8)) == [3, 3, 3]
    assert intake.batcher.buffered == 0


def test_a_batch_is_full_before_it_exceeds_its_bytes() -> None:
    intake = Intake(max_records=100, max_bytes=10)
    assert sizes(intake.add(4, 4, 4)) == [2]
    assert [batch.size for batch in intake.add(6, 1)] == [10]


def test_a_record_larger_than_a_batch_is_one_of_its_own() -> None:
    intake = Intake(max_records=100, max_bytes=10)
    assert sizes(intake.add(1, 50, 1)) == [1, 1]
    assert intake.batcher.buffered == 1


def test_a_record_without_a_timestamp_makes_no_lag_of_decades() -> None:
    tracker = PartitionOffsets()
    Intake(max_records=1).batcher.add({PARTITION: [Told(b"x", timestamp=-1)]}, {PARTITION: tracker})
    assert tracker.published == 0


def test_a_record_without_value_has_no_bytes() -> None:
    intake = Intake()
    intake.batcher.add({PARTITION: [Told(None)]}, {PARTITION: PartitionOffsets()})
    batch = intake.batcher.take()
    assert batch
    assert batch.size == 0


def test_a_batch_goes_at_its_age_counted_from_the_first_record() -> None:
    intake = Intake(max_age=5.0)
    assert intake.batcher.due_in is None
    assert intake.batcher.take_due() is None
    intake.add(1)
    intake.clock.now += 3
    intake.add(1)
    assert intake.batcher.due_in == 2.0
    assert intake.batcher.take_due() is None
    intake.clock.now += 2
    batch = intake.batcher.take_due()
    assert batch
    assert len(batch.records) == 2
    assert intake.batcher.due_in is None


def test_the_open_batch_can_be_taken_at_any_time() -> None:
    intake = Intake()
    assert intake.batcher.take() is None
    intake.add(1)
    assert intake.batcher.take()
    assert intake.batcher.buffered == 0


def test_a_batch_of_several_partitions_settles_each() -> None:
    intake, other = Intake(max_records=4), Partition(TOPIC, 1)
    intake.add(1, 1)
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
    st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 30), max_size=12)), max_size=12),
    st.integers(1, 5),
    st.integers(1, 40),
)
def test_every_record_is_in_one_batch_in_order_and_no_batch_is_too_large(
    polls: list[tuple[int, list[int]]], max_records: int, max_bytes: int
) -> None:
    intake = Intake(max_records, max_bytes)
    batches: list[Batch] = []
    given_records: list[int] = []
    for partition, lengths in polls:
        given_records += range(intake.next, intake.next + len(lengths))
        batches += intake.add(*lengths, partition=Partition(TOPIC, partition))
    if last := intake.batcher.take():
        batches.append(last)
    records: list[Record] = [record for batch in batches for record in batch.records]
    assert [record.offset for record in records] == given_records
    for batch in batches:
        assert 1 <= len(batch.records) <= max_records
        assert batch.size == sum(len(record.value or b"") for record in batch.records)
        assert batch.size <= max_bytes or len(batch.records) == 1
        assert [at for span in batch.spans for at in span.offsets] == [record.offset for record in batch.records]
        batch.settle_all()
    assert all(tracker.idle for tracker in intake.offsets.values())
