"""Index and audit are compared, and the index is repaired, on real servers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fixtures.audit import audited
from fixtures.events import CREATED, DELETED, UPDATED, encoded, event, moment
from fixtures.servers.commands import Ended, called
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.waiting import eventually
from pydantic import SecretStr
from redis.asyncio import Redis

from activity_indexer.adapters.elasticsearch.index_writer import action
from activity_indexer.adapters.postgres.audit_store import PostgresAudit
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.settings import DatabaseSettings, Pipeline

pytestmark = pytest.mark.integration

Filled = Callable[[Sequence[Any]], Awaitable[Indexer]]


@pytest.fixture
def filled(place: Place, indexer: Callable[..., Indexer]) -> Filled:
    """Index and audit hold what is published."""

    async def fill(values: Sequence[Any]) -> Indexer:
        await place.publish(values)
        running = indexer(CONSUMER_ENABLE_AUDIT_DB="true")
        await eventually(place.lag, 0)
        await eventually(lambda: place.lag(f"{place.group}.audit"), 0)
        return running

    return fill


async def put(place: Place, identifier: str, version: int, body: bytes) -> None:
    line = action("index", identifier, version)
    answer = await place.es.perform_request(
        "POST",
        f"/{place.index}/_bulk?refresh=true",
        headers={"content-type": "application/x-ndjson", "accept": "application/json"},
        body=line + body + b"\n",
    )
    assert not answer.body["errors"], answer.body


async def remove(place: Place, identifier: str) -> None:
    """Delete a document, so that its version may be written again at once."""
    version = (await place.documents(place.index))[identifier]["_version"]
    await place.es.delete(index=place.index, id=identifier, version=version, version_type="external_gte")


async def audit(place: Place, value: dict[str, Any]) -> None:
    """Write an event into the audit alone."""
    store = PostgresAudit(DatabaseSettings(url=SecretStr(place.database_url)), Pipeline(place.group, place.name))
    await store.write([audited(encoded(value), offset=10**9)])
    await store.close()


async def test_what_is_in_order_is_asked_to_be(place: Place, filled: Filled) -> None:
    ids = ["a", "A", "ä", "ü1", "_", "~", "\U0001f600", "\ufffd", "z" * 512, "a b", 'quote"', "\\"]
    values = [event(identifier) for identifier in ids]
    values += [event("gone"), event("gone", DELETED, moment(5)), event("numbers", amount=12345678901234567890.125)]
    await filled(values)
    found = await called(place, "reconcile", "--json")
    assert (found.code, found.stderr) == (0, "")
    assert found.last["compared"] == len(ids) + 2
    assert not any(found.last["differences"].values())


async def test_every_kind_of_difference_is_found_and_repaired(place: Place, filled: Filled, tmp_path: Path) -> None:
    names = ["same", "missing", "older", "different", "gone"]
    await filled([event(name) for name in names] + [event("gone", DELETED, moment(9))])
    before = {name: await place.raw_source(name) for name in ("missing", "older", "different")}
    await remove(place, "missing")
    await audit(place, event("older", UPDATED, moment(9), status="refunded"))
    version = (await place.documents())["different"]["_version"]
    await put(place, "different", version, before["different"].replace("100.5", "7.25", 1).encode())
    await put(place, "extra", 4_000_000_000, b'{"id":"extra","user_id":"u"}')
    await put(place, "stray", 4_000_000_000, b'{"id":"another","user_id":"u"}')

    output = tmp_path / "differences.jsonl"
    seen = await called(place, "reconcile", "--json", "--output", str(output))
    assert seen.code == 6, seen
    wanted = {"missing": "missing", "older": "older", "different": "different", "extra": "extra"}
    assert seen.kinds() == wanted
    assert seen.last["differences"] == {**dict.fromkeys(wanted, 1), "newer": 0, "stray": 1}
    assert output.read_text() == seen.stdout

    fixed = await called(place, "reconcile", "--repair", "--yes", "--json")
    assert fixed.code == 6, fixed
    assert {line["id"]: line["repair"] for line in fixed.lines if "id" in line} == {
        "missing": "done",
        "older": "done",
        "different": "done",
        "extra": "left",
    }
    assert '"status": "refunded"' in await place.raw_source("older")
    for name, source in before.items() - {("older", before["older"])}:
        assert without_moment(await place.raw_source(name)) == without_moment(source)

    cleared = await called(place, "reconcile", "--repair", "--yes", "--delete-extra")
    assert "extra" in cleared.stdout
    assert max(map(len, cleared.stdout.splitlines())) <= 80
    assert "extra" not in await place.documents(place.index)
    left = await called(place, "reconcile", "--json")
    assert left.last["differences"]["stray"] == sum(left.last["differences"].values()) == 1


def without_moment(source: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(source)
    del found["_enriched_at"]
    return found


async def test_what_is_in_flight_is_no_difference(place: Place, filled: Filled) -> None:
    running = await filled([event(f"t{number}") for number in range(50)])
    running.terminate()
    await place.publish([event(f"t{number}", UPDATED, moment(9)) for number in range(50)])
    connection = "UPDATE transaction_versions SET version = version + 1 WHERE id = 't1'"
    await place.rows(connection)  # as an audit that is ahead of the index
    found = await called(place, "reconcile", "--json", "--settle-timeout", "1s")
    assert found.kinds() == {}
    assert found.last["inFlight"] == 1


async def test_differences_come_and_go_unseen_beside_a_running_indexer(place: Place, filled: Filled) -> None:
    await filled([event(f"t{number}") for number in range(20)])
    comparing = called(place, "reconcile", "--json")
    task = asyncio.create_task(comparing)
    for second in range(1, 200):
        if task.done():
            break
        await place.publish([event(f"t{number}", UPDATED, moment(second)) for number in range(20)])
        await asyncio.sleep(0.05)
    found: Ended = await task
    assert found.code == 0, found
    assert found.kinds() == {}


async def test_what_elasticsearch_refuses_is_said_and_the_rest_goes_on(place: Place, filled: Filled) -> None:
    deep: Any = {}
    for _ in range(30):
        deep = {"deeper": deep}
    await filled([event("refused", metadata=deep), event("good")])
    await remove(place, "good")
    found = await called(place, "reconcile", "--repair", "--yes", "--json")
    assert found.code == 6
    lines = {line["id"]: line for line in found.lines if "id" in line}
    assert lines["good"]["repair"] == "done", found
    assert lines["refused"]["repair"] == "refused"
    assert "document_parsing_exception" in lines["refused"]["reason"]


async def test_without_an_audit_it_is_refused(place: Place) -> None:
    found = await called(place, "reconcile", CONSUMER_ENABLE_AUDIT_DB="false")
    assert found.code == 4
    assert "CONSUMER_ENABLE_AUDIT_DB" in found.stderr
    absent = await called(place, "reconcile")
    assert absent.code == 4
    assert f"the alias {place.name} does not exist" in absent.stderr


async def test_a_created_event_is_no_difference_for_its_bytes(place: Place, filled: Filled) -> None:
    """Bytes that a tool wrote again, in another order of fields, are the same content."""
    await filled([event("a", CREATED)])
    found = json.loads(await place.raw_source("a"))
    version = (await place.documents())["a"]["_version"]
    await put(place, "a", version, json.dumps(dict(reversed(found.items()))).encode())
    assert (await called(place, "reconcile", "--json")).code == 0


async def test_a_deletion_that_elasticsearch_remembers_is_overcome(place: Place, filled: Filled) -> None:
    await filled([event("a")])
    await place.es.delete(index=place.index, id="a")  # at the version after the event's
    found = await called(place, "reconcile", "--repair", "--yes", "--json")
    assert found.code == 0, found
    assert (await place.documents())["a"]["_version"] % 256 == 2


async def test_a_deletion_at_a_later_version_is_said_while_elasticsearch_remembers_it(
    place: Place, filled: Filled
) -> None:
    await filled([event("a")])
    version = (await place.documents())["a"]["_version"]
    await place.es.delete(index=place.index, id="a", version=version + 1024, version_type="external")
    found = await called(place, "reconcile", "--repair", "--yes", "--json")
    assert found.code == 6
    assert "gc_deletes" in found.lines[1]["reason"]


# What a repair may do


async def test_a_repair_asks_first_and_changes_nothing_where_no_user_can_be_asked(place: Place, filled: Filled) -> None:
    await filled([event("a"), event("b")])
    await remove(place, "a")
    found = await called(place, "reconcile", "--repair", "--json")
    assert found.code == 4, found
    assert found.lines[0] == {"kind": "plan", "write": 1, "delete": 0, "limit": 100, "compared": 2, "lackingHistory": 0}
    assert "--yes" in found.stderr
    assert found.kinds() == {"a": "missing"}
    assert "a" not in await place.documents()


async def test_a_repair_above_the_limit_changes_nothing(place: Place, filled: Filled) -> None:
    await filled([event(f"t{number}") for number in range(4)])
    for number in range(3):
        await remove(place, f"t{number}")
    for limit in ("2", "50%"):
        found = await called(place, "reconcile", "--repair", "--yes", "--limit", limit)
        assert found.code == 4, found
        assert "would change 3 documents, and the limit is 2" in found.stderr
    assert list(await place.documents()) == ["t3"]
    assert (await called(place, "reconcile", "--repair", "--yes", "--limit", "75%")).code == 0
    assert len(await place.documents()) == 4


async def test_after_a_restore_of_an_older_backup_nothing_is_extra(place: Place, filled: Filled) -> None:
    """The group has committed all, and PostgreSQL says that it has not read it: no document is deleted for that."""
    running = await filled([event(f"t{number}") for number in range(20)])
    running.terminate()
    await place.rows("DELETE FROM transactions WHERE id > 't15'")
    await place.rows("DELETE FROM transaction_versions WHERE id > 't15'")
    await place.rows("DELETE FROM transaction_events WHERE transaction_id > 't15'")
    await place.rows("UPDATE audit_offsets SET next_offset = next_offset - 8")
    arguments = ("--repair", "--delete-extra", "--yes", "--settle-timeout", "1s", "--json")
    found = await called(place, "reconcile", *arguments)
    assert (found.kinds(), found.last["inFlight"]) == ({}, 12)
    assert len(await place.documents()) == 20


async def test_an_audit_that_lacks_history_deletes_nothing(place: Place, filled: Filled) -> None:
    await filled([event("early"), event("late")])
    for table, column in (
        ("transactions", "id"),
        ("transaction_versions", "id"),
        ("transaction_events", "transaction_id"),
    ):
        await place.rows(f"DELETE FROM {table} WHERE {column} = 'early'")  # noqa: S608 - the names are those above
    await place.rows("UPDATE audit_offsets SET first_offset = 1")
    await put(place, "by-hand", 4_000_000_000, b'{"id":"by-hand","user_id":"u"}')
    found = await called(place, "reconcile", "--repair", "--delete-extra", "--yes", "--json")
    assert found.code == 6, found
    assert found.kinds() == {"by-hand": "extra", "early": "extra"}
    assert {line["repair"] for line in found.lines if "id" in line} == {"refused"}
    assert all("such as early" in line["reason"] for line in found.lines if "id" in line)
    assert "early" in await place.documents()


async def test_what_was_deleted_can_be_sent_again(place: Place, filled: Filled) -> None:
    running = await filled([event("kept"), event("extra")])
    for table, column in (
        ("transactions", "id"),
        ("transaction_versions", "id"),
        ("transaction_events", "transaction_id"),
    ):
        await place.rows(f"DELETE FROM {table} WHERE {column} = 'extra'")  # noqa: S608 - the names are those above
    running.terminate()
    found = await called(place, "reconcile", "--repair", "--delete-extra", "--yes", "--json")
    assert found.code == 0, found
    assert found.stderr == ""
    keys = [key async for key in redis_keys(place)]
    kept, extra = (decode_event(encoded(event(name)), 2**60).key for name in ("kept", "extra"))
    assert [key[-16:] for key in keys if key.endswith((kept, extra))] == [kept]


async def redis_keys(place: Place) -> AsyncIterator[bytes]:
    client: Any = Redis.from_url(place.servers.redis_url)
    async for key in client.scan_iter(f"{place.name}:*"):
        yield key
    await client.aclose()


async def test_the_audit_of_another_pipeline_is_no_audit_of_this_one(place: Place, filled: Filled) -> None:
    """Its documents are neither missing nor extra here."""
    await filled([event("a")])
    other = {"KAFKA_CONSUMER_GROUP": f"{place.group}-other"}
    for command in (("reconcile", "--repair", "--yes", "--json"), ("reindex", "--from", "audit")):
        found = await called(place, *command, **other)
        assert found.code in {1, 4}, found
        assert f"belongs to the pipeline {place.group}" in found.stderr
    reported = await called(place, "status", "--json", **other)
    assert "belongs to the pipeline" in json.loads(reported.stdout)["postgresql"]["reason"]


async def test_ties_are_repaired_in_their_order(place: Place, filled: Filled) -> None:
    """The audit has a later tie that the index lacks, and one that differs at the same position."""
    await filled([event("a", status="first"), event("b", status="first")])
    await audit(place, event("a", status="second"))
    seen = await called(place, "reconcile", "--json", "--settle-timeout", "1s")
    assert seen.kinds() == {"a": "older"}, seen
    fixed = await called(place, "reconcile", "--repair", "--yes", "--json")
    assert fixed.code == 0, fixed
    documents = await place.documents()
    assert (documents["a"]["status"], documents["a"]["_version"] % 256) == ("second", 1)
    assert (await called(place, "reconcile", "--json")).code == 0
