"""The state of a transaction is its newest valid event, whatever the order; deletions last."""

import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from fixtures.events import CREATED, DELETED, UPDATED, event, moment
from fixtures.servers.commands import called
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, Servers, environment
from fixtures.waiting import eventually

pytestmark = pytest.mark.integration
Start = Callable[..., Indexer]


@pytest.fixture
async def own_place(own_servers: Servers) -> AsyncIterator[Place]:
    """A place on servers that the test may stop."""
    async with Place.on(own_servers) as found:
        yield found


def removal(identifier: str, second: int) -> dict[str, Any]:
    return {
        "event_type": DELETED,
        "transaction": {"id": identifier, "user_id": "user_1"},
        "timestamp": moment(second),
        "source": "test",
    }


async def states(place: Place) -> dict[str, str]:
    return {identifier: document["status"] for identifier, document in (await place.documents()).items()}


async def one_by_one(process: Indexer, place: Place, *values: object) -> list[str]:
    """The outcome of each event, sent when the one before is settled."""
    found: list[str] = []
    before = await process.outcomes()
    for value in values:
        await place.publish([value])
        now = await process.settled(sum(before.values()) + 1)
        found += [name for name in now if now[name] != before.get(name, 0)]
        before = now
    return found


async def test_a_late_event_changes_nothing(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    assert await one_by_one(
        process,
        place,
        event("a", UPDATED, moment(5), status="refunded"),
        event("a", CREATED, moment(0)),
        event("a", UPDATED, moment(4), status="pending"),
        event("a", UPDATED, moment(5), status="refunded"),
        event("a", UPDATED, "2024-01-01T14:00:05+02:00", status="refunded"),
        event("a", UPDATED, moment(6), status="closed"),
    ) == ["updated", "late", "late", "duplicate", "duplicate", "updated"]
    assert await states(place) == {"a": "closed"}


async def test_of_one_moment_deletion_beats_update_and_update_beats_creation(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    update = event("a", UPDATED, moment(0), status="refunded")
    assert await one_by_one(process, place, update, event("a"), removal("a", 0), update | {"source": "again"}) == [
        "updated",
        "late",
        "deleted",
        "late",
    ]
    assert await states(place) == {}


async def test_within_a_batch_a_transactions_newest_event_wins_in_one_write(place: Place, indexer: Start) -> None:
    process = await indexer(CONSUMER_BATCH_TIMEOUT="1").ready()
    history = [event("a", UPDATED, moment(second), status=f"after {second}") for second in range(20)]
    random.Random(7).shuffle(history)  # noqa: S311 - the same at each run
    await place.publish([*history, event("b"), removal("b", 9), event("b", UPDATED, moment(8)), history[3]])
    outcomes = await process.settled(24)
    assert await states(place) == {"a": "after 19"}
    assert sum(outcomes.values()) == 24
    assert outcomes["deleted"] == 1


async def test_whatever_the_order_and_the_number_of_deliveries_the_state_is_the_same(
    place: Place, indexer: Start
) -> None:
    process = await indexer(CONSUMER_ENABLE_DEDUP="false").ready()
    shuffled = random.Random(3)  # noqa: S311 - the same at each run
    events: list[Any] = []
    for number in range(40):
        name = f"t{number}"
        events += [event(name)] + [event(name, UPDATED, moment(s), status=f"after {s}") for s in range(1, 4)]
        events += [removal(name, number % 8)] if number % 2 else []
    events *= 3
    shuffled.shuffle(events)
    await place.publish(events)
    await process.settled(len(events))
    gone = {f"t{number}" for number in range(1, 40, 2) if number % 8 >= 3}
    expected = {f"t{number}": "after 3" for number in range(40) if f"t{number}" not in gone}
    assert await states(place) == expected


async def test_of_events_with_one_timestamp_the_one_that_was_published_last_wins(place: Place, indexer: Start) -> None:
    process = await indexer(CONSUMER_BATCH_TIMEOUT="1").ready()
    ties = [event("a", UPDATED, moment(0), status=status) for status in ("pending", "processing", "completed")]
    assert await one_by_one(process, place, *ties, ties[0], ties[2]) == ["updated"] * 5
    assert await process.metric("ties_total", result="later") == 4
    in_one = [event("b", UPDATED, moment(0), status=status) for status in ("pending", "processing", "completed")]
    await place.publish([*in_one, in_one[2]])
    assert (await process.settled(9))["late"] == 2
    assert await states(place) == {"a": "completed", "b": "completed"}
    assert await process.metric("ties_total", result="earlier") == 2
    assert await place.dead_letters() == []


async def test_nanoseconds_and_corrected_users_decide_as_they_were_published(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    second = "2024-01-01T12:00:00"
    later, earlier = (event("nano", UPDATED, f"{second}.1234569{digit}Z", status=digit) for digit in ("9", "1"))
    wrong, right = (event("user", UPDATED, f"{second}Z", user_id=user) for user in ("wrong", "right"))
    removed = [removal("gone", 0) | {"transaction": {"id": "gone", "user_id": user}} for user in ("wrong", "right")]
    for value in (later, earlier, wrong, right, *removed):
        await place.publish([value], key=value["transaction"]["user_id"])
    await process.settled(6)
    documents = await place.documents(place.index)
    assert (documents["nano"]["status"], documents["nano"]["_updated_at"]) == ("9", f"{second}.123456990Z")
    assert (documents["user"]["user_id"], documents["gone"]["user_id"]) == ("right", "right")


def greatest(records: list[Any]) -> dict[str, Any]:
    """The state of each transaction by the order of events, which is written down here once more."""
    state: dict[str, tuple[Any, dict[str, Any]]] = {}
    for place in records:
        value = json.loads(place.value)
        rank = [CREATED, UPDATED, DELETED].index(value["event_type"])
        digits = value["timestamp"].rstrip("Z").partition(".")
        order = (digits[0], digits[2].ljust(9, "0"), rank, place.timestamp, place.partition, place.offset)
        identifier = value["transaction"]["id"]
        if identifier not in state or state[identifier][0] < order:
            state[identifier] = order, value
    return {identifier: value for identifier, (_, value) in state.items()}


@pytest.mark.parametrize("dedup", ["true", "false"])
async def test_two_indexers_with_copies_and_ties_in_two_partitions_end_with_the_order_of_events(
    place: Place, indexer: Start, dedup: str
) -> None:
    processes = [await indexer(CONSUMER_ENABLE_DEDUP=dedup, CONSUMER_MAX_IN_FLIGHT="8").ready() for _ in range(2)]
    chance = random.Random(11)  # noqa: S311 - the same at each run
    values: list[dict[str, Any]] = []
    for number in range(400):
        times = [moment(0), moment(0).replace("Z", chance.choice([".1234561Z", ".1234562Z", "Z"]))]
        kinds = [CREATED, UPDATED, UPDATED, DELETED if number % 5 == 0 else UPDATED]
        events = [
            event(f"t{number}", kind, times[at % 2], status=f"s{at}", user_id=chance.choice(["u1", "u2"]))
            for at, kind in enumerate(kinds)
        ]
        values += events + chance.choices(events, k=3)
    chance.shuffle(values)
    sent = [
        await place.producer.send(place.name, json.dumps(value).encode(), partition=chance.randrange(2))
        for value in values
    ]
    await asyncio.gather(*sent)
    await eventually(place.lag, 0, timeout=60)
    expected = greatest(await place.records(place.name))
    documents = await place.documents(place.index)
    assert documents.keys() == expected.keys()
    wrong = {
        identifier: (documents[identifier], value)
        for identifier, value in expected.items()
        if ("_deleted_at" in documents[identifier]) != (value["event_type"] == DELETED)
        or documents[identifier]["user_id"] != value["transaction"]["user_id"]
        or documents[identifier].get("status", value["transaction"]["status"]) != value["transaction"]["status"]
    }
    assert wrong == {}
    assert sum([await process.metric("ties_total", result="later") for process in processes]) > 0
    assert await place.dead_letters() == []


async def test_a_replayed_event_does_not_win_over_a_tie_that_was_published_after_it(
    place: Place, indexer: Start
) -> None:
    process = await indexer().ready()
    later = event("a", UPDATED, moment(0), status="later")
    await place.publish([later])
    await process.settled(1)
    position = (await place.documents())["a"]["_position"].split(":")
    reported = [("replay-timestamp", b"2024-01-01T00:00:00Z"), ("replay-partition", b"0"), ("replay-offset", b"0")]
    await place.publish([event("a", UPDATED, moment(0), status="earlier")], headers=reported)
    assert (await process.settled(2))["late"] == 1
    document = (await place.documents())["a"]
    assert (document["status"], document["_position"].split(":")) == ("later", position)


async def test_an_index_of_an_older_release_is_refused_with_the_way_out_and_reindex_is_that_way(
    place: Place, indexer: Start
) -> None:
    process = await indexer().ready()
    ties = [event("a", UPDATED, moment(0), status=status) for status in ("one", "two")]
    await place.publish([*ties, event("b"), removal("c", 1)])
    await process.settled(4)
    assert process.terminate() == 0
    await age(place)
    refused = indexer()
    reasons = await eventually(refused.reasons, lambda text: "versions of an older release" in text)
    assert "activity-indexer reindex" in reasons
    done = await called(place, "reindex", "--from", "topic", "--drop-old")
    assert done.code == 0, done
    await refused.ready()
    try:
        documents = await place.documents(f"{place.name}-000002")
        assert {key: found["_version"] >> 10 for key, found in documents.items()} == {
            "a": 1_704_110_400_000_000,
            "b": 1_704_110_400_000_000,
            "c": 1_704_110_401_000_000,
        }
        assert documents["a"]["status"] == "two"
    finally:
        refused.end()
        await place.es.indices.delete(index=f"{place.name}-000002")


async def age(place: Place) -> None:
    """Make the index as an older release would have written it: other versions, no positions, no mark."""
    await place.es.indices.refresh(index=place.index)
    hits = (await place.es.search(index=place.index, version=True))["hits"]["hits"]
    made = (await place.es.indices.get(index=place.index))[place.index]
    await place.es.indices.delete(index=place.index)
    del made["mappings"]["_meta"]
    await place.es.indices.create(
        index=place.index,
        mappings=made["mappings"],
        aliases=made["aliases"],
        settings={"analysis": made["settings"]["index"]["analysis"]},
    )
    for hit in hits:
        source = {name: value for name, value in hit["_source"].items() if name not in ("_position", "source")}
        await place.es.index(
            index=place.index, id=hit["_id"], document=source, version=hit["_version"] >> 8, version_type="external"
        )
    await place.es.indices.refresh(index=place.index)


async def test_a_deleted_transaction_does_not_come_back_also_after_a_restart_of_elasticsearch(
    own_place: Place, start_on: Callable[..., Indexer]
) -> None:
    """Elasticsearch forgets the versions of real deletions when a node restarts."""
    place = own_place
    process = await start_on(place, CONSUMER_ENABLE_DEDUP="false").ready()
    await place.publish([event("a"), event("b"), removal("a", 5)])
    await process.settled(3)
    await asyncio.to_thread(place.servers.restart, "elasticsearch")
    for old in (event("a"), event("a", UPDATED, moment(4)), event("b")):  # the deletion is not among them again
        await place.publish([old])
    await process.settled(6)
    assert (await place.documents()).keys() == {"b"}
    await place.publish([event("a", UPDATED, moment(6), status="back")])
    await process.settled(7)
    assert await states(place) == {"a": "back", "b": "completed"}


async def test_searches_and_counts_do_not_see_tombstones_and_a_look_behind_the_alias_does(
    place: Place, indexer: Start
) -> None:
    process = await indexer().ready()
    await place.publish([event("a"), event("b"), removal("a", 1), removal("never-seen", 1)])
    await process.settled(4)
    await place.es.indices.refresh(index=place.name)
    assert (await place.es.count(index=place.name))["count"] == 1
    assert (await place.es.search(index=place.name, q="user_id:user_1"))["hits"]["total"]["value"] == 1
    assert (await place.es.search(index=place.name, q="id:a"))["hits"]["total"]["value"] == 0
    behind = await place.documents(place.index)
    assert behind["a"] == {
        "id": "a",
        "user_id": "user_1",
        "_deleted_at": moment(1),
        "_position": behind["a"]["_position"],
        "_version": behind["a"]["_version"],
    }
    assert re.fullmatch(r"\d{13}:\d:\d+", behind["a"]["_position"])
    assert behind.keys() == {"a", "b", "never-seen"}


def purge(place: Place, older_than: str) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-m", "activity_indexer", "purge-tombstones", "--older-than", older_than, "--json"],
        env=environment(place, {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


async def test_purging_removes_old_tombstones_and_nothing_else(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    now = datetime.fromtimestamp(time.time() - 3600, UTC).isoformat()
    fresh = removal("fresh", 0) | {"timestamp": now}
    old = [removal(f"old-{number}", 1) for number in range(1500)]
    await place.publish([*old, event("old-living"), event("living"), fresh])
    await process.settled(1503)
    assert await asyncio.to_thread(purge, place, "1d") == {"found": 1500, "purged": 1500, "kept": 0}
    assert (await place.documents(place.index)).keys() == {"old-living", "living", "fresh"}
    assert await asyncio.to_thread(purge, place, "1d") == {"found": 0, "purged": 0, "kept": 0}


async def test_purging_keeps_a_tombstone_that_changes_meanwhile(place: Place, indexer: Start) -> None:
    from activity_indexer.purge import _delete, _page

    process = await indexer().ready()
    await place.publish([removal("a", 1), removal("b", 1)])
    await process.settled(2)
    await place.es.indices.refresh(index=place.index)
    query = {"range": {"_deleted_at": {"lt": "2025-01-01T00:00:00Z"}}}
    hits = await _page(place.es, place.index, query, None)
    await place.publish([event("a", UPDATED, moment(9), status="back")])
    await process.settled(3)
    assert sorted(await _delete(place.es, place.index, hits)) == [200, 409]
    assert await states(place) == {"a": "back"}
    assert (await place.documents(place.index)).keys() == {"a"}
    assert await eventually(place.count, 1) == 1
