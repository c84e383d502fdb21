"""What every AuditStore promises: the fake in memory and PostgreSQL alike."""

import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator

import msgspec
import pytest
from fixtures.audit import KINDS, Audited, InMemory, Tables, audit_event, identity, schema_of_its_own
from fixtures.servers.place import Servers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from activity_indexer.errors import AuditRejected, AuditWentBack
from activity_indexer.ports import AuditEvent, Read
from activity_indexer.positions import RECREATED, RETENTION, Commit, Loss, Partition

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
    """The order of events, in the plainest words."""
    in_order = sorted((found.event for found in events), key=lambda event: event.order)
    last = {event.transaction.id: event for event in in_order}
    return Tables(
        {key: (event.version, event.body) for key, event in last.items() if not event.deleted},
        {identity(event): None if event.deleted else event.body for event in in_order},
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
    assert set(found.history) == {identity(late.event), identity(current.event)}


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


async def test_a_transaction_created_again_after_its_delete_is_live(audit: Audited) -> None:
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


TIED = (
    audit_event("a", 1, offset=1, status="first"),
    audit_event("a", 1, offset=2, status="second"),
    audit_event("a", 1, offset=0, partition=1, status="third"),
)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("size", [1, 2, 3])
async def test_of_events_with_one_time_and_rank_the_last_position_wins_and_history_has_all(
    audit: Audited, order: tuple[int, ...], size: int
) -> None:
    delivered = [TIED[each] for each in order]
    ties = sum([await audit.store.write(delivered[start : start + size]) for start in range(0, 3, size)])
    found = await audit.tables()
    assert found == newest(list(TIED))
    assert found.live["a"][1] == TIED[2].event.body
    assert ties == 2
    assert await audit.store.write(delivered) == 0


async def test_the_same_content_at_another_position_is_the_same_event(audit: Audited) -> None:
    events = [audit_event("a", 1, offset=offset, partition=offset % 2) for offset in range(4)]
    assert await audit.store.write(events) == 0
    found = await audit.tables()
    assert (len(found.live), len(found.history)) == (1, 1)


async def test_the_same_content_at_a_later_position_keeps_it_before_its_ties(audit: Audited) -> None:
    """A state is what the greatest event says, and a copy of an event is as great as its position."""
    first, between = audit_event("a", 1, offset=1, status="first"), audit_event("a", 1, offset=2, status="second")
    copy = audit_event("a", 1, offset=3, status="first")
    for order in itertools.permutations((first, between, copy)):
        for event in order:
            await audit.store.write([event])
        assert (await audit.tables()).live["a"][1] == copy.event.body


@pytest.mark.parametrize("reverse", [False, True])
async def test_digits_below_the_microsecond_count(audit: Audited, reverse: bool) -> None:
    events = [audit_event("a", 1.000000100), audit_event("a", 1.000000001), audit_event("a", 1.000000001, "updated")]
    for event in sorted(events, key=lambda each: each.event.order, reverse=reverse):
        assert await audit.store.write([event]) == 0
    assert await audit.tables() == newest(events)
    assert (await audit.tables()).live["a"][1] == events[0].event.body


async def test_events_that_differ_in_their_source_alone_are_ties(audit: Audited) -> None:
    event = audit_event("a", 1, offset=1)
    other = replace(event, event=msgspec.structs.replace(event.event, source="another"))
    assert await audit.store.write([event, other]) == 1
    assert len((await audit.tables()).history) == 2


async def test_a_replayed_event_keeps_the_position_of_its_original_beside_others_in_a_batch(audit: Audited) -> None:
    original, later = audit_event("a", 1, offset=1, status="original"), audit_event("a", 1, offset=2, status="later")
    replayed = replace(original, offset=9)
    assert await audit.store.write([replayed, later, audit_event("b", offset=10)]) == 1
    assert (await audit.tables()).live["a"][1] == later.event.body
    assert await audit.store.write([audit_event("a", 1, offset=8, status="latest"), replace(later, offset=11)]) == 1
    assert json.loads((await audit.tables()).live["a"][1])["status"] == "latest"


async def test_an_event_that_was_replayed_into_another_partition_keeps_that_of_its_original(audit: Audited) -> None:
    original = audit_event("a", 1, offset=5, partition=1, status="original")
    assert await audit.store.write([replace(original, partition=0, offset=9)]) == 0
    assert await audit.store.write([audit_event("a", 1, offset=8, status="other")]) == 1
    assert (await audit.tables()).live["a"][1] == original.event.body


@pytest.mark.parametrize("known", [False, True])
async def test_ties_are_counted_alike_for_a_transaction_that_is_known_and_one_that_is_new(
    audit: Audited, known: bool
) -> None:
    if known:
        await audit.store.write([audit_event("a", 0), audit_event("b", 0)])
    batch = [audit_event(name, 1, offset=offset, status=str(offset)) for offset in range(4) for name in "ab"]
    batch += [audit_event("a", 2, "deleted", offset=8), audit_event("b", 2, "deleted", offset=9)]
    assert await audit.store.write(batch) == 6
    assert await audit.store.write([audit_event("a", 1, offset=10, status="ten"), *batch]) == 1
    assert (await audit.tables()).live == {}


# Offsets

FIRST, SECOND = Partition("transactions", 0), Partition("transactions", 1)


async def test_offsets_are_kept_with_the_rows(audit: Audited) -> None:
    assert await audit.store.offsets() == {}
    await audit.store.write([audit_event("a", offset=4)], {FIRST: Read(0, 5, "id"), SECOND: Read(0, 1, "id")})
    await audit.store.write([], {FIRST: Read(0, 9, "id")})
    assert await audit.store.offsets() == {FIRST: Commit(9, "id"), SECOND: Commit(1, "id")}


async def test_a_member_that_comes_back_late_takes_no_offset_back(audit: Audited) -> None:
    await audit.store.write([], {FIRST: Read(0, 9, "id")})
    await audit.store.write([], {FIRST: Read(0, 5, "id")})
    assert await audit.store.offsets() == {FIRST: Commit(9, "id")}


async def test_it_has_no_say_in_a_topic_that_took_its_topics_name(audit: Audited) -> None:
    await audit.store.write([], {FIRST: Read(0, 9, "old")})
    await audit.store.begin(FIRST, Commit(0, "new"), Loss(FIRST, RECREATED, 9, 3))
    await audit.store.write([], {FIRST: Read(0, 12, "old")})
    await audit.store.write([], {FIRST: Read(0, 2, "new")})
    assert await audit.store.offsets() == {FIRST: Commit(2, "new")}


async def test_reading_begins_where_it_is_asked_to(audit: Audited) -> None:
    await audit.store.write([], {FIRST: Read(0, 9, "id")})
    await audit.store.begin(FIRST, Commit(20, "id"), Loss(FIRST, RETENTION, 9, 11))
    await audit.store.begin(SECOND, Commit(3, "id"))
    assert await audit.store.offsets() == {FIRST: Commit(20, "id"), SECOND: Commit(3, "id")}
    await audit.store.begin(FIRST, Commit(4, "id"))
    await audit.store.write([], {FIRST: Read(4, 4, "id")})
    assert await audit.store.offsets() == {FIRST: Commit(4, "id"), SECOND: Commit(3, "id")}


async def test_an_offset_from_before_topics_had_ids_learns_it(audit: Audited) -> None:
    await audit.store.write([], {FIRST: Read(0, 5)})
    await audit.store.write([], {FIRST: Read(0, 6, "id")})
    await audit.store.write([], {FIRST: Read(0, 7)})
    assert await audit.store.offsets() == {FIRST: Commit(7, "id")}


async def test_a_database_that_lacks_what_was_read_before_is_noticed(audit: Audited) -> None:
    await audit.store.write([], {FIRST: Read(0, 9, "id"), SECOND: Read(0, 3)})
    await audit.store.begin(FIRST, Commit(4, "id"))  # as a backup from before
    with pytest.raises(AuditWentBack):
        await audit.store.write([audit_event("a", offset=9)], {FIRST: Read(9, 12, "id"), SECOND: Read(3, 4)})
    assert await audit.tables() == Tables()
    assert await audit.store.offsets() == {FIRST: Commit(4, "id"), SECOND: Commit(3)}


async def test_an_empty_database_lacks_what_was_read_before(audit: Audited) -> None:
    with pytest.raises(AuditWentBack):
        await audit.store.write([], {FIRST: Read(9, 12)})


async def test_events_that_are_refused_move_no_offset(audit: Audited) -> None:
    if isinstance(audit, InMemory):
        audit.store.refuses = lambda _: True
    nested = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    sound = audit_event("a", offset=3)
    guilty = replace(sound, event=msgspec.structs.replace(sound.event, body=nested))
    with pytest.raises(AuditRejected):
        await audit.store.write([guilty], {FIRST: Read(0, 4)})
    assert await audit.store.offsets() == {}


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


PLACES = st.tuples(st.integers(0, 1), st.integers(0, 3))
TIMES = st.sampled_from([0, 1, 1.000000001, 1.000000002, 2])
deliveries = st.lists(
    st.tuples(st.sampled_from("ab"), TIMES, st.sampled_from(KINDS), PLACES, st.sampled_from(("x", "y"))),
    min_size=1,
    max_size=12,
    unique_by=lambda each: (each[0], each[3]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deliveries, st.randoms(use_true_random=False))
async def test_any_order_number_and_batching_of_deliveries_gives_the_same_tables(
    audit: Audited, chosen: list[tuple[str, float, str, tuple[int, int], str]], chance: random.Random
) -> None:
    prefix = f"{next(SERIAL)}-"

    def event(name: str, second: float, kind: str, place: tuple[int, int], status: str) -> AuditEvent:
        return audit_event(name, second, kind, place[1], place[0], status=status, user_id=status)

    expected = newest([event(*each) for each in chosen])
    events = [event(prefix + name, *rest) for name, *rest in chosen]
    delivered = events + chance.choices(events, k=chance.randrange(6))
    chance.shuffle(delivered)
    while delivered:
        size = chance.randint(1, len(delivered))
        await audit.store.write(delivered[:size])
        del delivered[:size]
    found = await audit.tables(prefix)
    said = {key: (version, json.loads(body)["status"]) for key, (version, body) in found.live.items()}
    assert said == {key: (version, json.loads(body)["status"]) for key, (version, body) in expected.live.items()}
    assert Counter(each[:3] for each in found.history) == Counter(each[:3] for each in expected.history)
