"""What a position means on a real broker: topics that come and go, retention, transactions, and names used twice."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from fixtures.events import encoded, event
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.waiting import eventually, until

pytestmark = pytest.mark.integration
AUDITED = {"CONSUMER_ENABLE_AUDIT_DB": "true"}
Start = Callable[..., Indexer]


def events(name: str, count: int) -> list[dict[str, Any]]:
    return [event(f"{name}-{number}", user_id=f"user_{number}") for number in range(count)]


async def found(place: Place, name: str) -> int:
    """Documents of the events of this name."""
    return sum(identifier.startswith(f"{name}-") for identifier in await place.documents())


async def audited(place: Place, name: str) -> int:
    rows = await place.rows("SELECT transaction_id FROM transaction_events")
    return sum(row["transaction_id"].startswith(f"{name}-") for row in rows)


async def committed(place: Place, group: str = "") -> Mapping[int, Any]:
    """Offset and metadata by partition."""
    offsets = await place.admin.list_consumer_group_offsets(group or place.group)
    return {at.partition: kept for at, kept in offsets.items() if at.topic == place.name}


async def recreate(place: Place, values: list[Any]) -> None:
    """Delete the topic and create it with these events, as one does who does not look at what runs."""
    partitions = place.partitions
    await place.admin.delete_topics([place.name])

    async def create() -> bool:
        answer = await place.admin.create_topics([NewTopic(place.name, partitions, 1)])
        if answer.topic_errors[0][1] == 0:
            return True
        await place.admin.delete_topics([place.name])  # a client that asked for it may have created it by that
        return False

    await eventually(create)
    producer = AIOKafkaProducer(bootstrap_servers=place.servers.kafka)
    await producer.start()
    for value in values:
        await producer.send(place.name, encoded(value), key=b"user")
    await producer.stop()


@pytest.mark.parametrize("reset", ["earliest", "latest"])
async def test_a_topic_that_is_created_again_unseen_is_read_from_its_first_record(
    place: Place, indexer: Start, reset: str
) -> None:
    process = await indexer(**AUDITED, KAFKA_AUTO_OFFSET_RESET=reset, KAFKA_SESSION_TIMEOUT="30").ready()
    await asyncio.sleep(1)  # a group that begins at the end has begun
    await place.publish(events("old", 100))
    await process.settled(100)
    await eventually(lambda: audited(place, "old"), 100)
    process.process.send_signal(signal.SIGSTOP)
    await recreate(place, events("new", 150))
    process.process.send_signal(signal.SIGCONT)
    await eventually(lambda: found(place, "new"), 150)
    await eventually(lambda: audited(place, "new"), 150)
    # a member may read the new topic a moment before it notices that it is another one: then it reads it once more
    await until(lambda: {line["consumer"] for line in process.logged("topic.recreated")} == {"indexer", "audit"})
    await eventually(place.lag, 0)
    ids = {kept.metadata for kept in (await committed(place)).values()}
    assert len(ids) == 1
    assert next(iter(ids)).startswith("topic-id=")


async def test_offsets_of_a_topic_of_the_same_name_are_not_taken_for_its_own(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    await place.publish(events("old", 60))
    await process.settled(60)
    process.process.send_signal(signal.SIGSTOP)
    await recreate(place, events("new", 100))
    process.kill()
    other = AIOKafkaConsumer(bootstrap_servers=place.servers.kafka, group_id=place.group, enable_auto_commit=False)
    await other.start()
    places = [TopicPartition(place.name, number) for number in range(place.partitions)]
    other.assign(places)

    async def commit() -> bool:
        """As a member that has not noticed."""
        try:
            await other.commit(dict.fromkeys(places, (20, "topic-id=AAAAAAAAAAAAAAAAAAAAAA")))
        except Exception:  # noqa: BLE001 - the killed member is still one of the group
            return False
        return True

    await eventually(commit)
    await other.stop()
    process = await indexer().ready()
    await eventually(lambda: found(place, "new"), 100)
    assert process.logged("topic.recreated")


async def test_offsets_that_were_committed_without_an_id_are_accepted(place: Place, indexer: Start) -> None:
    await place.publish(events("a", 10))
    consumer = AIOKafkaConsumer(bootstrap_servers=place.servers.kafka, group_id=place.group, enable_auto_commit=False)
    await consumer.start()
    places = [TopicPartition(place.name, number) for number in range(place.partitions)]
    consumer.assign(places)
    ends = await consumer.end_offsets(places)
    await consumer.commit({at: max(0, end - 4) for at, end in ends.items()})
    await consumer.stop()
    await indexer().ready()
    await eventually(place.lag, 0)
    assert await found(place, "a") == 4


async def test_a_topic_that_is_gone_is_a_reason_not_to_be_ready(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    await place.publish(events("a", 3))
    await process.settled(3)
    await place.admin.delete_topics([place.name])

    async def reasons() -> str:
        return await process.reasons()

    wanted = f"topic: topic {place.name} does not exist: create it"
    await eventually(reasons, lambda text: text.startswith("503") and wanted in text)
    assert (await process.get("/livez"))[0] == 200
    await asyncio.sleep(5)  # no question for the topic creates it
    assert await place.partition_count(place.name) == 0
    await recreate(place, events("b", 5))
    await process.ready()
    await eventually(lambda: found(place, "b"), 5)


@pytest.mark.parametrize("reset", ["earliest", "latest"])
async def test_what_retention_deletes_unread_is_reported_and_the_rest_is_read(
    place: Place, start_on: Start, reset: str
) -> None:
    variables = {**AUDITED, "KAFKA_AUTO_OFFSET_RESET": reset}
    process = await start_on(place, **variables).ready()
    await asyncio.sleep(1)
    await place.publish(events("a", 20))
    await process.settled(20)
    await eventually(lambda: audited(place, "a"), 20)
    await eventually(place.lag, 0)
    await eventually(lambda: place.lag(f"{place.group}.audit"), 0)
    process.terminate()
    sent = await place.publish(events("b", 100))
    at = TopicPartition(place.name, sent[60].partition)
    await place.admin.delete_records({at: RecordsToDelete(before_offset=sent[60].offset)})
    process = await start_on(place, **variables).ready()
    await eventually(lambda: found(place, "b"), 40)
    await eventually(lambda: audited(place, "b"), 40)
    for consumer in ("indexer", "audit"):
        labels = {"consumer": consumer, "reason": "retention", "partition": str(at.partition)}
        assert await process.metric("events_lost_total", **labels) == 60
    lines = process.logged("events.lost")
    assert {(line["level"], line["events"], line["partition"]) for line in lines} == {("error", 60, at.partition)}
    assert "200 warning: events_lost (partition " in await process.reasons()
    await eventually(place.lag, 0)
    process.terminate()
    process = await start_on(place, **variables).ready()
    await asyncio.sleep(1)
    assert not process.logged("events.lost"), "a loss is reported once"


async def test_retention_that_overtakes_a_running_indexer_is_reported(place: Place, indexer: Start) -> None:
    process = await indexer(KAFKA_AUTO_OFFSET_RESET="latest", KAFKA_SESSION_TIMEOUT="30").ready()
    await asyncio.sleep(1)
    first = await place.publish(events("a", 5))
    await process.settled(5)
    process.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1)  # what was asked of the broker before is answered
    sent = await place.publish(events("b", 50))
    at = TopicPartition(place.name, first[0].partition)
    await place.admin.delete_records({at: RecordsToDelete(before_offset=sent[30].offset)})
    process.process.send_signal(signal.SIGCONT)
    await eventually(lambda: found(place, "b"), lambda count: count >= 20)
    lost = await process.metric("events_lost_total", consumer="indexer", reason="retention")
    assert await found(place, "b") + lost == 50
    await eventually(place.lag, 0)


async def test_an_offset_behind_the_end_is_a_truncation_and_the_partition_is_read_again(
    place: Place, indexer: Start
) -> None:
    await place.publish(events("a", 10))
    consumer = AIOKafkaConsumer(bootstrap_servers=place.servers.kafka, group_id=place.group, enable_auto_commit=False)
    await consumer.start()
    places = [TopicPartition(place.name, number) for number in range(place.partitions)]
    consumer.assign(places)
    ends = await consumer.end_offsets(places)
    await consumer.commit({at: end + 7 for at, end in ends.items()})
    await consumer.stop()
    process = await indexer(KAFKA_AUTO_OFFSET_RESET="latest").ready()
    await eventually(lambda: found(place, "a"), 10)
    assert await process.metric("events_lost_total", reason="truncation") == 7 * place.partitions
    await eventually(place.lag, 0)


async def test_gaps_of_transactions_are_no_losses(place: Place, indexer: Start) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=place.servers.kafka, transactional_id=place.name)
    await producer.start()
    process = await indexer().ready()
    for number in range(6):
        await producer.begin_transaction()
        await producer.send_and_wait(place.name, encoded(event(f"t-{number}")), key=b"user")
        await (producer.commit_transaction() if number % 2 else producer.abort_transaction())
        if number == 2:
            process.terminate()
            process = await indexer().ready()
    await producer.stop()
    await eventually(lambda: found(place, "t"), 3)
    await eventually(place.lag, 0)
    assert await process.metric("events_lost_total") == 0


@asynccontextmanager
async def open_transaction(place: Place) -> AsyncIterator[None]:
    producer = AIOKafkaProducer(
        bootstrap_servers=place.servers.kafka, transactional_id=place.name, transaction_timeout_ms=60_000
    )
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(place.name, encoded(event("open")), key=b"user_1")
    yield
    await producer.abort_transaction()
    await producer.stop()


async def test_what_an_open_transaction_holds_back_is_lag_with_since_when(place: Place, indexer: Start) -> None:
    process = await indexer(**AUDITED, CONSUMER_STALL_TIMEOUT="10").ready()

    async def lag() -> float:
        return await process.metric("consumer_lag_events")

    async def reasons() -> str:
        return await process.reasons()

    async with open_transaction(place):
        await place.publish(events("a", 50))
        await eventually(lag, 51)
        assert await process.metric("held_events") == 51
        await eventually(reasons, lambda text: text.startswith("200 warning: open_transaction (partition "))
        assert "51 events wait behind a transaction that a producer left open since 20" in await reasons()
        assert await process.metric("held_seconds") >= 10
        assert await process.metric("consumer_lag_seconds") >= 10
        await asyncio.sleep(5)
        assert (await process.get("/livez"))[0] == 200, "what cannot be read is no stall"
        assert not process.logged("audit.consumer_replaced")
        assert await process.metric("audit_lag_events") == 51
    await eventually(lambda: found(place, "a"), 50)
    await eventually(lag, 0)
    await eventually(reasons, "200 ")
    assert process.logged("open_transaction.warned")
    assert process.logged("open_transaction.recovered")


async def test_latest_is_where_a_new_group_begins_and_nothing_else(place: Place, indexer: Start) -> None:
    await place.publish(events("before", 30))
    process = await indexer(KAFKA_AUTO_OFFSET_RESET="latest").ready()
    await eventually(lambda: committed(place), lambda kept: len(kept) == place.partitions)
    await place.publish(events("a", 10), key=None)
    await process.settled(10)
    await place.add_partitions(5)
    producer = place.producer
    for number in range(10):
        await producer.send_and_wait(place.name, encoded(event(f"early-{number}")), partition=4)
    await eventually(lambda: found(place, "early"), 10)
    assert await found(place, "before") == 0
    assert await found(place, "a") == 10


async def test_members_that_begin_at_the_end_together_begin_at_one_moment(place: Place, indexer: Start) -> None:
    await place.publish(events("before", 30), key=None)
    members = [indexer(KAFKA_AUTO_OFFSET_RESET="latest") for _ in range(3)]
    for member in members:
        await member.ready()
    await eventually(lambda: committed(place), lambda kept: len(kept) == place.partitions)
    await place.publish(events("a", 60), key=None)
    await eventually(lambda: found(place, "a"), 60)
    assert await found(place, "before") == 0


async def test_a_name_of_an_instance_that_is_used_twice_is_named_and_not_fought_over(
    place: Place, indexer: Start
) -> None:
    first = await indexer(KAFKA_GROUP_INSTANCE_ID="same").ready()
    second = await indexer(KAFKA_GROUP_INSTANCE_ID="same").ready()

    async def reasons() -> str:
        return await first.reasons()

    await eventually(reasons, lambda text: "KAFKA_GROUP_INSTANCE_ID=same is in use by another member" in text)
    assert (await reasons()).startswith("503 membership: ")
    assert (await first.get("/livez"))[0] == 200
    await asyncio.sleep(8)  # it asks again after a session
    await place.publish(events("a", 30), key=None)
    await second.settled(30)
    assert await second.outcomes() == {"indexed": 30}
    assert await first.outcomes() == {}
    assert len(second.logged("partitions.assigned")) == 1
    third = indexer(KAFKA_GROUP_INSTANCE_ID="same")
    await third.ready()
    await eventually(second.reasons, lambda text: text.startswith("503 membership: "))
    assert await asyncio.to_thread(second.terminate) == 0, "one that stays out ends as any other"
    third.terminate()
    await first.ready()
    await place.publish(events("b", 30), key=None)
    await first.settled(30)
    assert await first.outcomes() == {"indexed": 30}


async def test_a_session_that_the_broker_refuses_is_named(place: Place, indexer: Start) -> None:
    process = indexer(KAFKA_SESSION_TIMEOUT="3")

    async def reasons() -> str:
        return await process.reasons()

    wanted = "KAFKA_SESSION_TIMEOUT: the broker refuses 3 s: it takes 6 to 1800 s"
    await eventually(reasons, lambda text: wanted in text)


async def test_topics_with_two_uses_and_impossible_names_end_the_start(place: Place, indexer: Start) -> None:
    for variables, reason in (
        ({"KAFKA_DEAD_LETTER_TOPIC": place.name}, "must be another topic than KAFKA_TRANSACTIONS_TOPIC"),
        ({"KAFKA_TRANSACTIONS_TOPIC": "my topic"}, "KAFKA_TRANSACTIONS_TOPIC: expected a name"),
    ):
        process = indexer(**variables)
        assert await asyncio.to_thread(process.process.wait, 30) == 2
        assert reason in process.log.read_text()
