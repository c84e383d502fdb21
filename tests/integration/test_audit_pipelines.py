"""Whose rows an audit's database holds: rows of the schema before, second pipelines, and who is refused."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from fixtures.audit import PIPELINE, InPostgres, audit_event, identity, row_of_0002, schema_of_its_own, write_as_0002
from fixtures.servers.place import Servers

from activity_indexer.adapters.postgres.audit_reader import AuditReader
from activity_indexer.adapters.postgres.audit_store import PostgresAudit
from activity_indexer.adapters.postgres.schema import _HISTORY, _apply, migrations
from activity_indexer.errors import Refused
from activity_indexer.ports import AuditEvent, Read
from activity_indexer.positions import Commit, Partition
from activity_indexer.settings import DatabaseSettings, Pipeline
from activity_indexer.status.servers import audit_status

pytestmark = pytest.mark.integration

OTHER = Pipeline("other", "payments")
BESIDE = OTHER._replace(shared=True)
RETURNING = Pipeline("renamed", PIPELINE.topic)


@pytest.fixture
async def empty(stack: Servers) -> AsyncIterator[InPostgres]:
    async with schema_of_its_own(stack.database_url) as found:
        yield found


async def before(audit: InPostgres, events: Sequence[AuditEvent]) -> None:
    """A database as the version before left it: no pipelines, and versions of the old scale."""
    await audit.connection.execute(_HISTORY)
    await _apply(audit.connection, migrations()[0])
    for event in events:
        row = list(row_of_0002(event))
        row[1] >>= 8
        old = [row[0], row[1], *row[8:15], *row[16:]]
        arguments = ", ".join(f"${number}" for number in range(1, len(old) + 1))
        await audit.connection.execute(f"SELECT audit_write({arguments})", *([value] for value in old))


async def refusal(store: PostgresAudit) -> str:
    with pytest.raises(Refused) as caught:
        await store.prepare()
    await store.close()
    return str(caught.value)


async def value(audit: InPostgres, query: str, *arguments: Any) -> Any:
    return await audit.connection.fetchval(query, *arguments)


async def step(audit: InPostgres) -> int:
    return int(await value(audit, "SELECT max(version) FROM schema_migrations"))


def events(topic: str = PIPELINE.topic) -> list[AuditEvent]:
    made = [
        audit_event("kept", 1, offset=3),
        audit_event("kept", 2, "updated", offset=5, partition=1),
        audit_event("gone", 1, offset=4),
        audit_event("gone", 2, "deleted", offset=9),
    ]
    return [AuditEvent(each.event, topic, each.partition, each.offset) for each in made]


# Rows of the schema before


async def test_rows_of_the_schema_before_are_taken_over_by_who_reads_their_topic(empty: InPostgres) -> None:
    await before(empty, events())
    await empty.store.prepare()
    found = await empty.tables()
    kept, gone = events()[1].event, events()[3].event
    assert found.live == {"kept": (kept.version, kept.body)}
    assert {each[:3] for each in found.history} == {identity(each.event)[:3] for each in events()}
    assert await value(empty, "SELECT version FROM transaction_versions WHERE id = 'gone' AND deleted") == gone.version
    for table in ("transactions", "transaction_versions", "transaction_events", "audit_offsets"):
        query = f"SELECT array_agg(DISTINCT pipeline) FROM {table}"  # noqa: S608 - the names are those above
        assert await value(empty, query) == [PIPELINE.name]
    assert await value(empty, "SELECT count(*) FROM transactions") == 1


async def test_reading_goes_on_after_the_last_row_of_each_partition(empty: InPostgres) -> None:
    await before(empty, events())
    await empty.store.prepare()
    assert await empty.store.offsets() == {
        Partition(PIPELINE.topic, 0): Commit(10),
        Partition(PIPELINE.topic, 1): Commit(6),
    }


async def test_what_is_there_already_is_no_other_event_when_it_comes_again(empty: InPostgres) -> None:
    await before(empty, events())
    await empty.store.prepare()
    assert await empty.store.write(events()) == 0
    found = await empty.tables()
    assert set(found.history) == {identity(each.event) for each in events()}
    tie = audit_event("kept", 2, "updated", offset=6, partition=1, status="tie")
    assert await empty.store.write([tie]) == 1
    assert (await empty.tables()).live["kept"][1] == tie.event.body


async def test_a_deleted_transaction_is_read_from_its_history_whenever_that_was_written(empty: InPostgres) -> None:
    await before(empty, events())
    await empty.store.prepare()
    reader = AuditReader(DatabaseSettings(url=empty.url), PIPELINE)
    for _ in range(2):
        kept = await reader.these(["gone", "kept"])
        assert (kept["gone"].deleted, kept["gone"].user_id) == (True, "user_1")
        assert kept["kept"].body == events()[1].event.body
        await empty.store.write(events())
    await reader.close()


async def test_several_that_start_at_once_change_the_schema_once(empty: InPostgres) -> None:
    await before(empty, [audit_event(f"t{number}", number, offset=number) for number in range(300)])
    stores = [empty.another() for _ in range(5)]
    await asyncio.gather(*(store.prepare() for store in stores))
    for store in stores:
        await store.close()
    assert await value(empty, "SELECT array_agg(version ORDER BY version) FROM schema_migrations") == [1, 2, 3]
    assert await value(empty, "SELECT count(*) FROM transactions WHERE version % 256 = 0") == 300


async def test_an_indexer_of_the_release_before_writes_beside_this_one_while_it_is_replaced(empty: InPostgres) -> None:
    await empty.store.prepare()
    statuses = ("first", "second", "third", "fourth")
    tied = [audit_event("tied", 1, offset=offset, status=status) for offset, status in enumerate(statuses)]
    both = [*events(), audit_event("fine", 1.000000123), *tied]
    for turn in range(2):
        ties = 0
        for place, event in enumerate(both):
            if place % 2 == turn:
                ties += await write_as_0002(empty.connection, PIPELINE, event)
            else:
                ties += await empty.store.write([event])
        assert ties == (0 if turn else 3)
        found = await empty.tables()
        assert {key: body for key, (_, body) in found.live.items()} == {
            "kept": events()[1].event.body,
            "fine": both[4].event.body,
            "tied": tied[3].event.body,
        }
        assert set(found.history) == {identity(each.event) for each in both}
    query = 'SELECT topic, partition, "offset", event_type, "timestamp"::text FROM transaction_events ORDER BY ctid'
    rows = [tuple(row) for row in await empty.connection.fetch(query)]
    assert rows[0] == (PIPELINE.topic, 0, 3, "transaction.created", rows[0][4])
    assert rows[1] == (PIPELINE.topic, 1, 5, "transaction.updated", rows[1][4])


async def test_keys_of_any_name_are_replaced(empty: InPostgres) -> None:
    """A table that was renamed keeps the name of its key, so that the audit's own got another one."""
    await empty.connection.execute("CREATE TABLE transactions (id uuid PRIMARY KEY)")
    await empty.connection.execute("ALTER TABLE transactions RENAME TO transactions_old")
    await before(empty, events())
    await empty.store.prepare()
    assert list((await empty.tables()).live) == ["kept"]


