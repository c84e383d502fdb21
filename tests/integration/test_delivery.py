"""Nothing lost and, at a clean end, nothing done twice: kills, restarts, rebalances, markers of transactions."""

import asyncio
import signal
import time
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaProducer
from fixtures.events import UPDATED, encoded, event, moment
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.waiting import eventually

pytestmark = pytest.mark.integration
Start = Callable[..., Indexer]
SMALL_STEPS = {
    "CONSUMER_BATCH_SIZE": "20",
    "CONSUMER_REQUEST_EVENTS": "20",
    "CONSUMER_FETCH_MAX_RECORDS": "40",
    "CONSUMER_COMMIT_INTERVAL": "0.2",
}
"""Small requests, so that a stream of some thousands of events lasts."""


async def stream(place: Place, count: int, seconds: float = 0.0) -> None:
    """Publish events of many users, keyed by user, over this many seconds."""
    for start in range(0, count, 100):
        numbers = range(start, min(start + 100, count))
        sent = [
            await place.producer.send(
                place.name, encoded(event(f"t{number}", user_id=f"user_{number % 50}")), key=b"user_%d" % (number % 50)
            )
            for number in numbers
        ]
        await asyncio.gather(*sent)
        await asyncio.sleep(seconds * 100 / count)


def everything(count: int) -> set[str]:
    return {f"t{number}" for number in range(count)}


async def consumed(*processes: Indexer) -> int:
    return int(sum([await process.metric("events_consumed_total") for process in processes]))


def settled_by(*processes: Indexer) -> int:
    """Events in settled batches, from the log: it outlives the process."""
    return sum(line["events"] for process in processes for line in process.logged("batch.settled"))


async def test_after_a_kill_in_the_middle_of_a_stream_everything_is_there(place: Place, indexer: Start) -> None:
    first, second = indexer(**SMALL_STEPS), indexer(**SMALL_STEPS)
    await first.ready()
    await second.ready()
    publishing = asyncio.create_task(stream(place, 4000, seconds=6))

    async def under_way() -> bool:
        return min(await consumed(first), await consumed(second)) > 300

    await eventually(under_way)
    assert not publishing.done()
    first.kill()
    await publishing
    await eventually(place.lag, 0)
    assert (await place.documents()).keys() == everything(4000)
    assert await place.dead_letters() == []
    assert await second.metric("assigned_partitions") == 3


async def test_an_indexer_that_is_killed_alone_goes_on_where_it_had_committed(place: Place, indexer: Start) -> None:
    process = await indexer(**SMALL_STEPS).ready()
    publishing = asyncio.create_task(stream(place, 3000, seconds=3))
    await eventually(lambda: consumed(process), lambda found: found > 500)
    process.kill()
    await publishing
    again = await indexer(**SMALL_STEPS, KAFKA_SESSION_TIMEOUT="6").ready()
    await eventually(place.lag, 0)
    assert (await place.documents()).keys() == everything(3000)
    assert await consumed(again) < 3000


async def test_a_clean_restart_in_the_middle_repeats_nothing(place: Place, indexer: Start) -> None:
    first = await indexer(**SMALL_STEPS).ready()
    publishing = asyncio.create_task(stream(place, 3000, seconds=4))
    await eventually(lambda: consumed(first), lambda found: found > 500)
    began = time.monotonic()
    assert first.terminate() == 0
    assert time.monotonic() - began < 20
    assert first.logged("app.stopped")
    second = await indexer(**SMALL_STEPS).ready()
    await publishing
    await eventually(place.lag, 0)
    assert (await place.documents()).keys() == everything(3000)
    assert settled_by(first, second) == 3000
    assert await second.outcomes() == {"indexed": await consumed(second)}


async def test_a_rolling_restart_of_two_repeats_nothing(place: Place, indexer: Start) -> None:
    old = [indexer(**SMALL_STEPS), indexer(**SMALL_STEPS)]
    for process in old:
        await process.ready()
    publishing = asyncio.create_task(stream(place, 5000, seconds=15))
    new: list[Indexer] = []
    for process in old:
        before = await consumed(process)
        await eventually(lambda p=process, b=before: consumed(p), lambda found, b=before: found > b)
        new.append(await indexer(**SMALL_STEPS).ready())
        assert process.terminate() == 0
    await publishing
    await eventually(place.lag, 0)
    assert (await place.documents()).keys() == everything(5000)
    assert settled_by(*old, *new) == 5000
    for process in new:
        assert (await process.outcomes()).keys() <= {"indexed"}


async def test_partitions_that_are_added_are_followed(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    await place.add_partitions(6)

    async def assigned() -> float:
        return await process.metric("assigned_partitions")

    await eventually(assigned, 6, timeout=30)
    for partition in range(6):
        value = encoded(event(f"p{partition}"))
        await place.producer.send_and_wait(place.name, value, key=b"k", partition=partition)
    await process.settled(6)
    assert (await place.documents()).keys() == {f"p{partition}" for partition in range(6)}


async def test_offsets_reach_the_end_also_behind_the_marker_of_a_transaction(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    producer = AIOKafkaProducer(bootstrap_servers=place.servers.kafka, transactional_id=f"{place.name}-t")
    await producer.start()
    try:
        async with producer.transaction():
            for partition in range(3):
                await producer.send(place.name, encoded(event(f"p{partition}")), partition=partition)
        await producer.begin_transaction()
        for partition in range(3):
            await producer.send(place.name, encoded(event(f"aborted-{partition}")), partition=partition)
        await producer.flush()
        await producer.abort_transaction()
    finally:
        await producer.stop()
    assert await process.settled(3) == {"indexed": 3}
    assert await eventually(place.lag, 0) == 0

    async def lag() -> float:
        return await process.metric("consumer_lag_events")

    await eventually(lag, 0)
    assert (await place.documents()).keys() == {"p0", "p1", "p2"}


async def test_all_events_of_a_transaction_end_in_its_newest_state_wherever_they_are_handled(
    place: Place, indexer: Start
) -> None:
    first, second = indexer(**SMALL_STEPS), indexer(**SMALL_STEPS)
    await first.ready()
    await second.ready()
    for second_of in range(30):
        for user in range(10):
            value = event(f"t{user}", UPDATED, moment(second_of), user_id=f"user_{user}", status=f"after {second_of}")
            await place.producer.send(place.name, encoded(value), key=b"user_%d" % user)
    await place.producer.flush()
    await eventually(place.lag, 0)
    assert {document["status"] for document in (await place.documents()).values()} == {"after 29"}


async def test_the_end_comes_in_time_also_while_elasticsearch_refuses(place: Place, indexer: Start) -> None:
    process = await indexer(CONSUMER_SHUTDOWN_TIMEOUT="3").ready()
    await place.es.indices.put_settings(index=place.index, settings={"blocks.write": True})
    await stream(place, 300)
    await eventually(lambda: process.metric("retries_total"), bool)
    began = time.monotonic()
    assert process.terminate() == 0
    assert time.monotonic() - began < 8
    assert await place.lag() == 300
    await place.es.indices.put_settings(index=place.index, settings={"blocks.write": False})
    again = await indexer().ready()
    assert await again.settled(300) == {"indexed": 300}


async def test_a_second_signal_changes_nothing(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    await stream(place, 200)
    process.process.send_signal(signal.SIGTERM)
    process.process.send_signal(signal.SIGTERM)
    assert process.terminate() == 0
    again = await indexer().ready()
    await eventually(place.lag, 0)
    assert settled_by(process, again) == 200
