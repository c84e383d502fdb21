"""The audit in a real PostgreSQL: other writers, hostile values, migrations, and everything that can be wrong."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import trustme
from fixtures.audit import KINDS, PIPELINE, InPostgres, audit_event, audited, schema_of_its_own, value, with_raw
from fixtures.servers.place import Servers
from msgspec.structs import replace

from activity_indexer.adapters.postgres.audit_store import MARKS, PostgresAudit
from activity_indexer.adapters.postgres.connection import connect, transaction
from activity_indexer.adapters.postgres.schema import Migration, migrate, migrations
from activity_indexer.errors import AuditRejected, Refused, Unavailable
from activity_indexer.settings import DatabaseSettings

pytestmark = pytest.mark.integration


@pytest.fixture
async def empty(stack: Servers) -> AsyncIterator[InPostgres]:
    async with schema_of_its_own(stack.database_url) as found:
        yield found


@pytest.fixture
async def audit(empty: InPostgres) -> InPostgres:
    await empty.store.prepare()
    return empty


async def refusal(store: PostgresAudit) -> str:
    with pytest.raises(Refused) as caught:
        await store.prepare()
    await store.close()
    return str(caught.value)


async def unavailability(call: Any) -> str:
    with pytest.raises(Unavailable) as caught:
        await call
    return str(caught.value)


# Other writers


async def test_writers_of_the_same_transactions_end_with_the_greatest_versions(audit: InPostgres) -> None:
    """A zombie, or a partition that moved: several writers, the same ids, every order."""
    chance = random.Random(7)  # noqa: S311 - the same every time
    names = [f"t{number}" for number in range(30)]
    events = [audit_event(name, second, chance.choice(KINDS)) for name in names for second in range(12)]
    writers = [audit.another() for _ in range(4)]

    async def deliver(store: PostgresAudit) -> None:
        mine = chance.sample(events, len(events))
        for start in range(0, len(mine), 20):
            await store.write(mine[start : start + 20])

    await asyncio.gather(*map(deliver, writers))
    for store in writers:
        await store.close()
    found = await audit.tables()
    last = {event.event.transaction.id: event.event for event in sorted(events, key=lambda each: each.event.version)}
    assert found.live == {name: (event.version, event.body) for name, event in last.items() if not event.deleted}
    assert len(found.history) == len(events)


async def test_a_writer_waits_for_another_one_and_sees_what_it_wrote(audit: InPostgres) -> None:
    newer, older = audit_event("a", 2, "deleted"), audit_event("a", 1)
    transaction = audit.connection.transaction()
    await transaction.start()
    await audit.connection.execute(
        "INSERT INTO transaction_versions (pipeline, id, version, rank, deleted) VALUES ($1, 'a', $2, 2, true)",
        PIPELINE.name,
        newer.event.version,
    )
    late = asyncio.create_task(audit.store.write([older]))
    await asyncio.sleep(0.3)
    assert not late.done()
    await transaction.commit()
    await late
    assert (await audit.tables()).live == {}


# Values


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (b"9007199254740993", "9007199254740993"),
        (b"0.10", "0.10"),
        (b"-0.0", "0.0"),
        (b"1e308", f"1{'0' * 308}"),
        (b"1E-999", f"0.{'0' * 998}1"),
        (b"0e999999999999999999999999", "0"),
        (b"0." + b"3" * 254, f"0.{'3' * 254}"),
    ],
)
async def test_amounts_are_exact(audit: InPostgres, text: bytes, kept: str) -> None:
    await audit.store.write([with_raw("a", amount=text)])
    found = await audit.connection.fetchrow("SELECT amount, amount::text AS text FROM transactions")
    assert found["text"] == kept
    assert found["amount"] == Decimal(kept)


async def test_nul_stands_as_a_replacement_character_in_columns_and_untouched_in_the_body(audit: InPostgres) -> None:
    event = audit_event("a", user_id="u\0", status="\0", product="p\0", currency="\0", transaction_type="\0")
    await audit.store.write([event])
    row = await audit.connection.fetchrow("SELECT * FROM transactions")
    assert (row["user_id"], row["status"], row["product"]) == ("u\ufffd", "\ufffd", "p\ufffd")
    assert row["transaction"].encode() == event.event.body


@pytest.mark.parametrize(
    ("created_at", "kept"),
    [
        ("9999-12-31T23:59:59Z", "9999-12-31 23:59:59+00"),
        ("9999-12-31T23:59:59.999999Z", None),
        ("0001-01-01T00:00:01Z", "0001-01-01 00:00:01+00"),
        ("2016-12-31T23:59:60Z", "2017-01-01 00:00:00+00"),
    ],
)
async def test_times_that_clients_cannot_read_are_null(audit: InPostgres, created_at: str, kept: str | None) -> None:
    await audit.store.write([audit_event("a", created_at=created_at)])
    await audit.connection.execute("SET timezone TO 'UTC'")
    assert await audit.connection.fetchval("SELECT created_at::text FROM transactions") == kept


@pytest.mark.parametrize("size", [1, 3])
async def test_texts_that_have_the_marks_between_texts_are_rows_as_they_are(audit: InPostgres, size: int) -> None:
    marks = "".join("".join(pair) for pair in MARKS[:8])
    events = [
        audit_event("empty", user_id="u", status="", product="", currency="", transaction_type=""),
        audit_event("nothing", user_id="u", product=None),
        audit_event(f"marks{marks}", user_id=marks, status=MARKS[0][1], product=MARKS[0][0], currency=MARKS[1][1]),
    ]
    events[0] = replace(events[0], event=replace(events[0].event, source=""))
    events[1] = replace(events[1], event=replace(events[1].event, source=None))
    for start in range(0, 3, size):
        await audit.store.write(events[start : start + size])
    query = "SELECT id, user_id, status, product, currency, transaction_type, source FROM transactions ORDER BY id"
    found = [event.event for event in sorted(events, key=lambda event: event.event.transaction.id)]
    assert [tuple(row) for row in await audit.connection.fetch(query)] == [
        (each.id, each.user_id, each.status, each.product, each.currency, each.transaction_type, event.source)
        for each, event in ((event.transaction, event) for event in found)
    ]


async def test_long_and_strange_values_are_rows(audit: InPostgres) -> None:
    long = random.Random(1).randbytes(20_000).hex()  # noqa: S311 - what does not compress
    events = [
        audit_event("i" * 512, user_id=long, status=long, product=long, currency=long, transaction_type=long),
        audit_event("💥' \"; DROP TABLE transactions; -- \n\t\x01", user_id="\u202e", metadata={"": {"": [None]}}),
        audit_event("{a,NULL}", metadata={f"key.{number}": "_id" for number in range(5000)}),
        audit_event("big", metadata={"text": "é" * 450_000}),
        with_raw("deep", metadata=b'{"a":' * 500 + b"1" + b"}" * 500),
    ]
    await audit.store.write(events)
    found = await audit.tables()
    assert found.live == {event.event.transaction.id: (event.event.version, event.event.body) for event in events}
    assert await audit.connection.fetchval("SELECT id FROM transactions WHERE user_id = $1", long) == "i" * 512


async def test_a_body_that_postgresql_cannot_parse_is_rejected_and_no_other_row_is_written(audit: InPostgres) -> None:
    nested = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    sound = audited(value("guilty"), offset=3)
    guilty = replace(sound, event=msgspec.structs.replace(sound.event, body=nested))  # decoding refuses less deep ones
    with pytest.raises(AuditRejected, match="stack depth"):
        await audit.store.write([audit_event("a"), guilty])
    assert (await audit.tables()).live == {}
    await audit.store.reject(guilty, "too deep \0")
    assert (await audit.tables()).rejects == {3: ("too deep \ufffd", nested)}


async def test_values_beyond_a_columns_range_are_rejected_without_being_quoted(audit: InPostgres) -> None:
    with pytest.raises(AuditRejected) as caught:
        await audit.store.write([audited(value("secret-id"), offset=2**63)])
    assert "secret-id" not in str(caught.value)


async def test_a_constraint_of_peoples_own_rejects_the_event(audit: InPostgres) -> None:
    await audit.connection.execute("ALTER TABLE transactions ADD CHECK (currency = 'USD')")
    with pytest.raises(AuditRejected, match="23514"):
        await audit.store.write([audit_event("a", currency="EUR")])


# Migrations


async def test_several_indexers_that_start_at_once_make_the_schema_once(empty: InPostgres) -> None:
    stores = [empty.another() for _ in range(6)]
    await asyncio.gather(*(store.prepare() for store in stores))
    for store in stores:
        await store.close()
    assert await empty.connection.fetchval("SELECT array_agg(version) FROM schema_migrations") == [
        step.version for step in migrations()
    ]


async def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    assert [step.version for step in migrations()] == list(range(1, len(migrations()) + 1))


async def test_a_later_step_is_added_to_an_existing_schema(audit: InPostgres) -> None:
    steps = [*migrations(), Migration(len(migrations()) + 1, "note", "ALTER TABLE transactions ADD note text")]
    await audit.store.write([audit_event("a")])
    for _ in range(2):
        async with audit.connection.transaction():
            await migrate(audit.connection, steps, PIPELINE)
    assert dict(await audit.connection.fetchrow("SELECT id, note FROM transactions")) == {"id": "a", "note": None}


async def test_a_step_that_fails_leaves_nothing_behind(empty: InPostgres) -> None:
    broken = [Migration(1, "broken", "CREATE TABLE half (a int); SELECT 1/0")]
    with pytest.raises(Exception, match="division by zero"):
        async with empty.connection.transaction():
            await migrate(empty.connection, broken, PIPELINE)
    assert await empty.connection.fetchval("SELECT to_regclass('half')") is None
    await empty.store.prepare()


async def test_a_newer_database_is_refused(audit: InPostgres) -> None:
    await audit.connection.execute("INSERT INTO schema_migrations (version, name) VALUES (99, 'future')")
    assert "schema version 99" in await refusal(audit.another())


async def test_an_older_table_of_the_same_name_is_refused_with_the_way_out(empty: InPostgres) -> None:
    await empty.connection.execute("CREATE TABLE transactions (id uuid PRIMARY KEY, data jsonb)")
    message = await refusal(empty.another())
    assert "ALTER TABLE transactions RENAME TO transactions_old;" in message
    await empty.connection.execute("ALTER TABLE transactions RENAME TO transactions_old;")
    await empty.store.prepare()
    await empty.store.write([audit_event("a")])


async def test_another_programs_migrations_are_left_alone(empty: InPostgres) -> None:
    await empty.connection.execute("CREATE TABLE schema_migrations (version bigint, dirty boolean)")
    assert "belongs to another program" in await refusal(empty.another())


async def test_a_schema_that_is_up_to_date_is_only_read(audit: InPostgres) -> None:
    store = PostgresAudit(DatabaseSettings(url=f"{audit.url}&default_transaction_read_only=on"), PIPELINE)
    await store.prepare()
    await store.close()


# What can be wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda url: url.replace("astropay@", "wrong@"), "correct the user or password"),
        (lambda url: url.replace("/activity_feed", "/nowhere"), "create the database"),
        (lambda url: url.replace("search_path=", "search_path=no_"), "create the schema"),
        (lambda url: f"{url}&options=-c%20nonsense%3D1", "remove it from DATABASE_URL"),
        (lambda url: f"{url}&default_transaction_read_only=perhaps", "correct the parameters of DATABASE_URL"),
    ],
)
async def test_what_an_operator_must_correct_is_refused_with_advice(
    empty: InPostgres, change: Callable[[str], str], message: str
) -> None:
    refused = await refusal(PostgresAudit(DatabaseSettings(url=change(empty.url)), PIPELINE))
    assert message in refused
    assert "astropay:" not in refused


async def test_a_missing_right_and_a_missing_table_are_refused(audit: InPostgres) -> None:
    await audit.connection.execute("REVOKE INSERT ON transactions FROM CURRENT_USER")
    with pytest.raises(Refused, match="grant the user"):
        await audit.store.write([audit_event("a")])
    await audit.connection.execute("DROP TABLE transactions")
    with pytest.raises(Refused, match="a table is missing"):
        await audit.store.write([audit_event("a")])


async def test_a_database_that_is_only_read_is_waited_for(audit: InPostgres) -> None:
    store = PostgresAudit(DatabaseSettings(url=f"{audit.url}&default_transaction_read_only=on"), PIPELINE)
    assert "25006" in await unavailability(store.write([audit_event("a")]))
    await store.close()


async def test_no_server_at_the_address_is_waited_for() -> None:
    store = PostgresAudit(DatabaseSettings(url="postgresql://a:b@127.0.0.1:1/c", timeout=2), PIPELINE)
    assert "is unavailable" in await unavailability(store.prepare())
    await store.close()


async def test_a_lock_that_is_held_too_long_is_waited_for_and_the_statement_leaves_nothing(audit: InPostgres) -> None:
    store = audit.another(timeout=0.5)
    async with audit.connection.transaction():
        await audit.connection.execute("LOCK TABLE transaction_versions")
        assert "within DATABASE_TIMEOUT" in await unavailability(store.write([audit_event("a")]))
    await store.write([audit_event("b")])
    await store.close()
    assert list((await audit.tables()).live) == ["b"]


async def test_a_connection_that_is_cut_is_waited_for_and_replaced(audit: InPostgres) -> None:
    await audit.store.write([audit_event("a")])
    lock = audit.connection.transaction()
    await lock.start()
    await audit.connection.execute("LOCK TABLE transaction_versions")
    writing = asyncio.create_task(audit.store.write([audit_event("b")]))
    await asyncio.sleep(0.2)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    assert await audit.connection.fetchval(cut) is True
    await unavailability(writing)
    await lock.rollback()
    await audit.store.write([audit_event("b")])
    assert set((await audit.tables()).live) == {"a", "b"}


async def test_a_server_that_answers_no_more_is_given_up_in_time(stack: Servers, audit: InPostgres) -> None:
    store = audit.another(timeout=1)
    await store.write([audit_event("a")])
    stack.pause("postgres")
    try:
        started = time.monotonic()
        await unavailability(store.write([audit_event("b")]))
        await unavailability(store.write([audit_event("b")]))
        await store.close()
        assert time.monotonic() - started < 8
    finally:
        stack.resume("postgres")
    await audit.store.write([audit_event("b")])
    assert set((await audit.tables()).live) == {"a", "b"}


# Parameters of libpq


LIBPQ = (
    "channel_binding=prefer&connect_timeout=5&keepalives=1&keepalives_idle=31&keepalives_interval=7&keepalives_count=4"
    "&tcp_user_timeout=9000&target_session_attrs=read-write&gssencmode=prefer&client_encoding=utf8&sslmode=prefer"
    "&application_name=mine&options=-c%20timezone%3DEurope/Vienna"
)


async def test_what_libpq_takes_is_taken(audit: InPostgres) -> None:
    settings = DatabaseSettings(url=f"{audit.url}&{LIBPQ}")
    connection = await connect(settings, "activity-indexer")
    try:
        found = connection._transport.get_extra_info("socket")
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        assert [found.getsockopt(socket.IPPROTO_TCP, each) for each in options] == [31, 7, 4, 9000]
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        async with transaction(connection, settings):
            names = ("application_name", "timezone", "search_path")
            assert [await connection.fetchval("SELECT current_setting($1)", name) for name in names] == [
                "mine",
                "Europe/Vienna",
                settings.address.server_settings["search_path"],
            ]
    finally:
        connection.terminate()


async def test_of_several_hosts_the_first_that_answers_is_taken(audit: InPostgres) -> None:
    host = audit.url.partition("@")[2].partition("/")[0]
    store = PostgresAudit(
        DatabaseSettings(url=audit.url.replace(host, f"127.0.0.1:1,{host}") + "&connect_timeout=3"), PIPELINE
    )
    await store.write([audit_event("a")])
    await store.close()
    assert set((await audit.tables()).live) == {"a"}


async def test_a_server_that_is_not_the_kind_that_is_asked_for_is_waited_for(audit: InPostgres) -> None:
    store = PostgresAudit(DatabaseSettings(url=f"{audit.url}&target_session_attrs=standby"), PIPELINE)
    await unavailability(store.prepare())
    await store.close()


async def test_a_search_path_is_a_value_and_no_statement(empty: InPostgres) -> None:
    schema = """it's "; DROP \\"""
    await empty.connection.execute(f'CREATE SCHEMA "{schema.replace(chr(34), chr(34) * 2)}"')
    quoted = '"' + schema.replace('"', '""') + '"'
    store = PostgresAudit(DatabaseSettings(url=f"{empty.url.partition('?')[0]}?search_path={quote(quoted)}"), PIPELINE)
    try:
        await store.prepare()
        await store.write([audit_event("a")])
        count = f"SELECT count(*) FROM {quoted}.transactions"  # noqa: S608 - the name is the test's own
        assert await empty.connection.fetchval(count) == 1
    finally:
        await store.close()
        await empty.connection.execute(f"DROP SCHEMA {quoted} CASCADE")


# TLS


async def test_a_trusted_certificate_is_accepted_and_another_one_refused(
    stack: Servers, empty: InPostgres, tmp_path: Path
) -> None:
    secure = stack.stack.addresses.postgres_tls.partition("?")[0] + "?" + empty.url.partition("?")[2]
    authority = Path(stack.stack.addresses.authority)
    trusting = PostgresAudit(DatabaseSettings(url=secure, ca_file=authority), PIPELINE)
    await trusting.prepare()
    used = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name LIKE '% audit'"
    assert True in [row[0] for row in await empty.connection.fetch(used)]
    await trusting.close()

    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    assert "correct DATABASE_CA_FILE" in await refusal(
        PostgresAudit(DatabaseSettings(url=secure, ca_file=other), PIPELINE)
    )

    nothing = tmp_path / "nothing.pem"
    nothing.write_text("this is no certificate")
    assert "PEM" in await refusal(PostgresAudit(DatabaseSettings(url=secure, ca_file=nothing), PIPELINE))
