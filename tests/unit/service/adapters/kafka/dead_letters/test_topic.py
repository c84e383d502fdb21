"""The producer of dead letters: one that failed is replaced, and a topic that refuses a record gets less of it."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaConnectionError,
    NotEnoughReplicasError,
    OutOfOrderSequenceNumber,
    RecordTooLargeError,
    UnknownError,
    UnknownTopicOrPartitionError,
)
from fixtures.emitted import Emitted

from activity_indexer.adapters.kafka.dead_letters import topic as dead_letter_topic
from activity_indexer.adapters.kafka.dead_letters.topic import DeadLetterTopic
from activity_indexer.adapters.kafka.records.internals import size_in_batch
from activity_indexer.ports import OutRecord
from activity_indexer.reports import DeadLetterTruncated, Emit, unreported
from activity_indexer.settings import KafkaSettings

pytestmark = pytest.mark.simulated_time


async def prepared(_settings: object) -> None:
    """The topic is there."""


class Batch:
    """A batch of the client's, as far as it is used here: `size` are the bytes of keys and values that it takes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.records: list[OutRecord] = []

    def append(self, *, key: bytes | None, value: bytes | None, timestamp: None, headers: Any) -> object:
        record = OutRecord(key, value, headers)
        if self.records and sum(len(each.value or b"") for each in [*self.records, record]) > self.size:
            return None
        self.records.append(record)
        return record

    def record_count(self) -> int:
        return len(self.records)


Refusal = Callable[[OutRecord], Exception | None]


class Producer:
    """The client's producer: `refusal` gives the error of each record, `start_error` that of the start.

    A refusal breaks the sequence of one that is idempotent, as the broker has it.
    """

    def __init__(self, topic: "Topic", **arguments: Any) -> None:
        self.topic = topic
        self.idempotent: bool = arguments["enable_idempotence"]
        self.batch_bytes: int = arguments["max_batch_size"]
        self.batches: list[tuple[int, list[OutRecord]]] = []
        self.stopped = False
        self.broken = False
        self.client = self.cluster = self

    @property
    def sent(self) -> list[OutRecord]:
        return [record for _, batch in self.batches for record in batch]

    async def start(self) -> None:
        if self.topic.start_error:
            raise self.topic.start_error

    async def stop(self) -> None:
        self.stopped = True

    def create_batch(self) -> Batch:
        return Batch(self.batch_bytes)

    async def partitions_for(self, _: str) -> set[int]:
        if not self.topic.partitions:
            raise UnknownTopicOrPartitionError
        return set(range(self.topic.partitions))

    def partitions_for_topic(self, _: str) -> set[int]:
        return set()

    def available_partitions_for_topic(self, _: str) -> set[int]:
        return set(range(self.topic.partitions))

    async def send_batch(self, batch: Batch, _: str, partition: int) -> "asyncio.Future[None]":
        await asyncio.sleep(0)
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        refusals = [self.topic.refusal(record) for record in batch.records]
        if error := next(filter(None, refusals), OutOfOrderSequenceNumber() if self.broken else None):
            acknowledged.set_exception(error)
            self.broken = self.idempotent
        else:
            acknowledged.set_result(None)
            self.batches.append((partition, batch.records))
        return acknowledged


class Topic:
    """A dead-letter topic with what it refuses, and the producers that were made for it."""

    def __init__(self) -> None:
        self.refusal: Refusal = lambda _: None
        self.start_error: Exception | None = None
        self.producers: list[Producer] = []
        self.partitions = 1

    def make(self, **arguments: Any) -> Producer:
        assert arguments["acks"] == "all"
        assert arguments["compression_type"] == "zstd"
        self.producers.append(Producer(self, **arguments))
        return self.producers[-1]

    def sent(self) -> list[OutRecord]:
        return [record for producer in self.producers for record in producer.sent]


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    found = Topic()
    monkeypatch.setattr(dead_letter_topic, "AIOKafkaProducer", found.make)
    return found


PLACE = [("dead-letter-topic", b"transactions"), ("dead-letter-partition", b"3"), ("dead-letter-offset", b"17")]
RECORDS = [OutRecord(None, b"a", []), OutRecord(None, b"b", [])]


