"""The audit through PgBouncer in transaction mode: no transaction knows which connection the next one gets."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fixtures.audit import PIPELINE, InPostgres, audit_event, schema_of_its_own
from fixtures.servers.pgbouncer import PROGRAM, pgbouncer
from fixtures.servers.place import Servers

from activity_indexer.adapters.postgres.audit_reader import AuditReader
from activity_indexer.adapters.postgres.audit_store import PostgresAudit
from activity_indexer.errors import Refused
from activity_indexer.settings import DatabaseSettings
from activity_indexer.status.servers import audit_status

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed (Debian: apt-get install pgbouncer)"),
]


@pytest.fixture
async def empty(stack: Servers) -> AsyncIterator[InPostgres]:
    async with schema_of_its_own(stack.database_url) as found:
        yield found


@pytest.fixture
async def pooled(stack: Servers, empty: InPostgres, tmp_path: Path) -> AsyncIterator[str]:
    """The schema of `empty` through PgBouncer."""
    with pgbouncer(stack.database_url, tmp_path) as url:
        yield f"{url}?{empty.url.partition('?')[2]}"


async def test_several_audits_write_and_read_through_it(pooled: str, empty: InPostgres) -> None:
    stores = [PostgresAudit(DatabaseSettings(url=pooled, timeout=20, pool_size=4), PIPELINE) for _ in range(3)]
    await asyncio.gather(*(store.prepare() for store in stores))
    reader = AuditReader(DatabaseSettings(url=pooled), PIPELINE)

    async def write(number: int, store: PostgresAudit) -> None:
        for batch in range(20):
            await store.write([audit_event(f"{number}-{batch}-{each}", batch) for each in range(5)])

    async def read() -> None:
        for _ in range(20):
            await reader.these(["0-0-0", "1-0-0"])
            await audit_status(DatabaseSettings(url=pooled), PIPELINE, 10)

    await asyncio.gather(*(write(number, store) for number, store in enumerate(stores)), read())
    for store in stores:
        await store.close()
    await reader.close()
    assert len((await empty.tables()).live) == 300


async def test_a_parameter_that_it_does_not_take_is_named_with_the_way_out(pooled: str) -> None:
    store = PostgresAudit(DatabaseSettings(url=f"{pooled}&default_transaction_isolation=serializable"), PIPELINE)
    with pytest.raises(Refused, match="PgBouncer does not take this parameter") as caught:
        await store.prepare()
    assert "default_transaction_isolation" in str(caught.value)
    await store.close()
