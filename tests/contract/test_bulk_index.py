"""What every BulkIndex promises: the fake in memory and Elasticsearch alike."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from fixtures.memory.stores import MemoryIndex
from fixtures.servers.place import Place, Servers

from activity_indexer.adapters.elasticsearch.bulk import ElasticsearchIndex
from activity_indexer.document import index_line
from activity_indexer.pipeline.outcome import Item, all_done, classify_item, current_version, read_failure, read_items
from activity_indexer.ports import BulkIndex, BulkReply, Stored
from activity_indexer.settings import ElasticsearchSettings
from activity_indexer.trial import TRIAL_ID, trial_document

Look = Callable[[str], Awaitable[tuple[int, bytes] | None]]


@dataclass(frozen=True)
class Subject:
    """An index, and a way to look at a document's version and body in it."""

    index: BulkIndex
    look: Look


@pytest.fixture(params=["memory", pytest.param("elasticsearch", marks=pytest.mark.integration)])
async def subject(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Subject]:
    if request.param == "memory":
        index = MemoryIndex(missing=True)
        yield Subject(index, lambda identifier: _in_memory(index, identifier))
        return
    servers: Servers = request.getfixturevalue("stack")
    async with Place.on(servers) as place:
        for name in ("ELASTICSEARCH_URL", "ELASTICSEARCH_INDEX"):
            monkeypatch.setenv(name, place.variables()[name])
        real = ElasticsearchIndex(ElasticsearchSettings(), {})
        yield Subject(real, lambda identifier: _on_the_server(place, identifier))
        await real.stop()


async def _in_memory(index: MemoryIndex, identifier: str) -> tuple[int, bytes] | None:
    found = index.documents.get(identifier)
    return (found.version, found.source) if found else None


async def _on_the_server(place: Place, identifier: str) -> tuple[int, bytes] | None:
    if not await place.es.exists(index=place.name, id=identifier):
        return None
    version = (await place.es.get(index=place.name, id=identifier))["_version"]
    return version, (await place.raw_source(identifier)).encode()


def lines(identifier: str, version: int, body: bytes = b'{"id":"a"}') -> bytes:
    return index_line(identifier, version) + b"\n" + body + b"\n"


def items(reply: BulkReply) -> list[Item]:
    assert reply.status == 200, reply.body
    count = reply.body.count(b'"status":')
    assert not all_done(reply.body, count)
    return read_items(reply.body, count)


async def test_a_missing_index_halts_each_item_until_it_is_prepared(subject: Subject) -> None:
    found = items(await subject.index.bulk(lines("a", 1)))
    assert [(item.status, item.error.type) for item in found] == [(404, "index_not_found_exception")]
    await subject.index.prepare()
    assert all_done((await subject.index.bulk(lines("a", 1))).body, 1)


async def test_preparing_again_keeps_what_is_there(subject: Subject) -> None:
    await subject.index.prepare()
    await subject.index.bulk(lines("a", 1))
    await subject.index.prepare()
    assert await subject.look("a") == (1, b'{"id":"a"}')


async def test_documents_are_kept_byte_for_byte_under_their_version(subject: Subject) -> None:
    await subject.index.prepare()
    body = b'{ "id":"\xc3\xa9", "amount":123456789012345678901234567890.10, "other":{"_id":[1e5]} }'
    identifier = 'é "/\n\u2028'
    assert all_done((await subject.index.bulk(lines(identifier, 7, body))).body, 1)
    assert await subject.look(identifier) == (7, body)


async def test_a_newer_version_takes_the_documents_place(subject: Subject) -> None:
    await subject.index.prepare()
    await subject.index.bulk(lines("a", 5))
    assert all_done((await subject.index.bulk(lines("a", 6, b'{"id":"b"}'))).body, 1)
    assert await subject.look("a") == (6, b'{"id":"b"}')


@pytest.mark.parametrize("version", [5, 4])
async def test_no_newer_version_is_a_conflict_that_names_the_current_one(subject: Subject, version: int) -> None:
    await subject.index.prepare()
    await subject.index.bulk(lines("a", 5))
    (item,) = items(await subject.index.bulk(lines("a", version, b'{"id":"late"}')))
    assert item.status == 409
    assert item.error.type == "version_conflict_engine_exception"
    assert item.error.reason == (
        f"[a]: version conflict, current version [5] is higher or equal to the one provided [{version}]"
    )
    assert current_version(item) == 5
    assert await subject.look("a") == (5, b'{"id":"a"}')


