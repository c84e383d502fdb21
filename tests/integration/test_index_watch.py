"""The index changes under the indexer's feet: nothing is lost, nothing is believed that is not so any more."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from fixtures.events import DELETED, UPDATED, event, moment
from fixtures.servers.commands import called
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, Servers
from fixtures.waiting import eventually

from activity_indexer.document import NOT_DELETED, mappings, settings

pytestmark = pytest.mark.integration

Start = Callable[..., Indexer]
COUNT = 60


@pytest.fixture(autouse=True)
async def clean_indexes(place: Place) -> AsyncIterator[None]:
    yield
    for index in (await place.es.indices.get_settings(index=f"{place.name}*", name="index.uuid")).body:
        await place.es.indices.delete(index=index)


def second(place: Place) -> str:
    return f"{place.name}-000002"


def events(first: int = 0, count: int = COUNT, **fields: Any) -> list[dict[str, Any]]:
    return [event(f"t{number}", **fields) for number in range(first, first + count)]


async def make(place: Place, name: str, **more: Any) -> None:
    """An index of the form that an indexer makes, with changes."""
    await place.es.indices.create(
        index=name,
        settings=settings(1, 0, "1s") | more.get("settings", {}),
        mappings=mappings({}) | more.get("mappings", {}),
    )


async def move(place: Place, old: str, new: str) -> None:
    """The alias leads to another index, as operators move it by hand."""
    entry = {"index": new, "alias": place.name, "filter": NOT_DELETED, "is_write_index": True}
    await place.es.indices.update_aliases(actions=[{"remove": {"index": old, "alias": place.name}}, {"add": entry}])


async def follow_advice(place: Place, reasons: str) -> None:
    """Send the request that the reason gives."""
    _, _, request = reasons.partition("POST /_aliases ")
    actions, _ = json.JSONDecoder().raw_decode(request)
    await place.es.indices.update_aliases(actions=actions["actions"])


async def test_a_rollover_stops_intake_and_what_went_elsewhere_is_written_again(
    place: Place, indexer: Callable[..., Indexer]
) -> None:
    process = await indexer().ready()
    await place.publish(events())
    await process.settled(COUNT)
    await place.es.indices.rollover(alias=place.name)
    await place.publish([event("t0", UPDATED, moment(9), status="updated"), event("t1", DELETED, moment(9))])
    await place.publish(
        [*events(COUNT), {"no": "event"}, event("m1", metadata={"a": 1}), event("m2", metadata={"a": {}})]
    )
    reasons = await eventually(process.reasons, lambda found: "must stand for one index" in found)
    assert reasons.startswith("503")
    assert "index: " in reasons
    assert (await process.get("/livez"))[0] == 200
    assert await process.metric("index_as_expected") == 0
    await asyncio.sleep(1)
    assert len(await place.dead_letters()) <= 1, "only what is no event"
    await follow_advice(place, reasons)
    await process.ready()
    await eventually(place.lag, 0)
    found = await place.documents()
    assert set(found) == {f"t{number}" for number in range(2 * COUNT) if number != 1} | {"m1", "m2"}
    assert found["t0"]["status"] == "updated"
    assert {letter.value for letter in await place.dead_letters()} == {b'{"no": "event"}'}
    assert await process.metric("index_as_expected") == 1
    assert process.logged("events.read_again")


async def break_filter(place: Place) -> None:
    await place.es.indices.put_alias(index=place.index, name=place.name, is_write_index=True)


async def break_write_index(place: Place) -> None:
    await place.es.indices.put_alias(index=place.index, name=place.name, filter=NOT_DELETED, is_write_index=False)


async def break_routing(place: Place) -> None:
    await place.es.indices.put_alias(
        index=place.index, name=place.name, filter=NOT_DELETED, is_write_index=True, routing="r"
    )


async def add_second(place: Place) -> None:
    await make(place, second(place))
    await place.es.indices.put_alias(index=second(place), name=place.name, filter=NOT_DELETED, is_write_index=False)


@pytest.mark.parametrize("damage", [break_filter, break_write_index, break_routing, add_second])
async def test_a_changed_alias_stops_an_idle_indexer_too_and_the_advice_corrects_it(
    place: Place, indexer: Callable[..., Indexer], damage: Callable[[Place], Any]
) -> None:
    process = await indexer().ready()
    await place.publish(events())
    await process.settled(COUNT)
    await eventually(place.lag, 0)
    await damage(place)
    reasons = await eventually(process.reasons, lambda found: "POST /_aliases" in found)
    assert reasons.startswith("503")
    await place.publish([*events(COUNT), {"no": "event"}])
    await asyncio.sleep(1)
    assert await place.dead_letters() == []
    assert sum((await process.outcomes()).values()) == COUNT
    await follow_advice(place, reasons)
    await process.ready()
    await eventually(place.lag, 0)
    assert len(await place.documents()) == 2 * COUNT
    assert len(await place.dead_letters()) == 1


FOREIGN: dict[str, dict[str, Any]] = {
    "user_id is an integer": {
        "mappings": {"properties": mappings({})["properties"] | {"user_id": {"type": "integer"}}},
    },
    "strict": {"mappings": {"dynamic": "strict"}},
    "routing is required": {"mappings": {"_routing": {"required": True}}},
    "no source": {"mappings": {"_source": {"enabled": False}}},
    "an absent pipeline": {"settings": {"index.default_pipeline": "nope"}},
    "empty": {"mappings": {"dynamic": True, "properties": {}}},
}


@pytest.mark.parametrize("form", FOREIGN)
async def test_an_index_of_another_form_gets_nothing_and_dead_letters_nothing(
    place: Place, indexer: Callable[..., Indexer], form: str
) -> None:
    process = await indexer().ready()
    await place.publish(events())
    await process.settled(COUNT)
    await make(place, second(place), **FOREIGN[form])
    await move(place, place.index, second(place))
    await place.publish(events(COUNT))
    reasons = await eventually(process.reasons, lambda found: f"{second(place)} " in found)
    assert reasons.startswith("503")
    assert await place.dead_letters() == []
    await move(place, second(place), place.index)
    await process.ready()
    await eventually(place.lag, 0)
    assert len(await place.documents()) == 2 * COUNT
    assert await place.dead_letters() == []


async def test_a_pipeline_that_is_set_later_is_noticed(place: Place, indexer: Callable[..., Indexer]) -> None:
    process = await indexer().ready()
    await place.publish(events())
    await process.settled(COUNT)
    await place.es.indices.put_settings(index=place.index, settings={"index.default_pipeline": "nope"})
    await place.publish(events(COUNT))
    assert "set it to _none" in await eventually(process.reasons, lambda found: "ingest pipeline" in found)
    await place.es.indices.put_settings(index=place.index, settings={"index.default_pipeline": None})
    await process.ready()
    await eventually(place.lag, 0)
    assert len(await place.documents()) == 2 * COUNT
    assert await place.dead_letters() == []


async def test_ids_of_the_old_index_do_not_count_in_one_that_the_alias_was_moved_to(
    place: Place, indexer: Callable[..., Indexer]
) -> None:
    process = await indexer(CONSUMER_COMMIT_INTERVAL="2").ready()
    await place.publish(events())
    await process.settled(COUNT)
    await eventually(place.lag, 0)
    await make(place, second(place))
    await move(place, place.index, second(place))
    await place.publish(events())
    await eventually(place.count, COUNT)
    await eventually(place.lag, 0)
    assert len(await place.documents(second(place))) == COUNT
    assert (await process.outcomes())["duplicate"] >= 1, "some were taken for duplicates at first, and read again"
    assert process.logged("events.read_again")


async def reset_offsets(place: Place) -> None:
    """As kafka-consumer-groups --reset-offsets --to-earliest does, when no member is there."""
    consumer = AIOKafkaConsumer(bootstrap_servers=place.servers.kafka, group_id=place.group, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(place.name, number) for number in range(place.partitions)]
        consumer.assign(places)
        await consumer.commit(dict.fromkeys(places, 0))
    finally:
        await consumer.stop()


async def delete_by_hand(place: Place) -> None:
    for number in range(COUNT):
        await place.es.delete(index=place.index, id=f"t{number}")
    await place.es.indices.refresh(index=place.index)


@pytest.mark.parametrize("again", ["a reset of the group", "a new group", "the events are sent again"])
async def test_a_document_that_was_deleted_by_hand_is_there_again_when_its_event_is_read_again(
    place: Place, indexer: Callable[..., Indexer], again: str
) -> None:
    process = await indexer().ready()
    await place.es.indices.put_settings(index=place.index, settings={"index.gc_deletes": "1s"})
    await place.publish(events())
    await process.settled(COUNT)
    assert process.terminate() == 0
    await delete_by_hand(place)
    await asyncio.sleep(1.5)
    if again == "a reset of the group":
        await reset_offsets(place)
    elif again == "the events are sent again":
        await place.publish(events())
    group = f"{place.group}-new" if again == "a new group" else place.group
    await indexer(KAFKA_CONSUMER_GROUP=group).ready()
    await eventually(place.count, COUNT)


@pytest.mark.parametrize("again", ["a reset of the group", "a new group"])
async def test_what_is_read_again_on_purpose_is_asked_of_elasticsearch_at_once(
    place: Place, indexer: Callable[..., Indexer], again: str
) -> None:
    process = await indexer().ready()
    await place.publish(events())
    await process.settled(COUNT)
    assert process.terminate() == 0
    if again == "a reset of the group":
        await reset_offsets(place)
    group = f"{place.group}-new" if again == "a new group" else place.group
    process = await indexer(KAFKA_CONSUMER_GROUP=group).ready()
    assert await process.settled(COUNT) == {"duplicate": COUNT}
    assert await process.metric("dedup_hits_total") == 0
    await eventually(lambda: place.lag(group), 0)
    await place.publish(events())
    await process.settled(2 * COUNT)
    assert await process.metric("dedup_hits_total") == COUNT, "what is sent again a moment later is known"


async def test_what_was_not_committed_before_a_kill_is_known(place: Place, indexer: Callable[..., Indexer]) -> None:
    process = await indexer(CONSUMER_COMMIT_INTERVAL="600").ready()
    await place.publish(events())
    await process.settled(COUNT)
    process.kill()
    process = await indexer().ready()
    assert await process.settled(COUNT) == {"duplicate": COUNT}
    assert await process.metric("dedup_hits_total", level="redis") == COUNT


async def test_commands_refuse_an_alias_of_two_indexes_with_the_same_advice(
    place: Place, indexer: Callable[..., Indexer]
) -> None:
    await indexer().ready()
    await add_second(place)
    for command in (
        ["purge-tombstones", "--older-than", "1d"],
        ["reconcile"],
        ["reindex", "--from", "topic"],
    ):
        done = await called(place, *command)
        assert done.code != 0, (command, done)
        assert "must stand for one index" in done.stdout + done.stderr, (command, done)


async def test_a_snapshot_that_is_restored_makes_all_ids_of_before_unknown(
    own_servers: Servers, start_on: Start
) -> None:
    """Once beside a running indexer, and once with the group's offsets set back."""
    async with Place.on(own_servers) as place:
        process = await start_on(place, CONSUMER_COMMIT_INTERVAL="1").ready()
        await place.publish(events())
        await process.settled(COUNT)
        await place.es.snapshot.create_repository(
            name="r", repository={"type": "fs", "settings": {"location": place.name}}
        )
        await place.es.snapshot.create(repository="r", snapshot="s", indices=place.index, wait_for_completion=True)
        await place.publish(events(COUNT))
        await process.settled(2 * COUNT)
        await eventually(place.lag, 0)

        async def restore() -> None:
            await place.es.indices.close(index=place.index)
            await place.es.snapshot.restore(repository="r", snapshot="s", indices=place.index, wait_for_completion=True)
            assert await place.count() == COUNT

        uuid = (await place.es.indices.get_settings(index=place.index))[place.index]["settings"]["index"]["uuid"]
        await restore()
        after = (await place.es.indices.get_settings(index=place.index))[place.index]["settings"]["index"]["uuid"]
        assert after == uuid, "the index's own id does not show it"
        await place.publish(events(COUNT))
        await eventually(place.count, 2 * COUNT)
        await eventually(place.lag, 0)
        assert process.terminate() == 0
        await restore()
        await reset_offsets(place)
        await start_on(place).ready()
        await eventually(place.count, 2 * COUNT)
        assert await place.dead_letters() == []
