"""The index is built again beside a running indexer, on real servers."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from fixtures.events import DELETED, UPDATED, event, moment
from fixtures.servers.commands import begun, called, ended
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.waiting import eventually

from activity_indexer.document import NOT_DELETED

pytestmark = pytest.mark.integration

BASE = 300


@pytest.fixture(autouse=True)
async def clean_versions(place: Place) -> AsyncIterator[None]:
    yield
    for index in (await place.es.indices.get_settings(index=f"{place.name}-*", name="index.uuid")).body:
        await place.es.indices.delete(index=index)


async def settled(place: Place) -> None:
    await eventually(place.lag, 0)
    await eventually(lambda: place.lag(f"{place.group}.audit"), 0)


async def behind(place: Place) -> list[str]:
    return sorted((await place.es.indices.get_alias(name=place.name)).body)


async def shown(place: Place) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await called(place, "status", "--json", "--interval", "0.1s")).stdout)
    return found


@dataclass
class Ledger:
    """What was published: the newest status by id; None: deleted."""

    states: dict[str, str | None] = field(default_factory=dict)

    def create(self, number: int) -> dict[str, Any]:
        self.states[f"t{number}"] = "created"
        return event(f"t{number}", status="created", product="Lasting" if number % 20 else "Passing")

    def change(self, number: int, second: int) -> dict[str, Any]:
        status = self.states[f"t{number}"] = f"changed at {second}"
        product = "Lasting" if number % 20 else "Passing"
        return event(f"t{number}", UPDATED, moment(second), status=status, product=product)

    def remove(self, number: int, second: int) -> dict[str, Any]:
        self.states[f"t{number}"] = None
        return event(f"t{number}", DELETED, moment(second))

    @property
    def live(self) -> dict[str, str]:
        return {key: status for key, status in self.states.items() if status is not None}


@asynccontextmanager
async def load(place: Place, ledger: Ledger) -> AsyncIterator[None]:
    """New transactions, changes and deletions for as long as the body takes."""

    async def publish() -> None:
        for second in range(1, 100_000):
            first = BASE + 20 * second
            values = [ledger.create(first + number) for number in range(10)]
            values += [ledger.change(number, second) for number in range(second % 7, BASE - 20, 29)]
            if second > 3:
                values.append(ledger.remove(first - 60, second))
            await place.publish(values)
            await asyncio.sleep(0.2)

    task = asyncio.create_task(publish())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        await place.producer.flush()


@asynccontextmanager
async def searching(place: Place) -> AsyncIterator[list[int]]:
    """Searches all the time for transactions that are never deleted; collects how many were found."""
    found: list[int] = []
    query = {"term": {"product": "Lasting"}}

    async def search() -> None:
        while True:
            answer = await place.es.search(index=place.name, query=query, size=0, track_total_hits=True)
            found.append(answer["hits"]["total"]["value"])
            await asyncio.sleep(0.005)

    task = asyncio.create_task(search())
    try:
        yield found
    finally:
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled(), task.exception()


async def filled(place: Place, indexer: Callable[..., Indexer], ledger: Ledger) -> Indexer:
    await place.publish([ledger.create(number) for number in range(BASE)])
    await place.publish([b"no event"])
    running = indexer(CONSUMER_ENABLE_AUDIT_DB="true", ELASTICSEARCH_REFRESH_INTERVAL="50ms")
    await settled(place)
    await place.es.indices.refresh(index=place.name)
    return running


async def statuses(place: Place) -> dict[str, str]:
    return {key: document["status"] for key, document in (await place.documents()).items()}


@pytest.mark.parametrize("source", ["audit", "topic"])
async def test_no_search_misses_a_document_and_nothing_written_meanwhile_is_lost(
    place: Place, indexer: Callable[..., Indexer], source: str
) -> None:
    ledger = Ledger()
    running = await filled(place, indexer, ledger)
    async with load(place, ledger):
        async with searching(place) as found:
            done = await called(place, "reindex", "--from", source, "--json")
        assert done.code == 0, done
        await asyncio.sleep(0.5)
    await settled(place)
    assert len(found) > 20
    assert found == sorted(found), "a document that was found once was missed later"
    assert found[0] >= BASE * 19 // 20
    assert found[-1] > found[0]
    assert await behind(place) == [done.last["new"]] == [f"{place.name}-000002"]
    assert await statuses(place) == ledger.live
    assert await place.es.indices.exists(index=done.last["old"])
    assert done.last["refused"] == done.last["lost"] == 0
    assert running.process.poll() is None
    again = await called(place, "reconcile", "--json")
    assert again.code == 0, again


async def trace_ids(place: Place) -> dict[str, str | None]:
    return {key: document.get("_trace_id") for key, document in (await place.documents()).items()}


def traced(digit: str, flags: str = "01") -> list[tuple[str, bytes]]:
    return [("traceparent", f"00-{digit * 32}-{digit * 16}-{flags}".encode())]


async def test_documents_keep_the_trace_ids_of_their_events(place: Place, indexer: Callable[..., Indexer]) -> None:
    await place.publish([event("a"), event("b"), event("c")], headers=traced("a"))
    await place.publish([event("b", UPDATED, moment(1))], headers=traced("b", "00"))
    await place.publish([event("c", UPDATED, moment(1)), event("d"), b"no event"])
    await place.publish([event("e"), event("f")], headers=traced("e"))
    await place.publish([event("f", DELETED, moment(1))], headers=traced("f"))
    indexer(CONSUMER_ENABLE_AUDIT_DB="true")
    await settled(place)
    wanted = {"a": "a" * 32, "b": "b" * 32, "c": None, "d": None, "e": "e" * 32}
    assert await trace_ids(place) == wanted
    for number, source in enumerate(["topic", "audit", "topic"], 2):
        done = await called(place, "reindex", "--from", source, "--json", "--drop-old")
        assert (done.code, done.last["new"]) == (0, f"{place.name}-{number:06}"), done
        assert await trace_ids(place) == wanted, f"from the {source}"


async def test_killed_anywhere_it_goes_on(place: Place, indexer: Callable[..., Indexer]) -> None:
    ledger = Ledger()
    await filled(place, indexer, ledger)
    process = await begun(place, "reindex", "--from", "audit", "--json")
    building = f"{place.name}.building"
    await eventually(lambda: place.es.indices.exists_alias(name=building), bool, every=0.01)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert await behind(place) == [place.index]
    done = await called(place, "reindex", "--from", "audit", "--json", "--drop-old")
    assert (done.code, done.last["resumed"]) == (0, True), done
    assert await behind(place) == [f"{place.name}-000002"]
    assert await statuses(place) == ledger.live
    assert not await place.es.indices.exists(index=place.index)
    assert not await place.es.indices.exists_alias(name=building)


async def test_between_the_two_steps_of_the_move_searches_see_the_old_index_and_it_can_be_finished(
    place: Place, indexer: Callable[..., Indexer]
) -> None:
    """As a kill in the middle of the move leaves it: writes go to the new index, which lacks what the old one has."""
    ledger = Ledger()
    await filled(place, indexer, ledger)
    process = await begun(place, "reindex", "--from", "topic", "--json", CONSUMER_BATCH_TIMEOUT="1")
    await eventually(lambda: place.es.indices.exists_alias(name=f"{place.name}.building"), bool, every=0.01)
    process.send_signal(signal.SIGINT)
    interrupted = await ended(process)
    if interrupted.code == 0:
        pytest.skip("it was faster than the interruption")
    assert (interrupted.code, interrupted.last["outcome"]) == (5, "interrupted"), interrupted
    new = f"{place.name}-000002"
    actions = [
        {"add": {"index": place.index, "alias": place.name, "filter": NOT_DELETED, "is_write_index": False}},
        {"add": {"index": new, "alias": place.name, "filter": {"match_none": {}}, "is_write_index": True}},
    ]
    await place.es.indices.update_aliases(actions=actions)
    await place.publish([ledger.create(10_000)])
    await settled(place)
    assert len(await place.documents()) == BASE
    compared = await called(place, "reconcile")
    assert (compared.code, "run it again to finish" in compared.stderr) == (4, True), compared
    assert any("searches see no new events" in each for each in (await shown(place))["problems"])
    done = await called(place, "reindex", "--from", "topic", "--json")
    assert (done.code, done.last["resumed"]) == (0, True), done
    assert await statuses(place) == ledger.live


async def test_what_the_new_index_would_lack_keeps_the_alias_where_it_is(
    place: Place, indexer: Callable[..., Indexer]
) -> None:
    ledger = Ledger()
    await filled(place, indexer, ledger)
    await place.es.index(
        index=place.index, id="by hand", document={"id": "by hand"}, version=7, version_type="external", refresh=True
    )
    refused = await called(place, "reindex", "--from", "topic", "--json")
    assert (refused.code, refused.last["outcome"]) == (4, "refused"), refused
    assert refused.last["lostExamples"] == ["by hand"]
    assert await behind(place) == [place.index]
    accepted = await called(place, "reindex", "--from", "topic", "--accept-loss")
    assert accepted.code == 0, accepted
    assert await statuses(place) == ledger.live


async def test_two_at_once_is_refused(place: Place, indexer: Callable[..., Indexer]) -> None:
    await filled(place, indexer, Ledger())
    state = {"source": "audit", "owner": "another", "beats": 1}
    new = f"{place.name}-000002"
    await place.es.indices.create(
        index=new, aliases={f"{place.name}.building": {}}, mappings={"_meta": {"activity_indexer": state}}
    )
    second = asyncio.create_task(called(place, "reindex", "--from", "audit", "--json"))
    beats = 1
    while not second.done():
        beats += 1
        await place.es.indices.put_mapping(index=new, meta={"activity_indexer": {**state, "beats": beats}})
        await asyncio.sleep(0.5)
    found = await second
    assert found.code == 4, found
    assert "another reindex is building" in found.last["message"]


async def test_without_an_index_it_is_refused(place: Place) -> None:
    found = await called(place, "reindex", "--from", "topic")
    assert found.code == 4
    assert f"the alias {place.name} does not exist" in found.stderr
