"""Index, alias and mapping as they are found or made, on a real Elasticsearch."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fixtures.servers.place import Place

from activity_indexer.adapters.elasticsearch.bulk import ElasticsearchIndex
from activity_indexer.document import NOT_DELETED, index_line, mappings, settings
from activity_indexer.errors import Refused, Unavailable, UnexpectedIndex
from activity_indexer.pipeline.outcome import all_done
from activity_indexer.settings import ElasticsearchSettings

pytestmark = pytest.mark.integration

Connect = Callable[..., ElasticsearchIndex]


@pytest.fixture
async def connect(place: Place) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        def make(enrichment: dict[str, Any] | None = None, **more: Any) -> ElasticsearchIndex:
            where = ElasticsearchSettings(url=place.servers.elasticsearch_url, index=place.name, **more)
            index = ElasticsearchIndex(where, enrichment or {})
            stack.push_async_callback(index.stop)
            return index

        yield make


def lines(identifier: str, body: bytes) -> bytes:
    return index_line(identifier, 1) + b"\n" + body + b"\n"


async def test_an_absent_index_is_made_behind_a_filtered_alias(place: Place, connect: Connect) -> None:
    index = connect(replicas=0, refresh_interval="5s")
    await index.prepare()
    found = (await place.es.indices.get(index=place.name))[f"{place.name}-000001"]
    assert found["mappings"]["dynamic"] == "false"
    assert found["aliases"][place.name]["is_write_index"] is True
    assert "_deleted_at" in str(found["aliases"][place.name]["filter"])
    assert found["settings"]["index"]["refresh_interval"] == "5s"
    assert index.identity.startswith(found["settings"]["index"]["uuid"] + "-"), "and the history follows"
    assert (index.written, index.has_history, index.remembers) == (f"{place.name}-000001", True, 60.0)


async def test_the_alias_hides_tombstones(place: Place, connect: Connect) -> None:
    index = connect()
    await index.prepare()
    body = lines("live", b'{"id":"live"}') + lines("gone", b'{"id":"gone","_deleted_at":"2024-01-01T12:00:00Z"}')
    assert all_done((await index.bulk(body)).body, body.count(b"\n") // 2)
    assert set(await place.documents()) == {"live"}
    assert set(await place.documents(f"{place.name}-000001")) == {"live", "gone"}


async def test_unknown_fields_do_not_grow_the_mapping(place: Place, connect: Connect) -> None:
    index = connect()
    await index.prepare()
    before = (await place.es.indices.get_mapping(index=place.name)).body
    fields = b",".join(b'"k%d":{"x":%d}' % (number, number) for number in range(3000))
    body = lines("a", b'{"id":"a",%b,"metadata":{%b}}' % (fields, fields))
    assert all_done((await index.bulk(body)).body, body.count(b"\n") // 2)
    assert (await place.es.indices.get_mapping(index=place.name)).body == before


async def test_several_indexers_may_start_at_once(place: Place, connect: Connect) -> None:
    indexes = [connect() for _ in range(4)]
    await asyncio.gather(*(index.prepare() for index in indexes))
    assert len({index.identity for index in indexes}) == 1
    assert list((await place.es.indices.get_alias(name=place.name)).body) == [f"{place.name}-000001"]


async def test_new_fields_of_a_strategy_are_added_to_the_mapping(place: Place, connect: Connect) -> None:
    await connect({"day": {"type": "date"}}).prepare()
    await connect({"day": {"type": "date"}, "city": {"type": "keyword"}}).prepare()
    mapping = (await place.es.indices.get_mapping(index=place.name))[f"{place.name}-000001"]["mappings"]
    assert set(mapping["properties"]["enrichment"]["properties"]) == {"day", "city"}


async def test_a_field_that_is_mapped_another_way_needs_an_operator(place: Place, connect: Connect) -> None:
    await connect({"day": {"type": "date"}}).prepare()
    with pytest.raises(
        UnexpectedIndex, match=r"enrichment.day: type is date, expected keyword.*activity-indexer reindex"
    ):
        await connect({"day": {"type": "keyword"}}).prepare()
    mapping = (await place.es.indices.get_mapping(index=place.name))[f"{place.name}-000001"]["mappings"]
    assert mapping["properties"]["enrichment"]["properties"]["day"]["type"] == "date"


async def test_fields_and_subfields_that_were_added_by_hand_stay(place: Place, connect: Connect) -> None:
    await connect().prepare()
    added = {"notes": {"type": "text"}, "product": {"type": "keyword", "fields": {"text": {"type": "text"}}}}
    await place.es.indices.put_mapping(index=place.name, properties=added)
    await connect().prepare()
    mapping = (await place.es.indices.get_mapping(index=place.name))[f"{place.name}-000001"]["mappings"]
    assert mapping["properties"]["notes"] == {"type": "text"}
    assert "text" in mapping["properties"]["product"]["fields"]


async def test_a_new_index_is_another_identity(place: Place, connect: Connect) -> None:
    index = connect()
    await index.prepare()
    first = index.identity
    await place.es.indices.delete(index=f"{place.name}-000001")
    await index.prepare()
    assert index.identity != first


async def test_an_index_that_lost_its_alias_gets_it_back(place: Place, connect: Connect) -> None:
    index = connect()
    await index.prepare()
    await place.es.indices.delete_alias(index=f"{place.name}-000001", name=place.name)
    await index.prepare()
    alias = (await place.es.indices.get_alias(name=place.name))[f"{place.name}-000001"]["aliases"][place.name]
    assert alias["is_write_index"] is True
    assert "_deleted_at" in str(alias["filter"])


async def test_several_indexes_behind_the_alias_need_an_operator(place: Place, connect: Connect) -> None:
    index = connect()
    await index.prepare()
    first, new = index.identity, f"{place.name}-000002"
    try:
        await place.es.indices.create(index=new, settings=settings(1, 0, "1s"), mappings=mappings({}))
        await place.es.indices.put_alias(index=new, name=place.name, filter=NOT_DELETED, is_write_index=False)
        with pytest.raises(UnexpectedIndex, match="must stand for one index"):
            await index.check()
        await place.es.indices.delete_alias(index=place.index, name=place.name)
        await place.es.indices.put_alias(index=new, name=place.name, filter=NOT_DELETED, is_write_index=True)
        await index.check()
        assert index.written == new
        assert index.identity != first
    finally:
        await place.es.indices.delete(index=new)


async def test_an_alias_that_is_gone_is_not_given_to_one_of_several_indexes(place: Place, connect: Connect) -> None:
    await connect().prepare()
    new = f"{place.name}-000002"
    try:
        await place.es.indices.create(index=new, settings=settings(1, 0, "1s"), mappings=mappings({}))
        await place.es.indices.delete_alias(index=place.index, name=place.name)
        with pytest.raises(UnexpectedIndex, match=f"several indexes may have been behind it: {place.index}, {new}"):
            await connect().prepare()
    finally:
        await place.es.indices.delete(index=new)


async def test_the_only_index_that_is_being_built_is_not_given_the_alias(place: Place, connect: Connect) -> None:
    await connect().prepare()
    await place.es.indices.put_alias(index=place.index, name=f"{place.name}.building")
    await place.es.indices.delete_alias(index=place.index, name=place.name)
    with pytest.raises(UnexpectedIndex, match="several indexes may have been behind it"):
        await connect().prepare()


async def test_a_shard_without_a_primary_is_waited_for(place: Place, connect: Connect) -> None:
    await connect().prepare()
    await place.es.indices.delete(index=place.index)
    await place.es.indices.create(
        index=place.index,
        settings=settings(2, 0, "1s") | {"index.routing.allocation.require.zone": "nowhere"},
        mappings=mappings({}),
        aliases={place.name: {"filter": NOT_DELETED, "is_write_index": True}},
        wait_for_active_shards=0,
    )
    with pytest.raises(Unavailable, match="2 primary shards"):
        await connect().check()


async def test_a_plain_index_of_the_aliass_name_needs_an_operator(place: Place, connect: Connect) -> None:
    await place.es.indices.create(index=place.name)
    try:
        with pytest.raises(Refused, match="must be an alias"):
            await connect().prepare()
    finally:
        await place.es.indices.delete(index=place.name)


async def test_an_absent_alias_that_may_not_be_made_needs_an_operator(connect: Connect) -> None:
    with pytest.raises(Refused, match="ELASTICSEARCH_CREATE_INDEX"):
        await connect(create_index=False).prepare()
