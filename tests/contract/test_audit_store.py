"""What every AuditStore promises: the fake in memory and PostgreSQL alike."""

import itertools
import random
from collections.abc import AsyncIterator

import pytest
from audit_support import KINDS, Audited, InMemory, Tables, audit_event, schema_of_its_own
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import Servers

from activity_indexer.ports import AuditEvent

SERIAL = itertools.count()


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.integration)])
async def audit(request: pytest.FixtureRequest) -> AsyncIterator[Audited]:
    if request.param == "memory":
        yield InMemory()
        return
    servers: Servers = request.getfixturevalue("stack")
    async with schema_of_its_own(servers.database_url) as found:
        await found.store.prepare()
        yield found


def newest(events: list[AuditEvent]) -> Tables:
    """The rule of the event version, in the plainest words."""
    by_version = sorted((found.event for found in events), key=lambda event: event.version)
    last = {event.transaction.id: event for event in by_version}
    return Tables(
        {key: (event.version, event.body) for key, event in last.items() if not event.deleted},
        {(event.transaction.id, event.version): None if event.deleted else event.body for event in by_version},
    )


async def test_a_created_transaction_is_a_live_row_byte_for_byte(audit: Audited) -> None:
    event = audit_event("a", amount=10.50, metadata={"b": 1, "a": "é\u0000"})
    await audit.store.write([event])
    assert await audit.tables() == newest([event])


async def test_an_update_takes_the_rows_place(audit: Audited) -> None:
    events = [audit_event("a", 1), audit_event("a", 2, "updated", user_id="user_2")]
    for event in events:
        await audit.store.write([event])
    assert await audit.tables() == newest(events)


async def test_a_late_event_is_history_and_nothing_more(audit: Audited) -> None:
    late, current = audit_event("a", 1, "updated"), audit_event("a", 2, "updated")
    await audit.store.write([current])
    await audit.store.write([late])
    found = await audit.tables()
    assert found.live["a"] == (current.event.version, current.event.body)
    assert set(found.history) == {("a", late.event.version), ("a", current.event.version)}


async def test_a_delete_is_never_undone_by_a_late_event(audit: Audited) -> None:
    await audit.store.write([audit_event("a", 1)])
    await audit.store.write([audit_event("a", 3, "deleted")])
    await audit.store.write([audit_event("a", 2, "updated"), audit_event("a", 1)])
    assert (await audit.tables()).live == {}


async def test_a_delete_of_an_unknown_transaction_is_remembered(audit: Audited) -> None:
    await audit.store.write([audit_event("a", 3, "deleted")])
    await audit.store.write([audit_event("a", 1)])
    found = await audit.tables()
    assert found.live == {}
    assert len(found.history) == 2


async def test_a_transaction_created_anew_after_its_delete_is_live(audit: Audited) -> None:
    await audit.store.write([audit_event("a", 1, "deleted")])
    await audit.store.write([audit_event("a", 2)])
    assert list((await audit.tables()).live) == ["a"]


async def test_repeating_a_batch_changes_nothing(audit: Audited) -> None:
    batch = [audit_event("a", 1), audit_event("b", 1), audit_event("a", 2, "updated"), audit_event("b", 2, "deleted")]
    await audit.store.write(batch)
    once = await audit.tables()
    await audit.store.write(batch)
    assert await audit.tables() == once == newest(batch)


async def test_one_event_twice_in_a_batch_is_one_event(audit: Audited) -> None:
    await audit.store.write([audit_event("a", offset=1), audit_event("a", offset=2)])
    found = await audit.tables()
    assert (len(found.live), len(found.history)) == (1, 1)


async def test_of_two_events_with_one_version_the_first_stays(audit: Audited) -> None:
    """They have one message id, so they are one event, as in the index."""
    first, second = audit_event("a", status="first"), audit_event("a", status="second")
    await audit.store.write([first, second])
    await audit.store.write([second])
    assert await audit.tables() == newest([first])


async def test_an_empty_batch_is_nothing(audit: Audited) -> None:
    await audit.store.write([])
    assert await audit.tables() == Tables()


async def test_preparing_again_keeps_what_is_there(audit: Audited) -> None:
    await audit.store.write([audit_event("a")])
    await audit.store.prepare()
    assert list((await audit.tables()).live) == ["a"]


async def test_a_rejected_event_is_kept_apart_once(audit: Audited) -> None:
    event = audit_event("a", offset=7)
    await audit.store.reject(event, "too deep")
    await audit.store.reject(event, "too deep again")
    assert await audit.tables() == Tables(rejects={7: ("too deep", event.event.body)})


deliveries = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.sampled_from(KINDS)), min_size=1, max_size=12, unique=True
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deliveries, st.randoms(use_true_random=False))
async def test_any_order_number_and_batching_of_deliveries_gives_the_same_tables(
    audit: Audited, chosen: list[tuple[str, int, str]], chance: random.Random
) -> None:
    prefix = f"{next(SERIAL)}-"
    expected = newest([audit_event(name, second, kind) for name, second, kind in chosen])
    events = [audit_event(prefix + name, second, kind) for name, second, kind in chosen]
    delivered = events + chance.choices(events, k=chance.randrange(6))
    chance.shuffle(delivered)
    while delivered:
        size = chance.randint(1, len(delivered))
        await audit.store.write(delivered[:size])
        del delivered[:size]
    found = await audit.tables(prefix)
    assert {key: version for key, (version, _) in found.live.items()} == {
        key: version for key, (version, _) in expected.live.items()
    }
    assert set(found.history) == set(expected.history)
