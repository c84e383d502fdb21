"""The audit from a real Kafka into a real PostgreSQL, undisturbed and disturbed."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from fixtures.events import DELETED, UPDATED, encoded, event
from fixtures.servers.place import Place
from fixtures.waiting import eventually
from structlog.testing import capture_logs

from activity_indexer.adapters.kafka.audit_source import KafkaAuditSource
from activity_indexer.adapters.postgres.audit_store import PostgresAudit
from activity_indexer.audit.consumer import Audit
from activity_indexer.ending import Deadline
from activity_indexer.errors import Unavailable
from activity_indexer.ports import Backlog
from activity_indexer.positions import Partition
from activity_indexer.reports import AuditBatchWritten, AuditLagMeasured, Reported
from activity_indexer.settings import load_settings

pytestmark = pytest.mark.integration


class Metrics:
    """Remembers what was reported."""

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}
        self.lags: Mapping[Partition, Backlog] = {}

    def __call__(self, reported: Reported) -> None:
        if isinstance(reported, AuditBatchWritten):
            for outcome, count in reported.outcomes.items():
                self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        elif isinstance(reported, AuditLagMeasured):
            self.lags = reported.partitions


class Running:
    """One audit that runs, as the indexer runs it."""

    def __init__(self) -> None:
        self.settings = load_settings()
        self.source = KafkaAuditSource(self.settings)
        self.store = PostgresAudit(self.settings.database, self.settings.pipeline)
        self.metrics = Metrics()
        self.audit = Audit(source=self.source, store=self.store, settings=self.settings, emit=self.metrics)
        self.task = asyncio.create_task(self.audit.run())

    async def stop(self) -> None:
        await self.audit.stop(Deadline.after(self.settings.consumer.shutdown_timeout))
        await asyncio.wait({self.task})
        await self.source.close()
        await self.store.close()

    async def abandon(self) -> None:
        """As a killed process: nothing is finished, nothing is committed."""
        self.task.cancel()
        await asyncio.wait({self.task})
        await self.source.close()
        await self.store.close()


Run = Callable[[], Any]


@pytest.fixture
def run(place: Place, monkeypatch: pytest.MonkeyPatch) -> Run:
    fast = {"CONSUMER_COMMIT_INTERVAL": "0.2", "DATABASE_TIMEOUT": "3", "DATABASE_BATCH_SIZE": "100"}
    for name, text in {**place.variables(), **fast}.items():
        monkeypatch.setenv(name, text)

    @asynccontextmanager
    async def running() -> AsyncIterator[Running]:
        audit = Running()
        try:
            yield audit
        finally:
            await audit.stop()

    return running


async def ask(place: Place, query: str, *values: Any) -> Any:
    connection = await asyncpg.connect(place.database_url)
    try:
        return await connection.fetchval(query, *values)
    finally:
        await connection.close()


async def rows(place: Place) -> int:
    """The guide's query."""
    if await ask(place, "SELECT to_regclass('transactions')") is None:
        return 0
    return int(await ask(place, "SELECT COUNT(*) FROM transactions"))


async def audited(place: Place, wanted: int) -> None:
    await eventually(lambda: rows(place), wanted, 60)


async def caught_up(place: Place) -> None:
    await eventually(lambda: place.lag(f"{place.group}.audit"), 0)


def events(count: int, prefix: str = "t") -> list[dict[str, Any]]:
    return [event(f"{prefix}{number}") for number in range(count)]


async def test_the_guides_count_is_the_number_of_live_transactions(place: Place, run: Run) -> None:
    update, late = "2024-01-01T12:00:02Z", "2024-01-01T12:00:01Z"
    async with run() as audit:
        await place.publish(events(300))
        await place.publish([event("t0", UPDATED, update, status="failed"), event("t1", DELETED, update)])
        await place.publish([event("t1", UPDATED, late), b"not an event", None, event("t0", UPDATED, late)])
        await audited(place, 299)
        await caught_up(place)
    assert await ask(place, "SELECT status FROM transactions WHERE id = 't0'") == "failed"
    assert await ask(place, "SELECT count(*) FROM transaction_events") == 304
    assert audit.metrics.outcomes == {"written": 304, "invalid": 2}


async def test_a_restart_goes_on_where_the_last_one_ended(place: Place, run: Run) -> None:
    async with run() as first:
        await place.publish(events(200))
        await audited(place, 200)
    await place.publish(events(200, "u"))
    async with run() as second:
        await audited(place, 400)
        await caught_up(place)
    assert (first.metrics.outcomes, second.metrics.outcomes) == ({"written": 200}, {"written": 200})