async def test_a_time_that_no_version_holds_is_refused_with_the_way_out(empty: InPostgres) -> None:
    await before(empty, events())
    await empty.connection.execute("UPDATE transaction_versions SET version = 1::bigint << 60 WHERE id = 'kept'")
    assert "DELETE" in (await refusal(empty.another())).upper()
    assert await step(empty) == 1
    await empty.connection.execute("DELETE FROM transaction_versions WHERE version >= 36028797018963968")
    await empty.store.prepare()


async def test_events_of_rows_that_were_deleted_as_advised_are_no_others_when_they_come_again(
    empty: InPostgres,
) -> None:
    await before(empty, events())
    for table, column in (
        ("transactions", "id"),
        ("transaction_versions", "id"),
        ("transaction_events", "transaction_id"),
    ):
        await empty.connection.execute(  # the newest event of each had such a time
            f"UPDATE {table} SET version = 1::bigint << 60 WHERE {column} = 'kept' AND version > $1",  # noqa: S608
            events()[0].event.version >> 8,
        )
        await empty.connection.execute(f"DELETE FROM {table} WHERE version >= 36028797018963968")  # noqa: S608
    await empty.store.prepare()
    assert await empty.store.write(events()) == 0
    found = await empty.tables()
    assert sorted(found.history) == sorted(identity(each.event) for each in events())
    assert await value(empty, "SELECT count(*) FROM transaction_events") == len(events())
    assert found.live == {"kept": (events()[1].event.version, events()[1].event.body)}


async def test_rows_of_another_topic_are_refused_and_left_as_they_are(empty: InPostgres) -> None:
    await before(empty, events())
    message = await refusal(empty.another(OTHER))
    assert f"holds rows of the topic {PIPELINE.topic}" in message
    assert "DATABASE_SHARED" in message
    assert await step(empty) == 1


async def test_rows_of_another_topic_wait_for_their_pipeline_where_the_database_is_shared(empty: InPostgres) -> None:
    await before(empty, events())
    sharing = empty.another(BESIDE)
    await sharing.prepare()
    assert await sharing.offsets() == {}
    await sharing.close()
    assert await value(empty, "SELECT array_agg(DISTINCT pipeline) FROM transactions") == [""]
    assert "belongs to the pipeline other" in await refusal(empty.another())
    owner = empty.another(PIPELINE._replace(shared=True))
    await owner.prepare()
    assert len(await owner.offsets()) == 2
    await owner.close()
    assert await value(empty, "SELECT array_agg(DISTINCT pipeline) FROM transactions") == [PIPELINE.name]