async def test_documents_are_read_as_they_are_byte_for_byte_before_a_search_finds_them(subject: Subject) -> None:
    await subject.index.prepare()
    body = b'{ "id":"\xc3\xa9" , "amount":1.50, "big":1e5,"more":[ 1, {"a" : null} ] }'
    names = ["a", 'é "/\n\u2028', "gone", "b"]
    for name, version in zip(names, (7 << 8, 2**62, 3, 9), strict=True):
        if name != "gone":
            await subject.index.bulk(lines(name, version, body))
    assert await subject.index.read(names) == {
        "a": Stored(7 << 8, body),
        'é "/\n\u2028': Stored(2**62, body),
        "b": Stored(9, body),
    }
    assert await subject.look("gone") is None
    assert await subject.look("a") == (7 << 8, body)


async def test_nothing_is_read_of_an_index_that_holds_nothing(subject: Subject) -> None:
    await subject.index.prepare()
    assert await subject.index.read(["a", "a"]) == {}


async def test_items_are_answered_in_the_order_of_the_request(subject: Subject) -> None:
    await subject.index.prepare()
    body = lines("a", 1) + lines("a", 3) + lines("a", 2) + lines("b", 1, b'{"id":1,"id":2}')
    assert [item.status for item in items(await subject.index.bulk(body))] == [201, 200, 409, 400]


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":"a","id":"b"}',
        b'{"other":{"a":1,"a":2}}',
        b'{"metadata":{"a":1,"a":2}}',
        b'{"metadata":"text"}',
        b'{"metadata":[1]}',
        b'{"a":}',
        b'{"a":1',
        b'{"a":NaN}',
        b'{"other":' + b"[" * 1100 + b"]" * 1100 + b"}",
        *(
            json.dumps({name: "1"}).encode()
            for name in (
                "_doc_count",
                "_field_names",
                "_id",
                "_ignored",
                "_index",
                "_nested_path",
                "_routing",
                "_seq_no",
                "_source",
                "_version",
            )
        ),
    ],
    ids=lambda body: body[:24].decode(),
)
async def test_a_bad_document_is_refused_and_its_neighbours_are_written(subject: Subject, body: bytes) -> None:
    await subject.index.prepare()
    reply = await subject.index.bulk(lines("before", 1) + lines("bad", 1, body) + lines("after", 1))
    assert [item.status for item in items(reply)] == [201, 400, 201]
    bad = items(reply)[1]
    assert bad.error.type == "document_parsing_exception"
    assert bad.error.reason
    assert classify_item(bad).value == "permanent"
    assert await subject.look("bad") is None


@pytest.mark.parametrize("body", [b'{"metadata":null}', b'{"metadata":{}}', b'{"other":{"_id":1}}', b"{}"])
async def test_an_odd_but_valid_document_is_written(subject: Subject, body: bytes) -> None:
    await subject.index.prepare()
    assert all_done((await subject.index.bulk(lines("a", 1, body))).body, 1)
    assert await subject.look("a") == (1, body)


async def test_an_empty_id_is_refused_alone(subject: Subject) -> None:
    await subject.index.prepare()
    reply = await subject.index.bulk(lines("", 1) + lines("a", 1))
    assert [item.status for item in items(reply)] == [400, 201]


@pytest.mark.parametrize(
    "body", [b"", b"\n", lines("x" * 513, 1), b"garbage\n{}\n", b'{"wrong":{}}\n{}\n'], ids=lambda body: str(body[:16])
)
async def test_a_malformed_request_is_refused_as_a_whole(subject: Subject, body: bytes) -> None:
    await subject.index.prepare()
    reply = await subject.index.bulk(body)
    assert reply.status == 400
    error = read_failure(reply.status, reply.body)
    assert error.type.endswith("_exception")
    assert error.reason


async def test_the_trial_document_is_parsed_and_never_written(subject: Subject) -> None:
    """So a document that is refused can be distinguished from an index that refuses all."""
    await subject.index.prepare()
    for _ in range(2):
        (item,) = items(await subject.index.bulk(trial_document()))
        assert (item.status, item.error.type) == (409, "version_conflict_engine_exception")
        assert classify_item(item).value == "done"
    assert await subject.look(TRIAL_ID) is None