async def test_an_outage_of_postgresql_costs_nothing_but_lag(place: Place, run: Run) -> None:
    async with run() as audit:
        await place.publish(events(100))
        await audited(place, 100)
        place.servers.stop("postgres")
        try:
            with capture_logs() as logs:
                await place.publish(events(500, "meanwhile"))
                await eventually(lambda: condition(audit), "unavailable")
                await asyncio.sleep(3)
            assert [line["event"] for line in logs if line["event"] == "audit.paused"] == ["audit.paused"]
            assert await place.lag(f"{place.group}.audit") == 500
            assert sum(backlog.events for backlog in (await audit.source.lag()).values()) == 500
        finally:
            place.servers.start("postgres")
        await audited(place, 600)
        await caught_up(place)
    assert await ask(place, "SELECT count(*) FROM transaction_events") == 600


async def condition(audit: Running) -> str:
    return audit.audit.database.state.condition


async def test_it_starts_before_postgresql_does(place: Place, run: Run) -> None:
    place.servers.stop("postgres")
    try:
        await place.publish(events(50))
        async with run() as audit:
            await eventually(lambda: condition(audit), "unavailable")
            place.servers.start("postgres")
            await audited(place, 50)
    finally:
        place.servers.start("postgres")


async def test_a_server_that_is_killed_again_and_again_loses_nothing(place: Place, run: Run) -> None:
    async with run():
        for number in range(3):
            await place.publish(events(300, f"round{number}-"))
            await asyncio.sleep(0.1 * number)
            place.servers.kill("postgres")
            place.servers.start("postgres")
        await audited(place, 900)
        await caught_up(place)
    assert await ask(place, "SELECT count(*) FROM transaction_events") == 900


async def test_two_audits_share_the_work_and_one_dies(place: Place, run: Run) -> None:
    async with run() as stays:
        await eventually(lambda: partitions_of(stays), 3)
        async with run() as dies:
            await eventually(lambda: partitions_of(dies), lambda count: count > 0)
            for number in range(30):
                await place.publish([event(f"t{number}-{each}") for each in range(20)], key=f"user_{number}")
            await dies.abandon()
        await audited(place, 600)
        await caught_up(place)
    assert await ask(place, "SELECT count(*) FROM transaction_events") == 600


async def partitions_of(audit: Running) -> int:
    consumer = audit.source._consumer
    return len(consumer.assignment()) if consumer is not None else 0


async def test_end_marks_of_transactions_are_no_lag(place: Place, run: Run) -> None:
    async with run():
        await eventually(lambda: rows(place), 0)
        producer = AIOKafkaProducer(
            bootstrap_servers=place.servers.kafka, transactional_id=f"replay-{uuid.uuid4().hex[:8]}"
        )
        await producer.start()
        for number in range(3):
            async with producer.transaction():
                await producer.send_and_wait(place.name, encoded(event(f"t{number}")), key=b"user_1")
        await producer.stop()
        await audited(place, 3)
        await caught_up(place)