async def test_of_rows_of_two_topics_each_pipeline_gets_its_own(empty: InPostgres) -> None:
    foreign = AuditEvent(audit_event("theirs", 1).event, OTHER.topic, 0, 0)
    await before(empty, [*events(), foreign])
    await empty.store.prepare()
    theirs = empty.another(BESIDE)
    await theirs.prepare()
    await theirs.close()
    rows = await empty.connection.fetch("SELECT pipeline, id FROM transactions ORDER BY id")
    assert [tuple(row) for row in rows] == [(PIPELINE.name, "kept"), (OTHER.name, "theirs")]


# Second pipelines


async def test_a_second_pipeline_is_refused_with_what_can_be_done(empty: InPostgres) -> None:
    await empty.store.prepare()
    message = await refusal(empty.another(OTHER))
    assert "belongs to the pipeline tests (topic transactions)" in message
    assert all(name in message for name in ("DATABASE_URL", "DATABASE_PIPELINE", "DATABASE_SHARED"))


async def test_another_topic_under_the_same_name_is_refused(empty: InPostgres) -> None:
    await empty.store.prepare()
    for shared in (False, True):
        assert "reads the topic transactions" in await refusal(
            empty.another(Pipeline(PIPELINE.name, OTHER.topic, shared=shared))
        )


async def test_of_two_that_start_at_once_on_an_empty_database_one_owns_it(empty: InPostgres) -> None:
    stores = [empty.another(), empty.another(OTHER)]
    results = await asyncio.gather(*(store.prepare() for store in stores), return_exceptions=True)
    for store in stores:
        await store.close()
    assert sorted(type(each).__name__ for each in results) == ["NoneType", "Refused"]


async def test_two_pipelines_that_share_a_database_do_not_see_each_other(empty: InPostgres) -> None:
    """They may even have the same transactions, in other states."""
    await empty.store.prepare()
    other = empty.another(BESIDE)
    await other.prepare()
    ours, theirs = audit_event("a", 1, status="ours"), audit_event("a", 2, "deleted")
    await empty.store.write([ours, audit_event("b", 1)], {Partition(PIPELINE.topic, 0): Read(0, 2)})
    await other.write([theirs], {Partition(OTHER.topic, 0): Read(0, 7)})
    await other.reject(audit_event("c", offset=4), "no")
    await empty.store.reject(audit_event("d", offset=4), "no")
    await other.close()
    settings = DatabaseSettings(url=empty.url)
    readers = {pipeline: AuditReader(settings, pipeline) for pipeline in (PIPELINE, OTHER)}
    states = {
        pipeline.name: [
            each.id for page in [page async for page in reader.states()] for each in page if not each.deleted
        ]
        for pipeline, reader in readers.items()
    }
    assert states == {"tests": ["a", "b"], "other": []}
    rejects = {
        pipeline.name: [each.id for page in [page async for page in reader.all_rejected()] for each in page]
        for pipeline, reader in readers.items()
    }
    assert rejects == {"tests": ["d"], "other": ["c"]}
    assert {pipeline.name: list(await reader.read()) for pipeline, reader in readers.items()} == {
        "tests": [0],
        "other": [0],
    }
    found = {pipeline.name: await audit_status(settings, pipeline, 10) for pipeline in (PIPELINE, OTHER)}
    counts = {name: each.transactions and each.transactions.rows for name, each in found.items()}
    assert counts == {"tests": 2, "other": 0}
    for reader in readers.values():
        await reader.close()


async def test_commands_refuse_a_database_of_another_pipeline(empty: InPostgres) -> None:
    settings = DatabaseSettings(url=empty.url)
    reader = AuditReader(settings, OTHER)
    with pytest.raises(Refused, match="has not written into this database yet"):
        await reader.these(["a"])
    await empty.store.prepare()
    await empty.store.write([audit_event("a")])
    with pytest.raises(Refused, match="belongs to the pipeline tests"):
        await reader.these(["a"])
    with pytest.raises(Refused, match="belongs to the pipeline tests"):
        await audit_status(settings, OTHER, 10)
    await reader.close()


async def test_a_pipeline_goes_on_under_another_name(empty: InPostgres) -> None:
    await empty.store.prepare()
    await empty.store.write([audit_event("a")], {Partition(PIPELINE.topic, 0): Read(0, 3)})
    await empty.store.reject(audit_event("b", offset=1), "no")
    assert "belongs to the pipeline tests" in await refusal(empty.another(RETURNING))
    await empty.connection.execute("SELECT audit_rename_pipeline('tests', 'renamed')")
    renamed = empty.another(RETURNING)
    await renamed.prepare()
    assert await renamed.offsets() == {Partition(PIPELINE.topic, 0): Commit(3)}
    await renamed.close()