def writer(limit: int = 10**9, emit: Emit = unreported, **settings: Any) -> DeadLetterTopic:
    """A writer to a topic whose limit (bytes) is this when it is asked."""

    async def limits(_: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(topics, limit)

    return DeadLetterTopic(KafkaSettings(**settings), prepared, limits, emit)


def refusing(error: Exception, value: bytes) -> Refusal:
    return lambda record: error if record.value == value else None


async def test_a_producer_that_failed_is_replaced(topic: Topic) -> None:
    letters = writer()
    topic.refusal = refusing(NotEnoughReplicasError(), b"b")
    unsent, problem = await letters.send(RECORDS)
    assert unsent == RECORDS, "one batch has one fate"
    assert "NotEnoughReplicas" in problem
    assert topic.producers[0].stopped
    topic.refusal = lambda _: None
    assert await letters.send(unsent) == ([], "")
    assert [[record.value for record in producer.sent] for producer in topic.producers] == [[], [b"a", b"b"]]


def numbered(count: int, size: int = 100_000) -> list[OutRecord]:
    """Records of a few keys, some of which fill a batch."""
    return [OutRecord(b"user %d" % (at % 7), b"%03d" % at + b"v" * size, PLACE) for at in range(count)]


async def test_the_records_of_a_partition_stay_in_their_order_over_all_its_batches(topic: Topic) -> None:
    topic.partitions = 3
    records = numbered(60)
    assert await writer().send(records) == ([], "")
    (producer,) = topic.producers
    assert len(producer.batches) > 3 * 3, "several batches for each"
    partitions = {record.key: partition for partition, batch in producer.batches for record in batch}
    assert set(partitions.values()) == {0, 1, 2}
    for wanted in range(3):
        written = [record for partition, batch in producer.batches if partition == wanted for record in batch]
        assert written == [record for record in records if partitions[record.key] == wanted]


async def test_what_was_acknowledged_before_a_batch_failed_is_not_sent_again(topic: Topic) -> None:
    topic.partitions = 3
    letters, records = writer(), numbered(60)
    topic.refusal = refusing(NotEnoughReplicasError(), records[30].value or b"")
    unsent, problem = await letters.send(records)
    assert "NotEnoughReplicas" in problem
    acknowledged = topic.sent()
    assert records[30] in unsent
    assert acknowledged
    assert sorted(record.value or b"" for record in [*acknowledged, *unsent]) == [record.value for record in records]
    assert {record.key for record in unsent} < {record.key for record in records}, "other partitions are written"
    topic.refusal = lambda _: None
    assert await letters.send(unsent) == ([], "")
    written = topic.sent()
    assert sorted(record.value or b"" for record in written) == [record.value for record in records], "each once"
    for key in {record.key for record in records}:
        assert [record for record in written if record.key == key] == [each for each in records if each.key == key]


async def test_a_topic_that_was_deleted_is_prepared_again(topic: Topic) -> None:
    letters = writer()
    assert await letters.send(RECORDS[:1]) == ([], "")
    topic.partitions = 0
    unsent, problem = await letters.send(RECORDS[1:])
    assert (unsent, bool(problem)) == (RECORDS[1:], True)
    topic.partitions = 1
    assert await letters.send(unsent) == ([], "")
    assert len(topic.producers) == 2
    assert topic.producers[0].stopped


async def test_a_partition_that_is_removed_after_it_was_chosen_is_tried_again_elsewhere(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = writer()

    async def gone(*_: Any, **__: Any) -> None:
        raise AssertionError("Unrecognized partition")

    with monkeypatch.context() as patch:
        patch.setattr(Producer, "send_batch", gone)
        unsent, problem = await letters.send(RECORDS)
    assert unsent == RECORDS
    assert "does not have the partition 0 any more" in problem
    assert await letters.send(unsent) == ([], "")


async def test_a_producer_is_not_stopped_while_it_is_handed_a_batch(topic: Topic) -> None:
    letters = writer()
    handing, go_on = asyncio.Event(), asyncio.Event()
    send_batch = Producer.send_batch

    async def slow(producer: Producer, batch: Batch, name: str, partition: int) -> "asyncio.Future[None]":
        handing.set()
        await go_on.wait()
        assert not producer.stopped
        return await send_batch(producer, batch, name, partition)

    await letters.send(RECORDS[:1])
    topic.producers[0].send_batch = slow.__get__(topic.producers[0])  # type: ignore[method-assign]
    sending = asyncio.create_task(letters.send(RECORDS[1:]))
    await handing.wait()
    stopping = asyncio.create_task(letters.stop())
    await asyncio.sleep(0.01)
    assert not stopping.done()
    go_on.set()
    await stopping
    assert await sending == ([], "")


async def test_batches_that_are_refused_for_their_size_halve_the_next_ones_once(topic: Topic) -> None:
    topic.refusal = taking(90_000)
    topic.partitions = 4
    letters = writer(90_000)
    assert await letters.send(numbered(40)) == ([], "")
    assert letters._batch_bytes == dead_letter_topic.BATCH_BYTES // 2


async def test_a_batch_behind_one_that_was_refused_is_no_outage(topic: Topic) -> None:
    """The broker refuses what follows in an idempotent producer's sequence; nothing of that was written."""
    letters = writer()
    await letters.send(RECORDS[:1])
    topic.producers[0].broken = True
    assert await letters.send(RECORDS[1:]) == ([], "")
    assert [record.value for record in topic.sent()] == [b"a", b"b"]


async def test_a_large_letter_is_alone_in_its_batch(topic: Topic) -> None:
    small, large = OutRecord(b"k", b"small", PLACE), OutRecord(b"k", b"v" * 2_000_000, PLACE)
    assert await writer().send([small, large, small]) == ([], "")
    (producer,) = topic.producers
    assert [[len(record.value or b"") for record in batch] for _, batch in producer.batches] == [[5], [2_000_000], [5]]


async def test_one_that_is_refused_for_its_size_takes_no_other_with_it(topic: Topic) -> None:
    """All of its batch are written alone, what is behind it follows, and the next batches are smaller."""
    topic.refusal = taking(200_000)
    letters, records = writer(200_000), numbered(20, 50_000)
    records[3] = OutRecord(b"user 3", b"v" * 300_000, PLACE)
    assert await letters.send(records) == ([], "")
    written = topic.sent()
    assert sorted(len(record.value or b"") for record in written) == [*[50_003] * 19, 65_536]
    assert not any(producer.broken and not producer.stopped for producer in topic.producers)
    assert await letters.send(records) == ([], "")
    assert topic.producers[-1].batch_bytes < topic.producers[0].batch_bytes
    assert len(topic.sent()) == 40


async def test_of_several_calls_each_learns_of_its_own_records(topic: Topic) -> None:
    """Also of those that went after a batch of another call that broke the producer's sequence."""
    topic.partitions = 3
    letters, calls = writer(), [numbered(50, size) for size in (10, 11, 12)]
    topic.refusal = refusing(NotEnoughReplicasError(), calls[1][20].value or b"")
    found = await asyncio.gather(*map(letters.send, calls))
    acknowledged = topic.sent()
    for records, (unsent, problem) in zip(calls, found, strict=True):
        assert bool(unsent) == bool(problem)
        assert [record for record in records if record not in acknowledged] == list(unsent)
    assert calls[1][20] in found[1][0]


async def test_a_producer_is_used_again_while_it_works(topic: Topic) -> None:
    letters = writer()
    await asyncio.gather(*(letters.send(RECORDS) for _ in range(3)))
    await letters.stop()
    assert [(len(producer.sent), producer.idempotent) for producer in topic.producers] == [(6, True)]
    assert topic.producers[0].stopped


async def test_a_producer_that_does_not_start_is_closed(topic: Topic) -> None:
    topic.start_error = KafkaConnectionError("away")
    unsent, problem = await writer().send(RECORDS)
    assert unsent == RECORDS
    assert "away" in problem
    assert topic.producers[0].stopped


async def test_a_clock_that_the_topic_refuses_says_what_to_do(topic: Topic) -> None:
    topic.refusal = refusing(InvalidTimestampError(), b"a")
    _, problem = await writer().send(RECORDS)
    assert "set the clock right, or the topic's message.timestamp.type to LogAppendTime" in problem


def taking(limit: int) -> Refusal:
    """A topic that takes records of this many bytes at most."""
    return lambda record: RecordTooLargeError() if size_in_batch(record) > limit else None


async def test_a_record_that_is_too_large_is_written_truncated(topic: Topic) -> None:
    topic.refusal = taking(100_000)
    value = b"v" * 300_000
    assert await writer(100_000).send([OutRecord(b"k", value, [("h", b"x"), *PLACE]), RECORDS[0]]) == ([], "")
    found = next(record for record in topic.sent() if record.key == b"k")
    reported = dict(found.headers)
    assert found.value == value[:65_536]
    assert reported["h"] == b"x"
    assert reported["dead-letter-offset"] == b"17"
    assert reported["dead-letter-truncated"] == b"true"
    assert reported["dead-letter-size"] == b"300000"
    assert reported["dead-letter-sha256"] == hashlib.sha256(value).hexdigest().encode()
    assert [record.value for record in topic.sent() if record.key is None] == [b"a"], "the other one is whole"


async def test_each_record_that_is_truncated_is_counted(topic: Topic) -> None:
    topic.refusal = taking(100_000)
    emitted = Emitted()
    large = OutRecord(b"k", b"v" * 300_000, PLACE)
    assert await writer(100_000, emitted).send([large, *RECORDS, large]) == ([], "")
    assert emitted == [DeadLetterTruncated()] * 2


async def test_a_refusal_breaks_no_sequence_and_is_remembered(topic: Topic) -> None:
    topic.refusal = taking(100_000)
    letters = writer(100_000)
    large = OutRecord(b"k", b"v" * 300_000, PLACE)
    for _ in range(3):
        assert await letters.send([large]) == ([], "")
    assert [(producer.idempotent, producer.stopped) for producer in topic.producers] == [
        (True, True),  # its sequence was broken by the first refusal
        (False, False),
        (True, False),
    ]
    assert len(topic.sent()) == 3


@pytest.mark.parametrize("limit", [70_000, 8_000, 3_000, 900])
async def test_whatever_the_topic_takes_something_is_written(topic: Topic, limit: int) -> None:
    topic.refusal = taking(limit)
    large = OutRecord(
        b"k" * 5_000, b"v" * 300_000, [("large", b"h" * 200_000), *PLACE, ("dead-letter-message", b"m" * 2000)]
    )
    assert await writer(limit).send([large]) == ([], "")
    (found,) = topic.sent()
    reported = dict(found.headers)
    assert size_in_batch(found) <= limit
    assert (reported["dead-letter-topic"], reported["dead-letter-offset"]) == (b"transactions", b"17")
    assert reported["dead-letter-headers-dropped"] == b"1"
    assert reported["dead-letter-size"] == b"300000"
    if found.key is None:
        assert reported["dead-letter-key-size"] == b"5000"


async def test_a_topic_that_takes_nothing_says_what_to_raise(topic: Topic) -> None:
    topic.refusal = taking(10)
    unsent, problem = await writer(10).send(RECORDS)
    assert unsent == RECORDS
    assert "raise its max.message.bytes and KAFKA_MAX_REQUEST_BYTES" in problem


@pytest.mark.parametrize("limit", [1, 10**9], ids=["the limit takes nothing", "the limit was raised meanwhile"])
async def test_a_record_is_not_truncated_for_a_limit_that_is_not_the_reason(topic: Topic, limit: int) -> None:
    letters = writer(limit)
    topic.refusal = taking(1)
    record = OutRecord(b"k", b"v" * 2_000, PLACE)
    unsent, problem = await letters.send([record])
    assert unsent == [record]
    assert "raise its max.message.bytes" in problem
    topic.refusal = lambda _: None
    assert await letters.send(unsent) == ([], "")
    assert [(each.value, each.headers) for each in topic.sent()] == [(record.value, PLACE)]


async def test_only_what_is_cut_is_marked_as_truncated(topic: Topic) -> None:
    topic.refusal = taking(10_000)
    record = OutRecord(b"k", b"v" * 5_000, [("large", b"h" * 9_000), *PLACE])
    assert await writer(10_000).send([record]) == ([], "")
    (found,) = topic.sent()
    assert found.value == record.value
    assert list(found.headers) == [*PLACE, ("dead-letter-headers-dropped", b"1")]


async def test_our_own_limit_truncates_as_well(topic: Topic) -> None:
    assert await writer(max_request_bytes=80_000).send([OutRecord(b"k", b"v" * 100_000, PLACE)]) == ([], "")
    assert [len(record.value or b"") for record in topic.sent()] == [65_536]


async def test_a_compacted_topic_gets_a_key_where_there_is_none(topic: Topic) -> None:
    topic.refusal = lambda record: UnknownError() if record.key is None else None
    letters = writer()
    keyed, without = OutRecord(b"k", b"1", PLACE), OutRecord(None, b"2", PLACE)
    assert await letters.send([keyed, without]) == ([], "")
    assert await letters.send([without, keyed]) == ([], "")
    assert [len(batch) for _, batch in topic.producers[-1].batches] == [2], "from then on they go together again"
    found = {record.value: record for record in topic.sent()}
    assert (found[b"1"].key, dict(found[b"1"].headers).get("dead-letter-no-key")) == (b"k", None)
    assert (found[b"2"].key, dict(found[b"2"].headers)["dead-letter-no-key"]) == (b"transactions:3:17", b"true")


async def test_an_unknown_error_of_a_keyed_record_is_a_problem(topic: Topic) -> None:
    topic.refusal = lambda _: UnknownError()
    record = OutRecord(b"k", b"1", PLACE)
    unsent, problem = await writer().send([record])
    assert unsent == [record]
    assert "UnknownError" in problem


async def test_one_that_was_truncated_before_keeps_the_size_and_hash_of_the_original(topic: Topic) -> None:
    topic.refusal = taking(5_000)
    reported = [("dead-letter-truncated", b"true"), ("dead-letter-size", b"999999"), ("dead-letter-sha256", b"abc")]
    assert await writer(5_000).send([OutRecord(b"k", b"v" * 65_536, [*PLACE, *reported])]) == ([], "")
    (found,) = topic.sent()
    sizes = [value for name, value in found.headers if name == "dead-letter-size"]
    assert (sizes, len(found.value or b"")) == ([b"999999"], 4096)
