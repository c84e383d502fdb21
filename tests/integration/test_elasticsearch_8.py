"""A real server of the major version before: everything works on it as on the newer one."""

import json
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from fixtures.events import DELETED, UPDATED, event, moment
from fixtures.servers.commands import called
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, Servers
from fixtures.waiting import eventually

from activity_indexer.adapters.elasticsearch.client import connect
from activity_indexer.settings import ElasticsearchSettings
from activity_stack import StackError

pytestmark = pytest.mark.integration
Start = Callable[..., Indexer]


@pytest.fixture(scope="module")
def older(stack: Servers) -> Iterator[Servers]:
    """The stack with Elasticsearch 8 beside 9."""
    try:
        stack.start("elasticsearch-8")
    except StackError as error:
        pytest.fail(f"Elasticsearch 8 does not start: {error}")
    yield stack
    stack.stop("elasticsearch-8")


@pytest.fixture
async def older_place(older: Servers) -> AsyncIterator[Place]:
    """A place whose index is in Elasticsearch 8."""
    url = older.environment["ACTIVITY_STACK_ELASTICSEARCH_8_URL"]
    async with Place.on(older) as place:
        await place.es.close()
        place.es = connect(ElasticsearchSettings(url=url))
        place.environment["ELASTICSEARCH_URL"] = url
        yield place


async def test_events_are_indexed_and_bad_ones_dead_lettered(older_place: Place, start_on: Start) -> None:
    place = older_place
    assert (await place.es.info())["version"]["number"].startswith("8.")
    process = await start_on(place).ready()
    bad = event("bad", metadata={"note": "x"})
    twice = json.dumps(bad).replace('{"note": "x"}', '{"note": "x", "note": "y"}').encode()
    await place.publish(
        [event("a"), event("b"), event("a", UPDATED, moment(5), status="new"), event("b", DELETED, moment(5)), twice]
    )
    outcomes = await process.settled(5)
    assert outcomes["dead_lettered"] == 1
    assert sum(outcomes.values()) == 5
    found = await place.documents()
    assert found.keys() == {"a"}, "b is a tombstone, which the alias hides"
    assert found["a"]["status"] == "new"
    await eventually(place.lag, 0)


async def test_a_document_that_is_refused_alone_is_dead_lettered(older_place: Place, start_on: Start) -> None:
    """The trial document is parsed and never written there, too."""
    place = older_place
    process = await start_on(place).ready()
    await place.es.indices.put_mapping(index=place.index, properties={"note": {"type": "ip"}})
    await place.publish([event("bad", note="no address")])
    assert await process.settled(1) == {"dead_lettered": 1}
    (letter,) = await place.dead_letters()
    assert dict(letter.headers)["dead-letter-stage"] == b"index"
    assert (await place.es.count(index=place.index))["count"] == 0


async def test_commands_work(older_place: Place, start_on: Start) -> None:
    place = older_place
    process = await start_on(place).ready()
    await place.publish([event("a"), event("b", DELETED)])
    await process.settled(2)
    await eventually(place.lag, 0)
    status = await called(place, "status", "--json", CONSUMER_ENABLE_AUDIT_DB="false")
    assert status.code == 0, status.stdout + status.stderr
    assert json.loads(status.stdout)
    purged = await called(place, "purge-tombstones", "--older-than", "1d")
    assert purged.code == 0, purged.stderr