async def test_a_consumer_that_gets_nothing_though_records_are_there_is_replaced(
    place: Place, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUMER_STALL_TIMEOUT", "1")
    async with run() as audit:
        await place.publish(events(10))
        await audited(place, 10)
        stuck = audit.source._consumer

        async def nothing(**_: Any) -> dict[Any, Any]:
            await asyncio.sleep(0.1)
            return {}

        monkeypatch.setattr(stuck, "getmany", nothing)
        await asyncio.sleep(0.5)  # the call under way still hands out what comes
        await place.publish(events(10, "u"))
        await audited(place, 20)
        assert audit.source._consumer is not stuck


async def test_kafka_that_is_unavailable_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    source = KafkaAuditSource(load_settings())
    with pytest.raises(Unavailable, match="Kafka"):
        await source.poll()
    assert await source.lag() == {}
    await source.close()


async def test_the_watch_says_the_lag_of_each_partition(
    place: Place, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activity_indexer.audit.consumer.WATCH_INTERVAL", 0.2)
    async with run() as audit:
        await place.publish(events(10))
        await audited(place, 10)
        await eventually(
            lambda: reported(audit), {Partition(place.name, number): Backlog(0, 0.0) for number in range(3)}
        )


async def reported(audit: Running) -> Mapping[Partition, Backlog]:
    return audit.metrics.lags


# A database that is older, newer or another one than Kafka's offsets say


async def backup(place: Place) -> list[tuple[str, list[Any]]]:
    """Every row of the audit, as a dump of the database would hold them."""
    tables = [row[0] for row in await place.rows("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")]
    return [(table, await place.rows(f"SELECT * FROM {table}")) for table in tables if table != "schema_migrations"]  # noqa: S608


async def restore(place: Place, tables: list[tuple[str, list[Any]]]) -> None:
    connection = await asyncpg.connect(place.database_url)
    try:
        async with connection.transaction():
            for table, found in tables:
                await connection.execute(f"DELETE FROM {table}")  # noqa: S608 - the names are the server's
                if found:
                    await connection.copy_records_to_table(
                        table,
                        records=[tuple(row) for row in found],
                        columns=list(found[0].keys()),
                        schema_name=place.database,
                    )
    finally:
        await connection.close()


async def test_what_an_older_backup_lacks_is_read_again(place: Place, run: Run) -> None:
    async with run():
        await place.publish(events(100))
        await audited(place, 100)
        await caught_up(place)
    older = await backup(place)
    async with run():
        await place.publish(events(50, "u"))
        await audited(place, 150)
        await caught_up(place)
    await restore(place, older)
    assert await rows(place) == 100
    with capture_logs() as logs:
        async with run():
            await audited(place, 150)
            await caught_up(place)
    assert "audit.rewound" in [line["event"] for line in logs if line["log_level"] == "warning"]


async def test_what_an_older_backup_lacks_is_read_again_by_an_audit_that_runs(place: Place, run: Run) -> None:
    async with run():
        await place.publish(events(100))
        await audited(place, 100)
        await caught_up(place)
        older = await backup(place)
        await place.publish(events(50, "u"))
        await audited(place, 150)
        await caught_up(place)
        await restore(place, older)
        with capture_logs() as logs:
            await place.publish(events(10, "v"))
            await audited(place, 160)
    assert "audit.went_back" in [line["event"] for line in logs]


async def test_what_an_older_backup_lacks_is_read_again_though_nothing_more_is_published(
    place: Place, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activity_indexer.audit.consumer.LOOK_BACK_INTERVAL", 0.2)
    async with run():
        await place.publish(events(20))
        await audited(place, 20)
        await caught_up(place)
        older = await backup(place)
        await place.publish(events(10, "u"))
        await audited(place, 30)
        await caught_up(place)
        await restore(place, older)
        await audited(place, 30)


async def test_an_empty_database_is_filled_though_the_group_has_read_all(place: Place, run: Run) -> None:
    async with run():
        await place.publish(events(100))
        await audited(place, 100)
        await caught_up(place)
    await restore(place, [(table, []) for table, _ in await backup(place)])
    async with run():
        await audited(place, 100)


async def test_what_the_database_has_is_not_read_again_though_the_group_forgot_it(place: Place, run: Run) -> None:
    async with run():
        await place.publish(events(100))
        await audited(place, 100)
        await caught_up(place)
    consumer = AIOKafkaConsumer(bootstrap_servers=place.servers.kafka, group_id=f"{place.group}.audit")
    await consumer.start()
    places = [TopicPartition(place.name, number) for number in range(3)]
    consumer.assign(places)
    await consumer.commit(dict.fromkeys(places, 0))
    await consumer.stop()
    async with run() as audit:
        await place.publish(events(10, "u"))
        await audited(place, 110)
        await caught_up(place)
    assert audit.metrics.outcomes == {"written": 10}


async def test_what_retention_removed_before_it_was_read_is_lost_and_kept_as_such(place: Place, run: Run) -> None:
    async with run():
        await place.publish(events(30))
        await audited(place, 30)
        await caught_up(place)
    await ask(place, "UPDATE audit_offsets SET next_offset = 0, first_offset = 0")
    full = await place.rows("SELECT partition, count(*) FROM transaction_events GROUP BY 1")
    await place.admin.delete_records(
        {TopicPartition(place.name, row[0]): RecordsToDelete(before_offset=row[1] - 5) for row in full}
    )
    async with run():
        await place.publish(events(1, "u"))
        await audited(place, 31)
        await caught_up(place)
    lost = await place.rows("SELECT partition, first_offset, records, reason FROM audit_losses")
    assert [tuple(row) for row in lost] == [(row[0], 0, row[1] - 5, "retention") for row in full]


async def test_a_second_pipeline_leaves_the_first_ones_rows_alone(
    place: Place, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run():
        await place.publish(events(20))
        await audited(place, 20)
        await caught_up(place)
    monkeypatch.setenv("KAFKA_CONSUMER_GROUP", f"{place.group}-second")
    async with run() as second:
        await eventually(lambda: condition(second), "refused")
        assert "belongs to the pipeline" in second.audit.database.state.reason
    monkeypatch.setenv("DATABASE_SHARED", "true")
    async with run():
        await audited(place, 40)
    found = await place.rows("SELECT pipeline, count(*) FROM transactions GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in found] == [(place.group, 20), (f"{place.group}-second", 20)]
